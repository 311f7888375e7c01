import math
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxem.init._init import AbstractInit, from_assignment, rows_of, subsample
from jaxem.kernels.linalg import matmul


@final
class KMeansPlusPlus(AbstractInit):
    """Greedy k-means++ seeds, each row to its nearest, then one M-step.

    A seed is drawn with probability proportional to weight times squared distance to the seeds so far, the best of
    `2 + log k` candidates is kept. Arthur and Vassilvitskii (2007).

    **Arguments:**

    - `rows`: at most so many rows (drawn anew for each start) are looked at.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.KMeansPlusPlus(rows=2000))
    """

    rows: int = eqx.field(static=True, default=8192)

    def __call__(self, model, key, data, weights):
        data, weights, seed = subsample(key, data, weights, max(self.rows, 32 * model.num_components))
        x, _ = rows_of(data)
        embedded = model.family.embed(x)
        seeds = kmeans_plus_plus(seed, embedded, weights, model.num_components)
        distance = _squared_distances(embedded, embedded[seeds])
        nearest = jnp.argmin(distance, 0)
        k = model.num_components
        moments = (nearest[None, :] == jnp.arange(k, dtype=nearest.dtype)[:, None]).astype(weights.dtype)
        points = jax.tree.map(lambda a: a[seeds], x)
        pooled = model.start_at(points, x, weights)
        return model.mend(from_assignment(model, moments, data, weights, pooled), pooled, moments @ weights)


def kmeans_plus_plus(
    key: PRNGKeyArray, x: Float[Array, "n q"], weights: Float[Array, " n"], k: int
) -> Int[Array, " k"]:
    """Indices of `k` greedy k-means++ seeds."""
    trials = 2 + int(math.log(k))
    # All at once and flat: a generator is slow to compile, over two axes twice as slow.
    uniform = jax.random.uniform(key, (k * trials,), x.dtype).reshape(k, trials)

    def drawn(mass, uniform):
        cumulative = _cumulative_sum(mass)
        # A count, not `searchsorted`: one fused pass, and a bisection is slow to compile.
        below = cumulative[None, :] <= (uniform * cumulative[-1])[:, None]
        return jnp.minimum(jnp.sum(below, 1, dtype=jnp.int32), x.shape[0] - 1)

    def add(nearest, uniform):
        mass = weights * jnp.where(jnp.isinf(nearest), 1, nearest)
        # Where every row coincides with a seed, any row will do.
        candidates = drawn(jnp.where(jnp.sum(mass) > 0, mass, weights), uniform)
        distance = jnp.minimum(_squared_distances(x, x[candidates]), nearest[None, :])
        best = jnp.argmin(matmul(distance, weights[:, None])[:, 0])
        return distance[best], candidates[best]

    # The first seed is a single draw by weight.
    uniform = uniform.at[0].set(uniform[0, 0])
    return jax.lax.scan(add, jnp.full(x.shape[0], jnp.inf, x.dtype), uniform)[1]


def _cumulative_sum(mass: Float[Array, " n"]) -> Float[Array, " n"]:
    """`jnp.cumsum` as two small matrix products: the built-in takes a second to compile on a CPU."""
    n = mass.shape[0]
    side = math.isqrt(n - 1) + 1
    table = jnp.pad(mass, (0, side * side - n)).reshape(side, side)
    upper = jnp.triu(jnp.ones((side, side), mass.dtype))
    before = matmul(jnp.sum(table, 1), upper - jnp.eye(side, dtype=mass.dtype))
    return (matmul(table, upper) + before[:, None]).reshape(-1)[:n]


def _squared_distances(x: Float[Array, "n q"], centres: Float[Array, "m q"]) -> Float[Array, "m n"]:
    # Differences first: the expanded square loses small distances to cancellation.
    return jnp.sum((centres[:, :, None] - x.T[None]) ** 2, 1)
