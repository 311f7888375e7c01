"""Latents made of others: one within another, side by side, or of members of unlike families."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem.latent._latent import AbstractChoice, AbstractLatent


class SeveralTree(NamedTuple):
    """Potentials or moments of the member alone, `[k, n]`, and those of what is hidden (`()` where it is nothing)."""

    member: Array
    hidden: tuple[PyTree, ...]


class AbstractSeveral(AbstractLatent):
    """Several structures for `Nested`, each with leaves of its own; `None` in the place of one that hides nothing."""

    structures: eqx.AbstractVar[tuple[AbstractLatent | None, ...]]

    @abstractmethod
    def combine(self, like: Array, values: Sequence[Array | None]) -> Array:
        """The value of each observation, of the shape of `like`, from those of the structures."""

    @abstractmethod
    def factor_of(self, factor: Array, j: int) -> Array:
        """Of a factor for all observations, what the leading axes of structure `j` take."""

    @property
    def lacks(self):
        return tuple(name for latent in self.structures if latent is not None for name in latent.lacks)

    def expectation(self, potentials: SeveralTree) -> tuple[SeveralTree, Array]:
        return self._joined(potentials, self._each(lambda latent, own: latent.expectation(own), potentials.hidden))

    def mode(self, potentials: SeveralTree) -> tuple[SeveralTree, Array]:
        return self._joined(potentials, self._each(lambda latent, own: latent.mode(own), potentials.hidden))

    def sample(self, key: PRNGKeyArray, potentials: SeveralTree) -> SeveralTree:
        keys = list(jax.random.split(key, len(self.structures)))
        drawn = self._each(lambda latent, key, own: latent.sample(key, own), keys, potentials.hidden)
        return SeveralTree(jnp.ones_like(potentials.member), _trees(drawn))

    def pair(self, potentials: SeveralTree, moments: SeveralTree) -> Array:
        there = moments.member != 0
        own = jnp.where(there, jnp.where(there, potentials.member, 0) * moments.member, 0)
        values = self._each(lambda latent, a, b: latent.pair(a, b), potentials.hidden, moments.hidden)
        return own + self.combine(own, values)

    def scale(self, moments: SeveralTree, factor: Array) -> SeveralTree:
        factors = [self.factor_of(factor, j) for j in range(len(self.structures))]
        hidden = self._each(lambda latent, own, factor: latent.scale(own, factor), moments.hidden, factors)
        return SeveralTree(super().scale(moments.member, factor), _trees(hidden))

    def map_rows(self, fn: Callable[[Array, int], Array], tree: SeveralTree) -> SeveralTree:
        hidden = self._each(lambda latent, own: latent.map_rows(fn, own), tree.hidden)
        return SeveralTree(fn(tree.member, 1), _trees(hidden))

    def _each(self, fn: Callable[..., Any], *trees: Sequence[Any]) -> list[Any]:
        pairs = zip(self.structures, *trees, strict=True)
        return [None if latent is None else fn(latent, *own) for latent, *own in pairs]

    def _joined(self, potentials: SeveralTree, found: Sequence[Any]) -> tuple[SeveralTree, Array]:
        moments = [None if one is None else one[0] for one in found]
        values = self.combine(potentials.member, [None if one is None else one[1] for one in found])
        return SeveralTree(jnp.ones_like(potentials.member), _trees(moments)), potentials.member + values


def _trees(found: Sequence[Any]) -> tuple[PyTree, ...]:
    return tuple(() if one is None else one for one in found)


@final
class Independent(AbstractSeveral):
    """Several things that are hidden of an observation at once, for `Nested`: independent given its member.

    Potentials and moments are a `SeveralTree`, all of whose leaves have leading axes `[k, n]`. The log-normalizer is
    the sum of those of the structures.

    **Arguments:**

    - `structures`: one for each; `None` for what hides nothing.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import GammaScale, GammaScaleTree, Independent, SeveralTree
    >>> zero = jnp.zeros((1, 1))
    >>> scale = GammaScaleTree(zero, zero + 2, zero + 0.5, zero)
    >>> latent = Independent((GammaScale(), GammaScale()))
    >>> alone, both = GammaScale().log_normalizer(scale), latent.log_normalizer(SeveralTree(zero, (scale, scale)))
    >>> bool(jnp.allclose(both, 2 * alone))
    True
    """

    structures: tuple[AbstractLatent | None, ...]

    def combine(self, like, values):
        return sum((value for value in values if value is not None), jnp.zeros_like(like))

    def factor_of(self, factor, j):
        return factor


@final
class Unlike(AbstractSeveral):
    """Members that hide different things of an observation, for `Nested`: one structure for each of them.

    Potentials and moments are a `SeveralTree`, whose leaves have leading axes `[k, n]` in `member`, and `[1, n]` in
    what a member hides.

    **Arguments:**

    - `structures`: that of each member, `None` for those that hide nothing.

    **Example**

    >>> from jaxem.latent import GammaScale, Unlike
    >>> Unlike((None, GammaScale())).lacks
    ()
    """

    structures: tuple[AbstractLatent | None, ...]

    def combine(self, like, values):
        return jnp.concatenate([jnp.zeros_like(like[:1]) if value is None else value for value in values], 0)

    def factor_of(self, factor, j):
        return factor[j : j + 1]


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
