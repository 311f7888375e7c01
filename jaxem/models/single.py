"""One member of a family, and short names of such models."""

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp

from jaxem.families import AbstractFamily, CensoredRegression, Gaussian, Incomplete, StudentT
from jaxem.families.priors import NormalInverseWishart
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models._members import require_family
from jaxem.models.joined import AbstractJoined
from jaxem.structures.one import One


@final
class Single(AbstractJoined):
    """One member of a family, for each of whose rows something may be hidden.

    A mixture of one component, with the parameters of the family in the place of `MixtureParams` and without the
    leading axis `k`. Families that hide nothing have their maximum in one step.

    **Arguments:**

    - `family`: the distribution of a row.
    - `frozen`: names of parameters kept at their starting value; the others are maximised given them.
    - `start`: how a start is drawn when `fit` is not told: an `AbstractInit`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Poisson())
    >>> fit = jaxem.fit(model, jnp.array([[1.0], [2.0], [6.0]]), key=jax.random.key(0))
    >>> fit.params.rate.tolist()
    [3.0]
    """

    family: AbstractFamily
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    def __check_init__(self):
        require_family(self.family)
        self.check_names()

    @property
    def structure(self) -> One:
        return One(self.family.shared)

    @property
    def distribution(self) -> AbstractFamily:
        return self.family

    @eqx.filter_jit
    def sample(self, key, params, n):
        """Draw `n` rows; the second result is `()`: there is no component to tell."""
        return self.family.sample(key, self.structure.split(params)[1], jnp.zeros(n, jnp.int32)), ()


def MultivariateNormal(
    covariance: str = "full",
    missing: bool = False,
    *,
    prior: NormalInverseWishart | None = None,
    covariance_floor: float = 1e-12,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
) -> Single:
    """One multivariate normal distribution: `Single(Gaussian(covariance, prior, covariance_floor))`.

    It is a function that makes a `Single`. What tells such a model is
    `isinstance(model, jaxem.Single) and isinstance(model.family, jaxem.Gaussian)`.

    **Arguments:** see `Single` and `Gaussian`. With `missing`, NaN in the data is a missing entry (the family is
    `Incomplete(Gaussian(...))`), and `impute` fills it in. Parameters are `params.mean` `[d]` and `params.covariance`
    (`[d, d]` full, `[d]` diagonal, a number if spherical).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.models.MultivariateNormal(missing=True)
    >>> x = jnp.array([[1.0, 2.1], [2.0, 3.9], [3.0, 6.2], [4.0, jnp.nan]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), tol=1e-9)
    >>> [round(float(value), 1) for value in fit.params.mean]
    [2.5, 5.1]
    """
    family = Gaussian(covariance, prior, covariance_floor)
    return Single(Incomplete(family) if missing else family, tuple(frozen), start or KMeansPlusPlus())


def MultivariateT(
    covariance: str = "full",
    degrees_of_freedom: float | None = None,
    *,
    prior: NormalInverseWishart | None = None,
    covariance_floor: float = 1e-12,
    frozen: tuple[str, ...] = (),
) -> Single:
    """One multivariate t distribution: `Single(StudentT(covariance, degrees_of_freedom))`.

    It is a function that makes a `Single`. What tells such a model is
    `isinstance(model, jaxem.Single) and isinstance(model.family, jaxem.StudentT)`.

    **Arguments:** see `StudentT`. Parameters are `params.mean` `[d]`, `params.covariance` (the scale matrix: `[d, d]`
    full, `[d]` diagonal, `[]` spherical) and `params.degrees_of_freedom` `[]`.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data
    >>> model = jaxem.models.MultivariateT(degrees_of_freedom=5.0)
    >>> fit = jaxem.fit(model, x.astype("float32"), key=jax.random.key(0), algorithm=jaxem.px_em())
    >>> fit.params.covariance.shape
    (2, 2)
    """
    return Single(StudentT(covariance, degrees_of_freedom, prior=prior, floor=covariance_floor), tuple(frozen))


def Tobit(
    lower: float | None = 0.0,
    upper: float | None = None,
    *,
    scale_power: float = 0.0,
    frozen: tuple[str, ...] = (),
) -> Single:
    """Regression of responses that are censored at known limits: `Single(CensoredRegression(...))`.

    It is a function that makes a `Single`. What tells such a model is
    `isinstance(model, jaxem.Single) and isinstance(model.family, jaxem.families.CensoredRegression)`.

    **Arguments:**

    - `lower`, `upper`: responses at a limit, or beyond, are only known to be there; `None` is no limit.
    - `scale_power`: see `CensoredRegression`.
    - `frozen`: names of parameters kept at their starting value.

    Data are `jaxem.Responses(x, y)` with plain responses `[n]`. Parameters are `RegressionParams`: `coefficients` `[p]`
    and `variance`, of the responses before they are censored. Tobin (1958).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.stack([jnp.ones(6), jnp.arange(6.0)], 1)
    >>> rows = jaxem.Responses(x, jnp.array([0.0, 0.0, 0.3, 1.4, 2.2, 3.3]))
    >>> fit = jaxem.fit(jaxem.models.Tobit(), rows, key=jax.random.key(0), tol=1e-9)
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-1.6, 1.0]
    """
    limits = -math.inf if lower is None else float(lower), math.inf if upper is None else float(upper)
    return Single(CensoredRegression(lower=limits[0], upper=limits[1], scale_power=scale_power), tuple(frozen))
