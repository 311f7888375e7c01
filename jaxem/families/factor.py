from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._columns import Columns
from jaxem.families._family import AbstractKernelFamily
from jaxem.families._table import check_gaps, check_incomplete, check_width, require_varying
from jaxem.families.kernels.factor import FactorKernel
from jaxem.families.kernels.factor import FactorParams as FactorParams
from jaxem.kernels import linalg
from jaxem.kernels.chunks import not_finite
from jaxem.latent import GaussianLatent

_FLOORS = {"diagonal": 0.005, "isotropic": 1e-8}


@final
class Factor(AbstractKernelFamily):
    """Normal columns that depend on each other through a few factors: `x = mean + loading z + noise`.

    The factors `z` are `num_factors` independent standard normals for each row. Entries of `x` that are NaN are
    missing at random; the others are used exactly, each row with the columns that it has, and a row without any counts
    for nothing.

    **Arguments:**

    - `num_factors`: how many factors, `q`; fewer than columns.
    - `noise`: `"diagonal"`, a variance `[k, d]` for each column (factor analysis), or `"isotropic"`, one `[k]` for all
        of a member (probabilistic principal components).
    - `floor`: the variance of the noise is at least this fraction of the variance of the column in the member (of its
        mean over columns if isotropic). By default 0.005 if diagonal (the lower bound of Joreskog 1967), for columns
        that the factors explain wholly are an artefact (Heywood 1931), and 1e-8 if isotropic. A fit that ends at the
        floor has status `degenerate_component`.

    The likelihood determines the loadings up to a rotation of the factors: see `canonical` and `varimax`
    in `jaxem.models.factor_analysis`. The number of parameters does not count rotations.

    Rubin and Thayer (1982); Tipping and Bishop (1999).

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Factor(num_factors=2), num_components=3).family.parameters
    ('mean', 'loading', 'noise_variance')
    """

    num_factors: int = eqx.field(static=True)
    noise: str = eqx.field(static=True, default="diagonal")
    floor: float | None = eqx.field(static=True, default=None)

    parameters: ClassVar[tuple[str, ...]] = ("mean", "loading", "noise_variance")

    def __check_init__(self):
        if not isinstance(self.num_factors, int | np.integer) or self.num_factors < 1:
            raise ValueError(f"num_factors must be a positive integer, got {self.num_factors!r}")
        if self.noise not in _FLOORS:
            raise ValueError(f"noise must be one of {', '.join(_FLOORS)}, got {self.noise!r}")
        if not 0 <= self.least < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")

    @property
    def least(self) -> float:
        """The floor, or its default."""
        return _FLOORS[self.noise] if self.floor is None else self.floor

    @property
    def latent(self) -> GaussianLatent:
        return GaussianLatent()

    def kernel(self) -> FactorKernel:
        return FactorKernel(self)

    def bind(self, x, weights, reduce):
        return FactorKernel(self, Columns.of(x, weights, reduce, self.noise == "isotropic"))

    def by_column(self, noise: Array, like: Float[Array, "k d"]) -> Float[Array, "k d"]:
        """Variances of the noise of each column."""
        return noise if self.noise == "diagonal" else jnp.broadcast_to(noise[:, None], like.shape)

    # The factors of given rows

    def factors(self, params: FactorParams, x: Float[Array, "n d"]) -> tuple[Array, Array]:
        """Posterior mean `[k, n, q]` and covariance `[k, n, q, q]` of the factors under each member."""
        return self.kernel().factors(params, x)

    def fitted(self, params: FactorParams, z: Float[Array, "k n q"]) -> Float[Array, "k n d"]:
        """`mean + loading z`."""
        return params.mean[:, None] + linalg.matmul(z, linalg.transpose(params.loading))

    # Coordinates

    def redundant(self, params: FactorParams, frozen: tuple[str, ...] = ()) -> int:
        k, d, q = params.loading.shape
        if "loading" in frozen:
            return 0
        rotations = q * (q - 1) // 2
        noise = 0 if "noise_variance" in frozen else params.noise_variance.size // k
        # A covariance matrix tells no more apart than it has entries (Ledermann 1937).
        beyond = max(d * q - rotations + noise - d * (d + 1) // 2, 0)
        return k * (rotations + beyond)

    def at_floor(self, params):
        """Noise that is no more than a hair above its floor, given the model's variance for the sample's."""
        signal, noise = jnp.sum(params.loading**2, -1), params.noise_variance
        if self.noise == "isotropic":
            signal = jnp.mean(signal, -1)
        least = max(self.least, 10 * float(jnp.finfo(noise.dtype).eps))
        return noise <= 1.1 * least * (signal + noise)

    def pool(self, params, pooled, counts):
        poor = self.at_floor(params) | jnp.isnan(params.noise_variance)
        poor = (jnp.any(poor, -1) if self.noise == "diagonal" else poor) | (counts <= self.num_factors + 1)
        choose = lambda a, b: jnp.where(poor.reshape(-1, *[1] * (a.ndim - 1)), b, a)  # noqa: E731
        return params._replace(
            loading=choose(params.loading, pooled.loading),
            noise_variance=choose(params.noise_variance, pooled.noise_variance),
        )

    def sample(self, key: PRNGKeyArray, params: FactorParams, labels: Array) -> Array:
        keys = jax.random.split(key)
        mean, loading = params.mean[labels], params.loading[labels]
        noise = self.by_column(params.noise_variance, params.mean)[labels]
        z = jax.random.normal(keys[0], (*mean.shape[:1], loading.shape[-1]), mean.dtype)
        apart = jnp.sqrt(noise) * jax.random.normal(keys[1], mean.shape, mean.dtype)
        return mean + jnp.sum(loading * z[:, None], -1) + apart

    def marginal(self, params, column, rows=None):
        variance = jnp.sum(params.loading**2, -1) + self.by_column(params.noise_variance, params.mean)
        deviation = jnp.sqrt(univariate.of_column(variance, column))
        distribution = univariate.Normal(univariate.of_column(params.mean, column), deviation)
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    @property
    def domains(self):
        return {"noise_variance": "positive"}

    def unusable(self, x):
        return not_finite(x, missing=True)

    def check_shape(self, params, x, name="data"):
        check_width(x, params.mean.shape[1], name)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_gaps(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        x = check_incomplete(x, name)
        if self.num_factors >= x.shape[1]:
            raise DataError(
                f"{name} has {x.shape[1]} columns, too few for num_factors={self.num_factors}: "
                "there must be fewer factors than columns"
            )
        if self.noise != "isotropic":
            require_varying(x, name, "noise variance", "drop the column")
