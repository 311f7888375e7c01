"""Mixtures of any family, and short names of some."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxem._errors import DataError
from jaxem.families import AbstractFamily, Gaussian, Incomplete, StudentT
from jaxem.families.priors import Dirichlet, NormalInverseWishart, StickBreaking
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.chunks import num_rows
from jaxem.models._members import require_family
from jaxem.models.joined import AbstractJoined
from jaxem.structures.labelled import Labelled
from jaxem.structures.weights import MixtureParams as MixtureParams
from jaxem.structures.weights import Weights


class AbstractMixture(AbstractJoined):
    """Rows that choose one of `num_components` members of a family, independently of each other."""

    family: eqx.AbstractVar[AbstractFamily]
    num_components: eqx.AbstractVar[int]

    @property
    def distribution(self) -> AbstractFamily:
        return self.family

    def check_components(self) -> None:
        """Raise `ValueError` for what is no family, or a number of components that is no positive integer."""
        require_family(self.family)
        number = self.num_components
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"num_components must be a positive integer, got {self.num_components!r}")

    # The door of data

    def check_shape(self, params, data):
        super().check_shape(params, data)
        if isinstance(data, Labelled) and data.labels.shape != (num_rows(data.rows),):
            raise DataError(f"labels must be {num_rows(data.rows)} integers, got shape {data.labels.shape}")

    def check_rows(self, data):
        super().check_rows(data)
        if isinstance(data, Labelled):
            data.check(num_rows(data.rows), self.num_components)

    def check(self, data, weights):
        self.check_members()
        self.check_enough(num_rows(data), weights)
        super().check(data, weights)
        if isinstance(data, Labelled):
            data.check(num_rows(data.rows), self.num_components)

    def check_enough(self, n: int, weights: Any) -> None:
        """Raise `DataError` for fewer rows of positive weight than components."""
        used = n if weights is None else int(np.sum(np.asarray(weights) > 0))
        if 0 < used < self.num_components:
            raise DataError(
                f"data has {used} rows with positive weight, fewer than num_components={self.num_components}"
            )


@final
class Mixture(AbstractMixture):
    """A finite mixture of `num_components` members of a family.

    **Arguments:**

    - `family`: the distribution of a component, such as `jaxem.Gaussian(...)` or `jaxem.Poisson()`, or a
        `jaxem.Product` of several for mixed columns.
    - `num_components`: how many components, `k`.
    - `weights_prior`: a `Dirichlet` or `StickBreaking` prior of the weights.
    - `frozen`: names of parameters kept at their starting value, such as `("weights", "components.covariance")`; the
        others are maximised given them.
    - `start`: how a start is drawn when `fit` is not told: an `AbstractInit`.

    A component whose expected count falls to rounding error keeps its parameters, with weight 0, and the fit has status
    `degenerate_component`.

    Data are rows `[n, d]` (a dictionary of tables for a `Product` without columns), or `Labelled` rows. Parameters are
    `MixtureParams`. McLachlan and Peel (2000).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Mixture(jaxem.Poisson(), num_components=2)
    >>> counts = jnp.array([[0.0], [1.0], [0.0], [9.0], [11.0], [10.0]])
    >>> fit = jaxem.fit(model, counts, key=jax.random.key(0), restarts=4)
    >>> sorted(round(float(rate), 1) for rate in fit.params.components.rate[:, 0])
    [0.3, 10.0]
    """

    family: AbstractFamily
    num_components: int = eqx.field(static=True)
    weights_prior: Dirichlet | StickBreaking | None = None
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    def __check_init__(self):
        self.check_components()
        self.check_names()

    @property
    def structure(self) -> Weights:
        return Weights(self.num_components, self.weights_prior)

    @eqx.filter_jit
    def sample(self, key, params, n):
        """Draw `n` rows and their components."""
        choose, draw = jax.random.split(key)
        labels = jax.random.categorical(choose, jnp.log(params.weights), shape=(n,))
        return self.family.sample(draw, params.components, labels), labels


def GaussianMixture(
    num_components: int,
    covariance: str = "full",
    *,
    prior: NormalInverseWishart | None = None,
    weights_prior: Dirichlet | StickBreaking | None = None,
    covariance_floor: float = 1e-12,
    frozen: tuple[str, ...] = (),
    start: AbstractInit | None = None,
    missing: bool = False,
) -> Mixture:
    """A mixture of Gaussians: `Mixture(Gaussian(covariance, prior, covariance_floor), num_components)`.

    It is a function that makes a `Mixture`. What tells such a model is
    `isinstance(model, jaxem.Mixture) and isinstance(model.family, jaxem.Gaussian)`.

    **Arguments:** see `Mixture` and `Gaussian`. With `missing`, NaN in the data is a missing entry (the family is
    `Incomplete(Gaussian(...))`), and `impute` fills it in.

    Parameters are `params.weights` `[k]`, `params.components.mean` `[k, d]` and `params.components.covariance`
    (`[k, d, d]` full and VEV, `[d, d]` tied, `[k, d]` diagonal, `[k]` spherical).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data
    >>> model = jaxem.GaussianMixture(num_components=2)
    >>> fit = jaxem.fit(model, x.astype("float32"), key=jax.random.key(0), restarts=8)
    >>> round(float(fit.log_likelihood))
    -1130
    """
    gaussian = Gaussian(covariance, prior, covariance_floor)
    family = Incomplete(gaussian) if missing else gaussian
    return Mixture(family, num_components, weights_prior, tuple(frozen), start or KMeansPlusPlus())


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
