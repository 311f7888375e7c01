import math
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.kernels import kalman
from jaxem.kernels.kalman import apply, identity, log_diagonal, product, solve_lower, square, transpose
from jaxem.latent._latent import AbstractLatent


class Entries(NamedTuple):
    """Missing entries `v_t` of observations: `exp(linear^T v + v^T cross z - v^T quadratic v / 2)` at each step.

    An entry whose row and column of `quadratic` are 0 is not hidden.
    """

    quadratic: Float[Array, "... T d d"]
    cross: Float[Array, "... T d q"]
    linear: Float[Array, "... T d"]


class GaussianChainTree(NamedTuple):
    """Potentials of a `GaussianChain`, or their moments.

    With increments `e_1 = z_1` and `e_t = z_t - transition @ z_{t-1}`, the log density is the sum over steps of
    `constant_t + linear_t^T z_t - z_t^T quadratic_t z_t / 2 + drift_t^T e_t`, minus `e_1^T first e_1 / 2`, minus the
    sum over `t > 1` of `e_t^T precision e_t / 2 - e_t^T cross z_{t-1} + z_{t-1}^T past z_{t-1} / 2`. Steps at which
    `present` is 0 lie beyond the end of a chain.
    """

    constant: Float[Array, "... T"]
    present: Float[Array, "... T"]
    first: Float[Array, "... q q"]
    precision: Float[Array, "... q q"]
    cross: Float[Array, "... q q"]
    past: Float[Array, "... q q"]
    drift: Float[Array, "... T q"]
    quadratic: Float[Array, "... T q q"]
    linear: Float[Array, "... T q"]
    entries: Entries | None = None


class _Passes(NamedTuple):
    """A chain in moment form after the forward pass, batch last."""

    filtered: kalman.Filtered
    dynamics: kalman.Dynamics
    change: Array  # [q, q, b], by which the transition differs from that of the increments
    present: Array  # [T, b]
    entries: Any  # inverse quadratic [T, d, d, b], its root, and the entries' potentials
    value: Array  # [b]


@final
class GaussianChain(AbstractLatent):
    """A Gaussian Markov chain `z_1, ..., z_T` with values in `R^q`, in information form.

    Potentials are a `GaussianChainTree` with any leading axes. Moments are its gradient: `E z_t`, `-E z_t z_t^T / 2`,
    `-1/2` times the sum of `E e_t e_t^T`, the sum of `E e_t z_{t-1}^T`, and so on. The log-normalizer is that of a
    forward pass in moment form, the moments those of a backward pass (Rauch, Tung and Striebel 1965): no difference of
    covariances is taken. Potentials that no Gaussian has (a precision that is not positive definite) give NaN.

    **Arguments:**

    - `transition`: `[..., q, q]`, by which increments are taken; 0 if not given. The nearer to the transition of the
        chain itself, the fewer digits are lost. Nothing is differentiated in it.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import GaussianChain, GaussianChainTree
    >>> one, steps = jnp.ones((1, 1, 1)), jnp.ones((1, 3))
    >>> potentials = GaussianChainTree(0 * steps, steps, one, one, 0 * one, 0 * one, 0 * steps[..., None],
    ...                        jnp.ones((1, 3, 1, 1)), steps[..., None])
    >>> moments, log_normalizer = GaussianChain().expectation(potentials)
    >>> moments.linear[0, :, 0].round(3).tolist()
    [0.5, 0.5, 0.5]
    """

    transition: Array | None = None

    def expectation(self, potentials: GaussianChainTree) -> tuple[GaussianChainTree, Array]:
        return _expectation(self._transition(potentials), potentials)

    def mode(self, potentials: GaussianChainTree) -> tuple[GaussianChainTree, Array]:
        moments = self._passed(potentials, None)
        return moments, self.pair(potentials, moments)

    def sample(self, key: PRNGKeyArray, potentials: GaussianChainTree) -> GaussianChainTree:
        return self._passed(potentials, key)

    def _passed(self, potentials, key):
        transition = self._transition(potentials)
        passes = _forward(transition, potentials)
        backward = kalman.reverse(passes.filtered, passes.dynamics)
        if key is None:
            states, _ = kalman.smooth(passes.filtered, backward, passes.present)
            noise = None
        else:
            keys = jax.random.split(key)
            shape = passes.filtered.mean.shape
            drawn = jax.random.normal(keys[0], shape, passes.value.dtype)
            states = kalman.simulate(passes.filtered, backward, passes.present, drawn)
            noise = keys[1]
        return _statistics(states, passes, transition, potentials, noise)

    def pair(self, potentials: GaussianChainTree, moments: GaussianChainTree) -> Array:
        axes = len(_leading(potentials))

        def one(a, b):
            products = jnp.where(b == 0, 0, b * jnp.where(b == 0, 0, a))
            return jnp.sum(products, tuple(range(axes, products.ndim)))

        terms = jax.tree.leaves(jax.tree.map(one, potentials, moments))
        total: Any = sum(terms[1:], terms[0])
        return total

    def filter(self, potentials: GaussianChainTree) -> tuple[Array, Array, Array, Array]:
        """Means `[..., T, q]` and covariances of each state given the factors before it, and up to its own."""
        filtered = _forward(self._transition(potentials), potentials).filtered
        predicted = product(filtered.predicted_root, transpose(filtered.predicted_root))
        found = (filtered.predicted_mean, predicted, filtered.mean, square(filtered.root))
        leading = _leading(potentials)
        return tuple(_first(leading, array) for array in found)  # pyright: ignore[reportReturnType]

    def smooth(self, potentials: GaussianChainTree) -> tuple[Array, Array]:
        """Means `[..., T, q]` and covariances of each state given all factors."""
        passes = _forward(self._transition(potentials), potentials)
        found = kalman.smooth(passes.filtered, kalman.reverse(passes.filtered, passes.dynamics), passes.present)
        leading = _leading(potentials)
        return _first(leading, found[0]), _first(leading, found[1])

    def about(self, potentials: GaussianChainTree, states: Array, covariance: Array) -> GaussianChainTree:
        """Moments of independent states with these means `[..., T, q]` and one covariance `[q, q]`."""
        leading = _leading(potentials)
        transition = _last(leading, self._transition(potentials))[None]
        mean, own = _last(leading, states), jnp.broadcast_to(covariance, (*states.shape, states.shape[-1]))
        own = _last(leading, own)
        moved = product(transition, own[:-1])
        noise = own[1:] + product(moved, transpose(transition))
        there = (_last(leading, potentials.present) != 0).astype(mean.dtype)
        increment = mean[1:] - apply(transition, mean[:-1])
        return _tree(mean, own, increment, noise, -moved, there, None, potentials)

    def _transition(self, potentials):
        like = potentials.precision
        if self.transition is None:
            return jnp.zeros_like(like)
        missing = (1,) * (like.ndim - self.transition.ndim)
        transition = self.transition.reshape(missing + self.transition.shape)
        return jax.lax.stop_gradient(jnp.broadcast_to(transition, like.shape))


