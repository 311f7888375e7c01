"""What the laws of a family look at, and what they found."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._paths import covers, leaf_name
from jaxem.families import AbstractFamily
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.sums import inner


class Problem(NamedTuple):
    """A family with parameters of `k` members, rows, and how much of each row belongs to each member, `[k, n]`."""

    family: AbstractFamily
    params: PyTree
    rows: PyTree
    share: Float[Array, "k n"]
    key: PRNGKeyArray
    support: Any

    @property
    def dtype(self) -> np.dtype:
        return self.share.dtype

    @property
    def tol(self) -> float:
        """What rounding may do."""
        return 1e-6 if self.dtype == np.float64 else 2e-3

    @property
    def weights(self) -> Float[Array, " n"]:
        return jnp.sum(self.share, 0)

    def cast(self, dtype: Any) -> "Problem":
        """The same in another precision."""
        family, params, rows, share = cast((self.family, self.params, self.rows, self.share), dtype)
        return self._replace(family=family, params=params, rows=rows, share=share)

    def kernels(self) -> dict[str, tuple[Any, PyTree]]:
        """The family as it comes, bound to the rows, and on its accurate kernel; parameters in the coordinates of each.

        The anchor is not at the parameters, which is the general case.
        """
        found: dict[str, tuple[Any, PyTree]] = {"as it comes": (self.family.kernel(), self.params)}
        bound = self.family.bind(self.rows, self.weights, lambda tree: tree)
        encoded = bound.encode(self.params)
        found["after bind"] = bound, encoded
        away = self.near(bound, encoded, 11)
        slower = bound.accurate()
        moved = (bound if slower is None else slower).about(away)
        if moved is not bound:
            found["after bind and about" if slower is None else "accurate, after about"] = moved, encoded
        return found

    def near(self, family: Any, params: PyTree, seed: int, size: float = 0.1) -> PyTree:
        """Other parameters, not far away."""
        here, at = coordinates(family, params)
        noise = jax.random.normal(jax.random.fold_in(self.key, seed), here.shape, here.dtype)
        return at(here + jnp.asarray(size, here.dtype) * noise)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """A tree with its real arrays in this precision, and no integers wider than single precision has."""

    def one(leaf):
        if eqx.is_array(leaf) and leaf.dtype == jnp.int64 and jnp.dtype(dtype) == jnp.float32:
            return leaf.astype(jnp.int32)
        return jnp.asarray(leaf, dtype) if eqx.is_inexact_array_like(leaf) and hasattr(leaf, "dtype") else leaf

    return jax.tree.map(one, tree)


def kernel_of(family: Any) -> Any:
    """A kernel as it is, and a family as its kernel in the coordinates of the data."""
    return family.kernel() if isinstance(family, AbstractFamily) else family


def density(family: Any, params: PyTree, rows: PyTree) -> Float[Array, "k n"]:
    """Log density of every row under every member."""
    potentials = family.potentials(family.natural(params), rows)
    latent = family.latent
    value = potentials if latent is None else latent.log_normalizer(potentials)
    return value + family.log_base(rows).astype(value.dtype)[None]


def scored(family: Any, params: PyTree, rows: PyTree) -> Float[Array, "k n"]:
    """Log density as a fitted model tells it: on the accurate kernel, about the parameters themselves."""
    kernel = kernel_of(family)
    return density((kernel.accurate() or kernel).about(params), params, rows)


def collect(family: Any, params: PyTree, rows: PyTree, share: Array) -> PyTree:
    """Expected statistics: the transpose of the map from natural parameters to potentials, of the moments."""
    potentials, pull = jax.vjp(lambda natural: family.potentials(natural, rows), family.natural(params))
    return pull(moments_of(family, potentials, share))[0]


def moments_of(family: Any, potentials: PyTree, share: Array) -> PyTree:
    """Moments of what is hidden, times how much of each row belongs to each member."""
    if family.latent is None:
        return share
    return family.latent.scale(family.latent.expectation(potentials)[0], share)


def surrogate(family: Any, stats: PyTree) -> Callable[[PyTree], Array]:
    """Q of a linear family as a function of the parameters."""

    def q(params):
        value, prior = inner(family.natural(params), stats), family.log_prior(params)
        return prior if isinstance(value, int) else value + prior.astype(value.dtype)  # 0 without parameters

    return q


def coordinates(family: Any, params: PyTree, frozen: tuple[str, ...] = ()) -> tuple[Array, Callable[[Array], PyTree]]:
    """Unconstrained coordinates as one vector, and the way back, on which parameters in `frozen` stay put."""
    family = kernel_of(family).family
    flat, unravel = ravel_pytree(family.unconstrain(params))

    def at(flat):
        moved = family.constrain(unravel(flat))
        return jax.tree_util.tree_map_with_path(
            lambda path, new, old: old if named(path, frozen) else new, moved, params
        )

    return flat, at


def named(path: Any, names: tuple[str, ...]) -> bool:
    """Whether one of `names` is that of the leaf, or of a tree that it belongs to."""
    return any(covers(name, leaf_name(path)) for name in names)


def take(rows: PyTree, index: Any) -> PyTree:
    """Some of the rows."""
    return jax.tree.map(lambda leaf: leaf[index], rows)


def joined(*rows: PyTree) -> PyTree:
    """Rows of several tables, one after the other."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 0), *rows)


def count(rows: PyTree) -> int:
    return num_rows(rows)


def with_prior(family: Any) -> bool:
    """Whether a prior takes part in the M-step."""
    parts = getattr(family, "parts", None)
    if parts is not None:
        return any(with_prior(part) for part in parts.values())
    inside = getattr(family, "family", None)
    if isinstance(inside, AbstractFamily):
        return with_prior(inside)
    return getattr(family, "prior", None) is not None


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
