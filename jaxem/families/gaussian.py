from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._columns import Columns
from jaxem.families._family import AbstractKernelFamily
from jaxem.families._table import check_table, check_width, require_varying
from jaxem.families.covariance import (
    STRUCTURES,
    AbstractCovariance,
    AbstractVariances,
    structure_name,
    structure_names,
)
from jaxem.families.kernels.gaussian import GaussianKernel
from jaxem.families.kernels.gaussian import GaussianParams as GaussianParams
from jaxem.families.priors import NormalInverseWishart


@final
class Gaussian(AbstractKernelFamily):
    """Multivariate normal distributions with a choice of covariance structure.

    **Arguments:**

    - `covariance`: `"full"` `[k, d, d]`, `"tied"` (one for all members) `[d, d]`, `"diagonal"` `[k, d]`,
        `"spherical"` `[k]`, or `"VEV"` `[k, d, d]`: variable volume, equal shape, variable orientation, in mclust's
        letters. `covariance[j] = volume[j] * orientation[j] @ shape @ orientation[j].T` with one diagonal `shape` of
        determinant 1, so that all ellipsoids have axes of the same ratios (Celeux and Govaert 1995). `"diag"`, and
        mclust's `"VVV"`, `"EEE"`, `"VVI"`, `"VII"`, are other names of full, tied, diagonal and spherical ones.
    - `prior`: a `NormalInverseWishart` on mean and covariance. For `"VEV"` its density penalises each covariance as for
        `"full"`, which serves posterior modes; there is no posterior of that kind.
    - `floor`: no eigenvalue of a covariance falls below this fraction of the variance of the data (column by column;
        of their mean variance if spherical or VEV), nor below what the precision resolves. The M-step is the exact
        maximum under that constraint, so EM stays monotone. A fit that ends at the floor has status
        `degenerate_component`.

    VEV covariances that are given and do not have equal shapes start from the nearest that have. The fit depends on the
    units of the columns, as that of spherical ones does.

    The product form of the statistics (two matrix products) is used where it is accurate, and statistics centred on
    each member and whitened by it where it is not.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> covariance = jnp.stack([jnp.diag(jnp.array([4.0, 1.0])), jnp.diag(jnp.array([0.5, 2.0]))])
    >>> components = jaxem.families.GaussianParams(jnp.zeros((2, 2)), covariance)
    >>> params = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), components)
    >>> [jaxem.Mixture(jaxem.Gaussian(name), 2).num_parameters(params) for name in ("full", "VEV")]
    [11, 10]
    """

    covariance: str = eqx.field(static=True, default="full", converter=structure_name)
    prior: NormalInverseWishart | None = None
    floor: float = eqx.field(static=True, default=1e-12)

    parameters: ClassVar[tuple[str, ...]] = ("mean", "covariance")

    def __check_init__(self):
        if self.covariance not in STRUCTURES:
            raise DataError(f"covariance must be one of {structure_names()}, got {self.covariance!r}")
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")

    @property
    def structure(self) -> AbstractCovariance:
        """The algebra of the covariances."""
        return STRUCTURES[self.covariance]()

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.structure.conjugate:
            return "Gaussian has no prior: Gaussian(..., prior=NormalInverseWishart(...))"
        return f"{self.covariance} covariances have no conjugate prior; their `prior` serves the posterior mode"

    @property
    def shared(self) -> tuple[str, ...]:
        return ("covariance",) if self.structure.shared else ()

    def kernel(self) -> GaussianKernel:
        return GaussianKernel(self)

    def bind(self, x, weights, reduce):
        return GaussianKernel(self, Columns.of(x, weights, reduce, self.structure.isotropic))

    def unconstrain(self, params: GaussianParams) -> GaussianParams:
        return GaussianParams(params.mean, self.structure.unconstrain(params.covariance))

    def constrain(self, free: GaussianParams) -> GaussianParams:
        return GaussianParams(free.mean, self.structure.constrain(free.covariance))

    def pool(self, params, pooled, counts):
        poor = self.structure.at_floor(params.covariance, self.floor)
        if not self.structure.shared:
            poor = poor | (counts <= params.mean.shape[1])
        return params._replace(covariance=self.structure.pool(params.covariance, poor, pooled.covariance))

    def sample(self, key, params, labels):
        noise = jax.random.normal(key, (labels.shape[0], params.mean.shape[1]), params.mean.dtype)
        return params.mean[labels] + self.structure.coloured_noise(params.covariance, labels, noise)

    def marginal(self, params, column, rows=None):
        variance = jnp.broadcast_to(
            self.structure.variances(params.covariance, params.mean.shape[1]), params.mean.shape
        )
        deviation = jnp.sqrt(univariate.of_column(variance, column))
        distribution = univariate.Normal(univariate.of_column(params.mean, column), deviation)
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    # The door of data

    @property
    def domains(self):
        separate = isinstance(self.structure, AbstractVariances)
        return {"covariance": "positive" if separate else "definite"}

    def check_shape(self, params, x, name="data"):
        check_width(x, params.mean.shape[1], name)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_table(x, name, ", or take them for missing: missing=True in the model, or jaxem.Incomplete(family)")

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        if self.prior is None:
            require_varying(x, name, "variance", "drop the column or pass a prior")
