"""Second moments of the complete score where each row chooses one of several members independently (Louis 1982)."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem.kernels.linalg import matmul, transpose
from jaxem.latent import Categorical
from jaxem.models._joined_bound import JoinedBound

_PANELS, _LEAST = 8, 64  # of the rows of a product, and how many of them are worth one


class Choices(NamedTuple):
    """Which of the `p` coordinates the potential of each of `k` members depends on.

    All of them on `common`, `[m]`, and each on its row of `own`, `[k, q]`.
    """

    common: np.ndarray
    own: np.ndarray
    num_members: int
    size: int

    def are_cheap(self, num_natural: int) -> bool:
        """Whether second moments take fewer operations than moving all natural parameters in each direction."""
        each = len(self.common) + self.own.shape[1]
        return self.num_members * each**2 + self.size**2 <= 2 * num_natural * self.size

    def units(self, dtype: Any) -> Float[Array, "q p"]:
        """Directions in which potentials tell all their derivatives: each of `common`, then one of each row of `own`.

        A member's own coordinates do not touch the others, so that `k` of them are looked at in one direction.
        """
        m, k = len(self.common), self.num_members
        which = np.concatenate([np.arange(m), np.tile(m + np.arange(self.own.shape[1]), k)])
        found = jnp.zeros((m + self.own.shape[1], self.size), dtype)
        return found.at[which, np.concatenate([self.common, self.own.ravel()])].set(1)

    def sums(
        self, derivatives: Float[Array, "q k n"], shares: Float[Array, "k n"], w: Float[Array, " n"]
    ) -> tuple[Float[Array, "k q q"], Float[Array, "p p"]]:
        """Sums over rows of the outer products of each member's complete score, and of those of their means.

        The second has the coordinates in the order of `common` and `own`: no row is scattered. See `whole`.
        """
        # What is impossible has potentials without derivatives.
        score = jnp.where((shares > 0)[:, None], jnp.moveaxis(derivatives, 1, 0), 0)
        shared = score * shares[:, None]
        outer = matmul(shared * w[None, None], transpose(score))
        m = len(self.common)
        mean = jnp.concatenate([jnp.sum(shared[:, :m], 0), shared[:, m:].reshape(-1, len(w))])
        return outer, outer_products(mean, w)

    def whole(
        self, outer: Float[Array, "k q q"], means: Float[Array, "p p"]
    ) -> tuple[Float[Array, "p p"], Float[Array, "p p"]]:
        """Both `sums` as matrices of the coordinates."""
        places = np.concatenate([np.broadcast_to(self.common, (self.num_members, len(self.common))), self.own], 1)
        squares = jnp.zeros_like(means).at[places[:, :, None], places[:, None, :]].add(outer)
        return squares, self._in_order(means)

    def joined(self, blocks: Float[Array, "k k q q"]) -> Float[Array, "p p"]:
        """A matrix of the coordinates from sums over pairs of members, of `common` and then each one's own."""
        m, size = len(self.common), self.size - len(self.common)
        shared = jnp.sum(blocks[:, :, :m, :m], (0, 1))
        beside = jnp.moveaxis(jnp.sum(blocks[:, :, :m, m:], 0), 1, 0).reshape(m, size)
        own = jnp.moveaxis(blocks[:, :, m:, m:], 2, 1).reshape(size, size)
        return self._in_order(jnp.block([[shared, beside], [transpose(beside), own]]))

    def _in_order(self, matrix: Float[Array, "p p"]) -> Float[Array, "p p"]:
        """A matrix whose coordinates are those of `common` and `own`, in their order."""
        order = np.argsort(np.concatenate([self.common, self.own.ravel()]))
        return matrix[order[:, None], order[None, :]]

    def unfold(self, columns: Float[Array, "q p"]) -> Float[Array, "p p"]:
        """A symmetric matrix in which members do not meet, from its products with `units`."""
        m = len(self.common)
        whole = jnp.zeros((self.size, self.size), columns.dtype)
        whole = whole.at[self.common].set(columns[:m]).at[:, self.common].set(transpose(columns[:m]))
        blocks = jnp.moveaxis(columns[m:][:, self.own], 0, 1)
        return whole.at[self.own[:, :, None], self.own[:, None, :]].set(blocks)


def outer_products(a: Float[Array, "p n"], w: Float[Array, " n"]) -> Float[Array, "p p"]:
    """`a @ diag(w) @ a.T`, of which little more than one half is worked out."""
    p = len(a)
    starts = range(0, p, max(-(-p // _PANELS), _LEAST))
    above = jnp.zeros((p, p), a.dtype)
    for start, end in zip(starts, [*starts[1:], p], strict=True):
        above = above.at[start:end, start:].set(matmul(a[start:end] * w[None], transpose(a[start:])))
    return jnp.triu(above) + transpose(jnp.triu(above, 1))


def every_coordinate(size: int, num_members: int = 1) -> Choices:
    """What is known of members in general: all of them depend on each coordinate."""
    return Choices(np.arange(size), np.zeros((num_members, 0), int), num_members, size)


def choices_of(model: Any, bound: Any, params: PyTree, data: PyTree) -> Choices | None:
    """The choices of a model whose rows hide a choice and nothing else; `None` for others."""
    if not isinstance(bound.latent, Categorical):
        return None
    free = jax.eval_shape(model.unconstrain, params)
    mine = eqx.filter(free, model.trainable(free))
    leaves, structure = jax.tree.flatten(mine)
    ends = np.cumsum([0, *(leaf.size for leaf in leaves)])
    places = [np.arange(end - leaf.size, end).reshape(leaf.shape) for end, leaf in zip(ends[1:], leaves, strict=True)]
    total = int(ends[-1])
    k = jax.eval_shape(lambda: bound.potentials(bound.natural(params), data)).shape[0]
    every = every_coordinate(total, k)
    if not isinstance(bound, JoinedBound):
        return every
    own, members = bound.structure.split(jax.tree.unflatten(structure, places))
    blocks = jax.eval_shape(lambda free: bound.kernel.blocks(bound.structure.split(free)[1])[0], free)
    apart = [leaf.reshape(k, -1) for leaf in jax.tree.leaves(members) if leaf.shape[:1] == (k,)]
    if not apart or len(apart) < len(jax.tree.leaves(members)) or any(block.shape[0] != k for block in blocks):
        return every
    common = np.concatenate([np.zeros(0, int), *(np.ravel(leaf) for leaf in jax.tree.leaves(own))])
    return Choices(common, np.concatenate(apart, 1), k, total)
