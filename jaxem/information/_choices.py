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

    def tangents(self, directions: PyTree) -> PyTree:
        """Directions in which potentials tell all their derivatives: each of `common`, then one of each row of `own`.

        A member's own coordinates do not touch the others, so that `k` of them are looked at in one direction.
        """
        return jax.tree.map(lambda leaf: jnp.concatenate([leaf[self.common], jnp.sum(leaf[self.own], 0)]), directions)

    def sums(
        self, derivatives: Float[Array, "q k n"], shares: Float[Array, "k n"], w: Float[Array, " n"]
    ) -> tuple[Float[Array, "p p"], Float[Array, "p p"]]:
        """Sums over rows of the mean outer product of the complete score, and of the outer product of its mean."""
        k = self.num_members
        # What is impossible has potentials without derivatives.
        score = jnp.where((shares > 0)[:, None], jnp.moveaxis(derivatives, 1, 0), 0)
        shared = score * shares[:, None]
        outer = matmul(shared * w[None, None], transpose(score))
        places = np.concatenate([np.broadcast_to(self.common, (k, len(self.common))), self.own], 1)
        squares = jnp.zeros((self.size, self.size), w.dtype)
        squares = squares.at[places[:, :, None], places[:, None, :]].add(outer)
        mean = jnp.zeros((self.size, len(w)), w.dtype).at[places].add(shared)
        return squares, matmul(mean * w[None], transpose(mean))


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
    every = Choices(np.arange(total), np.zeros((k, 0), int), k, total)
    if not isinstance(bound, JoinedBound):
        return every
    own, members = bound.structure.split(jax.tree.unflatten(structure, places))
    blocks = jax.eval_shape(lambda free: bound.kernel.blocks(bound.structure.split(free)[1])[0], free)
    apart = [leaf.reshape(k, -1) for leaf in jax.tree.leaves(members) if leaf.shape[:1] == (k,)]
    if not apart or len(apart) < len(jax.tree.leaves(members)) or any(block.shape[0] != k for block in blocks):
        return every
    common = np.concatenate([np.zeros(0, int), *(np.ravel(leaf) for leaf in jax.tree.leaves(own))])
    return Choices(common, np.concatenate(apart, 1), k, total)
