from jaxem.families import StudentT
from jaxem.families.priors import Dirichlet, NormalInverseWishart, StickBreaking
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models.mixture import Mixture
from jaxem.models.single import Single


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


def StudentTMixture(
    num_components: int,
    covariance: str = "full",
    degrees_of_freedom: float | None = None,
    *,
    shared_degrees_of_freedom: bool = False,
    prior: NormalInverseWishart | None = None,
    weights_prior: Dirichlet | StickBreaking | None = None,
    covariance_floor: float = 1e-12,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
) -> Mixture:
    """A mixture of multivariate t distributions: `Mixture(StudentT(...), num_components)`.

    It is a function that makes a `Mixture`. What tells such a model is
    `isinstance(model, jaxem.Mixture) and isinstance(model.family, jaxem.StudentT)`.

    **Arguments:** see `Mixture` and `StudentT`. Parameters are `params.weights` `[k]`, `params.components.mean`
    `[k, d]`, `params.components.covariance` and `params.components.degrees_of_freedom` `[k]` (`[]` if shared).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data
    >>> model = jaxem.StudentTMixture(num_components=2, degrees_of_freedom=8.0)
    >>> fit = jaxem.fit(model, x.astype("float32"), key=jax.random.key(0), restarts=8)
    >>> fit.params.components.mean.shape
    (2, 2)
    """
    family = StudentT(covariance, degrees_of_freedom, shared_degrees_of_freedom, prior, covariance_floor)
    return Mixture(family, num_components, weights_prior, tuple(frozen), start or KMeansPlusPlus())
