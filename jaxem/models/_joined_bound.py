"""What the engine runs of a structure joined to a family: the structure and the family's kernel."""

import dataclasses
from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
from jaxtyping import PyTree

from jaxem._bound import AbstractBound
from jaxem._conjugate import AbstractConjugate
from jaxem._paths import leaves_but
from jaxem.engine.door import for_start
from jaxem.families.kernels.kept import kept
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.chunks import num_rows
from jaxem.models._members import frozen_members
from jaxem.structures._structure import AbstractStructure, Prepared, nested
from jaxem.structures.labelled import Labelled
from jaxem.structures.weights import Weights


@final
class JoinedBound(AbstractBound):
    """A structure and a kernel, both in coordinates suited to the data.

    They know nothing of each other; what concerns both is here. So is what no author need remember: parameters that
    are `frozen`, and members without weight, stay as they are.
    """

    structure: AbstractStructure
    kernel: Any
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()
    title: str = eqx.field(static=True, default="Joined")

    @property
    def name(self) -> str:
        return self.title

    def on(self, kernel: Any) -> "JoinedBound":
        """This model with another kernel."""
        return dataclasses.replace(self, kernel=kernel)

    def rows(self, data: PyTree) -> PyTree:
        """The rows of the table in `data`, as the family takes them."""
        return self.kernel.family.read(self.structure.rows(data))

    def _each(self, tree: PyTree, of_structure: Callable, of_members: Callable) -> PyTree:
        """Parameters, or their coordinates, with a function of each part."""
        own, members = self.structure.split(tree)
        return self.structure.join(of_structure(own), of_members(members))

    # The map

    @property
    def linear(self) -> bool:
        return self.structure.linear and self.kernel.family.linear

    @property
    def latent(self):
        return nested(self.structure.choice, self.kernel.latent)

    def natural(self, params):
        own, members = self.structure.split(params)
        return self.structure.join_natural(self.structure.natural(own), self.kernel.natural(members))

    def prepare(self, natural: PyTree) -> Prepared:
        own, members = self.structure.split_natural(natural)
        constant = None if self.kernel.latent is not None else self.structure.constant(own)
        taken = None if constant is None else self.kernel.add_constant(members, constant)
        if taken is None:
            return Prepared(own, self.kernel.prepare(members))
        return Prepared(None, self.kernel.prepare(taken))

    def potentials(self, natural, data):
        own, members = natural if isinstance(natural, Prepared) else self.prepare(natural)
        return self.structure.joint(own, self.kernel.potentials(members, self.rows(data)), self.kernel.latent, data)

    def potentials_of(self, natural, data, chosen):
        own, members = natural if isinstance(natural, Prepared) else self.prepare(natural)
        return None if own is not None else self.kernel.potentials_of(members, self.rows(data), chosen)

    def log_base(self, data):
        return self.structure.log_bases(data, self.kernel.log_base(self.rows(data)))

    # Rows with gaps

    def integrated(self):
        kernel = self.kernel.integrated()
        return self if kernel is None else self.on(kernel)

    def gaps(self, data):
        if self.structure.sequential:  # its rows stay together
            return None
        found = self.kernel.gaps(self.rows(data))
        return None if found is None or found.shape[0] != num_rows(data) else found

    def laid_out(self, blocks):
        return self.on(self.kernel.laid_out(blocks))

    # The maximum

    def maximize(self, stats, params):
        return self._maximized(stats, params, self.kernel.maximize)

    def maximize_expanded(self, stats, params):
        return self._maximized(stats, params, self.kernel.maximize_expanded)

    def _maximized(self, stats: PyTree, params: PyTree, of_members: Callable) -> PyTree:
        structure, frozen = self.structure, frozen_members(self.structure, self.frozen)
        (own_stats, member_stats), (own, members) = structure.split_natural(stats), structure.split(params)
        new = structure.maximize(own_stats, own, self.frozen)
        new = tuple(a if name in self.frozen else b for name, a, b in zip(structure.names, own, new, strict=True))
        if frozen is not None:
            found = of_members(member_stats, members, frozen)
            members = kept(self.kernel, found, members, frozen, structure.counts(own_stats))
        return structure.join(new, members)

    def log_prior(self, params):
        own, members = self.structure.split(params)
        prior = self.kernel.log_prior(members).astype(jax.tree.leaves(params)[0].dtype)
        of_structure = self.structure.log_prior(own)
        return prior if isinstance(of_structure, int) else prior + of_structure

    def conjugate(self):
        own, members = self.structure.conjugate(), self.kernel.conjugate()
        return None if self.frozen or own is None or members is None else JoinedConjugate(self.structure, own, members)

    # Coordinates

    def unconstrain(self, params):
        return self._each(params, self.structure.unconstrain, self.kernel.family.unconstrain)

    def constrain(self, free):
        return self._each(free, self.structure.constrain, self.kernel.family.constrain)

    def trainable(self, tree):
        return leaves_but(self.frozen, tree)

    def blocks(self, free):
        own, members = self.structure.split(free)
        (first, undo_own), (rest, undo) = self.structure.blocks(own), self.kernel.blocks(members)
        return [*first, *rest], lambda a: self.structure.join(undo_own(a[: len(first)]), undo(a[len(first) :]))

    def encode(self, params):
        return self._each(params, self.structure.encode, self.kernel.encode)

    def decode(self, params):
        return self._each(params, self.structure.decode, self.kernel.decode)

    # Accuracy and speed

    def about(self, params):
        return self.on(self.kernel.about(self.structure.split(params)[1]))

    def translate(self, stats, source: Any):
        own, members = self.structure.split_natural(stats)
        return self.structure.join_natural(own, self.kernel.translate(members, source.kernel))

    def rounding_error(self, params, natural=None):
        known = None if natural is None else self.structure.split_natural(natural)[1]
        return self.kernel.rounding_error(self.structure.split(params)[1], known)

    def accurate(self):
        kernel = self.kernel.accurate()
        return None if kernel is None else self.on(kernel)

    def degenerate(self, params):
        own, members = self.structure.split(params)
        return self.kernel.degenerate(members) | self.structure.degenerate(own)

    def floats_per_row(self, params, lanes=1):
        own, members = jax.eval_shape(self.structure.split, params)
        shared, each = self.kernel.floats_per_row(members)
        return self.structure.floats_per_row(own, shared, each, lanes)

    def for_lanes(self, lanes):
        return self.on(self.kernel.for_lanes(lanes))

    def expanded_per_row(self, params):
        return self.structure.expanded_per_row(
            self.kernel.floats_per_row(jax.eval_shape(self.structure.split, params)[1])[0]
        )

    # Starts

    def init(self, key, data, weights: Any = None):
        data, weights = for_start(data, weights)
        rows, each = self.rows(data), self.structure.row_weights(data, weights)
        rows = Labelled(rows, data.labels) if isinstance(data, Labelled) else rows
        # The members start as those of a mixture of all rows. The family's key is another than that of its points.
        k, prior = self.structure.num_members, getattr(self.structure, "prior", None)
        weights_of = self.structure.starts_as() or Weights(k, None if prior is None else prior.with_mode())
        mixture = JoinedBound(weights_of, self.kernel.for_starts(jax.random.fold_in(key, 1)))
        drawn = self.start(mixture, key, rows, each)
        own = self.structure.start(jax.random.fold_in(key, 2), drawn.weights, data)
        return self.structure.join(own, drawn.components)


