from abc import abstractmethod
from collections.abc import Callable
from functools import reduce as fold
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem.kernels.linalg import trailing


class AbstractLatent(eqx.Module):
    """The exponential family of the hidden variables, with the potentials as its natural parameters.

    A structure needs `log_normalizer`, or `expectation`, alone. All methods work on a block of observations at once and
    return one value per observation. Moments are the gradient of the log-normalizer with respect to the potentials and
    have their structure.

    What is hidden in each state of a discrete structure (see `Nested`) has leading axes `[k, n, ...]` where an
    observation alone has `[n]`; methods return values of the shape of the leading axes. A structure that puts them last
    says so by `map_rows`.
    """

    def __check_init__(self):
        own = type(self)
        if own.log_normalizer is AbstractLatent.log_normalizer and own.expectation is AbstractLatent.expectation:
            raise TypeError(f"{own.__name__} defines neither `log_normalizer` nor `expectation`: it takes one of them")

    @property
    def lacks(self) -> tuple[str, ...]:
        """Which of `expectation`, `mode` and `sample` the structure does not have."""
        own = type(self)
        return tuple(name for name in ("mode", "sample") if getattr(own, name) is getattr(AbstractLatent, name))

    def log_normalizer(self, potentials: PyTree) -> Array:
        """The log-normalizer of each observation. All else follows from it, but for `mode` and `sample`."""
        return self.expectation(potentials)[1]

    def expectation(self, potentials: PyTree) -> tuple[PyTree, Array]:
        """Posterior moments, and the log-normalizer of each observation.

        The moments are the gradient of the log-normalizer; a structure that has both in one pass defines this.
        """
        value, pull = jax.vjp(self.log_normalizer, potentials)
        return pull(jnp.ones_like(value))[0], value

    def mode(self, potentials: PyTree) -> tuple[PyTree, Array]:
        """Sufficient statistics of the most probable value, and its potential; for hard EM."""
        raise MissingCapabilityError(f"{type(self).__name__} does not say which value is most probable: define `mode`")

    def sample(self, key: PRNGKeyArray, potentials: PyTree) -> PyTree:
        """Sufficient statistics of one draw for each observation; for stochastic and Monte Carlo EM."""
        raise MissingCapabilityError(f"{type(self).__name__} does not say how to draw a value: define `sample`")

    def average(self, key: PRNGKeyArray, potentials: PyTree, draws: Any, most: int) -> PyTree:
        """Mean sufficient statistics of `draws` draws, a number or a traced integer, at most `most`."""
        if isinstance(draws, int) and draws == 1:
            return self.sample(jax.random.fold_in(key, 0), potentials)

        def add(j, total):
            return jax.tree.map(jnp.add, total, self.sample(jax.random.fold_in(key, j), potentials))

        shapes = jax.eval_shape(self.sample, key, potentials)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        total = jax.lax.fori_loop(0, draws, add, zeros)
        return jax.tree.map(lambda leaf: leaf / jnp.asarray(draws).astype(leaf.dtype), total)

    def pair(self, potentials: PyTree, moments: PyTree) -> Array:
        """Inner product of potentials and moments, for each observation (`0 * -inf` is 0)."""
        axes = jax.eval_shape(self.log_normalizer, potentials).ndim

        def one(p: Array, m: Array) -> Array:
            product = jnp.where(m == 0, 0, m * jnp.where(m == 0, 0, p))
            return jnp.sum(product, tuple(range(axes, product.ndim)))

        return fold(jnp.add, jax.tree.leaves(jax.tree.map(one, potentials, moments)))

    def weigh(self, moments: PyTree, weights: Array) -> PyTree:
        """Moments times the weight of their observation, the leading axis."""
        return self.scale(moments, weights)

    def scale(self, moments: PyTree, factor: Array) -> PyTree:
        """Moments times a factor for each of their leading axes; for structures that put others first, override."""
        return scale(moments, factor)

    def map_rows(self, fn: Callable[[Array, int], Array], tree: PyTree) -> PyTree:
        """A tree of potentials or moments for `[k, n]` with `fn(leaf, axis of the rows)` in the place of each leaf."""
        return jax.tree.map(lambda leaf: fn(leaf, 1), tree)

    def entropy(self, moments: PyTree) -> Array:
        """Entropy of the distribution with these moments, for each observation, in nats."""
        raise MissingCapabilityError(
            f"{type(self).__name__} is not discrete, and an entropy that counts states is for discrete latents alone"
        )


class AbstractChoice(AbstractLatent):
    """A discrete structure that chooses one of `k` states for each row of a table.

    Its `local` potentials and moments, one for each state and row, are an array `[k, n, ...]`.
    """

    @abstractmethod
    def attach(self, potentials: PyTree, value: Array) -> PyTree:
        """Potentials with `value` `[k, n, ...]` added to the local ones."""

    @abstractmethod
    def local(self, moments: PyTree) -> Array:
        """The probability of each state in each row, `[k, n, ...]`."""

    def given(self, potentials: PyTree, moments: Array) -> PyTree:
        """Moments where the probabilities of the states, `[k, n]`, are given."""
        raise MissingCapabilityError(f"{type(self).__name__} has more moments than the probabilities of its states")


def scale(moments: PyTree, factor: Array) -> PyTree:
    """Moments times a factor for each of their leading axes; a factor of 0 wins over what is not finite."""

    def one(leaf: Any) -> Array:
        spread = jnp.broadcast_to(trailing(factor, leaf), leaf.shape)
        return jnp.where(spread == 0, jnp.zeros_like(leaf), leaf * spread)

    return jax.tree.map(one, moments)
