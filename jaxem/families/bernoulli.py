from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._conjugate import AbstractPriorConjugate
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table, check_width, require
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.families.priors import Beta
from jaxem.kernels import exclusion
from jaxem.kernels.rows import without_weight


class BernoulliParams(NamedTuple):
    """Probabilities of a 1, `[k, d]`."""

    probability: Float[Array, "k d"]


class BernoulliNatural(NamedTuple):
    """Coefficients of the two outcomes of each column."""

    log_one: Float[Array, "k d"]
    log_zero: Float[Array, "k d"]


@final
class Bernoulli(AbstractFamily):
    """Independent columns of 0 and 1.

    **Arguments:**

    - `prior`: a `Beta` on the probabilities.

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Bernoulli(), num_components=2).family.parameters
    ('probability',)
    """

    prior: Beta | None = None

    parameters: ClassVar[tuple[str, ...]] = ("probability",)
    prior_hint: ClassVar[str] = "Bernoulli has no prior: Bernoulli(prior=Beta(...))"

    # The linear map

    def natural(self, params: BernoulliParams) -> BernoulliNatural:
        return BernoulliNatural(exclusion.log(params.probability), exclusion.log_complement(params.probability))

    def coefficients(self, natural: BernoulliNatural) -> Float[Array, "k p"]:
        return jnp.concatenate(natural, -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        # A coefficient of 1 and log-odds would take half the room, but cancel where a probability is close to 1.
        return jnp.concatenate([x.T, 1 - x.T], 0)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        possible = jnp.all((x == 0) | (x == 1), -1)
        return jnp.where(possible, jnp.zeros(x.shape[0], x.dtype), -jnp.inf)

    # The M-step

    def maximize(
        self, stats: BernoulliNatural, params: BernoulliParams, frozen: tuple[str, ...] = ()
    ) -> BernoulliParams:
        ones, zeros = (jnp.maximum(counts, 0) for counts in stats)
        empty = without_weight(ones[:, :1] + zeros[:, :1])
        if self.prior is not None:
            more_ones, more_zeros = self.prior.pseudo_counts(ones.shape, ones.dtype)
            ones, zeros = ones + more_ones, zeros + more_zeros
            empty = empty & (more_ones + more_zeros == 0)
        probability = ones / jnp.where(empty, 1, ones + zeros)
        # Rounding must not rule out what has happened.
        probability = jnp.where(zeros > 0, jnp.minimum(probability, 1 - jnp.finfo(zeros.dtype).epsneg), probability)
        return BernoulliParams(jnp.where(empty, params.probability, probability))

    def log_prior(self, params: BernoulliParams) -> Array:
        p = params.probability
        return jnp.zeros((), p.dtype) if self.prior is None else self.prior.log_prob(p)

    def conjugate(self):
        return None if self.prior is None else BernoulliConjugate(self.prior)

    def kernel(self) -> "BernoulliKernel":
        return BernoulliKernel(self)

    # Data

    def from_points(self, points, x, weights):
        share = (weights / jnp.sum(weights))[:, None]
        centre = (points + jnp.sum(share * x, 0)[None]) / 2
        return BernoulliParams(0.99 * centre + 0.005)

    def pool(self, params, pooled, counts):
        counts = counts[:, None]
        return BernoulliParams((counts * params.probability + pooled.probability) / (counts + 1))

    def sample(self, key, params, labels):
        p = params.probability[labels]
        return jax.random.bernoulli(key, p).astype(p.dtype)

    def marginal(self, params, column, rows=None):
        one = univariate.of_column(params.probability, column)
        distribution = univariate.Categories(jnp.concatenate([1 - one, one], 1))
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    @property
    def domains(self):
        return {"probability": "unit"}

    def check_shape(self, params, x, name="data"):
        check_width(x, params.probability.shape[1], name)

    def check(self, x: Any, name: str = "data") -> None:
        check_table(x, name)
        x = np.asarray(x)
        require((x == 0) | (x == 1), x, name, "is neither 0 nor 1")


@final
class BernoulliConjugate(AbstractPriorConjugate):
    """Beta posteriors of probabilities."""

    prior: Beta

    params = BernoulliParams

    def posterior(self, stats: BernoulliNatural) -> Beta:
        return self.prior.update(stats.log_one, stats.log_zero)

    def expected_natural(self, posterior: Beta) -> BernoulliNatural:
        return BernoulliNatural(*posterior.expected_log())


@final
class BernoulliKernel(AbstractKernel):
    """The product form, in which the log weights of a mixture go into the coefficients."""

    family: Bernoulli

    @property
    def product_form(self) -> bool:
        return True

    def add_constant(self, natural: BernoulliNatural, constant: Float[Array, " k"]) -> BernoulliNatural:
        # One of the outcomes of the first column happens in every row.
        return BernoulliNatural(*(log.at[:, 0].add(constant) for log in natural))
