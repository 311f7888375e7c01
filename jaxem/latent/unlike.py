from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem.latent._latent import AbstractLatent


class UnlikeTree(NamedTuple):
    """Potentials or moments of the members alone, and those of what each of them hides (`()` where it is nothing)."""

    member: Array
    hidden: tuple[PyTree, ...]


@final
class Unlike(AbstractLatent):
    """Members that hide different things of an observation, for `Nested`: one structure for each of them.

    Leaves have leading axes `[k, n]` in `member`, and `[1, n]` in what a member hides.

    **Arguments:**

    - `members`: the structure of each member, `None` for those that hide nothing.

    **Example**

    >>> from jaxem.latent import GammaScale, Unlike
    >>> Unlike((None, GammaScale())).lacks
    ()
    """

    members: tuple[AbstractLatent | None, ...]

    @property
    def lacks(self):
        return tuple(name for latent in self.members if latent is not None for name in latent.lacks)

    def expectation(self, potentials: UnlikeTree) -> tuple[UnlikeTree, Array]:
        found = [None if latent is None else latent.expectation(own) for latent, own in self._each(potentials)]
        return self._joined(potentials, found)

    def mode(self, potentials: UnlikeTree) -> tuple[UnlikeTree, Array]:
        found = [None if latent is None else latent.mode(own) for latent, own in self._each(potentials)]
        return self._joined(potentials, found)

    def sample(self, key: PRNGKeyArray, potentials: UnlikeTree) -> UnlikeTree:
        keys = jax.random.split(key, len(self.members))
        drawn = [() if latent is None else latent.sample(keys[j], own) for j, latent, own in self._numbered(potentials)]
        return UnlikeTree(jnp.ones_like(potentials.member), tuple(drawn))

    def pair(self, potentials: UnlikeTree, moments: UnlikeTree) -> Array:
        there = moments.member != 0
        own = jnp.where(there, jnp.where(there, potentials.member, 0) * moments.member, 0)
        values = [
            None if latent is None else latent.pair(before, after)
            for (latent, before), after in zip(self._each(potentials), moments.hidden, strict=True)
        ]
        return own + self._stacked(own, values)

    def scale(self, moments: UnlikeTree, factor: Array) -> UnlikeTree:
        hidden = [
            () if latent is None else latent.scale(own, factor[j : j + 1]) for j, latent, own in self._numbered(moments)
        ]
        return UnlikeTree(super().scale(moments.member, factor), tuple(hidden))

    def _each(self, tree: UnlikeTree):
        return list(zip(self.members, tree.hidden, strict=True))

    def _numbered(self, tree: UnlikeTree):
        return [(j, latent, own) for j, (latent, own) in enumerate(self._each(tree))]

    def _joined(self, potentials, found):
        hidden = tuple(() if one is None else one[0] for one in found)
        values = self._stacked(potentials.member, [None if one is None else one[1] for one in found])
        return UnlikeTree(jnp.ones_like(potentials.member), hidden), potentials.member + values

    def _stacked(self, like, values):
        return jnp.concatenate([jnp.zeros_like(like[:1]) if value is None else value for value in values], 0)
