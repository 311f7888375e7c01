from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem import _bijections as bijections
from jaxem.families._counts import deviance, log_ratio, stirling
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table, require
from jaxem.families.priors import Gamma


class PoissonParams(NamedTuple):
    """Rates, `[k, d]`: expected counts for each row."""

    rate: Float[Array, "k d"]


class PoissonNatural(NamedTuple):
    """Coefficients of 1, of the counts, and of the log density at the anchor (always 1)."""

    constant: Float[Array, " k"]
    log_rate: Float[Array, "k d"]
    anchor: Float[Array, " k"]


@final
class Poisson(AbstractFamily):
    """Independent Poisson columns: counts 0, 1, 2, ...

    **Arguments:**

    - `prior`: a `Gamma` on the rates.

    Log densities are taken relative to those under the mean of the data, and for counts so large that this cancels,
    relative to those under each member's own rates (Loader 2000): single precision will do for counts in the millions.

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Poisson(), num_components=2).family.parameters
    ('rate',)
    """

    prior: Gamma | None = None
    _reference: Float[Array, " d"] | None = None
    _anchor: Float[Array, "k d"] | None = None
    _anchored: bool = eqx.field(static=True, default=False)

    parameters: ClassVar[tuple[str, ...]] = ("rate",)
    conjugate: ClassVar[str] = "Poisson(prior=Gamma(...))"

    # The linear map

    def natural(self, params: PoissonParams) -> PoissonNatural:
        rate, anchor = params.rate, self._anchor
        one = jnp.ones(rate.shape[0], rate.dtype)
        if anchor is not None:
            return PoissonNatural(-jnp.sum(deviance(anchor, rate), -1), log_ratio(rate, anchor), one)
        reference = self._about(rate)
        return PoissonNatural(jnp.sum(reference - rate, -1), log_ratio(rate, reference), one)

    def coefficients(self, natural: PoissonNatural) -> Float[Array, "k p"]:
        return jnp.concatenate([natural.constant[:, None], natural.log_rate], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        return jnp.concatenate([jnp.ones_like(x.T[:1]), x.T], 0)

    @property
    def product_form(self) -> bool:
        return self._anchor is None

    def prepare(self, natural):
        return self.as_rows(natural)

    def potentials(self, natural: PoissonNatural, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        if self._anchor is None:
            return super().potentials(natural, x)
        x, anchor = x.T[None], self._anchor[:, :, None]
        linear = jnp.sum(natural.log_rate[:, :, None] * (x - anchor), 1)
        at_anchor = natural.anchor[:, None] * jnp.sum(deviance(x, anchor), 1)
        return natural.constant[:, None] + linear - at_anchor

    def add_constant(self, natural: PoissonNatural, constant: Float[Array, " k"]) -> PoissonNatural:
        return natural._replace(constant=natural.constant + constant)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        base = -jnp.sum(stirling(x), -1)
        if not self._anchored:
            base = base - jnp.sum(deviance(x, self._about(x)), -1)
        possible = jnp.all((x >= 0) & (x == jnp.floor(x)), -1)
        return jnp.where(possible, base, -jnp.inf)

    def _about(self, like):
        if self._reference is None:
            return jnp.ones_like(like)
        return jnp.broadcast_to(self._reference[None], like.shape)

    # The M-step

    def maximize(self, stats: PoissonNatural, params: PoissonParams, frozen: tuple[str, ...] = ()) -> PoissonParams:
        if "rate" in frozen:
            return params
        counts, total = stats.constant[:, None], stats.log_rate
        empty = self.empty(counts)
        if self._anchor is not None:
            total = total + counts * self._anchor
        return PoissonParams(best_rate(self.prior, total, counts, empty, params.rate))

    def log_prior(self, params: PoissonParams) -> Array:
        return jnp.zeros((), params.rate.dtype) if self.prior is None else self.prior.log_prob(params.rate)

    # The posterior

    def posterior(self, stats: PoissonNatural) -> Gamma:
        prior, exposure, events = self.require_prior(), stats.constant[:, None], stats.log_rate
        if self._anchor is not None:
            events = events + exposure * self._anchor
        # Rounding may leave less than no events about an anchor.
        return prior.update(jnp.maximum(events, 0), jnp.broadcast_to(exposure, events.shape))

    def expected_natural(self, posterior: Gamma) -> PoissonNatural:
        constant, log_rate, anchor = self.natural(self.posterior_mean(posterior))
        excess = posterior.log_excess()
        if self._anchor is not None:
            constant = constant + jnp.sum(self._anchor * excess, -1)
        return PoissonNatural(constant, log_rate + excess, anchor)

    def posterior_mean(self, posterior: Gamma) -> PoissonParams:
        return PoissonParams(posterior.mean())

    def draw(self, key: PRNGKeyArray, posterior: Gamma) -> PoissonParams:
        return PoissonParams(posterior.draw(key))

    def kl(self, posterior: Gamma) -> Array:
        return posterior.kl(self.require_prior())

    # Coordinates

    def unconstrain(self, params: PoissonParams) -> PoissonParams:
        return PoissonParams(bijections.positive_to_free(params.rate))

    def constrain(self, free: PoissonParams) -> PoissonParams:
        return PoissonParams(bijections.free_to_positive(free.rate))

    def bind(self, x, weights, reduce):
        total, sums = reduce((jnp.sum(weights), jnp.sum(weights[:, None] * x, 0)))
        reference = jax.lax.stop_gradient(jnp.where(sums > 0, sums / total, 1))
        return Poisson(self.prior, reference, None, self._anchored)

    # Accuracy

    def accurate(self):
        return None if self._anchored else Poisson(self.prior, self._reference, None, True)

    def at(self, params):
        if not self._anchored:
            return self
        return Poisson(self.prior, self._reference, jax.lax.stop_gradient(params.rate), True)

    def translate(self, stats, source):
        if self._anchor is None:
            return stats
        old, new, counts = source._anchor, self._anchor, stats.constant[:, None]
        moved = stats.log_rate * log_ratio(old, new) + counts * deviance(old, new)
        return PoissonNatural(stats.constant, stats.log_rate + counts * (old - new), stats.anchor - jnp.sum(moved, -1))

    def loss(self, params, natural=None):
        """Rounding error of the potentials of a typical row, which is the relative error of its responsibilities."""
        rate, eps = params.rate, jnp.finfo(params.rate.dtype).eps
        if self._anchored:
            # As for a Gaussian: what counts beyond the reach of the precision add to a variance.
            return jnp.sqrt(eps) * 100 / 12 * eps**2 * jnp.max(rate)
        reference = self._about(rate)
        terms = rate * jnp.abs(log_ratio(rate, reference)) + jnp.abs(rate - reference)
        return eps * jnp.max(jnp.sqrt(jnp.sum(terms**2, -1)))

    # Data

    def from_points(self, points, x, weights):
        share = (weights / jnp.sum(weights))[:, None]
        return PoissonParams((points + jnp.sum(share * x, 0)[None]) / 2)

    def mend(self, params, pooled, counts):
        counts = counts[:, None]
        return PoissonParams((counts * params.rate + pooled.rate) / (counts + 1))

    def embed(self, x):
        return jnp.sqrt(x)

    def sample(self, key, params, labels):
        rate = params.rate[labels]
        return jax.random.poisson(key, rate).astype(rate.dtype)

    @property
    def domains(self):
        return {"rate": "nonnegative"}

    def width(self, params):
        return params.rate.shape[1]

    def check(self, x: Any, name: str = "data") -> None:
        check_table(x, name)
        x = np.asarray(x)
        require((x >= 0) & (x == np.floor(x)), x, name, "is not a count (0, 1, 2, ...)")

    def floats_per_row(self, params):
        k, d = params.rate.shape
        return (d, 3 * k * (d + 1)) if self._anchored else (d + 1, 2 * k)


def best_rate(prior: Gamma | None, events: Array, exposure: Array, empty: Array, rate: Array) -> Array:
    """Rates under which so many `events` in as much `exposure` are most probable; members that are `empty` keep theirs.

    Under a prior, the most probable rates, which there always are.
    """
    if prior is not None:
        own, rows = prior.pseudo_counts(events.shape, events.dtype)
        events, exposure, empty = events + own, exposure + rows, jnp.zeros_like(empty)
    return jnp.where(empty, rate, jnp.maximum(events, 0) / jnp.where(empty, 1, exposure))
