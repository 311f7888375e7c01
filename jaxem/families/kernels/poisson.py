"""The kernel of Poisson columns: log densities less those at a reference, or about each member's own rates."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem._conjugate import AbstractPriorConjugate
from jaxem.families._counts import deviance, log_ratio, stirling
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.families.priors import Gamma
from jaxem.kernels.rows import without_weight


class PoissonParams(NamedTuple):
    """Rates, `[k, d]`: expected counts for each row."""

    rate: Float[Array, "k d"]


class PoissonNatural(NamedTuple):
    """Coefficients of 1, of the counts, and of the log density at the anchor (always 1)."""

    constant: Float[Array, " k"]
    log_rate: Float[Array, "k d"]
    anchor: Float[Array, " k"]


@final
class PoissonKernel(AbstractKernel):
    """Counts with log densities less those under `reference`, the mean of the data.

    Where that cancels, `anchored` ones take them less those under each member's own rates.
    """

    family: Any
    reference: Float[Array, " d"] | None = None
    anchored: bool = eqx.field(static=True, default=False)
    anchor: Float[Array, "k d"] | None = None

    # The map

    @property
    def product_form(self) -> bool:
        return self.anchor is None

    def natural(self, params: PoissonParams) -> PoissonNatural:
        rate, anchor = params.rate, self.anchor
        one = jnp.ones(rate.shape[0], rate.dtype)
        if anchor is not None:
            return PoissonNatural(-jnp.sum(deviance(anchor, rate), -1), log_ratio(rate, anchor), one)
        reference = self._about(rate)
        return PoissonNatural(jnp.sum(reference - rate, -1), log_ratio(rate, reference), one)

    def coefficients(self, natural: PoissonNatural) -> Float[Array, "k p"]:
        return jnp.concatenate([natural.constant[:, None], natural.log_rate], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        return jnp.concatenate([jnp.ones_like(x.T[:1]), x.T], 0)

    def potentials(self, natural: PoissonNatural, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        if self.anchor is None:
            return super().potentials(natural, x)
        x, anchor = x.T[None], self.anchor[:, :, None]
        linear = jnp.sum(natural.log_rate[:, :, None] * (x - anchor), 1)
        at_anchor = natural.anchor[:, None] * jnp.sum(deviance(x, anchor), 1)
        return natural.constant[:, None] + linear - at_anchor

    def add_constant(self, natural: PoissonNatural, constant: Float[Array, " k"]) -> PoissonNatural:
        return natural._replace(constant=natural.constant + constant)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        base = -jnp.sum(stirling(x), -1)
        if not self.anchored:
            base = base - jnp.sum(deviance(x, self._about(x)), -1)
        possible = jnp.all((x >= 0) & (x == jnp.floor(x)), -1)
        return jnp.where(possible, base, -jnp.inf)

    def _about(self, like):
        if self.reference is None:
            return jnp.ones_like(like)
        return jnp.broadcast_to(self.reference[None], like.shape)

    # The maximum

    def maximize(self, stats: PoissonNatural, params: PoissonParams, frozen: tuple[str, ...] = ()) -> PoissonParams:
        counts, total = stats.constant[:, None], stats.log_rate
        if self.anchor is not None:
            total = total + counts * self.anchor
        return PoissonParams(best_rate(self.family.prior, total, counts, without_weight(counts), params.rate))

    def log_prior(self, params: PoissonParams) -> Array:
        prior = self.family.prior
        return jnp.zeros((), params.rate.dtype) if prior is None else prior.log_prob(params.rate)

    def conjugate(self) -> "PoissonConjugate | None":
        return None if self.family.prior is None else PoissonConjugate(self.family.prior, self)

    # Accuracy

    def accurate(self):
        return None if self.anchored else PoissonKernel(self.family, self.reference, True)

    def about(self, params):
        if not self.anchored:
            return self
        return PoissonKernel(self.family, self.reference, True, jax.lax.stop_gradient(params.rate))

    def translate(self, stats, source):
        if self.anchor is None:
            return stats
        old, new, counts = source.anchor, self.anchor, stats.constant[:, None]
        moved = stats.log_rate * log_ratio(old, new) + counts * deviance(old, new)
        return PoissonNatural(stats.constant, stats.log_rate + counts * (old - new), stats.anchor - jnp.sum(moved, -1))

    def rounding_error(self, params, natural=None):
        """That of the potentials of a typical row, which is the relative error of its responsibilities."""
        rate, eps = params.rate, jnp.finfo(params.rate.dtype).eps
        if self.anchored:
            # As for a Gaussian: what counts beyond the reach of the precision add to a variance.
            return jnp.sqrt(eps) * 100 / 12 * eps**2 * jnp.max(rate)
        reference = self._about(rate)
        terms = rate * jnp.abs(log_ratio(rate, reference)) + jnp.abs(rate - reference)
        return eps * jnp.max(jnp.sqrt(jnp.sum(terms**2, -1)))

    def floats_per_row(self, params):
        k, d = params.rate.shape
        return (d, 3 * k * (d + 1)) if self.anchored else (d + 1, 2 * k)

    # Starts

    def from_points(self, points, x, weights):
        share = (weights / jnp.sum(weights))[:, None]
        return PoissonParams((points + jnp.sum(share * x, 0)[None]) / 2)

    def embed(self, x, weights=None):
        return jnp.sqrt(x)


@final
class PoissonConjugate(AbstractPriorConjugate):
    """Gamma posteriors of rates."""

    prior: Gamma
    kernel: PoissonKernel

    params = PoissonParams

    def posterior(self, stats: PoissonNatural) -> Gamma:
        exposure, events, anchor = stats.constant[:, None], stats.log_rate, self.kernel.anchor
        if anchor is not None:
            events = events + exposure * anchor
        # Rounding may leave less than no events about an anchor.
        return self.prior.update(jnp.maximum(events, 0), jnp.broadcast_to(exposure, events.shape))

    def expected_natural(self, posterior: Gamma) -> PoissonNatural:
        constant, log_rate, one = self.kernel.natural(self.mean(posterior))
        excess, anchor = posterior.log_excess(), self.kernel.anchor
        if anchor is not None:
            constant = constant + jnp.sum(anchor * excess, -1)
        return PoissonNatural(constant, log_rate + excess, one)


def best_rate(prior: Gamma | None, events: Array, exposure: Array, empty: Array, rate: Array) -> Array:
    """Rates under which so many `events` in as much `exposure` are most probable; members that are `empty` keep theirs.

    Under a prior, the most probable rates, which there always are.
    """
    if prior is not None:
        own, rows = prior.pseudo_counts(events.shape, events.dtype)
        events, exposure, empty = events + own, exposure + rows, jnp.zeros_like(empty)
    return jnp.where(empty, rate, jnp.maximum(events, 0) / jnp.where(empty, 1, exposure))
