from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem import _bijections as bijections
from jaxem._conjugate import AbstractConjugate, AbstractPriorConjugate, PriorsConjugate
from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table, check_width, require
from jaxem.families.priors import Dirichlet
from jaxem.kernels import exclusion
from jaxem.kernels.rows import without_weight


class CategoricalParams(NamedTuple):
    """Probabilities of each category, `[k, d, c]`; exactly 0 for those that a column with fewer does not have."""

    probabilities: Float[Array, "k d c"]


class CategoricalNatural(NamedTuple):
    """Coefficients of the indicators of the categories."""

    log_probabilities: Float[Array, "k d c"]


def _as_tuple(levels: Any) -> Any:
    return tuple(np.asarray(levels).tolist()) if isinstance(levels, list | tuple | np.ndarray) else levels


@final
class Categorical(AbstractFamily):
    """Independent columns of categories, coded 0 to `num_categories - 1`.

    **Arguments:**

    - `num_categories`: how many categories there are, `c`: an integer for all columns, or a sequence with one for each
        column, whose largest is `c`. `Categorical.of(x)` reads them off a table.
    - `prior`: a `Dirichlet` on the probabilities, with a concentration that is a scalar, `[c]` or `[d, c]`.

    A category beyond those of its column has probability 0, no prior, and is no parameter. Nor is one that never
    occurs, whose probability is estimated as 0 in every member. Where columns differ, a posterior is a tuple with a
    `Dirichlet` `[k, c_j]` for each column.

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Categorical(num_categories=3), num_components=2).family.num_categories
    3
    >>> jaxem.Categorical.of([[0, 4], [1, 0], [1, 2]]).num_categories
    (2, 5)
    """

    num_categories: int | tuple[int, ...] = eqx.field(static=True, converter=_as_tuple)
    prior: Dirichlet | None = None

    parameters: ClassVar[tuple[str, ...]] = ("probabilities",)
    prior_hint: ClassVar[str] = "Categorical has no prior: Categorical(..., prior=Dirichlet(...))"

    def __check_init__(self):
        given, each = self.num_categories, isinstance(self.num_categories, tuple)
        every: Any = given if each else (given,)
        for levels in every:
            if not isinstance(levels, int | np.integer) or isinstance(levels, bool) or levels < 2 - each:
                raise ValueError(
                    "num_categories must be an integer, at least 2, or a sequence of integers, one for each column, "
                    f"got {given!r}"
                )
        if given == ():
            raise ValueError("num_categories is empty: it takes a number for each column")

    @staticmethod
    def of(x: Any, weights: Any = None, prior: Dirichlet | None = None) -> "Categorical":
        """The family with the categories that the columns of a table have: in each, one more than its largest code.

        NaN is a missing entry, and rows of weight 0 are none. Looks at the values of `x`, so not for use under `jit`.
        """
        x = np.asarray(x, float)
        if x.ndim != 2 or 0 in x.shape:
            raise DataError(f"x must be a table of shape [rows, columns], got shape {x.shape}")
        x = x if weights is None else x[np.asarray(weights) > 0]
        known = np.where(np.isnan(x), 0, x)
        require((known >= 0) & (known == np.floor(known)) & (known < np.inf), x, "x", "is no code (0, 1, 2, ...)")
        return Categorical((1 + known.max(0, initial=0)).astype(int), prior)

    @property
    def most(self) -> int:
        """The largest number of categories of a column, `c`."""
        return max(self.num_categories) if isinstance(self.num_categories, tuple) else self.num_categories

    @property
    def present(self) -> Any:
        """Which of `c` categories each column has, `[d, c]`; `None` if all have all."""
        if not isinstance(self.num_categories, tuple) or len(set(self.num_categories)) == 1:
            return None
        return np.arange(self.most, dtype=np.int32)[None] < np.asarray(self.num_categories, np.int32)[:, None]

    # The linear map

    def natural(self, params: CategoricalParams) -> CategoricalNatural:
        return CategoricalNatural(exclusion.log(params.probabilities))

    def coefficients(self, natural: CategoricalNatural) -> Float[Array, "k p"]:
        log = natural.log_probabilities
        return log.reshape(log.shape[0], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        codes = jnp.arange(self.most, dtype=x.dtype)
        indicators = x.T[:, None, :] == codes[None, :, None]
        return indicators.reshape(-1, x.shape[0]).astype(x.dtype)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        levels = self.most if self.present is None else jnp.asarray(self.num_categories, x.dtype)[None]
        possible = jnp.all((x >= 0) & (x < levels) & (x == jnp.floor(x)), -1)
        return jnp.where(possible, jnp.zeros(x.shape[0], x.dtype), -jnp.inf)

    # The M-step

    def maximize(
        self, stats: CategoricalNatural, params: CategoricalParams, frozen: tuple[str, ...] = ()
    ) -> CategoricalParams:
        return self.estimate(stats, params, self.present)

    def estimate(self, stats: CategoricalNatural, params: CategoricalParams, present: Any) -> CategoricalParams:
        """The M-step where columns have the categories that are `present`, `[d, c]`; all of them if `None`."""
        counts = stats.log_probabilities
        # Every column holds a category in every row: any of them counts the rows.
        empty = without_weight(jnp.sum(counts[:, 0], -1))[:, None, None]
        if self.prior is not None:
            extra = _where(present, self.prior.pseudo_counts(counts.shape, counts.dtype))
            counts, empty = counts + extra, empty & (jnp.sum(extra, -1, keepdims=True) == 0)
        counts = jnp.maximum(counts, 0)
        total = jnp.where(empty, 1, jnp.sum(counts, -1, keepdims=True))
        return CategoricalParams(jnp.where(empty, params.probabilities, counts / total))

    def log_prior(self, params: CategoricalParams) -> Array:
        p = params.probabilities
        if self.prior is None:
            return jnp.zeros((), p.dtype)
        if self.present is None:
            return self.prior.log_prob(p)
        columns = zip(self.by_column(), split(self.num_categories, p), strict=True)
        return sum((prior.log_prob(own) for prior, own in columns), jnp.zeros((), p.dtype))

    def by_column(self) -> list[Dirichlet]:
        """The prior of each column, among the categories that it has."""
        assert isinstance(self.num_categories, tuple)
        assert self.prior is not None
        given = jnp.asarray(self.prior.concentration, jnp.result_type(float))
        each = jnp.broadcast_to(given, (len(self.num_categories), self.most))
        return [Dirichlet(each[j, :levels]) for j, levels in enumerate(self.num_categories)]

    def conjugate(self):
        if self.prior is None:
            return None
        return Together(self.prior) if self.present is None else Apart(self)

    # Coordinates: log-ratios to the last category of each column

    def unconstrain(self, params: CategoricalParams) -> CategoricalParams:
        if self.present is None:
            return CategoricalParams(bijections.simplex_to_free(params.probabilities))
        log, (free, _, own_last) = bijections.log_to_free(params.probabilities), self._places()
        largest = jnp.repeat(jnp.max(log, -1), np.asarray(self.num_categories) - 1, axis=1)
        log = log.reshape(log.shape[0], -1)
        return CategoricalParams(bijections.log_ratio_to_free(log[:, free], log[:, own_last], largest))

    def constrain(self, free: CategoricalParams) -> CategoricalParams:
        if self.present is None:
            return CategoricalParams(bijections.free_to_simplex(free.probabilities))
        u, (places, last, _) = free.probabilities, self._places()
        flat = jnp.full((u.shape[0], len(last) * self.most), -jnp.inf, u.dtype)
        flat = flat.at[:, last].set(0).at[:, places].set(u)
        return CategoricalParams(jax.nn.softmax(flat.reshape(u.shape[0], len(last), self.most), -1))

    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of probabilities `[d, c]` laid out in a row: those that have a coordinate, the last category of each column,
        and for each coordinate that of its column."""
        levels = np.asarray(self.num_categories)
        last = np.arange(len(levels)) * self.most + levels - 1
        free = np.concatenate([j * self.most + np.arange(own - 1) for j, own in enumerate(levels)])
        return free, last, np.repeat(last, levels - 1)

    def redundant(self, params, frozen=()) -> Any:
        """The categories that occur in no member: never in the data, or ruled out by the start."""
        p: Any = params.probabilities
        if "probabilities" in frozen or isinstance(p, jax.ShapeDtypeStruct):
            return 0
        never = jnp.all(p == 0, 0)
        never = never if self.present is None else never & self.present
        count = p.shape[0] * jnp.sum(never)
        return count if isinstance(count, Tracer) else int(count)

    # Data

    def from_points(self, points, x, weights):
        return self.start(points, x, weights, self.present)

    def start(self, points: Array, x: Array, weights: Array, present: Any) -> CategoricalParams:
        """Halfway between the points and all rows, with a hundredth shared out evenly among those `present`."""
        share = (weights / jnp.sum(weights))[None, :]
        mean = jnp.sum(self.statistics(x) * share, -1).reshape(1, x.shape[1], -1)
        centre = (self.statistics(points).T.reshape(*points.shape, self.most) + mean) / 2
        if present is None:
            return CategoricalParams(0.99 * centre + 0.01 / self.most)
        number = jnp.sum(jnp.asarray(present), -1, keepdims=True).astype(centre.dtype)
        even = jnp.broadcast_to((0.01 / number)[None], centre.shape)
        return CategoricalParams(0.99 * centre + _where(present, even))

    def pool(self, params, pooled, counts):
        counts = counts[:, None, None]
        return CategoricalParams((counts * params.probabilities + pooled.probabilities) / (counts + 1))

    def embed(self, x, weights=None):
        return self.statistics(x).T

    def sample(self, key, params, labels):
        p = params.probabilities[labels]
        return jax.random.categorical(key, jnp.log(p), axis=-1).astype(p.dtype)

    def marginal(self, params, column, rows=None):
        probabilities: Any = params.probabilities
        own = [univariate.of_column(probabilities[..., c], column) for c in range(probabilities.shape[-1])]
        levels = self.num_categories[column] if isinstance(self.num_categories, tuple) else self.num_categories
        distribution = univariate.Categories(jnp.concatenate(own[:levels], 1))
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    @property
    def domains(self):
        return {"probabilities": "simplex"}

    def check_shape(self, params, x, name="data"):
        check_width(x, params.probabilities.shape[1], name)

    def check(self, x: Any, name: str = "data") -> None:
        check_table(x, name)
        x = np.asarray(x)
        levels = np.asarray(self.num_categories)
        if levels.ndim and len(levels) != x.shape[1]:
            raise DataError(
                f"{name} has {x.shape[1]} columns, but num_categories has a number for each of {len(levels)}"
            )
        valid = (x >= 0) & (x < levels) & (x == np.floor(x))
        if not valid.all():
            own = np.broadcast_to(levels, x.shape[1:])[np.argwhere(~valid)[0][1]]
            require(valid, x, name, f"is not one of the categories 0 to {own - 1}")


@final
class Together(AbstractPriorConjugate):
    """Dirichlet posteriors of columns with the same categories, `[k, d, c]`."""

    prior: Dirichlet

    params = CategoricalParams

    def posterior(self, stats: CategoricalNatural) -> Dirichlet:
        return self.prior.update(stats.log_probabilities)

    def expected_natural(self, posterior: Dirichlet) -> CategoricalNatural:
        return CategoricalNatural(posterior.expected_log())


@final
class Apart(AbstractConjugate):
    """A Dirichlet posterior for each column, `[k, c_j]`."""

    family: Categorical

    @property
    def _each(self) -> PriorsConjugate:
        return PriorsConjugate(tuple(self.family.by_column()))

    def posterior(self, stats: CategoricalNatural) -> Any:
        return self._each.posterior(split(self.family.num_categories, stats.log_probabilities))

    def expected_natural(self, posterior: Any) -> CategoricalNatural:
        return CategoricalNatural(self._joined(self._each.expected_natural(posterior)))

    def mean(self, posterior: Any) -> CategoricalParams:
        return CategoricalParams(self._joined(self._each.mean(posterior)))

    def draw(self, key: PRNGKeyArray, posterior: Any) -> CategoricalParams:
        return CategoricalParams(self._joined(self._each.draw(key, posterior)))

    def kl(self, posterior: Any) -> Array:
        return self._each.kl(posterior)

    def unconstrain(self, posterior):
        return self._each.unconstrain(posterior)

    def constrain(self, free):
        return self._each.constrain(free)

    def _joined(self, columns: Any) -> Float[Array, "k d c"]:
        most = self.family.most
        return jnp.stack([jnp.pad(p, ((0, 0), (0, most - p.shape[-1]))) for p in columns], 1)


def split(num_categories: Any, p: Float[Array, "k d c"]) -> list[Float[Array, "k c_j"]]:
    """The categories that each column has."""
    return [p[:, j, :levels] for j, levels in enumerate(num_categories)]


def _where(present: Any, array: Array) -> Array:
    """`array` `[..., d, c]`, with 0 for the categories that a column does not have."""
    return array if present is None else jnp.where(present[None], array, 0)
