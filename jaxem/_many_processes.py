"""Many fits shared out between processes: each runs those whose arguments lie with it, and all have the results."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._solve import Fit
from jaxem.engine.checkpoint import Checkpoint, Part, part_of
from jaxem.engine.processes import agreed, gathered, is_shared, joined_rows, own_numbers, own_rows


def of_all_processes(
    run: Callable[..., Fit], over: tuple[str, ...], given: dict[str, PyTree], checkpoint: Any, asked: dict[str, Any]
) -> Fit:
    """The results of `run` for the fits of each process, put together in every one.

    What they depend on besides `given` is `asked`. A process writes its own fits to a `checkpoint`, at its own time.
    """

    def share() -> dict[str, Any]:
        shared = [leaf for name in over for leaf in jax.tree.leaves(given[name]) if is_shared(leaf)]
        common = [name for name, tree in given.items() if name not in over and is_shared(tree)]
        if common or not shared:
            raise DataError(
                f"{common[0] if common else over[0]} lies with several processes, some of it with each, and is not "
                "what fits differ in: jaxem.fit takes rows that are spread, jaxem.fit_many fits"
            )
        numbers = own_numbers(shared[0])
        own = {name: _own(tree, numbers) if name in over else tree for name, tree in given.items()}
        if own["weights"] is not None:
            own["weights"] = np.asarray(own["weights"])
        return {**own, "first": int(numbers[0])}

    own = agreed(share)
    # Before anything is run: where one process cannot go on, none does.
    place = agreed(lambda: _place(checkpoint, {**own, **asked}))
    fit = agreed(lambda: run(**own, place=place))
    longest = int(gathered(np.asarray([fit.history.shape[1]])).max())
    history = np.full((fit.history.shape[0], longest), np.nan, fit.history.dtype)
    history[:, : fit.history.shape[1]] = fit.history
    mine = dataclasses.replace(fit, history=history)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(jax.device_put, joined_rows(jax.tree.map(np.asarray, mine)))


def _place(checkpoint: Any, asked: dict[str, Any]) -> Part | None:
    """Where this process writes its fits: the first to the file that was named, each other one to one beside it."""
    if checkpoint is None:
        return None
    to = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    number = jax.process_index()
    if number:
        to = dataclasses.replace(to, path=f"{os.fspath(to.path)}.{number}")
    return part_of(to, "fit_many", {"processes": jax.process_count(), **asked})


def _own(tree: PyTree, numbers: np.ndarray) -> PyTree:
    """What the fits of these numbers have of arrays that are spread, or that every process has whole."""

    def one(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return own_rows(leaf) if is_shared(leaf) else np.asarray(leaf)[numbers]

    return jax.tree.map(one, tree)