def _solve(transition, potentials):
    passes = _forward(transition, potentials)
    backward = kalman.reverse(passes.filtered, passes.dynamics)
    mean, covariance = kalman.smooth(passes.filtered, backward, passes.present)
    moments = _moments(mean, covariance, backward, passes, potentials)
    return moments, passes.value.reshape(_leading(potentials))


_expectation = jax.custom_jvp(_solve)


@_expectation.defjvp
def _(primals, tangents):
    # The derivative of the log-normalizer is the moments; that of the moments is left to JAX.
    transition, potentials = primals
    (moments, value), (change, _) = jax.jvp(lambda p: _solve(transition, p), (potentials,), (tangents[1],))
    return (moments, value), (change, GaussianChain().pair(tangents[1], moments))


# Batch last, and back


def _leading(potentials: GaussianChainTree) -> tuple[int, ...]:
    return potentials.present.shape[:-1]


def _last(leading: tuple[int, ...], a: Array) -> Array:
    return jnp.moveaxis(a.reshape((math.prod(leading), *a.shape[len(leading) :])), 0, -1)


def _first(leading: tuple[int, ...], a: Array) -> Array:
    return jnp.moveaxis(a, -1, 0).reshape((*leading, *a.shape[:-1]))


def _forward(transition: Array, potentials: GaussianChainTree) -> _Passes:
    leading = _leading(potentials)
    transition = _last(leading, transition)
    p: GaussianChainTree = jax.tree.map(lambda leaf: _last(leading, leaf), potentials)
    q = p.precision.shape[0]
    there = (p.present != 0).astype(p.constant.dtype)
    follows = jnp.concatenate([there[1:], jnp.zeros_like(there[:1])])

    quadratic, linear, value, entries = p.quadratic, p.linear, p.constant, None
    if p.entries is not None:
        own, cross, push = p.entries
        hidden = jnp.diagonal(own, axis1=1, axis2=2) != 0  # [T, b, d]
        hidden = jnp.moveaxis(hidden, -1, 1)[:, :, None]
        root, inverse = kalman.inverse_root(own + jnp.where(hidden, 0, 1).astype(own.dtype) * identity(own))
        entries = (root, inverse, cross, push)
        pulled = product(transpose(cross), inverse)
        quadratic, linear = quadratic - product(pulled, cross), linear + apply(pulled, push)
        count = jnp.sum(hidden, (1, 2)).astype(value.dtype)
        value = value + jnp.sum(push * apply(inverse, push), 1) / 2 + count / 2 * math.log(2 * math.pi)
        value = value - log_diagonal(root)

    first_root, first = kalman.inverse_root(p.first)
    root, noise = kalman.inverse_root(p.precision)
    change = product(noise, p.cross)
    drift = p.drift * there[:, None]
    start, later = apply(first, drift[0]), drift[1:]
    offset = apply(noise[None], later)
    # What is left of a pair of states once the later one is normalised weighs the earlier one.
    left = p.past - product(transpose(p.cross), change)
    quadratic = quadratic + follows[:, None, None] * left[None]
    back = apply(transpose(change)[None], later)
    linear = linear + jnp.concatenate([back, jnp.zeros_like(linear[:1])])
    normal = jnp.concatenate([log_diagonal(first_root)[None], there[1:] * log_diagonal(root)[None]])
    shift = jnp.concatenate([start[None], offset])
    value = value * there + (there * q / 2) * math.log(2 * math.pi) - normal + jnp.sum(shift * drift, 1) / 2

    dynamics = kalman.Dynamics(transition + change, noise, root, offset)
    here = there[:, None]
    filtered = kalman.filter(start, first, dynamics, quadratic * here[:, None], linear * here, there)
    return _Passes(filtered, dynamics, change, there, entries, jnp.sum(value + filtered.log_normalizer, 0))


