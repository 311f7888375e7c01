import math
import operator
from functools import reduce
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxem.init._init import AbstractInit, from_assignment, known_rows, rows_of, start_at, subsample
from jaxem.kernels.linalg import matmul
from jaxem.kernels.rows import cumulative_sum

_FEW_COLUMNS = 32  # written out one by one


@final
class KMeansPlusPlus(AbstractInit):
    """Greedy k-means++ seeds, each row to its nearest, then one M-step.

    A seed is drawn with probability proportional to weight times squared distance to the seeds so far, the best of
    `2 + log k` candidates is kept. Components with labelled rows have the means of these for seeds. Arthur and
    Vassilvitskii (2007).

    **Arguments:**

    - `rows`: at most so many rows (drawn anew for each start) are looked at.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.KMeansPlusPlus(rows=2000))
    """

    rows: int = eqx.field(static=True, default=8192)

    def __call__(self, model, key, data, weights):
        k = model.structure.num_members
        data, weights = subsample(key, data, weights, max(self.rows, 32 * k), k)
        x, labels = rows_of(data)
        embedded, known = model.kernel.embed(x, weights), known_rows(labels, weights, k)
        count = model.structure.count
        seeds, nearest = kmeans_plus_plus(key, embedded, weights, k, known, count)
        moments = (nearest[None, :] == jnp.arange(k, dtype=nearest.dtype)[:, None]).astype(weights.dtype)
        pooled = start_at(model, jax.tree.map(lambda a: a[seeds], x), x, weights)
        return from_assignment(model, moments, data, weights, pooled)


def kmeans_plus_plus(
    key: PRNGKeyArray,
    x: Float[Array, "n q"],
    weights: Float[Array, " n"],
    k: int,
    known: Bool[Array, "k n"] | None = None,
    count: Int[Array, ""] | None = None,
) -> tuple[Int[Array, " k"], Int[Array, " n"]]:
    """Indices of `k` greedy k-means++ seeds, and which of them is nearest to each row.

    A component some of whose rows are `known` has one of these for a seed, and lies where their mean is; seeds of the
    others are drawn from the other rows, away from there.

    With a `count`, the first `count` seeds are those that so many components would have, with the same numbers drawn.
    No row is nearest to another one.
    """
    trials = _candidates(k)
    columns = x.T  # once: XLA would turn the rows anew for each seed
    # All at once and flat: a generator is slow to compile, over two axes twice as slow.
    uniform, beyond = jax.random.uniform(key, (k * trials,), x.dtype), None
    if count is None:
        uniform = uniform.reshape(k, trials)
    else:
        of_count = jnp.asarray([_candidates(j) for j in range(1, k + 1)], jnp.int32)[count - 1]
        place = jnp.arange(k, dtype=jnp.int32)[:, None] * of_count + jnp.arange(trials, dtype=jnp.int32)[None]
        uniform, beyond = uniform[jnp.minimum(place, k * trials - 1)], jnp.arange(trials, dtype=jnp.int32) >= of_count

    def drawn(mass, uniform):
        cumulative = cumulative_sum(mass)
        # A count, not `searchsorted`: one fused pass, and a bisection is slow to compile.
        below = cumulative[None, :] <= (uniform * cumulative[-1])[:, None]
        return jnp.minimum(jnp.sum(below, 1, dtype=jnp.int32), x.shape[0] - 1)

    def add(nearest, uniform, free):
        mass = free * jnp.where(jnp.isinf(nearest), 1, nearest)
        # Where every row coincides with a seed, any row will do.
        candidates = drawn(jnp.where(jnp.sum(mass) > 0, mass, weights), uniform)
        distance = jnp.minimum(_squared_distances(columns, x[candidates]), nearest[None, :])
        cost = matmul(distance, weights[:, None])[:, 0]
        best = jnp.argmin(cost if beyond is None else jnp.where(beyond, jnp.inf, cost))
        return distance[best], candidates[best]

    # The first seed is a single draw by weight.
    uniform = uniform.at[0].set(uniform[0, 0])
    if known is None:
        held, free = None, weights
        place = jnp.full(x.shape[0], jnp.inf, x.dtype), jnp.zeros(x.shape[0], jnp.int32)
    else:
        given, mass = jnp.any(known, 1), jnp.where(known, weights[None], 0)
        means = matmul(mass / jnp.where(given, jnp.sum(mass, 1), 1)[:, None], x)
        own = jax.vmap(drawn)(mass, jax.random.uniform(jax.random.fold_in(key, 3), (k, 1), x.dtype))[:, 0]
        distance = jnp.where(given[:, None], _squared_distances(columns, means), jnp.inf)
        held, free = (given, own), jnp.where(jnp.any(known, 0), 0, weights)
        place = jnp.min(distance, 0), jnp.argmin(distance, 0).astype(jnp.int32)

    def step(place, this):
        """The squared distance of each row to the nearest seed, and which one that is, with one seed more."""
        (nearest, which), (member, uniform, held) = place, this
        new, seed = add(nearest, uniform, free)
        if held is not None:
            given, own = held
            new, seed = jnp.where(given, nearest, new), jnp.where(given, own, seed)
        closer = new < nearest if count is None else (new < nearest) & (member < count)
        return (new, jnp.where(closer, member, which)), seed

    (_, which), seeds = jax.lax.scan(step, place, (jnp.arange(k, dtype=jnp.int32), uniform, held))
    return seeds, which


def _candidates(k: int) -> int:
    """How many rows are tried for each of `k` seeds."""
    return 2 + int(math.log(k))


def _squared_distances(columns: Float[Array, "q n"], centres: Float[Array, "m q"]) -> Float[Array, "m n"]:
    # Differences first: the expanded square loses small distances to cancellation.
    if columns.shape[0] > _FEW_COLUMNS:
        return jnp.sum((centres[:, :, None] - columns[None]) ** 2, 1)
    # One loop over rows. A sum over the columns takes XLA four times as long (20 columns on a CPU, jaxlib 0.10).
    each = [(centre[:, None] - column[None]) ** 2 for column, centre in zip(columns, centres.T, strict=True)]
    return reduce(operator.add, each)
