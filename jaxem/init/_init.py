from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from jaxem._bound import collect
from jaxem.kernels.rows import Present, largest_rows


class AbstractInit(eqx.Module):
    """How starting parameters of a mixture are drawn.

    `model` has weights for its `structure`, and a `kernel` of the family in coordinates suited to the data; the result
    is in these.

    Rows of weight 0 are none. Where the data are `Labelled`, components start from the rows known to be theirs.
    """

    @abstractmethod
    def __call__(self, model: Any, key: PRNGKeyArray, data: PyTree, weights: Array) -> PyTree:
        """Starting parameters."""


def rows_of(data: PyTree) -> tuple[PyTree, Array | None]:
    """Rows and, where some are known, labels."""
    return (data.rows, data.labels) if hasattr(data, "labels") else (data, None)


def known_rows(labels: Int[Array, " n"] | None, weights: Array, k: int) -> Bool[Array, "k n"] | None:
    """The rows that are known to come from each component; `None` where there are no labels."""
    if labels is None:
        return None
    return (labels[None, :] == jnp.arange(k, dtype=labels.dtype)[:, None]) & (weights > 0)[None, :]


def subsample(key: PRNGKeyArray, data: PyTree, weights: Array, most: int, k: int = 1) -> tuple[PyTree, Array]:
    """At most `most` rows of positive weight, drawn without replacement, and their weights.

    Where there are fewer, all of them, filled up with rows of weight 0. Labelled rows of `k` components come first, as
    far as they leave half of the places to the others; weights then say how many rows each stands for.
    """
    n, (_, labels) = weights.shape[0], rows_of(data)
    if n <= most:
        return data, weights
    place = jnp.arange(most, dtype=jnp.int32)
    if labels is None:
        present, kind = Present.of(weights), 0
        count, quota = present.totals[0], jnp.int32(most)
    else:
        present = Present.of_kinds(jnp.where(weights > 0, jnp.where(labels < 0, k, labels), k + 1), k + 1)
        counts = present.totals
        quotas = jnp.minimum(counts[:k], jnp.maximum(most // 2, most - counts[k]) // k)
        quotas = jnp.append(quotas, most - jnp.sum(quotas, dtype=jnp.int32))
        ends = jnp.cumsum(quotas)
        kind = jnp.sum(place[:, None] >= ends[None], 1, dtype=jnp.int32)
        quota, count = quotas[kind], counts[kind]
        place = place - (ends - quotas)[kind]
    # One row from each of `quota` stretches: distinct, and cheap for any n.
    each, longer = jax.lax.div(count, quota), jax.lax.rem(count, quota)
    width = each + (place < longer).astype(jnp.int32)
    uniform = jax.random.uniform(jax.random.fold_in(key, 2), (most,), jnp.float32)
    within = jnp.minimum((uniform * width.astype(jnp.float32)).astype(jnp.int32), width - 1)
    chosen = present.at(place * each + jnp.minimum(place, longer) + within, kind)
    drawn = jnp.where(width > 0, _at(weights, chosen), 0)
    if labels is not None:
        drawn = drawn * jnp.maximum(count / quota, 1).astype(drawn.dtype)
    return jax.tree.map(lambda a: _at(a, chosen), data), drawn


def _at(a: Array, rows: Array) -> Array:
    """`a[rows]`, in fewer steps where no row is negative."""
    return a.at[rows].get(mode="clip", wrap_negative_indices=False)


def draw_rows(key: PRNGKeyArray, data: PyTree, weights: Array, k: int) -> Int[Array, " k"]:
    """A row for each component, drawn by weight: one that is known to be its own, or one of those not labelled.

    Distinct, but where there are too few rows of positive weight.
    """
    _, labels = rows_of(data)
    # The largest of log weight plus Gumbel noise: sampling without replacement (Yellott 1977).
    tiny = jnp.finfo(weights.dtype).tiny
    noise = jax.random.gumbel(key, weights.shape, weights.dtype)
    score = jnp.where(weights > 0, jnp.log(jnp.maximum(weights, tiny)) + noise, -jnp.inf)
    known = known_rows(labels, weights, k)
    free = score if known is None else jnp.where(jnp.any(known, 0), jnp.finfo(score.dtype).min, score)
    best, chosen = largest_rows(free, min(k, weights.shape[0]))
    # Not the first of those chosen: on a CPU, all rows would be sorted for a slice of them.
    chosen = jnp.where(best > -jnp.inf, chosen, jnp.argmax(weights).astype(chosen.dtype))
    if len(chosen) < k:
        chosen = chosen[jnp.arange(k) % len(chosen)]
    if known is None:
        return chosen
    own = jnp.argmax(jnp.where(known, score[None], -jnp.inf), 1).astype(chosen.dtype)
    given = jnp.any(known, 1)
    return jnp.where(given, own, chosen[jnp.cumsum(~given) - 1])


def start_at(model: Any, points: PyTree, rows: PyTree, weights: Array) -> Any:
    """Equal weights, and components centred on `points`, each as spread out as the data."""
    members = model.kernel.from_points(points, rows, weights)
    return model.structure.join(model.structure.even(weights.dtype), members)


def _pooled(model: Any, params: Any, pooled: Any, counts: Array) -> Any:
    """Parameters in which components with too few rows to have a spread of their own take the pooled one."""
    return params._replace(components=model.kernel.pool(params.components, pooled.components, counts))


def from_assignment(model: Any, moments: Array, data: PyTree, weights: Array, pooled: PyTree) -> PyTree:
    """The M-step at given responsibilities `[k, n]`, `pooled` parameters for components with too few rows.

    Labels, where known, win over them. The other rows of a component then count for as much as its labelled ones, at
    most: too many that are not its own would carry it off.
    """
    rows, labels = rows_of(data)
    known = known_rows(labels, weights, moments.shape[0])
    shares = moments
    if known is not None:
        labelled = jnp.any(known, 0)[None]
        moments = jnp.where(labelled, known.astype(moments.dtype), moments)
        sure = jnp.sum(jnp.where(known, weights[None], 0), 1, keepdims=True)
        rest = jnp.sum(jnp.where(labelled, 0, moments) * weights[None], 1, keepdims=True)
        share = jnp.where((sure > 0) & (rest > sure), sure / jnp.where(rest > 0, rest, 1), 1)
        shares = jnp.where(labelled, moments, share * moments)
    counts = jnp.sum(moments * weights[None], 1)
    if not model.linear:
        refined = model.kernel.refine(pooled.components, rows, shares * weights[None])
        return _pooled(model, pooled._replace(components=refined), pooled, counts)
    if jnp.finfo(weights.dtype).eps > 1e-10:  # double precision has digits to spare for a start
        model = model.accurate() or model
    model = model.about(pooled)

    def posterior(potentials):
        return model.latent.given(potentials, shares), None

    stats, _ = collect(model, model.natural(pooled), data, weights, posterior)
    if known is not None:
        stats = stats._replace(log_weights=counts)
    return _pooled(model, model.maximize(stats, pooled), pooled, counts)