def _moments(mean, covariance, backward, passes, potentials) -> GaussianChainTree:
    """The moments of the potentials, from means and covariances of the states."""
    filtered, dynamics, change, there, entries, _ = passes
    gain, left, shrink = backward
    spread = square(left)
    a = dynamics.transition[None]
    past, later = covariance[:-1], covariance[1:]
    # The innovation is `shrink` times what the next state has of surprise, minus what the state before has of its own.
    surprise = apply(shrink, mean[1:] - filtered.predicted_mean[1:])
    noise = product(product(shrink, later), transpose(shrink)) + product(product(a, spread), transpose(a))
    tied = product(product(shrink, later), transpose(gain)) - product(a, spread)
    d = change[None]
    both = product(tied, transpose(d))
    increment = surprise + apply(d, mean[:-1]) + dynamics.offset
    noise = noise + both + transpose(both) + product(product(d, past), transpose(d))
    tied = tied + product(d, past)
    return _tree(mean, covariance, increment, noise, tied, there, _entries(mean, covariance, entries), potentials)


def _statistics(states, passes, transition, potentials, key) -> GaussianChainTree:
    """The statistics of given states; missing entries are drawn, or at their mean without a `key`."""
    transition = _last(_leading(potentials), transition)
    increment = states[1:] - apply(transition[None], states[:-1])
    q, b = states.shape[1:]
    zero = jnp.zeros((states.shape[0], q, q, b), states.dtype)
    entries = None if passes.entries is None else _entries(states, None, passes.entries, key)
    return _tree(states, zero, increment, zero[1:], zero[1:], passes.present, entries, potentials)


def _tree(mean, covariance, increment, noise, tied, there, entries, potentials) -> GaussianChainTree:
    leading = _leading(potentials)
    follows = there[1:, None]
    second = covariance + _outer(mean, mean)
    by_pair = (
        -(noise + _outer(increment, increment)) / 2,
        tied + _outer(increment, mean[:-1]),
        -second[:-1] / 2,
    )
    by_pair = [jnp.sum(follows[:, None] * term, 0) for term in by_pair]
    increments = jnp.concatenate([mean[:1], increment]) * there[:, None]
    found = GaussianChainTree(
        there,
        jnp.zeros_like(there),
        -second[0] / 2,
        by_pair[0],
        by_pair[1],
        by_pair[2],
        increments,
        -second / 2 * there[:, None, None],
        mean * there[:, None],
        entries,
    )
    return jax.tree.map(lambda leaf: _first(leading, leaf), found)


def _entries(mean, covariance, entries, key=None) -> Entries | None:
    """Moments of missing entries given those of the states; of one draw without a covariance."""
    if entries is None:
        return None
    root, inverse, cross, push = entries
    slope = product(inverse, cross)
    centre = apply(inverse, push) + apply(slope, mean)
    if covariance is None:
        if key is not None:
            noise = jax.random.normal(key, centre.shape, centre.dtype)
            centre = centre + apply(transpose(solve_lower(root, identity(root))), noise)
        spread = tied = jnp.zeros((), centre.dtype)
    else:
        tied = product(slope, covariance)
        spread = inverse + product(tied, transpose(slope))
    quadratic = -(spread + _outer(centre, centre)) / 2
    return Entries(quadratic, tied + _outer(centre, mean), centre)


def _outer(a: Array, b: Array) -> Array:
    return a[..., :, None, :] * b[..., None, :, :]
