"""Inverse Gaussian families."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_shape, check_width, require
from jaxem.families.kernels import AbstractKernel


class InverseGaussianParams(NamedTuple):
    """Parameters of the members: the mean and the shape of each column, both `[k, d]`."""

    mean: Any
    shape: Any


class Natural(NamedTuple):
    """Coefficients of 1, of `x - 1` and of `(x - 1)^2 / x`."""

    constant: Any  # [k]
    excess: Any  # [k, d]
    departure: Any  # [k, d]


class InverseGaussian(AbstractFamily):
    """Independent inverse Gaussian columns: positive numbers with a long right tail, such as times to an event.

    The density of a column with mean `m` and shape `s` is `sqrt(s / (2 pi x^3)) exp(-s (x - m)^2 / (2 m^2 x))`, its
    variance is `m^3 / s` (Tweedie 1957, Statistical properties of inverse Gaussian distributions, Annals of
    Mathematical Statistics 28, 362-377). The maximum is closed: the mean of the rows, and one over the mean of
    `1 / x` less one over the mean of `x`.

    **Arguments:**

    - `floor`: the least `mean / shape`, which is the squared coefficient of variation of a column. A member that
      collapses onto rows that coincide stops there, and the status is `degenerate_component`.

    **Errors:** `DataError` for rows that are not positive, and for columns that hold a single value, whose shape would
    be infinite.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Mixture(jaxem.families.InverseGaussian(), num_components=2)
    >>> x = jnp.array([[0.8], [1.1], [1.3], [0.9], [8.0], [12.0], [9.5], [15.0]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> fit.params.components.mean.shape
    (2, 1)
    """

    floor: float = eqx.field(default=1e-12, static=True)

    parameters = ("mean", "shape")

    @property
    def domains(self):
        return {"mean": "positive", "shape": "positive"}

    def natural(self, params):
        mean, shape = params
        off = (mean - 1) / mean
        constant = jnp.sum(jnp.log(shape) - shape * off**2, -1) / 2
        return Natural(constant, shape * off * (mean + 1) / mean / 2, -shape / 2)

    def coefficients(self, natural):
        return jnp.concatenate([natural.constant[:, None], natural.excess, natural.departure], -1)

    def statistics(self, x):
        x = jnp.where(inside(x), x, 1).T
        return jnp.concatenate([jnp.ones_like(x[:1]), x - 1, (x - 1) ** 2 / x])

    def log_base(self, x):
        known = inside(x)
        each = jnp.log(2 * jnp.pi) + 3 * jnp.log(jnp.where(known, x, 1))
        return jnp.where(jnp.all(known, -1), -jnp.sum(each, -1) / 2, -jnp.inf)

    def maximize(self, stats, params, frozen=()):
        count = stats.constant[:, None]
        excess, departure = stats.excess / count, stats.departure / count
        mean = params.mean if "mean" in frozen else 1 + excess
        if "shape" in frozen:
            return InverseGaussianParams(mean, params.shape)
        # The mean of (x - mean)^2 / (mean^2 x), taken about the mean of the rows.
        spread = departure - excess**2 / (1 + excess) + (1 + excess - mean) ** 2 / (mean**2 * (1 + excess))
        return InverseGaussianParams(mean, 1 / jnp.maximum(spread, self.floor / mean))

    def from_points(self, points, x, weights):
        total = jnp.sum(weights)
        center = weights @ x / total
        spread = weights @ ((x - center[None]) ** 2 / x) / total / center**2
        return InverseGaussianParams(points, jnp.broadcast_to(1 / spread[None], points.shape))

    def pool(self, params, pooled, counts):
        few = (counts < 2)[:, None]
        return InverseGaussianParams(params.mean, jnp.where(few, pooled.shape, params.shape))

    def embed(self, x, weights=None):
        return jnp.log(x)

    def sample(self, key, params, labels):
        """A root of a quadratic equation or the other one (Michael, Schucany and Haas 1976)."""
        mean, shape = params.mean[labels], params.shape[labels]
        normal, uniform = jax.random.split(key)
        w = mean / shape * jax.random.normal(normal, mean.shape, mean.dtype) ** 2
        smaller = 1 / (1 + w / 2 + jnp.sqrt(w * (w + 4)) / 2)
        first = jax.random.uniform(uniform, mean.shape, mean.dtype) * (1 + smaller) <= 1
        return mean * jnp.where(first, smaller, 1 / smaller)

    def marginal(self, params, column, rows=None):
        distribution = univariate.InverseGaussian(*(univariate.of_column(leaf, column) for leaf in params))
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    def check_rows(self, x, name="data"):
        check_shape(x, name)
        x = np.asarray(x)
        require((x > 0) & np.isfinite(x), x, name, "is not positive and finite")

    def check(self, x, name="data"):
        self.check_rows(x, name)
        same = np.flatnonzero(np.ptp(np.asarray(x), axis=0) == 0)
        if same.size:
            raise DataError(
                f"{name}: column {same[0]} holds a single value, whose shape would be infinite; leave it out"
            )

    def check_shape(self, params, x, name="data"):
        check_width(x, params.mean.shape[1], name)

    def bind(self, x, weights, reduce):
        total, sums = reduce((jnp.sum(weights), weights @ x))
        return InverseGaussianKernel(self, jax.lax.stop_gradient(sums / total))


def inside(x):
    """Whether entries have a density."""
    return (x > 0) & (x < jnp.inf)


class InverseGaussianKernel(AbstractKernel):
    """The family with each column divided by its mean, so that `x - 1` loses no digits."""

    family: Any
    scale: Any  # [d]

    @property
    def product_form(self):
        return True

    def statistics(self, x):
        return self.family.statistics(x / self.scale[None])

    def log_base(self, x):
        return self.family.log_base(x / self.scale[None]) - jnp.sum(jnp.log(self.scale))

    def encode(self, params):
        return InverseGaussianParams(params.mean / self.scale[None], params.shape / self.scale[None])

    def decode(self, params):
        return InverseGaussianParams(params.mean * self.scale[None], params.shape * self.scale[None])

    def degenerate(self, params):
        return jnp.any(params.mean <= 1.001 * self.family.floor * params.shape)

    def rounding_error(self, params, natural=None):
        """That of the potentials of a typical row, in which three terms nearly cancel."""
        mean, shape = params.mean, params.shape
        terms = shape * ((mean - 1) / mean) ** 2 * (mean + 1)
        return jnp.finfo(mean.dtype).eps * jnp.max(jnp.sqrt(jnp.sum(terms**2, -1)))
