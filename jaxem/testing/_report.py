"""What the laws found, told all at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


class Report:
    """Collects the failures of one check; `close` raises a single `AssertionError` for all of them."""

    def __init__(self, subject: str):
        self.subject = subject
        self.failures: list[str] = []
        self.memo: dict[str, Any] = {}  # what several laws look at
        self._law = ""
        self.tol: float = 0.0  # what rounding may do to the problem at hand

    def run(self, laws: Mapping[str, Callable[..., None]], skip: Sequence[str], problem: Any) -> None:
        """Ask each law of a problem, by name, but those of `skip`; an exception inside one is a failure of that law."""
        for name, law in laws.items():
            if name in skip:
                continue
            self._law, self.tol = name, problem.tol
            try:
                law(problem, self)
            except Exception as error:
                self.fail(f"{type(error).__name__} while it was checked: {error}")

    def fail(self, what: str) -> None:
        """Note that the law of the moment does not hold."""
        told = f"{self._law}: {what}"
        if told not in self.failures:
            self.failures.append(told)

    def require(self, holds: Any, what: str, by: Any = None, allowed: float = 0.0, see: str = "") -> None:
        """Note a failure unless `holds`: what is wrong, by how much, and what to look at."""
        if not bool(holds):
            size = "" if by is None else f", by {float(by):.3g} (allowed: {allowed:.3g})"
            self.fail(what + size + (f"; look at {see}" if see else ""))

    def agree(
        self,
        what: str,
        found: PyTree,
        expected: PyTree,
        scale: float | None = None,
        see: str = "",
        tol: float | None = None,
    ) -> None:
        """Leaves that agree relative to the largest number among them (or to `scale`, if that is larger).

        To `tol`, or to what rounding may do to the problem.
        """
        tol = self.tol if tol is None else tol
        if jax.tree.structure(found) != jax.tree.structure(expected):
            self.require(False, f"{what}: the trees have different structures", see=see)
            return
        for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            if np.shape(x) != np.shape(y):
                self.require(False, f"{what}: shapes {np.shape(x)} and {np.shape(y)} differ", see=see)
                continue
            x, y = np.asarray(x, float), np.asarray(y, float)
            with np.errstate(invalid="ignore"):
                error = np.where(x == y, 0.0, np.abs(x - y))
            size = max(np.abs(y[np.isfinite(y)]).max(initial=0.0), scale or 0.0) or 1.0
            worst = float(error.max(initial=0.0)) if not np.isnan(error).any() else np.nan
            self.require(worst <= tol * size, what, worst, tol * size, see)

    def finite(self, what: str, tree: PyTree, see: str = "") -> None:
        """Leaves all of whose numbers are finite."""
        bad = sum(int((~np.isfinite(np.asarray(leaf))).sum()) for leaf in jax.tree.leaves(tree))
        self.require(bad == 0, f"{what}: {bad} numbers are not finite", see=see)

    def alike(self, what: str, found: PyTree, expected: PyTree, see: str = "") -> None:
        """Trees of the same structure, shapes and types of numbers."""
        if jax.tree.structure(found) != jax.tree.structure(expected):
            self.require(False, f"{what}: the trees have different structures", see=see)
            return
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
            same = np.shape(x) == np.shape(y) and x.dtype == y.dtype
            told = f"{what}{jax.tree_util.keystr(path)} is {x.dtype}{np.shape(x)}, not {y.dtype}{np.shape(y)}"
            self.require(same, told, see=see)

    def close(self) -> None:
        """Raise `AssertionError` if something failed."""
        if self.failures:
            listed = "".join(f"\n- {failure}" for failure in self.failures)
            raise AssertionError(f"{self.subject} breaks {len(self.failures)} of the promises it makes:{listed}")


def known(names: Sequence[str], laws: Iterable[str]) -> None:
    """Raise `ValueError` for a name that is no law."""
    for name in names:
        if name not in laws:
            raise ValueError(f"skip: unknown law {name!r}; choose from {', '.join(laws)}")
