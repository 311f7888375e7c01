"""Rows, and responses, with Student t tails."""

from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families._columns import Columns
from jaxem.families._design import Design
from jaxem.families._scaled import AbstractScaleMixture, draw_log
from jaxem.families._table import check_table
from jaxem.families.covariance import structure_name
from jaxem.families.gaussian import Gaussian, GaussianParams
from jaxem.families.kernels.gaussian import GaussianKernel
from jaxem.families.kernels.regression import RegressionKernel
from jaxem.families.kernels.scale_mixture import ScaleMixtureKernel
from jaxem.families.priors import NormalInverseWishart
from jaxem.families.regression import LinearRegression, RegressionParams


class StudentTParams(NamedTuple):
    """Locations `[k, d]`, scale matrices as the covariances of a Gaussian, and degrees of freedom `[k]` or `[]`."""

    mean: Float[Array, "k d"]
    covariance: Array
    degrees_of_freedom: Array


@final
class StudentT(AbstractScaleMixture):
    """Multivariate t distributions: normal ones with heavy tails, for data with outliers.

    `covariance` is the scale matrix; the variance is `nu / (nu - 2)` times that for `nu > 2` degrees of freedom. Few
    degrees of freedom mean heavy tails (1: Cauchy), and many a normal distribution.

    **Arguments:**

    - `covariance`, `prior`, `floor`: as for `Gaussian`, but that the floor is a fraction of a squared scale of each
        column that outliers hardly move (its Cauchy scale), not of the variance.
    - `degrees_of_freedom`: a number that all members keep; estimated if `None`, in `[0.01, 1e6]`. An estimate at the
        upper end says that the data have no heavier tails than a normal distribution: it is not an error, and the
        likelihood is that of the normal limit.
    - `shared_degrees_of_freedom`: one `degrees_of_freedom` `[]` for all members instead of `[k]`.

    Each row has a hidden precision factor: see `jaxem.latent.GammaScale`. With few degrees of freedom `jaxem.px_em()`
    takes fewer iterations than `jaxem.em()`, and `jaxem.ecme` where they are estimated. Lange, Little and Taylor
    (1989); Liu and Rubin (1995); in mixtures Peel and McLachlan (2000).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[-1.0], [-0.5], [0.0], [0.5], [1.0], [1e4]])
    >>> model = jaxem.Single(jaxem.StudentT(degrees_of_freedom=3.0))
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0))
    >>> abs(round(float(fit.params.mean[0]), 2))
    0.0
    """

    covariance: str = eqx.field(static=True, default="full", converter=structure_name)
    degrees_of_freedom: float | None = eqx.field(static=True, default=None)
    shared_degrees_of_freedom: bool = eqx.field(static=True, default=False)
    prior: NormalInverseWishart | None = None
    floor: float = eqx.field(static=True, default=1e-12)

    parameters: ClassVar[tuple[str, ...]] = ("mean", "covariance", "degrees_of_freedom")

    @property
    def base(self) -> Gaussian:
        return Gaussian(self.covariance, self.prior, self.floor)

    def of_base(self, params):
        return GaussianParams(params.mean, params.covariance)

    def joined(self, own, spread):
        return StudentTParams(own.mean, own.covariance, spread)

    def num_columns(self, params):
        return params.mean.shape[1]

    def kernel(self) -> ScaleMixtureKernel:
        return ScaleMixtureKernel(self, GaussianKernel(self.base, heavy=True))

    def bind(self, x, weights, reduce):
        isotropic = self.base.structure.isotropic
        frame = Columns.of(x, weights, reduce, isotropic).robust(x, weights, reduce, isotropic)
        return ScaleMixtureKernel(self, GaussianKernel(self.base, frame, heavy=True))

    def sample(self, key, params, labels):
        rows, scale = jax.random.split(key)
        log = draw_log(scale, jnp.broadcast_to(self.shape(params), params.mean.shape[:1])[labels])
        location = params.mean[labels]
        return location + (self.base.sample(rows, self.of_base(params), labels) - location) * jnp.exp(-log / 2)[:, None]

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_table(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        self.base.check(x, name)


class TRegressionParams(NamedTuple):
    """Coefficients `[k, p]`, squared scales of the errors `[k]`, and degrees of freedom `[k]` or `[]`."""

    coefficients: Float[Array, "k p"]
    variance: Float[Array, " k"]
    degrees_of_freedom: Array


@final
class TRegression(AbstractScaleMixture):
    """Robust linear regression: responses with Student t errors about `x @ coefficients`.

    `variance` is the squared scale of the errors, whose variance is `nu / (nu - 2)` times that for `nu > 2`.

    **Arguments:**

    - `degrees_of_freedom`, `shared_degrees_of_freedom`: as for `StudentT`.
    - `floor`: no `variance` falls below this fraction of that of Cauchy errors in a regression of all rows.

    Rows are `jaxem.Responses(x, y)`, as for `LinearRegression`. The likelihood can have several maxima where there are
    few degrees of freedom. Errors are robust, covariates are not: a row that is far out in `x` has its say. Lange,
    Little and Taylor (1989).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.stack([jnp.ones(7), jnp.arange(7.0)], 1)
    >>> y = jnp.array([0.1, 0.9, 2.1, 2.9, 4.1, 4.9, 60.0])
    >>> model = jaxem.Single(jaxem.families.TRegression(degrees_of_freedom=2.0))
    >>> fit = jaxem.fit(model, jaxem.Responses(x, y), key=jax.random.key(0))
    >>> round(float(fit.params.coefficients[1]), 1)
    1.0
    """

    degrees_of_freedom: float | None = eqx.field(static=True, default=None)
    shared_degrees_of_freedom: bool = eqx.field(static=True, default=False)
    floor: float = eqx.field(static=True, default=1e-12)

    parameters: ClassVar[tuple[str, ...]] = ("coefficients", "variance", "degrees_of_freedom")

    @property
    def base(self) -> LinearRegression:
        return LinearRegression(self.floor)

    def of_base(self, params):
        return RegressionParams(params.coefficients, params.variance)

    def joined(self, own, spread):
        return TRegressionParams(own.coefficients, own.variance, spread)

    def num_columns(self, params):
        return 1

    def kernel(self) -> ScaleMixtureKernel:
        return ScaleMixtureKernel(self, RegressionKernel(self.base, heavy=True))

    def bind(self, x: Any, weights, reduce):
        design = Design.of(x, weights, reduce).robust(x, weights, reduce)
        return ScaleMixtureKernel(self, RegressionKernel(self.base, design, heavy=True))

    def sample(self, key, params, labels):
        return self.base.sample(key, self.of_base(params), labels)
