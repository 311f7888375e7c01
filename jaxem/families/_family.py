from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem._model import Reduce
from jaxem.kernels.linalg import matmul


class AbstractFamily(eqx.Module):
    """An exponential family for the rows of a table, with `k` members at once.

    Parameters carry a leading axis of length `k` (or none, where the members share one), rows are `[n, d]`, and
    potentials `[k, n]`. The log density is `coefficients(natural(params)) @ statistics(x) + log_base(x)`.
    """

    parameters: ClassVar[tuple[str, ...]]
    conjugate: ClassVar[str] = "define `prior`"

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

    # With a conjugate prior

    def require_prior(self) -> Any:
        """The prior; raises `MissingCapabilityError` where there is none that a posterior could come from."""
        prior = getattr(self, "prior", None)
        if prior is None:
            raise MissingCapabilityError(
                f"{type(self).__name__} has no prior, and a posterior of its parameters needs one: {self.conjugate}"
            )
        return prior

    def posterior(self, stats: PyTree) -> PyTree:
        """The posterior of the parameters given expected statistics: a prior with arrays for its fields."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `posterior`")

    def expected_natural(self, posterior: PyTree) -> PyTree:
        """Expected natural parameters."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `expected_natural`")

    def posterior_mean(self, posterior: PyTree) -> PyTree:
        """Parameters to plug in for the posterior."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `posterior_mean`")

    def draw(self, key: PRNGKeyArray, posterior: PyTree) -> PyTree:
        """One draw of the parameters."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `draw`")

    def kl(self, posterior: PyTree) -> Array:
        """Kullback-Leibler divergence of the posterior from the prior, over all members."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `kl`")

    def unconstrain_posterior(self, posterior: PyTree) -> PyTree:
        """Unconstrained coordinates of a posterior."""
        return posterior.unconstrain()

    def constrain_posterior(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain_posterior`."""
        return type(self.require_prior()).constrain(free)

    def encode_posterior(self, posterior: PyTree) -> PyTree:
        return posterior

    def decode_posterior(self, posterior: PyTree) -> PyTree:
        return posterior

    def for_starts(self) -> "AbstractFamily":
        """The family with a prior under which every posterior has a mode."""
        prior = getattr(self, "prior", None)
        return self if prior is None else eqx.tree_at(lambda family: family.prior, self, prior.with_mode())

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
