from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem import _bijections as bijections
from jaxem._conjugate import AbstractPriorConjugate
from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families.censored import log_bound
from jaxem.families.intervals import Interval, as_columns, check_bounds, check_intervals, check_spread, no_bounds
from jaxem.families.priors import Gamma
from jaxem.kernels.rows import without_weight
from jaxem.latent import TruncatedExponential, TruncatedExponentialPotentials
from jaxem.latent.truncated import moving_bounds


class AbstractLifetimes(AbstractFamily):
    """Independent columns of positive values, of which some are known only to lie in an interval."""

    zero: ClassVar[bool]  # whether a value may be 0

    def log_base(self, x: Any) -> Float[Array, " n"]:
        x = as_columns(x)
        possible = jnp.where(x.is_exact, x.lower >= 0 if self.zero else x.lower > 0, x.upper > 0)
        return jnp.where(jnp.all(possible, -1), jnp.zeros(x.lower.shape[0], x.lower.dtype), -jnp.inf)

    def embed(self, x: Any, weights=None):
        return log_middle(x)

    def check_shape(self, params, x, name="data"):
        check_bounds(x, params[0].shape[1], name)

    def unusable(self, x):
        return no_bounds(x)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_intervals(x, name, positive=True, zero=self.zero)


class ExponentialParams(NamedTuple):
    """Rates, `[k, d]`: the inverse of the means."""

    rate: Float[Array, "k d"]


class ExponentialNatural(NamedTuple):
    """Coefficients of 1 and of the values, `[k, d]`."""

    log_rate: Float[Array, "k d"]
    slope: Float[Array, "k d"]


@final
class CensoredExponential(AbstractLifetimes):
    """Independent exponential columns of which some values are known only to lie in an interval.

    Rows are a `jaxem.Interval` of values that are not negative, `[n]` or `[n, d]`; the hidden variables are the values
    themselves.

    **Arguments:**

    - `prior`: a `Gamma` on the rates.

    Dempster, Laird and Rubin (1977), section 4.2.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jaxem.Interval.right(jnp.array([1.0, 2.0, 3.0, 4.0]), censored=[0, 0, 1, 1])
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.CensoredExponential()), y, key=jax.random.key(0), tol=1e-9)
    >>> round(float(fit.params.rate[0]), 2)
    0.2
    """

    prior: Gamma | None = None

    parameters: ClassVar[tuple[str, ...]] = ("rate",)
    zero: ClassVar[bool] = True
    prior_hint: ClassVar[str] = "CensoredExponential has no prior: CensoredExponential(prior=Gamma(...))"

    @property
    def latent(self) -> TruncatedExponential:
        return TruncatedExponential()

    def natural(self, params: ExponentialParams) -> ExponentialNatural:
        return ExponentialNatural(bijections.positive_to_free(params.rate), -params.rate)

    def potentials(self, natural: ExponentialNatural, x: Interval) -> TruncatedExponentialPotentials:
        x = as_columns(x)
        start = jnp.where(x.lower > 0, x.lower, 0)[None]
        slope, log_rate = natural.slope[:, None], natural.log_rate[:, None]
        shape = jnp.broadcast_shapes(slope.shape, start.shape)
        exact, endless = (jnp.broadcast_to(flag[None], shape) for flag in (x.is_exact, jnp.isposinf(x.upper)))
        width = jnp.where(jnp.isposinf(x.upper), 0, x.upper)[None] - start
        width = jnp.broadcast_to(jnp.maximum(width, 0), shape)
        found = TruncatedExponentialPotentials(
            jnp.sum(log_rate + slope * start, -1),
            jnp.where(exact, 0, jnp.broadcast_to(slope, shape)),
            jnp.where(exact, 0, jnp.where(endless, -jnp.inf, slope * width)),
        )
        moved = moving_bounds(found, jnp.zeros_like(width), jnp.where(endless, jnp.inf, width))
        return found._replace(constant=found.constant + jnp.sum(moved, -1))

    def maximize(self, stats: ExponentialNatural, params: ExponentialParams, frozen: tuple[str, ...] = ()):
        events, exposure = stats.log_rate, stats.slope
        empty = without_weight(events[:, 0])[:, None]
        if self.prior is not None:
            more, longer = self.prior.pseudo_counts(events.shape, events.dtype)
            events, exposure, empty = events + more, exposure + longer, jnp.zeros_like(empty)
        return ExponentialParams(jnp.where(empty, params.rate, events / jnp.where(empty, 1, exposure)))

    def log_prior(self, params: ExponentialParams) -> Array:
        return jnp.zeros((), params.rate.dtype) if self.prior is None else self.prior.log_prob(params.rate)

    def conjugate(self):
        return None if self.prior is None else ExponentialConjugate(self.prior, self)

    def from_points(self, points: Any, x: Any, weights):
        share = (weights / jnp.sum(weights))[:, None]
        middle = (as_columns(points).point + jnp.sum(share * as_columns(x).point, 0)[None]) / 2
        return ExponentialParams(1 / jnp.where(middle > 0, middle, 1))

    def pool(self, params, pooled, counts):
        counts = counts[:, None]
        return ExponentialParams((counts + 1) / (counts / params.rate + 1 / pooled.rate))

    def sample(self, key, params, labels):
        """Draws that are not censored."""
        rate = params.rate[labels]
        y = jax.random.exponential(key, rate.shape, rate.dtype) / rate
        return Interval(y, y)

    def marginal(self, params, column, rows=None):
        scale = 1 / univariate.of_column(params.rate, column)
        return univariate.Marginal(univariate.Weibull(jnp.ones_like(scale), scale), univariate.entries(rows, column))

    # The door of data

    @property
    def domains(self):
        return {"rate": "positive"}

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        if self.prior is not None:
            return
        for wrong, what in (
            (np.isposinf(x.upper), "right-censored: the likelihood has no maximum at a positive rate"),
            (np.asarray(x.lower) <= 0, "compatible with 0: the likelihood has no maximum at a finite rate"),
        ):
            column = np.flatnonzero(wrong.reshape(len(wrong), -1).all(0))
            if column.size:
                raise DataError(f"{name}: every row of column {int(column[0])} is {what}; a prior would give it one")


