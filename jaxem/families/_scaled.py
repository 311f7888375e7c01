"""What families share each of whose rows, or responses, has a hidden scale: a gamma variable of mean 1."""

from abc import abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem import _bijections as bijections
from jaxem._errors import MissingCapabilityError
from jaxem.families import univariate
from jaxem.families._family import AbstractKernelFamily
from jaxem.families.kernels.scale_mixture import ScaleMixtureKernel
from jaxem.kernels.rows import without_weight
from jaxem.kernels.special import inverse_digamma_excess
from jaxem.latent import GammaScale


class AbstractScaled(AbstractKernelFamily):
    """Another family, `base`, of rows that depend on a hidden `u` of mean 1.

    Parameters are those of `base` and one more, called `spread`, that gives the shape of `u`: `[k, ...]` or, if it is
    `pooled`, without the leading axis. Given `u` the two have nothing to do with each other.
    """

    spread: ClassVar[str]
    per_shape: ClassVar[float] = 1.0  # the parameter at a shape of 1
    bounds: ClassVar[tuple[float, float]]  # between which it is estimated
    first: ClassVar[float]  # where a start has it

    def __check_init__(self):
        given, (least, most) = self.given, self.bounds
        if given is not None and not least <= given <= most:
            raise ValueError(f"{self.spread} must lie in [{least:g}, {most:g}], got {given!r}")

    @property
    @abstractmethod
    def base(self) -> Any:
        """The family of a row whose `u` is known to be 1."""

    @property
    def given(self) -> float | None:
        """A value of the parameter that is not estimated: the field of its name."""
        return getattr(self, self.spread)

    @property
    def pooled(self) -> bool:
        """Whether all members have the same value."""
        return getattr(self, f"shared_{self.spread}")

    @abstractmethod
    def of_base(self, params: Any) -> Any:
        """The part of the parameters that is `base`'s."""

    @abstractmethod
    def joined(self, own: Any, spread: Array) -> Any:
        """Parameters from those of `base` and the one of the scale."""

    @abstractmethod
    def like(self, own: Any) -> Array:
        """An array of the shape that the parameter has for all members, given parameters of `base`."""

    @property
    def shared(self) -> tuple[str, ...]:
        return (*self.base.shared, *((self.spread,) if self.pooled else ()))

    def shape(self, params: PyTree) -> Array:
        """The shape of the gamma distribution of `u`."""
        return self.value(params) / self.per_shape

    def value(self, params: PyTree) -> Array:
        """The parameter of the scale: the one that is given, or that of `params`."""
        value = getattr(params, self.spread)
        return value if self.given is None else jnp.full_like(value, self.given)

    # The M-step

    def estimate(self, excess: Array, counts: Array, params: PyTree, frozen: tuple[str, ...]) -> Array:
        """The parameter at which `log u - u + 1`, of which `excess` is the sum, has its mean."""
        value, (least, most) = self.value(params), self.bounds
        if self.spread in frozen or self.given is not None:
            return value
        empty = without_weight(counts)
        excess, counts = jnp.where(empty, 0, excess), jnp.where(empty, 0, counts)
        if self.pooled:
            excess, counts = jnp.sum(excess, 0), jnp.sum(counts, 0)
        mean = excess / jnp.where(counts > 0, counts, 1)
        found = self.per_shape * inverse_digamma_excess(mean, least / self.per_shape, most / self.per_shape)
        return jnp.where(counts > 0, found, value)

    def require_no_prior(self) -> None:
        """Raise `MissingCapabilityError` where a prior stands in the way of an expansion by a mean of `u`."""
        if getattr(self.base, "prior", None) is not None:
            raise MissingCapabilityError(
                f"{type(self).__name__} has a prior, which the parameter expansion of PX-EM does not "
                "keep; use jaxem.em()"
            )

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        name = self.spread.replace("_", " ")
        return f"there is no conjugate prior of its {name}; a prior of the other parameters serves their posterior mode"

    # Coordinates: a value that is given has none

    def unconstrain(self, params: PyTree) -> PyTree:
        own, value = self.base.unconstrain(self.of_base(params)), getattr(params, self.spread)
        if self.given is not None:
            return self.joined(own, jnp.zeros((*value.shape, 0), value.dtype))
        return self.joined(own, bijections.positive_to_free(value))

    def constrain(self, free: PyTree) -> PyTree:
        own, value = self.base.constrain(self.of_base(free)), getattr(free, self.spread)
        if self.given is not None:
            return self.joined(own, jnp.full(value.shape[:-1], self.given, value.dtype))
        return self.joined(own, bijections.free_to_positive(value))

    # Data

    def read(self, x):
        return self.base.read(x)

    def pool(self, params, pooled, counts):
        own = self.base.pool(self.of_base(params), self.of_base(pooled), counts)
        return self.joined(own, getattr(pooled, self.spread))

    @property
    def domains(self):
        return {**self.base.domains, self.spread: "positive"}

    def check_shape(self, params, x, name="data"):
        self.base.check_shape(self.of_base(params), x, name)

    def check_rows(self, x: Any, name: str = "data") -> None:
        self.base.check_rows(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        self.base.check(x, name)


def draw_log(key: PRNGKeyArray, shape: Array) -> Array:
    """Logarithms of gamma variables of mean 1."""
    return jax.random.loggamma(key, shape, shape.shape, shape.dtype) - jnp.log(shape)


class AbstractScaledCounts(AbstractScaled):
    """Counts with a mean, and a hidden multiple of it for each: negative binomial ones, of variance
    `mean + mean^2 / theta`."""

    spread: ClassVar[str] = "theta"
    bounds: ClassVar[tuple[float, float]] = (1e-3, 1e6)
    first: ClassVar[float] = 2.0

    @property
    def latent(self) -> GammaScale:
        return GammaScale()


class AbstractScaleMixture(AbstractScaled):
    """Normal rows whose precision is multiplied by a hidden `u`, gamma of mean 1 with `degrees_of_freedom`.

    Parameters are those of the normal family `base` and `degrees_of_freedom`, `[k]` or, if `pooled`, a number.
    """

    spread: ClassVar[str] = "degrees_of_freedom"
    per_shape: ClassVar[float] = 2.0
    bounds: ClassVar[tuple[float, float]] = (1e-2, 1e6)
    first: ClassVar[float] = 4.0

    @abstractmethod
    def num_columns(self, params: Any) -> int:
        """How many columns the precision of a row belongs to."""

    @property
    def latent(self) -> GammaScale:
        return GammaScale(common=True)

    def like(self, own: Any) -> Array:
        return self.base.natural(own).log_det

    def marginal(self, params, column, rows=None):
        inner = self.base.marginal(self.of_base(params), column, rows)
        normal: Any = inner.distribution
        freedom = jnp.broadcast_to(self.value(params), params[0].shape[:1])[:, None]
        return inner._replace(distribution=univariate.StudentT(normal.mean, normal.deviation, freedom))

    @abstractmethod
    def kernel(self) -> ScaleMixtureKernel:
        """The kernel in the coordinates of the data."""
