"""The kernel of independent columns with missing entries: that of a family of one column, stacked over the columns."""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._errors import MissingCapabilityError
from jaxem.families.kernels._kernel import AbstractKernel


@final
class ColumnsKernel(AbstractKernel):
    """`columns` is the kernel of each column, with its arrays stacked along a leading axis, less the prior."""

    family: Any
    columns: Any

    @property
    def product_form(self) -> bool:
        return self.columns.product_form

    def each(self, fn: Callable[..., Any], *args: PyTree) -> PyTree:
        """`fn(kernel of a column, ...)` over the columns, the leading axis of the arrays in `args`."""

        def one(column, args):
            return fn(with_prior(column, self.family.family.prior), *args)

        return eqx.filter_vmap(one)(self.columns, args)

    # The map

    def natural(self, params):
        return self.each(lambda column, p: column.natural(p), split(params))

    def coefficients(self, natural: PyTree) -> Float[Array, "k p"]:
        each = jnp.moveaxis(self.each(lambda column, eta: column.coefficients(eta), natural), 0, 1)
        return each.reshape(each.shape[0], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        each = self.each(lambda column, x: column.statistics(x[:, None]), _filled(x).T)
        return _where_seen(x, each).reshape(-1, x.shape[0])

    def potentials(self, natural: PyTree, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        if self.product_form:
            return super().potentials(natural, x)
        each = self.each(lambda column, eta, x: column.potentials(eta, x[:, None]), natural, _filled(x).T)
        return jnp.sum(_where_seen(x, each), 0)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        base = self.each(lambda column, x: column.log_base(x[:, None]), _filled(x).T)
        return jnp.sum(jnp.where(jnp.isnan(x).T, 0, base), 0)

    # The maximum

    def maximize(self, stats, params, frozen=()):
        found = self.each(lambda column, s, p: column.maximize(s, p, frozen), stats, split(params))
        return join(found)

    def log_prior(self, params):
        return self.family.family.log_prior(params)

    def conjugate(self):
        whole = self.family.family.conjugate()
        return None if whole is None else ColumnsConjugate(self, whole)

    # Accuracy

    def accurate(self):
        columns = self.columns.accurate()
        return None if columns is None else ColumnsKernel(self.family, columns)

    def about(self, params):
        moved = self.each(lambda column, p: with_prior(column.about(p), None), split(params))
        return ColumnsKernel(self.family, moved)

    def translate(self, stats, source):
        return self.each(lambda column, s, other: column.translate(s, other), stats, source.columns)

    def rounding_error(self, params, natural=None):
        return jnp.max(self.each(lambda column, p: column.rounding_error(p), split(params)))

    def floats_per_row(self, params):
        shared, own = self.family.family.kernel().floats_per_row(params)
        return 3 * shared, own * (1 if self.product_form else 2)

    # Starts

    def for_starts(self, key):
        inner = self.family.family.kernel().for_starts(key)
        return eqx.tree_at(lambda kernel: kernel.family.family, self, inner.family)

    def from_points(self, points, x, weights):
        # An entry that a point lacks is taken from the first row that has it.
        seen = ~jnp.isnan(x) & (weights > 0)[:, None]
        first = jnp.take_along_axis(x, jnp.argmax(seen, 0)[None], 0)
        points = jnp.where(jnp.isnan(points), first, points)

        def one(column, points, x, seen):
            return column.from_points(points[:, None], x[:, None], weights * seen)

        return join(self.each(one, points.T, _filled(x).T, seen.T.astype(weights.dtype)))

    def embed(self, x, weights=None):
        weights = jnp.ones(x.shape[0], x.dtype) if weights is None else weights
        seen = ~jnp.isnan(x).T[:, :, None]
        each = self.each(lambda column, x: column.embed(x[:, None]), _filled(x).T)
        amount = jnp.where(seen, weights[None, :, None], 0)
        total = jnp.sum(amount, 1, keepdims=True)
        mean = jnp.sum(amount * each, 1, keepdims=True) / jnp.where(total > 0, total, 1)
        each = jnp.where(seen, each, mean)
        return jnp.moveaxis(each, 0, 1).reshape(x.shape[0], -1)

    def pool(self, params, pooled, counts):
        return self.family.family.pool(params, pooled, counts)

    def impute(self, params: PyTree, x: Float[Array, "n d"], key: PRNGKeyArray | None = None) -> Float[Array, "k n d"]:
        """Rows completed under each member: by its means, or by a draw if there is a `key`; `[k, n, d]`."""
        if key is not None:
            k, n = jax.tree.leaves(params)[0].shape[0], x.shape[0]
            drawn = self.family.family.sample(key, params, jnp.repeat(jnp.arange(k), n)).reshape(k, n, -1)
        elif hasattr(self.family.family, "num_categories"):
            raise MissingCapabilityError("categories have no mean to impute: pass a key, for draws")
        else:
            mean = jax.tree.leaves(params)[0]
            drawn = jnp.broadcast_to(mean[:, None], (mean.shape[0], *x.shape))
        return jnp.where(jnp.isnan(x)[None], drawn, x[None])

    def blocks(self, free):
        return self.family.family.kernel().blocks(free)


@final
class ColumnsConjugate(AbstractConjugate):
    """`whole` are the posteriors of complete rows, which are those of independent columns."""

    kernel: ColumnsKernel
    whole: AbstractConjugate

    @property
    def _apart(self) -> bool:
        """Whether each column goes by itself: those of categories may differ in how many they have."""
        return not hasattr(self.kernel.family.family, "num_categories")

    def posterior(self, stats):
        if not self._apart:
            return self.whole.posterior(join(stats))
        return join(self.kernel.each(lambda column, s: column.conjugate().posterior(s), stats))

    def expected_natural(self, posterior):
        if not self._apart:
            return split(self.whole.expected_natural(posterior))
        return self.kernel.each(lambda column, p: column.conjugate().expected_natural(p), split(posterior))

    def mean(self, posterior):
        return self.whole.mean(posterior)

    def draw(self, key, posterior):
        return self.whole.draw(key, posterior)

    def kl(self, posterior):
        return self.whole.kl(posterior)

    def unconstrain(self, posterior):
        return self.whole.unconstrain(posterior)

    def constrain(self, free):
        return self.whole.constrain(free)


@final
class CategoryKernel(AbstractKernel):
    """One column of categories, of which the first `levels` are there; it is a traced number where columns differ."""

    family: Any
    levels: Array | None = None

    @property
    def product_form(self) -> bool:
        return True

    @property
    def present(self) -> Any:
        """Which of all categories there are, `[1, c]`."""
        codes = np.arange(self.family.most, dtype=np.int32)[None]
        return np.ones_like(codes, bool) if self.levels is None else codes < self.levels

    def log_base(self, x):
        levels = self.family.most if self.levels is None else self.levels.astype(x.dtype)
        possible = jnp.all((x >= 0) & (x < levels) & (x == jnp.floor(x)), -1)
        return jnp.where(possible, jnp.zeros(x.shape[0], x.dtype), -jnp.inf)

    def maximize(self, stats, params, frozen=()):
        return self.family.estimate(stats, params, self.present)

    def from_points(self, points, x, weights):
        return self.family.start(points, x, weights, self.present)


def with_prior(kernel: Any, prior: Any) -> Any:
    """A kernel whose family has this prior."""
    return eqx.tree_at(lambda k: k.family.prior, kernel, prior, is_leaf=lambda v: v is None)


def _filled(x: Array) -> Array:
    """Zero, which each of the families can take, in the place of missing entries."""
    return jnp.where(jnp.isnan(x), 0, x)


def _where_seen(x: Float[Array, "n d"], each: Float[Array, "d m n"]) -> Float[Array, "d m n"]:
    """What belongs to the entries of a table, zero for those that are missing."""
    return jnp.where(jnp.broadcast_to(~jnp.isnan(x).T[:, None], each.shape), each, 0)


def split(tree: PyTree) -> PyTree:
    """Leaves `[k, d, ...]` as those of families of one column each, `[d, k, 1, ...]`."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0)[:, :, None], tree)


def join(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, :, 0], 0, 1), tree)