@final
class ExponentialConjugate(AbstractPriorConjugate):
    """Gamma posteriors of rates."""

    prior: Gamma
    family: CensoredExponential

    params = ExponentialParams

    def posterior(self, stats: ExponentialNatural) -> Gamma:
        return self.prior.update(stats.log_rate, stats.slope)

    def expected_natural(self, posterior: Gamma) -> ExponentialNatural:
        log_rate, slope = self.family.natural(self.mean(posterior))
        return ExponentialNatural(log_rate + posterior.log_excess(), slope)


class WeibullParams(NamedTuple):
    """Shapes and scales, `[k, d]`: the survival function is `exp(-(y / scale)^shape)`."""

    shape: Float[Array, "k d"]
    scale: Float[Array, "k d"]


@final
class CensoredWeibull(AbstractLifetimes):
    """Independent Weibull columns of which some values are known only to lie in an interval.

    Rows are a `jaxem.Interval` of positive values, `[n]` or `[n, d]`. The shape has no closed-form M-step:
    use `jaxem.em_gradient()`, which `fit` takes by default, `jaxem.algorithms.newton()` or another rule with gradients.
    Censored values are integrated out rather than hidden, so that they slow nothing down.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jaxem.Interval.right(jnp.array([1.0, 2.0, 3.0, 4.0, 4.0]), censored=[0, 0, 0, 1, 1])
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.CensoredWeibull()), y, key=jax.random.key(0), tol=1e-9)
    >>> round(float(fit.params.shape[0]), 1), round(float(fit.params.scale[0]), 1)
    (1.6, 4.0)
    """

    parameters: ClassVar[tuple[str, ...]] = ("shape", "scale")
    zero: ClassVar[bool] = False
    linear: ClassVar[bool] = False

    def natural(self, params: WeibullParams) -> WeibullParams:
        return params

    def potentials(self, natural: WeibullParams, x: Interval) -> Float[Array, "k n"]:
        x = as_columns(x)
        shape, log_scale = natural.shape[:, None], jnp.log(natural.scale)[:, None]
        lower, upper = log_bound(x.lower)[None], log_bound(x.upper)[None]
        from_start, exact, endless = (
            jnp.broadcast_to(flag[None], (shape.shape[0], *flag.shape))
            for flag in (x.lower <= 0, x.is_exact, jnp.isposinf(x.upper))
        )
        log_width = _log_ratio(x)[None]
        low = shape * (jnp.where(jnp.isfinite(lower), lower, 0) - log_scale)
        high = shape * (jnp.where(jnp.isfinite(upper), upper, 0) - log_scale)
        cumulative = jnp.where(from_start, 0, jnp.exp(jnp.where(from_start, 0, low)))
        density = jnp.log(shape) - log_scale + low * (1 - 1 / shape) - cumulative
        # Logarithm of the cumulative hazard over the interval.
        ratio = jnp.where(exact | endless | from_start, 1, shape * log_width)
        rise = jnp.where(from_start, high, low + jnp.maximum(ratio, 0) + jnp.log(-jnp.expm1(-jnp.abs(ratio))))
        rise = jnp.where(exact | endless, 0, rise)
        interval = -cumulative + _log_one_minus_exp(rise)
        return jnp.sum(jnp.where(exact, density, jnp.where(endless, -cumulative, interval)), -1)

    def from_points(self, points: Any, x: Any, weights):
        share = (weights / jnp.sum(weights))[:, None]
        logs = log_middle(x)
        mean = jnp.sum(share * logs, 0)
        deviation = jnp.sqrt(jnp.sum(share * (logs - mean[None]) ** 2, 0))
        # Half way to the point; the logarithm of a Weibull variable has deviation pi / sqrt(6) over the shape.
        scale = jnp.exp((log_middle(points) + mean[None]) / 2)
        shape = np.pi / np.sqrt(6) / jnp.where(deviation > 0, deviation, 1)
        return WeibullParams(jnp.broadcast_to(shape, scale.shape), scale)

    def sample(self, key, params, labels):
        """Draws that are not censored."""
        shape, scale = params.shape[labels], params.scale[labels]
        y = scale * jax.random.exponential(key, shape.shape, shape.dtype) ** (1 / shape)
        return Interval(y, y)

    def marginal(self, params, column, rows=None):
        distribution = univariate.Weibull(*(univariate.of_column(leaf, column) for leaf in params))
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    # The door of data

    @property
    def domains(self):
        return {"shape": "positive", "scale": "positive"}

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        check_spread(Interval(np.maximum(x.lower, 0), x.upper), name, "scale and shape")  # pyright: ignore[reportArgumentType]


def log_middle(x: Interval) -> Float[Array, "n d"]:
    """Logarithms of values in the intervals, of those of positive values."""
    x = as_columns(x)
    middle = x._replace(lower=jnp.maximum(x.lower, 0)).point
    return jnp.log(jnp.maximum(middle, jnp.finfo(middle.dtype).tiny))


def _log_ratio(x: Interval) -> Float[Array, "n d"]:
    """`log(upper / lower)` where both are positive and finite, with small relative error; 1 elsewhere."""
    both = (x.lower > 0) & jnp.isfinite(x.upper) & (x.upper > x.lower)
    lower = jnp.where(both, x.lower, 1)
    return jnp.where(both, jnp.log1p((jnp.where(both, x.upper, 2) - lower) / lower), 1)


def _log_one_minus_exp(log: Array) -> Array:
    """`log(1 - exp(-exp(log)))`."""
    small = log < -30
    inside = jnp.exp(jnp.where(small, 0, log))
    return jnp.where(small, log, jnp.log(-jnp.expm1(-inside)))
