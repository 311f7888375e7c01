from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem import _bijections as bijections
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table, require
from jaxem.families.priors import Dirichlet
from jaxem.kernels import exclusion


class CategoricalParams(NamedTuple):
    """Probabilities of each category, `[k, d, c]`."""

    probabilities: Float[Array, "k d c"]


class CategoricalNatural(NamedTuple):
    """Coefficients of the indicators of the categories."""

    log_probabilities: Float[Array, "k d c"]


@final
class Categorical(AbstractFamily):
    """Independent columns of categories, coded 0 to `num_categories - 1`.

    **Arguments:**

    - `num_categories`: how many categories there are, `c`; the same for every column (see `jaxem.Product` where they
        differ).
    - `prior`: a `Dirichlet` on the probabilities.

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Categorical(num_categories=3), num_components=2).family.num_categories
    3
    """

    num_categories: int = eqx.field(static=True)
    prior: Dirichlet | None = None

    parameters: ClassVar[tuple[str, ...]] = ("probabilities",)
    conjugate: ClassVar[str] = "Categorical(..., prior=Dirichlet(...))"

    def __check_init__(self):
        if not isinstance(self.num_categories, int | np.integer) or self.num_categories < 2:
            raise ValueError(f"num_categories must be an integer, at least 2, got {self.num_categories!r}")

    # The linear map

    def natural(self, params: CategoricalParams) -> CategoricalNatural:
        return CategoricalNatural(exclusion.log(params.probabilities))

    def coefficients(self, natural: CategoricalNatural) -> Float[Array, "k p"]:
        log = natural.log_probabilities
        return log.reshape(log.shape[0], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        codes = jnp.arange(self.num_categories, dtype=x.dtype)
        indicators = x.T[:, None, :] == codes[None, :, None]
        return indicators.reshape(-1, x.shape[0]).astype(x.dtype)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        possible = jnp.all((x >= 0) & (x < self.num_categories) & (x == jnp.floor(x)), -1)
        return jnp.where(possible, jnp.zeros(x.shape[0], x.dtype), -jnp.inf)

    # The M-step

    def maximize(
        self, stats: CategoricalNatural, params: CategoricalParams, frozen: tuple[str, ...] = ()
    ) -> CategoricalParams:
        if "probabilities" in frozen:
            return params
        counts = stats.log_probabilities
        # Every column holds a category in every row: any of them counts the rows.
        empty = self.empty(jnp.sum(counts[:, 0], -1))[:, None, None]
        if self.prior is not None:
            extra = self.prior.pseudo_counts(counts.shape, counts.dtype)
            counts, empty = counts + extra, empty & (jnp.sum(extra, -1, keepdims=True) == 0)
        counts = jnp.maximum(counts, 0)
        total = jnp.where(empty, 1, jnp.sum(counts, -1, keepdims=True))
        return CategoricalParams(jnp.where(empty, params.probabilities, counts / total))

    def log_prior(self, params: CategoricalParams) -> Array:
        p = params.probabilities
        return jnp.zeros((), p.dtype) if self.prior is None else self.prior.log_prob(p)

    # The posterior

    def posterior(self, stats: CategoricalNatural) -> Dirichlet:
        return self.require_prior().update(stats.log_probabilities)

    def expected_natural(self, posterior: Dirichlet) -> CategoricalNatural:
        return CategoricalNatural(posterior.expected_log())

    def posterior_mean(self, posterior: Dirichlet) -> CategoricalParams:
        return CategoricalParams(posterior.mean())

    def draw(self, key: PRNGKeyArray, posterior: Dirichlet) -> CategoricalParams:
        return CategoricalParams(posterior.draw(key))

    def kl(self, posterior: Dirichlet) -> Array:
        return posterior.kl(self.require_prior())

    # Coordinates

    def unconstrain(self, params: CategoricalParams) -> CategoricalParams:
        return CategoricalParams(bijections.simplex_to_free(params.probabilities))

    def constrain(self, free: CategoricalParams) -> CategoricalParams:
        return CategoricalParams(bijections.free_to_simplex(free.probabilities))

    # Data

    def from_points(self, points, x, weights):
        share = (weights / jnp.sum(weights))[None, :]
        mean = jnp.sum(self.statistics(x) * share, -1).reshape(1, x.shape[1], -1)
        centre = (self._one_hot(points) + mean) / 2
        return CategoricalParams(0.99 * centre + 0.01 / self.num_categories)

    def mend(self, params, pooled, counts):
        counts = counts[:, None, None]
        return CategoricalParams((counts * params.probabilities + pooled.probabilities) / (counts + 1))

    def embed(self, x):
        return self.statistics(x).T

    def sample(self, key, params, labels):
        p = params.probabilities[labels]
        return jax.random.categorical(key, jnp.log(p), axis=-1).astype(p.dtype)

    def check(self, x: Any, name: str = "data") -> None:
        check_table(x, name)
        x = np.asarray(x)
        valid = (x >= 0) & (x < self.num_categories) & (x == np.floor(x))
        require(valid, x, name, f"is not one of the categories 0 to {self.num_categories - 1}")

    def floats_per_row(self, params):
        k, d, c = params.probabilities.shape
        return d * c, 2 * k

    def _one_hot(self, x):
        return self.statistics(x).T.reshape(x.shape[0], x.shape[1], self.num_categories)
