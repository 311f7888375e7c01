from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem.latent._latent import AbstractChoice, AbstractLatent


class NestedTree(NamedTuple):
    """Potentials or moments of a discrete structure (`outer`), and of what is hidden given each of its states."""

    outer: PyTree
    inner: PyTree


@final
class Nested(AbstractLatent):
    """A discrete structure, and given its state hidden variables of each observation.

    The log-normalizer of the inner structure, `[k, n, ...]`, adds to the outer potentials of the state; the inner
    moments are those given the state, times its probability.

    **Arguments:**

    - `outer`: the discrete structure, such as `Categorical()`.
    - `inner`: the structure that is hidden in each state.

    **Example**

    >>> from jaxem.latent import Categorical, Nested
    >>> Nested(Categorical(), Categorical()).outer
    Categorical()
    """

    outer: AbstractChoice
    inner: AbstractLatent

    @property
    def lacks(self):
        return (*self.outer.lacks, *self.inner.lacks)

    def expectation(self, potentials: NestedTree) -> tuple[NestedTree, Array]:
        inner, value = self.inner.expectation(potentials.inner)
        outer, total = self.outer.expectation(self.outer.attach(potentials.outer, value))
        return NestedTree(outer, self.inner.scale(inner, self.outer.local(outer))), total

    def mode(self, potentials: NestedTree) -> tuple[NestedTree, Array]:
        inner, value = self.inner.mode(potentials.inner)
        outer, total = self.outer.mode(self.outer.attach(potentials.outer, value))
        return NestedTree(outer, self.inner.scale(inner, self.outer.local(outer))), total

    def sample(self, key, potentials: NestedTree) -> NestedTree:
        choose, draw = jax.random.split(key)
        value = self.inner.log_normalizer(potentials.inner)
        outer = self.outer.sample(choose, self.outer.attach(potentials.outer, value))
        inner = self.inner.sample(draw, potentials.inner)
        return NestedTree(outer, self.inner.scale(inner, self.outer.local(outer)))

    def weigh(self, moments: NestedTree, weights: Array) -> NestedTree:
        local = self.outer.local(moments.outer)
        spread = weights.reshape((1, -1) + (1,) * (local.ndim - 2))
        inner = self.inner.scale(moments.inner, jnp.broadcast_to(spread, local.shape))
        return NestedTree(self.outer.weigh(moments.outer, weights), inner)

    def pair(self, potentials: NestedTree, moments: NestedTree) -> Array:
        inner = self.inner.pair(potentials.inner, moments.inner)
        inner = jnp.sum(inner, (0, *range(2, inner.ndim)))
        return self.outer.pair(potentials.outer, moments.outer) + inner

    def entropy(self, moments: NestedTree) -> Array:
        """Entropy of the discrete structure alone."""
        return self.outer.entropy(moments.outer)

    def given(self, potentials: NestedTree, moments: Array) -> NestedTree:
        inner, _ = self.inner.expectation(potentials.inner)
        return NestedTree(self.outer.given(potentials.outer, moments), self.inner.scale(inner, moments))
