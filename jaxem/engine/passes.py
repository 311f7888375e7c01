"""Functions of all rows, where these come in batches: each sum over rows is a pass over the batches.

What such a function does with rows is to sum over them, and it does so by the `reduce` that it is given: the very one
that sums over devices. So one program, for one batch, goes as far as the next sum and hands out its share of it. The
shares are added up over a pass, and another program goes on with the sums that are known by then. Nothing else about
the function need be said: that is how a model is bound to the rows of a file, and how the loop takes a step over them.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxem.engine.processes import agreed, gathered_trees
from jaxem.engine.programs import Program, program
from jaxem.kernels.chunks import compensated

Rows = tuple[PyTree, Any]  # a batch, and weights `[r]`


class Staged:
    """`fn(reduce, rows, shared, each)`, which sums at least once, as programs for batches `rows = (data, weights)`.

    It may look at rows in the arguments of `reduce` alone. `shared` is all else that it takes. Where `lanes` are side
    by side, `each` has a leading axis of them, as has the result. Compiled `quickly`, unless most of the work is there.
    """

    def __init__(self, fn: Callable, *, lanes: bool = False, quickly: bool = True):
        self.fn, self.lanes = fn, lanes
        self.share = Program(partial(_share, fn, lanes), quickly, level=1)
        self.result = Program(partial(_result, fn, lanes), quickly=True, level=1)

    def num_passes(self, rows: Rows, shared: PyTree, each: PyTree) -> int:
        """How many sums follow one another; traces the function for a few `rows`."""
        counter = _Counter()
        eqx.filter_eval_shape(partial(_mapped, self.fn, self.lanes, lambda known: counter), (), rows, shared, each)
        return counter.calls


class Passes:
    """Passes over batches, which `read(number)` gives on the device, all of one shape but perhaps in the first pass.

    `row()` is a batch of one row, of weight 0: it stands for the rows where only sums are looked at. It is known after
    the first pass. Sums are over the batches of all processes where these work `together`; `after(number)` is called
    once a pass has ended in all of them.
    """

    def __init__(
        self,
        read: Callable[[int], Generator[Rows]],
        row: Callable[[], Rows],
        after: Callable[[int], None] = lambda number: None,
        together: bool = False,
    ):
        self._read, self.row, self.number = read, row, 0
        self._after, self.together = after, together

    def sums(self, staged: Staged, known: tuple[PyTree, ...], shared: PyTree, each: PyTree = ()) -> PyTree:
        """A pass: the sum that `staged` asks for once others are `known`."""
        own = partial(self._of_batches, staged, known, shared, each)
        found = _of_processes(agreed(own)) if self.together else own()
        self._after(self.number)
        self.number += 1
        return _rounded(found)

    def each(self) -> Generator[Rows]:
        """A pass: its batches in turn, for what looks at each by itself."""
        with closing(self._read(self.number)) as batches:
            yield from batches
        self._after(self.number)
        self.number += 1

    def _of_batches(self, staged: Staged, known: tuple[PyTree, ...], shared: PyTree, each: PyTree) -> "_Sums":
        found: Any = None
        with closing(self._read(self.number)) as batches:
            for rows in batches:
                share = staged.share(known, rows, shared, each)
                before, found = found, _Sums.of(share) if found is None else _add(found, share)
                jax.block_until_ready(before)  # no more than two batches are held
        return found

    def run(self, staged: Staged, shared: PyTree, each: PyTree = ()) -> PyTree:
        """The result of `staged`, after as many passes as it has sums."""
        known = (self.sums(staged, (), shared, each),)
        for _ in range(staged.num_passes(self.row(), shared, each) - 1):
            known = (*known, self.sums(staged, known, shared, each))
        return staged.result(known, self.row(), shared, each)


class _Sums(NamedTuple):
    """Sums over the batches so far, and what their rounding has lost."""

    total: PyTree
    lost: PyTree

    @staticmethod
    def of(share: PyTree) -> "_Sums":
        return _Sums(share, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), share))


@program(quickly=True)
def _add(sums: _Sums, share: PyTree) -> _Sums:
    both = jax.tree.map(compensated, *sums, share)
    return _Sums(*jax.tree.transpose(jax.tree.structure(share), None, both))


def _of_processes(own: _Sums) -> _Sums:
    """The sums of all processes: the same bits in each."""
    first, *others = gathered_trees(own)
    for sums in others:
        first = _add(_add(first, sums.total), sums.lost)
    return first


@program(quickly=True)
def _rounded(sums: _Sums) -> PyTree:
    return jax.tree.map(jnp.add, *sums)


@final
class Known:
    """Gives the sums that are known, one after the other; then it ends the function that asks for another."""

    by_passes = True

    def __init__(self, known: tuple[PyTree, ...]):
        self._left = iter(known)

    def __call__(self, tree: PyTree) -> PyTree:
        for found in self._left:
            return found
        raise _Asked(tree)


class _Asked(Exception):
    def __init__(self, share: PyTree):
        super().__init__("a sum over the rows of all batches was asked for")
        self.share = share


class _Counter:
    by_passes = True

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tree: PyTree) -> PyTree:
        self.calls += 1
        return tree


def _share(fn: Callable, lanes: bool, known: tuple[PyTree, ...], rows: Rows, shared: PyTree, each: PyTree) -> PyTree:
    def asked(*args: Any) -> PyTree:
        try:
            fn(*args)
        except _Asked as asked:
            return asked.share
        raise RuntimeError(f"{fn} asks for {len(known)} sums, and a pass was made for another")

    return _mapped(asked, lanes, Known, known, rows, shared, each)


def _result(fn: Callable, lanes: bool, known: tuple[PyTree, ...], rows: Rows, shared: PyTree, each: PyTree) -> PyTree:
    return _mapped(fn, lanes, Known, known, rows, shared, each)


def _mapped(
    fn: Callable,
    lanes: bool,
    reduce: Callable,
    known: tuple[PyTree, ...],
    rows: Rows,
    shared: PyTree,
    each: PyTree,
) -> PyTree:
    """`fn`, for each lane if there are any. What is no array is the same for all of them."""

    def one(known: tuple[PyTree, ...], each: PyTree) -> PyTree:
        return fn(reduce(known), rows, shared, each)

    return eqx.filter_vmap(one)(known, each) if lanes else one(known, each)
