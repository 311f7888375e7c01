"""What families share each of whose rows, or responses, has a hidden scale: a gamma variable of mean 1."""

from abc import abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem import _bijections as bijections
from jaxem._errors import MissingCapabilityError
from jaxem.families._family import AbstractFamily
from jaxem.kernels.special import inverse_digamma_excess, stirling_excess


class AbstractScaled(AbstractFamily):
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
    def with_base(self, base: Any) -> "AbstractScaled":
        """This family over another one of the same parameters."""

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

    @property
    def coupled(self) -> bool:
        return self.pooled or self.base.coupled

    def shape(self, params: PyTree) -> Array:
        """The shape of the gamma distribution of `u`."""
        return self._value(params) / self.per_shape

    def _value(self, params: PyTree) -> Array:
        value = getattr(params, self.spread)
        return value if self.given is None else jnp.full_like(value, self.given)

    def log_base(self, x: Any) -> Array:
        return self.base.log_base(x)

    # The M-step

    def estimate(self, excess: Array, counts: Array, params: PyTree, frozen: tuple[str, ...]) -> Array:
        """The parameter at which `log u - u + 1`, of which `excess` is the sum, has its mean."""
        value, (least, most) = self._value(params), self.bounds
        if self.spread in frozen or self.given is not None:
            return value
        empty = self.empty(counts)
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

    def log_prior(self, params: PyTree) -> Array:
        return self.base.log_prior(self.of_base(params))

    def require_prior(self) -> Any:
        raise MissingCapabilityError(
            f"{type(self).__name__} has no conjugate prior of its {self.spread.replace('_', ' ')}, and so no "
            "posterior; a prior of the other parameters serves their posterior mode"
        )

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

    def blocks(self, free):
        (blocks, undo), value = self.base.blocks(self.of_base(free)), getattr(free, self.spread)
        if self.given is not None:
            return blocks, lambda arrays: self.joined(undo(arrays), value)
        shape = value.shape
        own = value.reshape(1 if self.pooled else shape[0], -1)
        return [*blocks, own], lambda arrays: self.joined(undo(arrays[:-1]), arrays[-1].reshape(shape))

    def encode(self, params):
        return self.joined(self.base.encode(self.of_base(params)), self._value(params))

    def decode(self, params):
        return self.joined(self.base.decode(self.of_base(params)), getattr(params, self.spread))

    def degenerate(self, params):
        return self.base.degenerate(self.of_base(params))

    # Data

    def read(self, x):
        return self.base.read(x)

    def from_points(self, points, x, weights):
        own = self.base.from_points(points, x, weights)
        value = jnp.full_like(self.like(own), self.first if self.given is None else self.given)
        return self.joined(own, value[0] if self.pooled else value)

    def warm(self, params, x, weights):
        return self.joined(self.base.warm(self.of_base(params), x, weights), getattr(params, self.spread))

    def mend(self, params, pooled, counts):
        own = self.base.mend(self.of_base(params), self.of_base(pooled), counts)
        return self.joined(own, getattr(pooled, self.spread))

    def for_starts(self):
        return self.with_base(self.base.for_starts())

    def embed(self, x):
        return self.base.embed(x)

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


def log_constant(shape: Array) -> Array:
    """The coefficient of 1 in a gamma distribution of mean 1 that has `shape` for that of `log u - u + 1`."""
    return jnp.log(shape / (2 * jnp.pi)) / 2 - stirling_excess(shape)


def about_mean(excess: Array, counts: Array, totals: Array, mean: Array) -> Array:
    """The sum of `log v - v + 1` for `v = u / mean`, from sums of `log u - u + 1`, 1 and `u`."""
    return excess - counts * jnp.log(mean) + totals * (1 - 1 / mean)
