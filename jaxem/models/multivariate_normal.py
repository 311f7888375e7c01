from jaxem.families import Gaussian, Incomplete
from jaxem.families.priors import NormalInverseWishart
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models.single import Single


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
