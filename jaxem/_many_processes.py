"""Many fits shared out between processes: each runs those whose arguments lie with it, and all have the results."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._solve import Fit
from jaxem.engine.processes import agreed, gathered, is_shared, joined_rows, own_numbers, own_rows


def of_all_processes(run: Callable[..., Fit], over: tuple[str, ...], given: dict[str, PyTree]) -> Fit:
    """The results of `run` for the fits of each process, put together in every one."""

    def share() -> Fit:
        shared = [leaf for name in over for leaf in jax.tree.leaves(given[name]) if is_shared(leaf)]
        common = [name for name, tree in given.items() if name not in over and is_shared(tree)]
        if common or not shared:
            raise DataError(
                f"{common[0] if common else over[0]} lies with several processes, some of it with each, and is not "
                "what fits differ in: jaxem.fit takes rows that are spread, jaxem.fit_many fits"
            )
        numbers = own_numbers(shared[0])
        own = {name: _own(tree, numbers) if name in over else tree for name, tree in given.items()}
        return run(*own.values(), first=int(numbers[0]))

    fit = agreed(share)
    longest = int(gathered(np.asarray([fit.history.shape[1]])).max())
    history = np.full((fit.history.shape[0], longest), np.nan, fit.history.dtype)
    history[:, : fit.history.shape[1]] = fit.history
    own = dataclasses.replace(fit, history=history)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(jax.device_put, joined_rows(jax.tree.map(np.asarray, own)))


def _own(tree: PyTree, numbers: np.ndarray) -> PyTree:
    """What the fits of these numbers have of arrays that are spread, or that every process has whole."""

    def one(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return own_rows(leaf) if is_shared(leaf) else np.asarray(leaf)[numbers]

    return jax.tree.map(one, tree)
