"""A family as an author might write it, with a prior, a frame and an anchor; each fault breaks one promise."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxem._conjugate import AbstractConjugate
from jaxem.families import univariate
from jaxem.families._family import AbstractKernelFamily
from jaxem.families._table import check_table, require
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.kernels.linalg import matmul
from jaxem.kernels.rows import without_weight
from jaxem.priors import Gamma


class WaitsParams(NamedTuple):
    """Rates, `[k, d]`."""

    rate: Any


class WaitsNatural(NamedTuple):
    """Coefficients of 1, of the waiting times, and of the log density at the anchor (always 1)."""

    constant: Any
    slope: Any
    anchor: Any


class Waits(AbstractKernelFamily):
    """Independent exponential columns."""

    fault: str = eqx.field(static=True, default="")
    prior: Any = None

    parameters: ClassVar[tuple[str, ...]] = ("rate",)

    def kernel(self):
        return WaitsKernel(self)

    def bind(self, x, weights, reduce):
        total, sums = reduce((jnp.sum(weights), jnp.sum(weights[:, None] * x, 0)))
        return WaitsKernel(self, jnp.mean(x, 0) if self.fault == "bind" else sums / total)

    def log_prior(self, params):
        return self.kernel().log_prior(params)

    def unconstrain(self, params):
        return WaitsParams(jnp.log(params.rate))

    def constrain(self, free):
        return WaitsParams(jnp.exp(free.rate + (0.01 if self.fault == "constrain" else 0.0)))

    def redundant(self, params, frozen=()):
        return 1 if self.fault == "redundant" else 0

    def marginal(self, params, column, rows=None):
        rate = univariate.of_column(params.rate, column) * (1.2 if self.fault == "marginal" else 1)
        law = univariate.Gamma(jnp.full_like(rate, 1.3 if self.fault == "marginal shape" else 1), rate)
        return univariate.Marginal(law, univariate.entries(rows, column))

    def sample(self, key, params, labels):
        if self.fault == "labels":
            labels = jnp.zeros_like(labels)
        rate = params.rate[labels] * (1.2 if self.fault == "sample" else 1)
        if self.fault == "sample spread":
            return 1 / rate + 0 * jax.random.exponential(key, rate.shape, rate.dtype)
        draws = jax.random.exponential(key, rate.shape, rate.dtype) / rate
        return draws[:, 0] if self.fault == "sample shape" else draws

    def check(self, x, name="data"):
        check_table(x, name)
        least = {"check": -np.inf, "check refuses": 0.2}.get(self.fault, 0.0)
        require(np.asarray(x) >= least, np.asarray(x), name, "is negative")


class WaitsKernel(AbstractKernel):
    """Columns divided by `scale`; `anchored` ones have statistics about an `anchor`."""

    family: Any
    scale: Any = None
    anchor: Any = None
    anchored: bool = eqx.field(static=True, default=False)

    def replaced(self, **changes):
        return dataclasses.replace(self, **changes)

    # The linear map

    def natural(self, params):
        rate, anchor = params.rate, jnp.zeros_like(params.rate) if self.anchor is None else self.anchor
        constant = jnp.sum(jnp.log(rate), -1)
        if self.family.fault == "normalizer":
            constant = constant + 0.3
        if self.family.fault == "about" and self.anchor is not None:
            anchor = 1.1 * anchor
        if self.family.fault == "derivative":
            constant = constant + jnp.where(rate[:, 0] > 0, 0.0, jnp.sqrt(-jnp.abs(rate[:, 0] - rate[:, 0])))
        return WaitsNatural(constant, anchor - rate, jnp.ones_like(constant))

    @property
    def product_form(self):
        return self.anchor is None

    def coefficients(self, natural):
        slope = 1.01 * natural.slope if self.family.fault == "coefficients" else natural.slope
        return jnp.concatenate([natural.constant[:, None], slope], -1)

    def statistics(self, x):
        y = self.framed(x).T
        return jnp.concatenate([jnp.ones_like(y[:1]), y], 0)

    def prepare(self, natural):
        if self.family.fault == "prepare":
            return natural._replace(constant=natural.constant + 0.01)
        return natural._replace(slope=natural.slope**2) if self.family.fault == "prepare not linear" else natural

    def potentials(self, natural, x):
        y = self.framed(x).T
        value = natural.constant[:, None] + matmul(natural.slope, y)
        if self.anchor is not None:
            value = value - natural.anchor[:, None] * matmul(self.anchor, y)
        if self.family.fault == "not linear":
            value = value + 0.1
        if self.family.fault == "rows":
            value = value * (1 + 0.01 * jnp.mean(y))
        if self.family.fault == "cancels":
            value = jnp.sqrt((value + 1e6) ** 2) - 1e6
        return value + 0 * natural.anchor[:, None]

    def add_constant(self, natural, constant):
        if self.anchored:
            return None
        return natural._replace(constant=natural.constant + (2 if self.family.fault == "constant" else 1) * constant)

    def log_base(self, x):
        base = jnp.zeros_like(x[:, 0])
        if self.scale is not None and self.family.fault != "jacobian":
            base = base - jnp.sum(jnp.log(self.scale))
        if self.family.fault == "base":
            base = base + 0.2 * x[:, 0]
        possible = jnp.all(x >= 0, -1)
        return base if self.family.fault == "no support" else jnp.where(possible, base, -jnp.inf)

    def framed(self, x):
        return x if self.scale is None else x / self.scale[None]

    # The M-step

    def maximize(self, stats, params, frozen=()):
        counts, total = stats.constant[:, None], stats.slope
        empty = without_weight(stats.constant)[:, None]
        if self.family.prior is not None and self.family.fault != "maximize without prior":
            shape, rate = self.family.prior.pseudo_counts(total.shape, total.dtype)
            counts, total = counts + shape, self.exposure(rate) + total
            return WaitsParams(counts / total)
        best = counts / (total if self.family.fault == "never empty" else jnp.where(empty, 1, total))
        if self.family.fault == "maximize":
            best = 0.95 * best + 0.05 * params.rate
        return WaitsParams(best)

    def exposure(self, rate):
        return rate if self.scale is None else rate / self.scale[None]

    def log_prior(self, params):
        if self.family.prior is None:
            return jnp.zeros((), params.rate.dtype)
        value = self.family.prior.log_prob(self.decode(params).rate)
        return value + jnp.sum(params.rate) * 2.0 if self.family.fault == "log_prior" else value

    def conjugate(self):
        return None if self.family.prior is None else WaitsConjugate(self)

    # Coordinates

    def encode(self, params):
        return (
            params
            if self.scale is None or self.family.fault == "encode"
            else WaitsParams(params.rate * self.scale[None])
        )

    def decode(self, params):
        if self.scale is None or self.family.fault == "encode":
            return params
        return WaitsParams(params.rate / self.scale[None] * (1.01 if self.family.fault == "decode" else 1))

    def accurate(self):
        return None if self.anchored else self.replaced(anchored=True)

    def about(self, params):
        return self.replaced(anchor=params.rate) if self.anchored else self

    def translate(self, stats, source):
        if self.anchor is None or self.family.fault == "translate":
            return stats
        return stats._replace(anchor=-jnp.sum(self.anchor * stats.slope, -1))

    def degenerate(self, params):
        return params.rate[0] > 1e6 if self.family.fault == "degenerate" else jnp.any(params.rate > 1e6)

    def blocks(self, free):
        if self.family.fault != "blocks":
            return super().blocks(free)
        return [free.rate.T], lambda arrays: WaitsParams(arrays[0].reshape(free.rate.shape))

    # Data

    def from_points(self, points, x, weights):
        share = (weights / jnp.sum(weights))[:, None]
        mean = (self.framed(points) + jnp.sum(share * self.framed(x), 0)[None]) / 2
        return WaitsParams((1 / mean)[0] if self.family.fault == "from_points" else 1 / mean)

    def embed(self, x, weights=None):
        return jnp.log(x[:, 0]) if self.family.fault == "embed" else jnp.log(x)


class WaitsConjugate(AbstractConjugate):
    """Gamma posteriors, in the coordinates of the kernel."""

    kernel: Any

    def own_prior(self, like):
        prior = self.kernel.family.prior
        fields = (jnp.broadcast_to(jnp.asarray(v, like.dtype), like.shape) for v in (prior.shape, prior.rate))
        return self.encode(Gamma(*fields))

    def posterior(self, stats):
        counts = jnp.broadcast_to(stats.constant[:, None], stats.slope.shape)
        if self.kernel.family.fault == "posterior":
            counts = 0.95 * counts
        return self.own_prior(stats.slope).update(counts, stats.slope)

    def expected_natural(self, posterior):
        natural = self.kernel.natural(WaitsParams(posterior.mean()))
        excess = 0 if self.kernel.family.fault == "expected" else jnp.sum(posterior.log_excess(), -1)
        return natural._replace(constant=natural.constant + excess)

    def mean(self, posterior):
        return WaitsParams(posterior.mean())

    def draw(self, key, posterior):
        if self.kernel.family.fault == "draw":
            return WaitsParams(posterior.mean())
        shape = posterior.shape * (1.05 if self.kernel.family.fault == "draw shape" else 1)
        return WaitsParams(Gamma(shape, posterior.rate).draw(key))

    def kl(self, posterior):
        value = posterior.kl(self.own_prior(posterior.shape))
        if self.kernel.family.fault == "kl offset":
            return value + 1
        return 0.9 * value if self.kernel.family.fault == "kl" else value

    def encode(self, posterior):
        return (
            posterior if self.kernel.scale is None else Gamma(posterior.shape, posterior.rate / self.kernel.scale[None])
        )

    def decode(self, posterior):
        return (
            posterior if self.kernel.scale is None else Gamma(posterior.shape, posterior.rate * self.kernel.scale[None])
        )

    def constrain(self, free):
        return Gamma.constrain(free)


ROWS = np.random.default_rng(0).exponential(1.0, (30, 2)) * np.array([1.0, 3.0])
PARAMS = WaitsParams(np.array([[0.8, 0.3], [1.6, 0.5]]))
PRIOR = Gamma(2.0, 1.5)

# Which law finds which fault, and the words of its message.
FAULTS = {
    "normalizer": ("integral", r"the density of member 0 integrates to 1\.3.*, not to 1, by 0\.3.*log_base"),
    "base": ("integral", "the density of member 0 integrates to"),
    "about": ("kernels", "the log density accurate, after about is another, by .*`about`"),
    "jacobian": ("kernels", "the log density after bind is another, by .*Jacobian"),
    "encode": ("kernels", "the log density after bind is another"),
    "decode": ("kernels", r"decode\(encode\(params\)\) after bind differs from params, by"),
    "coefficients": ("linearity", "coefficients @ statistics differs from the potentials as it comes, by"),
    "prepare": ("linearity", "prepare changes the potentials as it comes, by 0.01"),
    "prepare not linear": ("linearity", "prepare changes the potentials"),
    "not linear": ("linearity", r"potentials as it comes are not linear in natural\(params\), by"),
    "rows": ("statistics", "the log density of a row as it comes depends on the others, by"),
    "constant": ("constant", "add_constant as it comes adds another constant than it is given, by 2 "),
    "derivative": ("gradients", "the gradient of the log-likelihood as it comes: .* not finite"),
    "cancels": ("precision", "log densities in float32 differ from float64, by"),
    "maximize": ("maximum", r"Q is not stationary at maximize\(stats, params\) as it comes: its gradient, by"),
    "constrain": ("coordinates", r"constrain\(unconstrain\(params\)\) as it comes differs from params, by"),
    "blocks": ("coordinates", "undoing blocks as it comes changes the coordinates"),
    "redundant": ("parameters", "tells 4 directions apart, but the coordinates less `redundant` are 3"),
    "translate": (
        "statistics",
        "translate accurate, after about gives other statistics than those",
    ),
    "bind": ("starts", "bind sees rows of weight 0, by"),
    "degenerate": ("answers", "degenerate as it comes is no single boolean"),
    "from_points": ("starts", r"from_points.rate is float64\(2,\), not float64\(2, 2\)"),
    "embed": ("starts", r"embed has shape \(30,\), not \[30, q\]"),
    "sample": ("sampling", "sample of member 0 does not draw from the density: .*differs, by"),
    "sample spread": ("sampling", "sample of member 0 does not draw from the density"),
    "labels": ("sampling", "sample of member 1 does not draw from the density"),
    "sample shape": ("sampling", r"what sample draws is float64\(7,\), not float64\(7, 2\)"),
    "check": ("support", r"check_rows takes the row \[-1.0, .*\], whose log density is \[-inf, -inf\]"),
    "check refuses": ("sampling", "check_rows refuses what sample draws"),
    "marginal": ("marginal", "column 0 of draws of member 0 lies elsewhere than its distribution, by"),
    "marginal shape": ("marginal", "column 0 of draws of member 0 lies elsewhere"),
    "no support": ("support", r"check_rows refuses the row \[-1.0, .*and not minus infinity"),
}
WITH_PRIOR = {
    "maximize without prior": ("maximum", "Q is not stationary at maximize"),
    "log_prior": ("draws", "the slope of prior times likelihood at draws from the posterior have another mean"),
    "posterior": ("posterior", r"the evidence bound is not stationary at posterior\(stats\) as it comes, by"),
    "expected": ("draws", "natural parameters.constant of draws have another mean than they should, by"),
    "draw": ("draws", "coordinates of draws times that slope have another mean than they should, by"),
    "draw shape": ("draws", "the slope of prior times likelihood at draws from the posterior"),
    "kl": ("posterior", r"the evidence bound is not stationary at posterior\(stats\) as it comes, by"),
    "kl offset": ("posterior", "kl as it comes of the posterior given nothing, which is the prior, is not 0, by 1 "),
}
