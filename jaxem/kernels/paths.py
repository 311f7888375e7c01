"""Single paths of a Markov chain: the most probable one, and draws. Arrays are those of `forward_backward`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxem.kernels import exclusion
from jaxem.kernels.forward_backward_log import Marginals, differs, filter_log, pairwise_sum
from jaxem.kernels.linalg import einsum


def viterbi(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> tuple[Int[Array, "T n"], Float[Array, " n"]]:
    """The most probable path and its log potential (Viterbi 1967). After its end a sequence stays where it was."""
    k = initial.shape[0]
    states = jnp.arange(k, dtype=jnp.int32)

    def settle(score):
        top = jnp.max(score, 0)
        return score - jnp.where(exclusion.possible(top), top, 0)[None], top

    score, top = settle(initial + local[0])
    each = transition if differs(transition) else None

    def forward(score, x):
        local, ended, onward = x
        reached = score[:, None] + (transition if onward is None else onward)
        new, top = settle(jnp.max(reached, 0) + local)
        came = jnp.argmax(reached, 0).astype(jnp.int32)
        if ended is not None:
            new, top = jnp.where(ended[None], score, new), jnp.where(ended, 0, top)
            came = jnp.where(ended[None], states[:, None], came)
        return new, (came, top)

    rest = None if ended is None else ended[1:]
    score, (came, tops) = jax.lax.scan(forward, score, (local[1:], rest, each))
    last = jnp.argmax(score, 0).astype(jnp.int32)

    def backward(state, came):
        previous = jnp.take_along_axis(came, state[None], 0)[0]
        return previous, previous

    _, earlier = jax.lax.scan(backward, last, came, reverse=True)
    value = exclusion.or_minus_infinity(pairwise_sum(jnp.concatenate([top[None], tops])))
    return jnp.concatenate([earlier, last[None]]), value


def draw_path(
    key: PRNGKeyArray,
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> tuple[Int[Array, "T n"], Float[Array, " n"]]:
    """One draw of the path of each sequence, filtered forwards and drawn backwards (Chib 1996), and the
    log-normalizer."""
    filtered, _, scale = filter_log(initial, transition, local, ended)
    noise = jax.random.gumbel(key, local.shape, local.dtype)
    last = jnp.argmax(filtered[-1] + noise[-1], 0).astype(jnp.int32)
    each = transition if differs(transition) else None

    def step(state, x):
        filtered, noise, ended, matrix = x
        onward = jnp.take_along_axis(transition if matrix is None else matrix, state[None, None], 1)[:, 0]
        if ended is not None:
            onward = jnp.where(ended[None], 0, onward)
        state = jnp.argmax(filtered + onward + noise, 0).astype(jnp.int32)
        return state, state

    rest = None if ended is None else ended[1:]
    _, earlier = jax.lax.scan(step, last, (filtered[:-1], noise[:-1], rest, each), reverse=True)
    return jnp.concatenate([earlier, last[None]]), pairwise_sum(scale)


def path_entropy(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> Float[Array, " n"]:
    """Entropy of the path of each sequence, by a recursion without differences of large numbers (Hernando, Crespi and
    Cybenko 2005)."""
    filtered = filter_log(initial, transition, local, ended)[0]
    each = transition if differs(transition) else None

    def step(before, x):
        # The entropy of the path so far, given the state of a step.
        filtered, ended, onward = x
        joint = filtered[:, None] + (transition if onward is None else onward)
        total = jax.nn.logsumexp(joint, 0)
        share = jnp.exp(joint - jnp.where(total > -jnp.inf, total, 0)[None])
        new = jnp.sum(share * before[:, None] + jax.scipy.special.entr(share), 0)
        return new if ended is None else jnp.where(ended[None], before, new), None

    rest = None if ended is None else ended[1:]
    before, _ = jax.lax.scan(step, jnp.zeros_like(initial), (filtered[:-1], rest, each))
    share = jnp.exp(filtered[-1])
    return jnp.sum(share * before + jax.scipy.special.entr(share), 0)


def of_path(
    path: Int[Array, "T n"],
    k: int,
    ended: Bool[Array, "T n"] | None,
    possible: Bool[Array, " n"],
    like: Array,
    by_step: bool = False,
) -> Marginals:
    """The statistics of a path: the indicators of its states, and its transitions counted (in each step alone, if
    `by_step`)."""
    here = (path[:, None] == jnp.arange(k, dtype=path.dtype)[None, :, None]) & possible[None, None]
    if ended is not None:
        here = here & ~ended[:, None]
    here = here.astype(like.dtype)
    if by_step:
        return Marginals(here[0], here[:-1, :, None] * here[1:, None], here)
    return Marginals(here[0], einsum("tin,tjn->ijn", here[:-1], here[1:]), here)
