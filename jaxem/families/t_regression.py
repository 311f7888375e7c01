from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
from jaxtyping import Array, Float

from jaxem.families._design import Design
from jaxem.families._scaled import AbstractScaleMixture
from jaxem.families.kernels.regression import RegressionKernel
from jaxem.families.kernels.scale_mixture import ScaleMixtureKernel
from jaxem.families.regression import LinearRegression, RegressionParams


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
