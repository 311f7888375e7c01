"""Sums over the paths of a Markov chain of `k` states, for many sequences at once.

Arrays have the states first and the sequences last; what belongs to a step is `[T, k, n]`. Transition potentials are
those of every step, `[k, k, n]`, or differ by step: `[T - 1, k, k, n]`, the first of them into the second step. A step
whose entry of `ended` `[T, n]` is true comes after the end of its sequence, and nothing depends on what is there.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem.kernels.branch import refine_if
from jaxem.kernels.chunks import per_device
from jaxem.kernels.devices import sizes
from jaxem.kernels.exclusion import or_zero
from jaxem.kernels.forward_backward_log import Marginals, differs, forward_backward_log, pairwise_sum
from jaxem.kernels.linalg import einsum, matmul

_UNROLLED = 16  # more states than this are multiplied by a matrix product


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def forward_backward(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
    shared: bool = False,
    blocks: int | None = None,
) -> tuple[Marginals, Float[Array, " n"]]:
    """Moments of the chain with these log potentials, and its log-normalizer (Baum et al. 1970).

    The recursions run on probabilities that are scaled at every step. Where a path that matters later has too small a
    share of the probability for the precision (or where a sequence is impossible), they are run again on logarithms.
    The moments are the derivative of the log-normalizer, and have derivatives themselves.

    - `shared`: all sequences have the transition potentials of the first.
    - `blocks`: how many stretches of time are worked on side by side; by default `num_blocks` says.
    """
    steps, k, n = local.shape
    blocks = num_blocks(steps, k, n) if blocks is None else blocks
    default, unsafe = _scaled(initial, transition, local, ended, shared, blocks)
    return refine_if(jnp.any(unsafe), forward_backward_log, default, initial, transition, local, ended)


@forward_backward.defjvp
def _(shared, blocks, primals, tangents):
    run: Any = forward_backward
    out = run(*primals, shared, blocks)
    ended = primals[3]
    _, (d_moments, _) = jax.jvp(lambda a, b, c: forward_backward_log(a, b, c, ended), primals[:3], tangents[:3])
    terms = (jnp.sum(m * t, tuple(range(m.ndim - 1))) for m, t in zip(out[0], tangents[:3], strict=True))
    return out, (d_moments, sum(terms))


def num_blocks(steps: int, k: int, n: int) -> int:
    """How many stretches of time to work on side by side; 1 for one step after the other.

    Stretches cost `k` times the arithmetic, for a number of sequential steps that is the square root of what it was.
    """
    if steps < 64 or k**3 * n > sizes().idle:
        return 1
    return math.isqrt(steps)


# On probabilities


def _scaled(initial, transition, local, ended, shared, blocks):
    """Marginals and log-normalizer, and for each sequence whether they lack digits."""
    steps, k, n = local.shape
    by_step = differs(transition)
    if shared:
        transition = transition[..., :1]
    top = or_zero(jnp.max(local, 1))
    top_initial, top_transition = or_zero(jnp.max(initial, 0)), or_zero(jnp.max(transition, (-3, -2)))
    start = jnp.exp(initial - top_initial[None])
    matrix = jnp.exp(transition - top_transition[..., None, None, :])
    likely = jnp.exp(local - top[:, None])

    length = math.ceil(steps / blocks)
    first = jnp.arange(blocks * length, dtype=jnp.int32) == 0
    over = None if ended is None else ended
    if blocks * length > steps:
        pad = blocks * length - steps
        likely = jnp.pad(likely, ((0, pad), (0, 0), (0, 0)), constant_values=1)
        over = jnp.zeros((steps, n), bool) if over is None else over
        over = jnp.pad(over, ((0, pad), (0, 0)), constant_values=True)
    likely = likely.reshape(blocks, length, k, n).transpose(1, 2, 0, 3)
    over = None if over is None else over.reshape(blocks, length, n).transpose(1, 0, 2)
    first = first.reshape(blocks, length).T[:, :, None]
    if by_step:
        # The first step has no transition; what stands in its place, and beyond the last, is not looked at.
        matrix = jnp.pad(matrix, ((1, blocks * length - steps), (0, 0), (0, 0), (0, 0)), constant_values=1)
        matrix = matrix.reshape(blocks, length, *matrix.shape[1:]).transpose(1, 2, 3, 0, 4)
    else:
        matrix = matrix[:, :, None]  # a lane for each stretch and sequence
    chain = _Chain(start, matrix, likely, first, over)

    origin = jnp.zeros((k, blocks, n), likely.dtype)
    unsafe = jnp.zeros((blocks, n), bool)
    ends = None
    if blocks > 1:
        origin, ends, unsafe = _bounds(chain)
    (last, _, _, lost), (filtered, predicted, scale) = _forward(chain, origin)
    ends = last if ends is None else jnp.concatenate([ends, last[:, -1:]], 1)
    before = jnp.concatenate([origin[None], filtered[:-1]])
    smoothed, products = _backward(chain, ends, before, predicted)

    if by_step:
        pairs = jnp.where(matrix > 0, products * matrix, 0).transpose(3, 0, 1, 2, 4)
        counts = pairs.reshape(blocks * length, k, k, n)[1:steps]
    else:
        counts = jnp.sum(products, 2)
        counts = jnp.where(matrix[:, :, 0] > 0, counts * matrix[:, :, 0], 0)
    smoothed = smoothed.transpose(2, 0, 1, 3).reshape(blocks * length, k, n)[:steps]
    log_scale = jnp.log(jnp.where(scale > 0, scale, 1)).transpose(1, 0, 2).reshape(blocks * length, n)[:steps]
    each = log_scale + top
    if by_step:
        each = each.at[1:].add(top_transition)
    transitions = jnp.full((n,), steps - 1, each.dtype)
    if ended is not None:
        each = jnp.where(ended, 0, each)
        smoothed = jnp.where(ended[:, None], 0, smoothed)
        transitions = jnp.sum(~ended, 0).astype(each.dtype) - 1
    value = pairwise_sum(each) + top_initial
    value = value if by_step else value + transitions * top_transition
    moments = Marginals(smoothed[0], counts, smoothed)
    total = jnp.sum(counts, tuple(range(counts.ndim - 1)))
    unsafe = jnp.any(unsafe | lost, 0) | ~jnp.isfinite(total + jnp.sum(smoothed[0], 0))
    return (moments, value), unsafe


class _Chain(NamedTuple):
    """Factors of the steps of stretches `b` of time, `[length, k, b, n]`."""

    start: Array  # [k, n]
    matrix: Array  # [k, k, 1, n], or [length, k, k, b, n]
    likely: Array
    first: Array  # [length, b, 1]
    over: Array | None  # [length, b, n]

    @property
    def by_step(self) -> bool:
        """Whether the matrix is another one in every step."""
        return self.matrix.ndim == 5

    @property
    def each(self) -> Array | None:
        """The matrices of the steps, where they differ."""
        return self.matrix if self.by_step else None


def _forward(chain: _Chain, origin: Array, keep: bool = True) -> tuple[Any, Any]:
    """From `origin` `[k, ..., b, n]` before each stretch: what it leads to after it, whether digits were lost, and for
    every step to keep the probabilities of the states given the past with and without it, and the scale.

    What is not kept is scaled by powers of two, whose sum is another result."""
    k, lanes = origin.shape[0], origin.shape[1:]
    extra = len(lanes) - 2
    tiny, eps = jnp.finfo(origin.dtype).tiny, jnp.finfo(origin.dtype).eps
    least = tiny / eps

    def spread(a: Array, axes: int) -> Array:
        """Axes for the extra lanes, after the first `axes`."""
        return a.reshape(a.shape[:axes] + (1,) * extra + a.shape[axes:])

    def into(matrix: Array) -> tuple[Array, Array]:
        """The matrix for all lanes, and which states it leads to."""
        matrix = spread(matrix, 2)
        return matrix, jnp.any(matrix > 0, 0)

    start = spread(chain.start[:, None], 1)
    common = None if chain.by_step else into(chain.matrix)

    def step(carry, x):
        state, faint, log, lost = carry
        likely, first, over, own_matrix = x
        matrix, reachable = into(own_matrix) if common is None else common
        first = spread(first, 0)[None]
        predicted = jnp.where(first, start, _times(matrix, state))
        new = predicted * spread(likely, 1)
        scale = jnp.sum(new, 0)
        usable = scale > 16 * tiny
        if keep:
            factor, power = jnp.where(usable, 1 / jnp.where(usable, scale, 1), 0), None
        else:
            factor, power = _to_power_of_two(jnp.where(usable, scale, 1))
        new = new * factor[None]
        # A state that has all but vanished matters if others are reached from it alone.
        harm = faint & ~first[0] & jnp.any(reachable & (predicted < k * least / eps), 0) | ~usable
        new_faint = jnp.any((new < least) & (predicted > 0), 0)
        if over is not None:
            over = spread(over, 0)
            new = jnp.where(over[None], state, new)
            new_faint = jnp.where(over, faint, new_faint)
            scale, harm = jnp.where(over, 1, scale), harm & ~over
            power = None if power is None else jnp.where(over, 0, power)
        log = log if power is None else log + power
        return (new, new_faint, log, lost | harm), ((new, predicted, scale) if keep else None)

    nowhere = jnp.zeros(lanes, bool)
    carry = (origin, nowhere, () if keep else jnp.zeros(lanes, jnp.int32), nowhere)
    carry = per_device(carry, (chain.start, chain.matrix, chain.likely))
    return jax.lax.scan(step, carry, (chain.likely, chain.first, chain.over, chain.each))


def _backward(chain: _Chain, ends: Array, before: Array, predicted: Array) -> tuple[Array, Array]:
    """Probabilities of the states of every step given all of the sequence, and the sums over time of the products
    `[k, k, b, n]` that, times the matrix, are the expected numbers of transitions (or these of each step)."""
    k = ends.shape[0]
    inside = k <= _UNROLLED and not chain.by_step

    def step(carry, x):
        smoothed, products = carry
        before, predicted, first, over, own_matrix = x
        ratio = jnp.where(predicted > 0, smoothed / jnp.where(predicted > 0, predicted, 1), 0)
        ratio = jnp.where(first[None], 0, ratio)
        previous = before * _times(own_matrix if chain.by_step else chain.matrix, ratio, transposed=True)
        if over is not None:
            ratio = jnp.where(over[None], 0, ratio)
            previous = jnp.where(over[None], before, previous)
        if inside:
            products = products + before[:, None] * ratio[None]
        return (previous, products), (smoothed if inside else (smoothed, ratio))

    zeros = jnp.zeros((k, *ends.shape) if inside else (), ends.dtype)
    out: Any
    inputs = (before, predicted, chain.first, chain.over, chain.each)
    (_, products), out = jax.lax.scan(step, per_device((ends, zeros), before), inputs, reverse=True)
    if inside:
        return out, products
    smoothed, ratio = out
    if chain.by_step:
        return smoothed, before[:, :, None] * ratio[:, None]
    return smoothed, einsum("tibn,tjbn->ijbn", before, ratio)


def _bounds(chain: _Chain) -> tuple[Array, Array, Array]:
    """Filtered probabilities `[k, b, n]` before each stretch, smoothed ones `[k, b - 1, n]` after each but the last,
    and whether digits were lost: from the products of the matrices of each stretch."""
    _, k, blocks, n = chain.likely.shape
    dtype = chain.likely.dtype
    eye = jnp.broadcast_to(jnp.eye(k, dtype=dtype)[:, :, None, None], (k, k, blocks, n))
    (after, _, log, lost), _ = _forward(chain, eye, keep=False)  # `after` [to, from, b, n]
    scale = jnp.exp2((log - jnp.max(log, 0, keepdims=True)).astype(dtype))
    across = jnp.moveaxis(after * scale[None], 2, 0)

    def normalized(p):
        total = jnp.sum(p, 0, keepdims=True)
        return p / jnp.where(total > 0, total, 1), total[0]

    def forward(state, across):
        state = normalized(jnp.sum(across * state[None], 1))[0]
        return state, state

    def backward(state, across):
        state = normalized(jnp.sum(across * state[:, None], 0))[0]
        return state, state

    uniform = per_device(jnp.full((k, n), 1 / k, dtype), across)
    _, begin = jax.lax.scan(forward, uniform, across[:-1])
    _, end = jax.lax.scan(backward, uniform, across[1:], reverse=True)
    smoothed, total = normalized(jnp.moveaxis(begin * end, 0, 1))
    tiny, eps = jnp.finfo(dtype).tiny, jnp.finfo(dtype).eps
    lost = jnp.any(lost, 0).at[1:].set(jnp.any(lost, 0)[1:] | (total < tiny / eps**2))
    origin = jnp.concatenate([uniform[:, None], jnp.moveaxis(begin, 0, 1)], 1)
    return origin, smoothed, lost


def _times(matrix: Array, vector: Array, transposed: bool = False) -> Array:
    """`matrix.T @ vector` (or without the transposition) for each lane: `[k, k, ...]` and `[k, ...]`."""
    k = vector.shape[0]
    if matrix.shape[2:] == (1,) * (vector.ndim - 1) and k > _UNROLLED:
        flat = matrix.reshape(k, k)
        return matmul(flat if transposed else flat.T, vector.reshape(k, -1)).reshape(vector.shape)
    axis = 1 if transposed else 0
    if k > _UNROLLED:
        return jnp.sum(matrix * jnp.expand_dims(vector, 1 - axis), axis)
    parts = (
        jax.lax.index_in_dim(matrix, i, axis, keepdims=False) * jax.lax.slice_in_dim(vector, i, i + 1) for i in range(k)
    )
    return sum(parts, jnp.zeros_like(vector))


def _to_power_of_two(x: Array) -> tuple[Array, Array]:
    """A factor that brings positive numbers into [1, 2), and the logarithm to base 2 of its inverse."""
    kind, bits = (jnp.int64, 52) if x.dtype == jnp.float64 else (jnp.int32, 23)
    bias = jnp.asarray((1023 if bits == 52 else 127), kind)
    shift = jnp.asarray(bits, kind)
    power = jax.lax.shift_right_logical(jax.lax.bitcast_convert_type(x, kind), shift) - bias
    factor = jax.lax.bitcast_convert_type(jax.lax.shift_left(bias - power, shift), x.dtype)
    return factor, power.astype(jnp.int32)
