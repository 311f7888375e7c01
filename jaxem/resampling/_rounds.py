"""Samples some at a time: what is told of all of them on the way, and how they end early."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._errors import DataError
from jaxem._fit_many import fit_many
from jaxem._solve import Fit
from jaxem._status import Status, status_code
from jaxem.engine.fingerprint import contents
from jaxem.engine.processes import any_of, is_shared, require_alike
from jaxem.engine.stop import Stop
from jaxem.record import Progress

_FEWEST, _ROUNDS = 64, 8

WORDS = "interrupted: the samples that were begun so far are fitted to the end and returned"


def at_a_time(count: int, together: bool) -> int:
    """How many of `count` samples are drawn side by side at most: all, in one search whose lanes stay full.

    Where processes share them out `together` few enough to end early, as what one of them has fitted says nothing of
    the samples of others.
    """
    return max(_FEWEST, -(-count // _ROUNDS)) if together else count


def overall(progress: Any, stop: Stop, before: int, total: int) -> Callable[[Progress], None] | bool | None:
    """`progress` as one part of `total` fits hears of it, of which `before` are done; answering `True` asks to stop."""
    if not callable(progress):
        return progress

    def tell(told: Progress) -> None:
        if progress(told._replace(done=before + told.done, total=max(total, before + told.total))) is True:
            stop.asked = True

    return tell


def refits(model: Any, sample: dict[str, Any], size: int, together: bool, **options: Any) -> Fit:
    """The fits to `size` samples. Where processes share them out `together`, `sample` is the share of this one."""
    over = _over(sample)
    if not together:
        return fit_many(model, **sample, over=over, **options)
    fits = fit_many(model, **{**sample, over: shared_out(sample[over])}, over=over, **options)
    return jax.tree.map(lambda leaf: leaf[:size], fits)


def refitted(
    model: Any,
    samples: Iterable[tuple[range, dict[str, Any]]],
    total: int,
    together: bool,
    stop: Stop,
    *,
    key: PRNGKeyArray,
    restarts: int,
    progress: Any,
    **options: Any,
) -> Iterator[tuple[dict[str, Any], np.ndarray, Fit]]:
    """Blocks of samples, `total` in all, which of them were begun before it was time to `stop`, and the fits to these.

    Fits are arrays of NumPy.
    """
    done = 0
    for number, (block, sample) in enumerate(samples):
        own, heard = jax.random.fold_in(key, number), overall(progress, stop, done * restarts, total * restarts)
        common: dict[str, Any] = {"key": own, "restarts": restarts, "progress": heard, "time_limit": stop}
        fits = refits(model, sample, len(block), together, **common, **options)
        kept = done_of(fits)
        yield sample, kept, some(fits, kept)
        done += len(kept)
        if ended(stop, together) and done > 1:
            return


def of_samples(sample: dict[str, Any], numbers: np.ndarray) -> dict[str, Any]:
    """Some of the samples of a block."""
    return {**sample, _over(sample): some(sample[_over(sample)], numbers)}


def _over(sample: dict[str, Any]) -> str:
    """What samples differ in."""
    return "weights" if "weights" in sample else "data"


def some(tree: PyTree, numbers: np.ndarray) -> Any:
    """These entries along the leading axis of every array, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[numbers], tree)


def done_of(fits: Fit) -> np.ndarray:
    """The numbers of the fits that are over."""
    return np.flatnonzero(np.asarray(status_code(fits.status)) != int(status_code(Status.stopped)))


def ended(stop: Stop, together: bool) -> bool:
    """Whether no more samples are begun, in any of the processes that work together."""
    return any_of(stop.reached)[0] if together else stop.reached


def require_same(together: bool, *arguments: Any) -> None:
    """Raise `DataError` where processes that work `together` were given different arguments."""
    if is_shared(arguments):
        raise DataError(
            "data lie with several processes, some of them with each; samples are of all rows: give the whole data in "
            "every process, and together=True to share the samples out"
        )
    if together:
        require_alike("arguments, by a digest of them,", contents(*arguments)[:16])


def sharing(together: bool) -> Callable[[range], range]:
    """Which of some numbers of samples this process fits: all of them, or its share."""
    return share_of if together else lambda numbers: numbers


def share_of(numbers: range) -> range:
    """The numbers of the samples that this process fits, as many as any other: the last may go beyond `numbers`."""
    each = -(-len(numbers) // jax.process_count())
    first = numbers.start + each * jax.process_index()
    return range(first, first + each)


def shared_out(own: PyTree) -> PyTree:
    """Arrays over the samples of all processes, `[fits, ...]`, of which each has as many: for `jaxem.fit_many`."""
    count = jax.process_count()
    devices = {device.process_index: device for device in reversed(jax.devices())}
    lies = NamedSharding(Mesh(np.array([devices[i] for i in range(count)]), ("fits",)), PartitionSpec("fits"))

    def one(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        leaf = leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype))
        return jax.make_array_from_process_local_data(lies, leaf, (count * len(leaf), *leaf.shape[1:]))

    return jax.tree.map(one, own)
