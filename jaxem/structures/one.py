"""One member: every row comes from it."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._conjugate import PriorsConjugate
from jaxem._paths import leaf_name
from jaxem.latent import NestedTree
from jaxem.structures._structure import AbstractStructure, first_leaf


@final
class One(AbstractStructure):
    """A single member, whose parameters lack the leading axis but for those that `shared` names.

    Natural parameters, statistics and posteriors keep it.
    """

    shared: tuple[str, ...] = eqx.field(static=True, default=())

    members: ClassVar[str] = ""

    @property
    def num_members(self) -> int:
        return 1

    def natural(self, own):
        return ()

    def joint(self, natural, members, hidden, data):
        if hidden is None:
            return members
        leaf = first_leaf(members)
        return NestedTree(jnp.zeros((1, leaf.shape[1]), leaf.dtype), members)

    def maximize(self, stats, own, frozen):
        return ()

    def conjugate(self):
        return PriorsConjugate(())

    def unconstrain(self, own):
        return ()

    def constrain(self, free):
        return ()

    def start(self, key, weights, data):
        return ()

    def permuted(self, own, order):
        return ()

    def split(self, params: PyTree) -> tuple[tuple[()], PyTree]:
        return (), self._mapped(params, lambda leaf: leaf[None])

    def join(self, own: Any, members: PyTree) -> PyTree:
        return self._mapped(members, lambda leaf: leaf[0])

    def split_natural(self, natural):
        return (), natural

    def join_natural(self, own, members):
        return members

    def join_posterior(self, own, members):
        return members

    def _mapped(self, tree: PyTree, fn: Any) -> PyTree:
        def one(path, leaf: Array) -> Array:
            return leaf if leaf_name(path) in self.shared else fn(leaf)

        return jax.tree_util.tree_map_with_path(one, tree)
