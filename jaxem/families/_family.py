from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._model import Reduce
from jaxem.kernels.linalg import matmul


class AbstractFamily(eqx.Module):
    """An exponential family for the rows of a table, with `k` members at once.

    Parameters carry a leading axis of length `k` (or none, where the members share one), rows are `[n, d]`, and
    potentials `[k, n]`. The log density is `coefficients(natural(params)) @ statistics(x) + log_base(x)`.
    """

    parameters: ClassVar[tuple[str, ...]]

    @abstractmethod
    def natural(self, params: PyTree) -> PyTree:
        """Natural parameters, with the log-partition function among the coefficients."""

    @abstractmethod
    def coefficients(self, natural: PyTree) -> Float[Array, "k p"]:
        """Natural parameters as rows of coefficients of `statistics`; linear."""

    @abstractmethod
    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        """Sufficient statistics, features first."""

    @abstractmethod
    def maximize(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """Maximum-likelihood (or, with a prior, posterior-mode) parameters given expected statistics.

        A member without weight keeps `params`; so do the fields named in `frozen`, given which the others are
        maximised.
        """

    @abstractmethod
    def unconstrain(self, params: PyTree) -> PyTree:
        """Unconstrained coordinates."""

    @abstractmethod
    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""

    @abstractmethod
    def from_points(self, points: Float[Array, "k d"], x: Float[Array, "n d"], weights: Float[Array, " n"]) -> PyTree:
        """Parameters centred on `points`, as spread out as the whole data."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, params: PyTree, labels: Array) -> PyTree:
        """One row from the member that each label names."""

    @abstractmethod
    def check(self, x: Any, name: str = "data") -> None:
        """Raise `DataError` for rows outside the family's support; called on the host."""

    def potentials(self, natural: PyTree, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        """The part of the log density of every row under every member that depends on the parameters."""
        return matmul(self.coefficients(natural), self.statistics(x))

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """The part of the log density that does not depend on the parameters."""
        return jnp.zeros(x.shape[0], x.dtype)

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density; 0 without a prior."""
        return jnp.zeros((), dtype=jnp.result_type(float))

    def mend(self, params: PyTree, pooled: PyTree, counts: Array) -> PyTree:
        """Starting parameters in which members with too few rows to have a spread of their own take the pooled one."""
        return params

    def embed(self, x: Float[Array, "n d"]) -> Float[Array, "n q"]:
        """Coordinates in which Euclidean distance makes sense, for seeding."""
        return x

    def empty(self, counts: Array) -> Array:
        """Which members hold no more than rounding error of the weight."""
        return counts <= 10 * jnp.finfo(counts.dtype).eps * jnp.sum(counts)

    @property
    def product_form(self) -> bool:
        """Whether `potentials` is the matrix product of `coefficients` and `statistics`."""
        return True

    @property
    def separable(self) -> bool:
        """Whether the members share no parameters."""
        return True

    def bind(self, x: Array, weights: Array, reduce: Reduce) -> "AbstractFamily":
        return self

    def encode(self, params: PyTree) -> PyTree:
        return params

    def decode(self, params: PyTree) -> PyTree:
        return params

    def at(self, params: PyTree) -> "AbstractFamily":
        return self

    def translate(self, stats: PyTree, source: Any) -> PyTree:
        return stats

    def loss(self, params: PyTree) -> Array:
        return jnp.zeros((), dtype=jnp.result_type(float))

    def accurate(self) -> "AbstractFamily | None":
        return None

    def degenerate(self, params: PyTree) -> Array:
        return jnp.zeros((), bool)

    def floats_per_row(self, params: PyTree) -> tuple[int, int]:
        """Numbers that an E-step holds for each row: those that all runs share, and those of each run."""
        return 0, sum(leaf.size for leaf in jax.tree.leaves(params))
