from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np

from jaxem.families import univariate
from jaxem.families._family import AbstractKernelFamily
from jaxem.families._table import check_table, check_width, require
from jaxem.families.kernels.poisson import PoissonKernel
from jaxem.families.kernels.poisson import PoissonParams as PoissonParams
from jaxem.families.priors import Gamma


@final
class Poisson(AbstractKernelFamily):
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

    parameters: ClassVar[tuple[str, ...]] = ("rate",)
    prior_hint: ClassVar[str] = "Poisson has no prior: Poisson(prior=Gamma(...))"

    def kernel(self) -> PoissonKernel:
        return PoissonKernel(self)

    def bind(self, x, weights, reduce):
        total, sums = reduce((jnp.sum(weights), jnp.sum(weights[:, None] * x, 0)))
        return PoissonKernel(self, jax.lax.stop_gradient(jnp.where(sums > 0, sums / total, 1)))

    def pool(self, params, pooled, counts):
        counts = counts[:, None]
        return PoissonParams((counts * params.rate + pooled.rate) / (counts + 1))

    def sample(self, key, params, labels):
        rate = params.rate[labels]
        return jax.random.poisson(key, rate).astype(rate.dtype)

    def marginal(self, params, column, rows=None):
        distribution = univariate.Poisson(univariate.of_column(params.rate, column))
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    @property
    def domains(self):
        return {"rate": "nonnegative"}

    def check_shape(self, params, x, name="data"):
        check_width(x, params.rate.shape[1], name)

    def check(self, x: Any, name: str = "data") -> None:
        check_table(x, name)
        x = np.asarray(x)
        require((x >= 0) & (x == np.floor(x)), x, name, "is not a count (0, 1, 2, ...)")
