from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp

from jaxem.families import univariate
from jaxem.families._design import Design, check_design
from jaxem.families._family import AbstractKernelFamily
from jaxem.families.kernels.regression import RegressionKernel
from jaxem.families.kernels.regression import RegressionParams as RegressionParams
from jaxem.families.responses import check_covariates, check_responses, no_covariates, one_response
from jaxem.kernels.linalg import matmul


@final
class LinearRegression(AbstractKernelFamily):
    """Responses that are normal about a linear function of covariates: `y ~ N(x @ coefficients, variance)`.

    **Arguments:**

    - `floor`: no variance falls below this fraction of that about the least-squares fit to all rows. A fit that ends
        there has status `degenerate_component`.

    Rows are `jaxem.Responses(x, y)`, with a column of ones in `x` for a constant term; their weights and a mixture's
    responsibilities make it weighted least squares. Coefficients that the rows of a member leave undetermined (fewer
    than `p` distinct ones) stay as near to where they were as its fit allows. The arithmetic is that of residuals at
    the current coefficients, in columns made orthonormal, and accurate for any offset and scale of the covariates.
    DeSarbo and Cron (1988).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> t = jnp.arange(30.0)
    >>> y = jnp.where(t % 2 == 0, t, 40 - t) + jnp.sin(7 * t)
    >>> rows = jaxem.Responses(jnp.stack([jnp.ones(30), t], 1), y)
    >>> model = jaxem.Mixture(jaxem.LinearRegression(), num_components=2)
    >>> fit = jaxem.fit(model, rows, key=jax.random.key(0), restarts=20)
    >>> sorted(fit.params.components.coefficients[:, 1].round(1).tolist())
    [-1.0, 1.0]
    """

    floor: float = eqx.field(static=True, default=1e-12)

    parameters: ClassVar[tuple[str, ...]] = ("coefficients", "variance")

    def __check_init__(self):
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")

    def kernel(self) -> RegressionKernel:
        return RegressionKernel(self)

    def bind(self, x: Any, weights, reduce):
        return RegressionKernel(self, Design.of(x, weights, reduce))

    def pool(self, params, pooled, counts):
        poor = (params.variance <= self.floor) | (counts <= params.coefficients.shape[1])
        coefficients = jnp.where(poor[:, None], pooled.coefficients, params.coefficients)
        return RegressionParams(coefficients, jnp.where(poor, pooled.variance, params.variance))

    def sample(self, key, params, labels):
        raise no_covariates(self)

    def marginal(self, params, column, rows=None):
        rows = univariate.require_covariates(rows, type(self).__name__)
        distribution = univariate.Normal(matmul(params.coefficients, rows.x.T), jnp.sqrt(params.variance)[:, None])
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    # The door of data

    def read(self, x):
        return one_response(x)

    @property
    def domains(self):
        return {"variance": "positive"}

    def check_shape(self, params, x, name="data"):
        check_covariates(x, params.coefficients.shape[1], name)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_responses(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        check_design(x, name)
