"""Many fits shared out between processes: each runs those whose arguments lie with it, and all have the results."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._many_checkpoint import digests_of_fits, keep, place_of_fits
from jaxem._many_rows import WeightsOfAll
from jaxem._solve import Fit
from jaxem.engine.checkpoint import Part
from jaxem.engine.processes import (
    agreed,
    any_of,
    gathered,
    is_shared,
    joined_rows,
    own_numbers,
    own_rows,
    require_alike,
)
from jaxem.engine.shares import Share
from jaxem.engine.weights import Span


def of_all_processes(
    run: Callable[..., Fit], over: tuple[str, ...], given: dict[str, PyTree], checkpoint: Any, asked: dict[str, Any]
) -> Fit:
    """The results of `run` for the fits of each process, put together in every one.

    What they depend on besides `given` is `asked`. A process writes its own fits to a `checkpoint`, at its own time.
    """

    def share() -> tuple[dict[str, Any], int]:
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
        return own, int(numbers[0])

    own, first = agreed(share)
    of_all = _weights_of_all(own["weights"]) if "weights" in over else None
    place = _place(checkpoint, over, own, first, asked)
    fit = agreed(lambda: run(**own, first=first, of_all=of_all, place=place))
    longest = int(gathered(np.asarray([fit.history.shape[1]])).max())
    history = np.full((fit.history.shape[0], longest), np.nan, fit.history.dtype)
    history[:, : fit.history.shape[1]] = fit.history
    mine = dataclasses.replace(fit, history=history)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(jax.device_put, joined_rows(jax.tree.map(np.asarray, mine)))


def _weights_of_all(own: np.ndarray) -> WeightsOfAll | None:
    """What is known of the weights of all processes; `None` for what are no weights, which each will refuse."""
    require_alike("weights", f"{own.dtype} of shape [fits, {', '.join(map(str, own.shape[1:]))}]")
    if own.ndim != 2 or own.dtype.kind not in "fiub":
        return None
    total, span = WeightsOfAll.of(own)
    return WeightsOfAll(gathered(total).sum(0), Span.around(gathered(np.asarray(span, np.float64))))


def _place(
    checkpoint: Any, over: tuple[str, ...], own: dict[str, PyTree], first: int, asked: dict[str, Any]
) -> Part | None:
    """Where this process writes its fits: the first to the file that was named, each other one to one beside it."""
    if not any_of(checkpoint is not None)[0]:
        return None
    mine = agreed(lambda: digests_of_fits(over, own))
    share = Share(first, len(mine[over[0]]), joined_rows(mine), jax.process_index(), jax.process_count())
    # Before anything is run: where one process cannot go on, none does.
    place = agreed(lambda: None if checkpoint is None else place_of_fits(checkpoint, over, own, asked, share))
    agreed(lambda: None if place is None else keep(place))  # once all have read
    return place


def _own(tree: PyTree, numbers: np.ndarray) -> PyTree:
    """What the fits of these numbers have of arrays that are spread, or that every process has whole."""

    def one(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return own_rows(leaf) if is_shared(leaf) else np.asarray(leaf)[numbers]

    return jax.tree.map(one, tree)