@final
class JoinedConjugate(AbstractConjugate):
    """Posteriors of the structure's own parameters and of the members."""

    structure: AbstractStructure
    own: AbstractConjugate
    members: AbstractConjugate

    def posterior(self, stats):
        own, members = self.structure.split_natural(stats)
        return self.structure.join_posterior(self.own.posterior(own), self.members.posterior(members))

    def expected_natural(self, posterior):
        own, members = self.structure.split_natural(posterior)
        expected = self.own.expected_natural(own), self.members.expected_natural(members)
        return self.structure.join_natural(*expected)

    def mean(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join(self.own.mean(own), self.members.mean(members))

    def draw(self, key, posterior):
        own, members = self.structure.split_natural(posterior)
        keys = jax.random.split(key)
        return self.structure.join(self.own.draw(keys[0], own), self.members.draw(keys[1], members))

    def kl(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.own.kl(own) + self.members.kl(members)

    def unconstrain(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join_posterior(self.own.unconstrain(own), self.members.unconstrain(members))

    def constrain(self, free):
        own, members = self.structure.split_natural(free)
        return self.structure.join_posterior(self.own.constrain(own), self.members.constrain(members))

    def encode(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join_posterior(self.own.encode(own), self.members.encode(members))

    def decode(self, posterior):
        own, members = self.structure.split_natural(posterior)
        return self.structure.join_posterior(self.own.decode(own), self.members.decode(members))
