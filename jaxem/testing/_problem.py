"""A family, its members and rows: what the laws are asked of."""

from collections.abc import Callable
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
