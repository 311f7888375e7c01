"""What layers start from, and what they have in common as modules."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem._errors import DataError
from jaxem.families import Gaussian, GaussianParams
from jaxem.families.priors import require_positive
from jaxem.layers._fitting import Fitting
from jaxem.models import HMMParams, MixtureParams
from jaxem.priors import Dirichlet, NormalInverseWishart


def as_start(name: str, value: Any, rank: int) -> Array:
    """Initial parameters as an array of so many axes, in a floating-point type."""
    value = jnp.asarray(value)
    if value.ndim != rank or not jnp.issubdtype(value.dtype, jnp.floating):
        raise DataError(f"{name} must be numbers with {rank} axes, got {value.dtype}{list(value.shape)}")
    return value


def as_mixture(name: str, value: Any) -> MixtureParams:
    """Parameters of a mixture of Gaussians, as arrays."""
    if not (isinstance(value, MixtureParams) and isinstance(value.components, GaussianParams)):
        raise DataError(f"{name} must be MixtureParams(weights, GaussianParams(mean, covariance)), got {_kind(value)}")
    return MixtureParams(as_start(f"{name}.weights", value.weights, 1), _members(f"{name}.components", value[1]))


def as_hmm(name: str, value: Any) -> HMMParams:
    """Parameters of a hidden Markov model with Gaussian emissions, as arrays."""
    if not (isinstance(value, HMMParams) and isinstance(value.emission, GaussianParams)):
        raise DataError(
            f"{name} must be HMMParams(initial, transition, GaussianParams(mean, covariance)), got {_kind(value)}"
        )
    return HMMParams(
        as_start(f"{name}.initial", value.initial, 1),
        as_start(f"{name}.transition", value.transition, 2),
        _members(f"{name}.emission", value.emission),
    )


def _members(name: str, members: GaussianParams) -> GaussianParams:
    return GaussianParams(as_start(f"{name}.mean", members.mean, 2), jnp.asarray(members.covariance))


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def log_positive(name: str, value: Any) -> Array:
    """The logarithm of a positive number, in the precision that JAX gives to numbers of Python."""
    require_positive(value, name)
    return jnp.log(jnp.asarray(value, float))


def free_members(key: PRNGKeyArray, family: Gaussian, k: int, d: int) -> Any:
    """Unconstrained coordinates of members with means from a standard normal distribution, and variances of 1."""
    mean = jax.random.normal(key, (k, d))
    return family.unconstrain(GaussianParams(mean, family.structure.identity(k, jnp.ones(d, mean.dtype))))


def gaussian(covariance: str, start: GaussianParams, pseudo_count: float | None) -> Gaussian:
    """The family, with a prior under which a member without rows is where it starts.

    Its mean counts for `pseudo_count` rows, its covariance for so many more than the least for which there is a
    density.
    """
    family = Gaussian(covariance)
    if pseudo_count is None:
        return family
    structure, (k, d), dtype = family.structure, start.mean.shape, start.mean.dtype
    dof = jnp.asarray(structure.least_dof(d) + pseudo_count, dtype)
    count = jnp.broadcast_to(structure.prior_count(dof, d, k), (k,))
    scale = start.covariance / structure.divide(jnp.ones_like(start.covariance), count, d)
    return Gaussian(covariance, NormalInverseWishart(start.mean, jnp.asarray(pseudo_count, dtype), scale, dof))


def dirichlet(start: Array, pseudo_count: float | None) -> Dirichlet | None:
    """The prior of probabilities `[..., k]` with its mode where they start: `pseudo_count` rows for each of `k`."""
    return None if pseudo_count is None else Dirichlet(1 + pseudo_count * start.shape[-1] * start)


class AbstractLayer(eqx.Module):
    """A layer with a temperature, which may be learned."""

    log_temperature: Float[Array, ""]
    learn_temperature: bool = eqx.field(static=True)
    fitting: Fitting

    def __init__(self, temperature: float, learn_temperature: bool, fitting: Fitting | None):
        self.log_temperature = log_positive("temperature", temperature)
        self.learn_temperature = learn_temperature
        self.fitting = Fitting() if fitting is None else fitting

    @property
    def temperature(self) -> Float[Array, ""]:
        """The temperature, constant to JAX unless it is learned."""
        value = jnp.exp(self.log_temperature)
        return value if self.learn_temperature else jax.lax.stop_gradient(value)

    def options(self, state: Any, weights: Array | None) -> dict[str, Any]:
        """What the function of this layer takes besides rows and initial parameters."""
        return {"temperature": self.temperature, "warm": state, "weights": weights, "fitting": self.fitting}
