"""Generalised linear models of counts, for mixtures and experts."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxem.families import univariate
from jaxem.families._counts import clamped_log, deviance, stirling
from jaxem.families._glm import AbstractGLM, as_columns, as_deviation, require_all
from jaxem.families.kernels.glm import sizes
from jaxem.kernels.linalg import matmul

_LOW, _HIGH = -50.0, 60.0  # beyond these the log density of a count goes on along its tangent: it would overflow


@final
class PoissonRegression(AbstractGLM):
    """Counts whose log mean is linear in covariates: `y ~ Poisson(size * exp(x @ coefficients))`.

    **Arguments:**

    - `common`: columns of `x` whose coefficients all members have in common; each has its own of the others.
    - `prior_deviation`: standard deviation of normal priors of the coefficients, about 0; one for all, or one for each
        column (infinite for those without a prior, such as a constant term).

    Rows are `jaxem.Responses(x, y, size)`, with a column of ones in `x` for a constant term; `size` is the exposure, 1
    if left out. Where an observation has several counts that come from the same member, `x` is `[n, m, p]` and `y` and
    `size` are `[n, m]`. Parameters are `GLMParams`. There is no closed-form M-step: mixtures are fitted by EM gradient
    (the default), `jaxem.gem(...)` and other rules for rung 1. Coefficients that run off to infinity make the fit
    `degenerate_component`: those whose standard error would be above 30 even if all rows were the member's own, in
    units of the standard deviation of their share in the linear predictor. McCullagh and Nelder (1989); Wang,
    Puterman, Cockburn and Le (1996) for mixtures.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> dose = jnp.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    >>> rows = jaxem.Responses(jnp.stack([jnp.ones(6), dose], 1), jnp.array([1.0, 1.0, 2.0, 3.0, 7.0, 8.0]))
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.PoissonRegression()), rows, key=jax.random.key(0))
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-0.1, 1.0]
    """

    common: tuple[int, ...] = eqx.field(static=True, default=(), converter=as_columns)
    prior_deviation: float | tuple[float, ...] | None = eqx.field(static=True, default=None, converter=as_deviation)

    def log_density(self, predictor, y, size):
        inside = jnp.clip(predictor, _LOW, _HIGH)
        mean = size * jnp.exp(inside)
        y = jnp.broadcast_to(y, mean.shape)
        return (y - mean) * (predictor - inside) - deviance(y, mean)

    def log_constant(self, y, size):
        return jnp.where((y >= 0) & (y == jnp.floor(y)), -stirling(jnp.maximum(y, 0)), -jnp.inf)

    def mean_and_slope(self, predictor, size):
        mean = size * jnp.exp(jnp.clip(predictor, _LOW, _HIGH))
        return mean, mean

    def rough_predictor(self, y, size):
        return jnp.log((y + 0.5) / size)

    def check_support(self, y, size, name):
        require_all((y >= 0) & (y == np.floor(y)), y, f"{name}.y", "is not a count (0, 1, 2, ...)")
        if size is not None:
            require_all(size > 0, size, f"{name}.size", "is not a positive exposure")

    def marginal(self, params, column, rows=None):
        rows = univariate.require_covariates(rows, type(self).__name__)
        return univariate.Marginal(univariate.Poisson(self.mean(params, rows)), univariate.entries(rows, column))


@final
class BinomialRegression(AbstractGLM):
    """Numbers of successes whose log odds are linear in covariates: `y ~ Binomial(size, sigmoid(x @ coefficients))`.

    **Arguments:** as for `PoissonRegression`. `prior_deviation` keeps coefficients finite where covariates separate the
    successes from the failures (Gelman et al. 2008).

    Rows are `jaxem.Responses(x, y, size)`; `size` is the number of trials, 1 if left out (logistic regression), and 0
    for a measurement that was not made, which fills up observations with fewer than `m`. All else as for
    `PoissonRegression`. A mixture of logistic regressions is identified only with several trials an observation
    (Follmann and Lambert 1991).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.stack([jnp.ones(4), jnp.arange(4.0)], 1)
    >>> rows = jaxem.Responses(x, jnp.array([1.0, 3.0, 6.0, 9.0]), jnp.full(4, 10.0))
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.BinomialRegression()), rows, key=jax.random.key(0))
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-2.3, 1.4]
    """

    common: tuple[int, ...] = eqx.field(static=True, default=(), converter=as_columns)
    prior_deviation: float | tuple[float, ...] | None = eqx.field(static=True, default=None, converter=as_deviation)

    def log_density(self, predictor, y, size):
        # Less what it would be at the observed proportion, a constant that would cost digits in large trials.
        rest = size - y
        total = jnp.maximum(size, 1)
        own = y * (jax.nn.log_sigmoid(predictor) - clamped_log(y / total))
        return own + rest * (jax.nn.log_sigmoid(-predictor) - clamped_log(rest / total))

    def log_constant(self, y, size):
        possible = (y >= 0) & (y <= size) & (y == jnp.floor(y))
        inside = jnp.clip(y, 0, size)
        return jnp.where(possible, stirling(size) - stirling(inside) - stirling(size - inside), -jnp.inf)

    def mean_and_slope(self, predictor, size):
        p = jax.nn.sigmoid(predictor)
        return size * p, size * p * jax.nn.sigmoid(-predictor)

    def rough_predictor(self, y, size):
        return jnp.log((y + 0.5) / (size - y + 0.5))

    def check_support(self, y, size, name):
        require_all((y >= 0) & (y == np.floor(y)), y, f"{name}.y", "is not a number of successes (0, 1, 2, ...)")
        if size is None:
            require_all(y <= 1, y, f"{name}.y", f"is neither 0 nor 1; pass the numbers of trials as {name}.size")
            return
        require_all((size >= 0) & (size == np.floor(size)), size, f"{name}.size", "is not a number of trials")
        require_all(y <= size, y, f"{name}.y", f"is more than the number of trials in {name}.size")

    def marginal(self, params, column, rows=None):
        rows = univariate.require_covariates(rows, type(self).__name__)
        predictor, size = matmul(params.coefficients, rows.x.T), sizes(rows)[None]
        distribution = univariate.Binomial(size, jax.nn.sigmoid(predictor), jax.nn.sigmoid(-predictor))
        return univariate.Marginal(distribution, univariate.entries(rows, column))
