"""What layers have in common: how they fit, what they start from, and a temperature."""

import dataclasses
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem._arguments import as_count, as_tolerance, require_kind
from jaxem._errors import DataError
from jaxem.adjoint import AbstractAdjoint, Implicit, Unroll
from jaxem.families import Gaussian, GaussianParams
from jaxem.families.priors import require_positive
from jaxem.models import HMMParams, MixtureParams
from jaxem.priors import Dirichlet, NormalInverseWishart


@final
class Fitting(eqx.Module):
    """How a layer of `jaxem.layers` fits.

    **Arguments:**

    - `steps`: the number of iterations; `None` goes on to convergence.
    - `adjoint`: how the fit is differentiated. By default `jaxem.adjoint.Implicit` at convergence, and
        `jaxem.adjoint.Unroll` through so many `steps`. In a layer `Implicit` has no NaN: where there is no implicit
        derivative, that of one iteration takes its place, as by `Implicit(unconverged="one_step")`.
    - `pseudo_count`: how many rows the initial parameters of a member count for in its prior; positive. A member that
        no row belongs to stays at them, and its derivative exists. With `None` there is no prior: under `Implicit` and
        `OneStep` the initial parameters then have the derivative 0.
    - `revivals`: how often members that hold less than a hundredth of an equal share of the rows are moved to the rows
        that are explained worst; the fit goes on from there each time, as long again.
    - `tol`: of the run to convergence: by default how much more objective per unit of weight there is to gain.
    - `max_steps`: the most iterations of a run to convergence.
    - `kernel`: the arithmetic, as of `jaxem.solve`. `"fast"` is enough where no member is fifty times narrower than
        the data in single precision, thousands of times in double precision.

    **Raises:** `DataError` for arguments that cannot be used, and for `Implicit` with a number of `steps`: a run that
    stops early is at no fixed point.

    **Example**

    >>> import jaxem
    >>> fitting = jaxem.layers.Fitting(steps=5)
    >>> fitting.derivative
    Unroll(steps=5)
    """

    steps: int | None = eqx.field(static=True, default=None)
    adjoint: AbstractAdjoint | None = None
    pseudo_count: float | None = eqx.field(static=True, default=1.0)
    revivals: int = eqx.field(static=True, default=0)
    tol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=1000)
    kernel: str = eqx.field(static=True, default="fast")

    def __check_init__(self):
        require_kind("adjoint", self.adjoint, AbstractAdjoint, "jaxem.adjoint.Implicit()")
        as_count("max_steps", self.max_steps)
        as_count("revivals", self.revivals, least=0)
        if self.tol is not None:
            as_tolerance(self.tol)
        count: Any = self.pseudo_count
        if count is not None and (isinstance(count, bool) or not isinstance(count, int | float) or not count > 0):
            raise DataError(f"pseudo_count must be a positive number, or None for no prior, got {count!r}")
        if self.steps is None:
            return
        as_count("steps", self.steps)
        if isinstance(self.adjoint, Implicit):
            raise DataError(
                f"Implicit is the derivative of a fixed point, and a run of steps={self.steps} ends before it: "
                "leave out steps, or pass adjoint=jaxem.adjoint.OneStep() or Unroll(...)"
            )
        if isinstance(self.adjoint, Unroll) and self.adjoint.steps < self.steps:
            raise DataError(f"Unroll(steps={self.adjoint.steps}) is too short for steps={self.steps}")

    @property
    def derivative(self) -> AbstractAdjoint:
        """The adjoint of a fit: the one that was given, or the default, without NaN."""
        if self.adjoint is None:
            return Implicit(unconverged="one_step") if self.steps is None else Unroll(self.steps)
        if isinstance(self.adjoint, Implicit) and self.adjoint.unconverged == "nan":
            return dataclasses.replace(self.adjoint, unconverged="one_step")
        return self.adjoint


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
