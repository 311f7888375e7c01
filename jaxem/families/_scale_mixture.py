"""What distributions with Student t tails share: a normal family, each of whose rows has a hidden precision."""

from abc import abstractmethod
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem import _bijections as bijections
from jaxem._errors import MissingCapabilityError
from jaxem.families._family import AbstractFamily
from jaxem.kernels.special import inverse_digamma_excess, stirling_excess
from jaxem.latent import GammaScale, GammaScaleTree

LEAST_DOF, MOST_DOF = 1e-2, 1e6
_START_DOF = 4.0


class ScaleNatural(NamedTuple):
    """Coefficients of 1, of `log u - u + 1` and of `log u`, and `u` times those of the normal family.

    The last but for its log determinant, whose place is taken by the count of `u` alone.
    """

    constant: Float[Array, " k"]
    shape: Float[Array, " k"]
    power: Float[Array, " k"]
    normal: Any


class AbstractScaleMixture(AbstractFamily):
    """Normal rows whose precision is multiplied by a hidden `u`, gamma of mean 1 with `degrees_of_freedom`.

    Parameters are those of the normal family and `degrees_of_freedom`, `[k]` or, if `common`, a number.
    """

    def __check_init__(self):
        given = self.given
        if given is not None and not LEAST_DOF <= given <= MOST_DOF:
            raise ValueError(f"degrees_of_freedom must lie in [{LEAST_DOF:g}, {MOST_DOF:g}], got {given!r}")

    @property
    @abstractmethod
    def normal(self) -> Any:
        """The family of a row whose `u` is known to be 1."""

    @property
    @abstractmethod
    def given(self) -> float | None:
        """Degrees of freedom that are not estimated."""

    @property
    @abstractmethod
    def common(self) -> bool:
        """Whether all members have the same degrees of freedom."""

    @abstractmethod
    def with_normal(self, normal: Any) -> "AbstractScaleMixture":
        """This family over another normal family of the same parameters."""

    @abstractmethod
    def of_normal(self, params: Any) -> Any:
        """The normal family's part of the parameters."""

    @abstractmethod
    def joined(self, own: Any, degrees_of_freedom: Array) -> Any:
        """Parameters from those of the normal family and the degrees of freedom."""

    @abstractmethod
    def num_columns(self, params: Any) -> int:
        """How many columns the precision of a row belongs to."""

    @property
    def latent(self) -> GammaScale:
        return GammaScale(common=True)

    @property
    def product_form(self) -> bool:
        return False

    @property
    def shared(self) -> tuple[str, ...]:
        return (*self.normal.shared, *(("degrees_of_freedom",) if self.common else ()))

    @property
    def coupled(self) -> bool:
        return self.common or self.normal.coupled

    # The linear map

    def natural(self, params: PyTree) -> ScaleNatural:
        normal = self.normal.natural(self.of_normal(params))
        shape = jnp.broadcast_to(self._dof(params) / 2, normal.log_det.shape)
        power = jnp.full_like(shape, self.num_columns(params) / 2)
        constant = normal.log_det + jnp.log(shape / (2 * jnp.pi)) / 2 - stirling_excess(shape)
        return ScaleNatural(constant, shape, power, normal._replace(log_det=jnp.zeros_like(shape)))

    def potentials(self, natural: ScaleNatural, x: PyTree) -> GammaScaleTree:
        rate = self.normal.potentials(natural.normal, x)
        constant, shape, power = (jnp.broadcast_to(leaf[:, None], rate.shape) for leaf in natural[:3])
        return GammaScaleTree(constant, shape, power, rate)

    def log_base(self, x: PyTree) -> Float[Array, " n"]:
        return self.normal.log_base(x)

    # The M-step

    def maximize(self, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        own = self.normal.maximize(stats.normal._replace(log_det=stats.constant), self.of_normal(params), frozen)
        return self.joined(own, self._estimate(stats.shape, stats, params, frozen))

    def maximize_expanded(self, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """`maximize` over a mean of `u` as well, which then goes into the scale (Liu, Rubin and Wu 1998)."""
        if getattr(self.normal, "prior", None) is not None:
            raise MissingCapabilityError(
                f"{type(self).__name__} has a prior, which the parameter expansion of PX-EM does not "
                "keep; use jaxem.em()"
            )
        if any(name in frozen for name in self.normal.parameters[1:]):
            return self.maximize(stats, params, frozen)
        counts, totals = stats.constant, stats.normal.log_det
        if self.normal.coupled:
            # One scale for all members, the best at the degrees of freedom so far.
            dof = self._dof(params)
            over, under = jnp.sum(dof * totals), jnp.sum(dof * counts)
            over, under = jnp.broadcast_to(over, counts.shape), jnp.broadcast_to(under, counts.shape)
        else:
            over, under = totals, jnp.where(self.empty(counts), 0, counts)
        mean = jnp.where((over > 0) & (under > 0), over / jnp.where(under > 0, under, 1), 1)
        # Divided by the sum of `u` in place of the count.
        own = self.normal.maximize(stats.normal._replace(log_det=mean * counts), self.of_normal(params), frozen)
        excess = stats.shape - counts * jnp.log(mean) + totals * (1 - 1 / mean)
        return self.joined(own, self._estimate(excess, stats, params, frozen))

    def _estimate(self, excess: Array, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...]) -> Array:
        """Degrees of freedom at which `log u - u + 1` has its mean."""
        dof, counts = self._dof(params), stats.constant
        if "degrees_of_freedom" in frozen or self.given is not None:
            return dof
        empty = self.empty(counts)
        excess, counts = jnp.where(empty, 0, excess), jnp.where(empty, 0, counts)
        if self.common:
            excess, counts = jnp.sum(excess), jnp.sum(counts)
        found = 2 * inverse_digamma_excess(excess / jnp.where(counts > 0, counts, 1), LEAST_DOF / 2, MOST_DOF / 2)
        return jnp.where(counts > 0, found, dof)

    def _dof(self, params: PyTree) -> Array:
        if self.given is None:
            return params.degrees_of_freedom
        return jnp.full_like(params.degrees_of_freedom, self.given)

    def log_prior(self, params: PyTree) -> Array:
        return self.normal.log_prior(self.of_normal(params))

    def require_prior(self) -> Any:
        raise MissingCapabilityError(
            f"{type(self).__name__} has no conjugate prior of its degrees of freedom, and so no posterior; a prior of "
            "the other parameters serves their posterior mode"
        )

    # Coordinates: degrees of freedom that are given have none

    def unconstrain(self, params: PyTree) -> PyTree:
        own, dof = self.normal.unconstrain(self.of_normal(params)), params.degrees_of_freedom
        if self.given is not None:
            return self.joined(own, jnp.zeros((*dof.shape, 0), dof.dtype))
        return self.joined(own, bijections.positive_to_free(dof))

    def constrain(self, free: PyTree) -> PyTree:
        own, dof = self.normal.constrain(self.of_normal(free)), free.degrees_of_freedom
        if self.given is not None:
            return self.joined(own, jnp.full(dof.shape[:-1], self.given, dof.dtype))
        return self.joined(own, bijections.free_to_positive(dof))

    def encode(self, params):
        return self.joined(self.normal.encode(self.of_normal(params)), self._dof(params))

    def decode(self, params):
        return self.joined(self.normal.decode(self.of_normal(params)), params.degrees_of_freedom)

    def at(self, params):
        return self.with_normal(self.normal.at(self.of_normal(params)))

    def translate(self, stats, source):
        return stats._replace(normal=self.normal.translate(stats.normal, source.normal))

    def loss(self, params):
        return self.normal.loss(self.of_normal(params))

    def accurate(self):
        normal = self.normal.accurate()
        return None if normal is None else self.with_normal(normal)

    def degenerate(self, params):
        return self.normal.degenerate(self.of_normal(params))

    # Data

    def from_points(self, points, x, weights):
        own = self.normal.from_points(points, x, weights)
        like = self.normal.natural(own).log_det
        start = _START_DOF if self.given is None else self.given
        dof = jnp.full_like(like, start)
        return self.joined(own, dof[0] if self.common else dof)

    def mend(self, params, pooled, counts):
        own = self.normal.mend(self.of_normal(params), self.of_normal(pooled), counts)
        return self.joined(own, pooled.degrees_of_freedom)

    def for_starts(self):
        return self.with_normal(self.normal.for_starts())

    def embed(self, x):
        return self.normal.embed(x)

    def floats_per_row(self, params):
        own = self.of_normal(params)
        shared, each = self.normal.floats_per_row(own)
        return shared, each + 8 * own[0].shape[0]
