from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem.families._table import check_gaps, check_incomplete
from jaxem.families._wrapped import AbstractWrapped
from jaxem.families.bernoulli import Bernoulli
from jaxem.families.categorical import Categorical
from jaxem.families.poisson import Poisson
from jaxem.kernels.chunks import not_finite


@final
class IncompleteColumns(AbstractWrapped):
    """Independent columns with missing entries: NaN, in any pattern, missing at random (Rubin 1976).

    Given the member, a missing entry tells nothing of the others, so that the likelihood is that of the entries that
    are there, and each column is fitted to its own. Parameters, prior and coordinates are those of `family`; for
    Gaussian rows see `jaxem.Incomplete`.

    **Arguments:**

    - `family`: a `Poisson`, `Bernoulli` or `Categorical`; its prior, if any, has the same numbers for all columns.
        Columns of a `Categorical` may differ in their categories.

    Little and Rubin (2019), chapter 13.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.families.IncompleteColumns(jaxem.Poisson()))
    >>> x = jnp.array([[1.0, 4.0], [3.0, jnp.nan], [jnp.nan, 8.0]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0))
    >>> fit.params.rate.round(3).tolist()
    [2.0, 6.0]
    """

    family: Any
    _columns: Any = None  # the family of each column, with arrays stacked along a leading axis, less the prior

    def __check_init__(self):
        if not isinstance(self.family, Poisson | Bernoulli | Categorical):
            raise ValueError(
                "family must be jaxem.Poisson, Bernoulli or Categorical, whose columns are independent given the "
                f"member (for Gaussian rows use jaxem.Incomplete), got {type(self.family).__name__}"
            )
        prior = jax.tree.leaves(self.family.prior)
        if any(jnp.ndim(leaf) > 0 for leaf in prior):
            raise ValueError("family: its prior must be the same for all columns: numbers, not arrays")

    @property
    def product_form(self) -> bool:
        return self._stacked.product_form

    @property
    def _stacked(self) -> Any:
        return _without_prior(_by_column(self.family)) if self._columns is None else self._columns

    def _each(self, fn: Callable[..., Any], *args: PyTree) -> PyTree:
        """`fn(family of a column, ...)` over the columns, the leading axis of the arrays in `args`."""

        def one(column, args):
            return fn(eqx.tree_at(lambda f: f.prior, column, self.family.prior, is_leaf=lambda v: v is None), *args)

        return eqx.filter_vmap(one)(self._stacked, args)

    # The linear map

    def natural(self, params):
        return self._each(lambda family, p: family.natural(p), _split(params))

    def coefficients(self, natural: PyTree) -> Float[Array, "k p"]:
        each = jnp.moveaxis(self._each(lambda family, eta: family.coefficients(eta), natural), 0, 1)
        return each.reshape(each.shape[0], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        each = self._each(lambda family, x: family.statistics(x[:, None]), _filled(x).T)
        return _where_seen(x, each).reshape(-1, x.shape[0])

    def prepare(self, natural):
        return self.as_rows(natural)

    def potentials(self, natural: PyTree, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        if self.product_form:
            return super().potentials(natural, x)
        each = self._each(lambda family, eta, x: family.potentials(eta, x[:, None]), natural, _filled(x).T)
        return jnp.sum(_where_seen(x, each), 0)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        base = self._each(lambda family, x: family.log_base(x[:, None]), _filled(x).T)
        return jnp.sum(jnp.where(jnp.isnan(x).T, 0, base), 0)

    # The M-step

    def maximize(self, stats, params, frozen=()):
        found = self._each(lambda family, s, p: family.maximize(s, p, frozen), stats, _split(params))
        return _join(found)

    # The posterior

    def posterior(self, stats):
        if isinstance(self.family, Categorical):
            return self.family.posterior(_join(stats))
        return _join(self._each(lambda family, s: family.posterior(s), stats))

    def expected_natural(self, posterior):
        if isinstance(self.family, Categorical):
            return _split(self.family.expected_natural(posterior))
        return self._each(lambda family, p: family.expected_natural(p), _split(posterior))

    def for_starts(self):
        return IncompleteColumns(self.family.for_starts(), self._columns)

    # Coordinates and accuracy

    def bind(self, x, weights, reduce):
        if isinstance(self.family, Categorical):
            return self
        seen = (~jnp.isnan(x)).astype(weights.dtype)

        def one(x, seen):
            return _without_prior(self.family.bind(x[:, None], weights * seen, reduce))

        return IncompleteColumns(self.family, eqx.filter_vmap(one)(_filled(x).T, seen.T))

    def accurate(self):
        columns = self._stacked.accurate()
        return None if columns is None else IncompleteColumns(self.family, columns)

    def at(self, params):
        if isinstance(self.family, Categorical):
            return self
        moved = self._each(lambda family, p: _without_prior(family.at(p)), _split(params))
        return IncompleteColumns(self.family, moved)

    def translate(self, stats, source):
        return self._each(lambda family, s, other: family.translate(s, other), stats, source._stacked)

    def loss(self, params, natural=None):
        return jnp.max(self._each(lambda family, p: family.loss(p), _split(params)))

    # Data

    def from_points(self, points, x, weights):
        # An entry that a point lacks is taken from the first row that has it.
        seen = ~jnp.isnan(x) & (weights > 0)[:, None]
        first = jnp.take_along_axis(x, jnp.argmax(seen, 0)[None], 0)
        points = jnp.where(jnp.isnan(points), first, points)

        def one(family, points, x, seen):
            return family.from_points(points[:, None], x[:, None], weights * seen)

        return _join(self._each(one, points.T, _filled(x).T, seen.T.astype(weights.dtype)))

    def embed(self, x):
        return self.seeding(x, jnp.ones(x.shape[0], x.dtype))

    def seeding(self, x, weights):
        seen = ~jnp.isnan(x).T[:, :, None]
        each = self._each(lambda family, x: family.embed(x[:, None]), _filled(x).T)
        amount = jnp.where(seen, weights[None, :, None], 0)
        total = jnp.sum(amount, 1, keepdims=True)
        mean = jnp.sum(amount * each, 1, keepdims=True) / jnp.where(total > 0, total, 1)
        each = jnp.where(seen, each, mean)
        return jnp.moveaxis(each, 0, 1).reshape(x.shape[0], -1)

    def impute(self, params: PyTree, x: Float[Array, "n d"], key: PRNGKeyArray | None = None) -> Float[Array, "k n d"]:
        """Rows completed under each member: by its means, or by a draw if there is a `key`; `[k, n, d]`."""
        if key is not None:
            k, n = jax.tree.leaves(params)[0].shape[0], x.shape[0]
            drawn = self.family.sample(key, params, jnp.repeat(jnp.arange(k), n)).reshape(k, n, -1)
        elif isinstance(self.family, Categorical):
            raise MissingCapabilityError("categories have no mean to impute: pass a key, for draws")
        else:
            mean = jax.tree.leaves(params)[0]
            drawn = jnp.broadcast_to(mean[:, None], (mean.shape[0], *x.shape))
        return jnp.where(jnp.isnan(x)[None], drawn, x[None])

    def unusable(self, x):
        return not_finite(x, missing=True)

    def check_rows(self, x: Any, name: str = "data") -> None:
        x = check_gaps(x, name)
        self.family.check_rows(np.where(np.isnan(x), 0, x), name)

    def check(self, x: Any, name: str = "data") -> None:
        self.family.check(check_incomplete(x, name), name)

    def floats_per_row(self, params):
        shared, own = self.family.floats_per_row(params)
        return 3 * shared, own * (1 if self.product_form else 2)


def _by_column(family: Any) -> Any:
    return family.by_column if isinstance(family, Categorical) else family


def _without_prior(family: Any) -> Any:
    return eqx.tree_at(lambda f: f.prior, family, None, is_leaf=lambda v: v is None)


def _filled(x: Array) -> Array:
    """Zero, which each of the families can take, in the place of missing entries."""
    return jnp.where(jnp.isnan(x), 0, x)


def _where_seen(x: Float[Array, "n d"], each: Float[Array, "d m n"]) -> Float[Array, "d m n"]:
    """What belongs to the entries of a table, zero for those that are missing."""
    return jnp.where(jnp.broadcast_to(~jnp.isnan(x).T[:, None], each.shape), each, 0)


def _split(tree: PyTree) -> PyTree:
    """Leaves `[k, d, ...]` as those of families of one column each, `[d, k, 1, ...]`."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0)[:, :, None], tree)


def _join(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, :, 0], 0, 1), tree)
