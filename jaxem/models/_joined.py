"""A structure joined to a family: all delegation, once."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractLinearModel, has_entries, unreduced
from jaxem.engine.door import for_question, for_start, question
from jaxem.families import AbstractFamily
from jaxem.families.kernels.kept import kept
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.models._joined_conjugate import JoinedConjugate
from jaxem.models._members import fill
from jaxem.structures._structure import AbstractStructure, Prepared, nested
from jaxem.structures.labelled import Labelled
from jaxem.structures.weights import Weights


class AbstractJoined(AbstractLinearModel):
    """A model in which a structure says which member of a family each row comes from.

    The structure and the kernel of the family know nothing of each other; what concerns both is here.
    """

    @property
    @abstractmethod
    def structure(self) -> AbstractStructure:
        """Which member each row comes from."""

    @property
    @abstractmethod
    def kernel(self) -> Any:
        """The kernel of the family of the members."""

    # Fields of those who inherit

    @property
    def _frozen(self) -> tuple[str, ...]:
        return self.frozen  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def _start(self) -> AbstractInit:
        return self.start  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def distribution(self) -> AbstractFamily:
        """The family that the distribution of a row belongs to."""
        return self.kernel.family

    @property
    def latent(self):
        return nested(self.structure.choice, self.kernel.latent)

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.structure.linear and self.distribution.linear

    def on(self, structure: AbstractStructure, kernel: Any) -> "Bound":
        """This model with another structure and kernel."""
        return Bound(structure, kernel, self._frozen, self._start)

    def rows(self, data: PyTree) -> PyTree:
        """The rows of the table in `data`, as the family takes them."""
        return self.distribution.read(self.structure.rows(data))

    # The map

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

    def log_base(self, data):
        return self.structure.log_bases(data, self.kernel.log_base(self.rows(data)))

    # The maximum

    def maximize(self, stats, params):
        return self._maximized(stats, params, self.kernel.maximize)

    def maximize_expanded(self, stats, params):
        return self._maximized(stats, params, self.kernel.maximize_expanded)

    def _maximized(self, stats: PyTree, params: PyTree, of_members: Any) -> PyTree:
        structure, frozen = self.structure, self._frozen_members()
        (own_stats, member_stats), (own, members) = structure.split_natural(stats), structure.split(params)
        new = structure.maximize(own_stats, own, self._frozen)
        new = tuple(a if name in self._frozen else b for name, a, b in zip(structure.names, own, new, strict=True))
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
        return None if self._frozen or own is None or members is None else JoinedConjugate(self.structure, own, members)

    @property
    def prior_hint(self):
        if self._frozen:
            return (
                f"{', '.join(self._frozen)} is frozen; take it out of `frozen` and give it a prior that says what is "
                "known"
            )
        lacks = self.structure.conjugate() is None
        return self.structure.prior_hint if lacks else self.distribution.prior_hint

    # Coordinates

    def unconstrain(self, params):
        own, members = self.structure.split(params)
        return self.structure.join(self.structure.unconstrain(own), self.distribution.unconstrain(members))

    def constrain(self, free):
        own, members = self.structure.split(free)
        return self.structure.join(self.structure.constrain(own), self.distribution.constrain(members))

    def blocks(self, free):
        own, members = self.structure.split(free)
        (first, undo_own), (rest, undo) = self.structure.blocks(own), self.kernel.blocks(members)
        return [*first, *rest], lambda a: self.structure.join(undo_own(a[: len(first)]), undo(a[len(first) :]))

    def bind(self, data, weights, reduce=unreduced):
        rows, each = self.rows(data), self.structure.row_weights(data, weights)
        structure = self.structure.bind(data, weights, reduce, self._frozen)
        return self.on(structure, self.distribution.bind(rows, each, reduce))

    def encode(self, params):
        own, members = self.structure.split(params)
        return self.structure.join(self.structure.encode(own), self.kernel.encode(members))

    def decode(self, params):
        own, members = self.structure.split(params)
        return self.structure.join(self.structure.decode(own), self.kernel.decode(members))

    # Accuracy

    def about(self, params):
        return self.on(self.structure, self.kernel.about(self.structure.split(params)[1]))

    def translate(self, stats, source: Any):
        own, members = self.structure.split_natural(stats)
        return self.structure.join_natural(own, self.kernel.translate(members, source.kernel))

    def rounding_error(self, params, natural=None):
        known = None if natural is None else self.structure.split_natural(natural)[1]
        return self.kernel.rounding_error(self.structure.split(params)[1], known)

    def accurate(self):
        kernel = self.kernel.accurate()
        return None if kernel is None else self.on(self.structure, kernel)

    def degenerate(self, params):
        own, members = self.structure.split(params)
        return self.kernel.degenerate(members) | self.structure.degenerate(own)

    def floats_per_row(self, params, lanes=1):
        own, members = jax.eval_shape(self.structure.split, params)
        shared, each = self.kernel.floats_per_row(members)
        return self.structure.floats_per_row(own, shared, each, lanes)

    # Starts

    def init(self, key, data, weights=None):
        data, weights = for_start(data, weights)
        rows, each = self.rows(data), self.structure.row_weights(data, weights)
        rows = Labelled(rows, data.labels) if isinstance(data, Labelled) else rows
        # The members start as those of a mixture of all rows. The family's key is another than that of its points.
        k, prior = self.structure.num_members, getattr(self.structure, "prior", None)
        weights_of = Weights(k, None if prior is None else prior.with_mode())
        mixture = Bound(weights_of, self.kernel.for_starts(jax.random.fold_in(key, 1)), (), self._start)
        drawn = self._start(mixture, key, rows, each)
        own = self.structure.start(jax.random.fold_in(key, 2), drawn.weights, data)
        return self.structure.join(own, drawn.components)

    # What users ask of a fitted model

    @question
    def posterior(self, params: PyTree, data: PyTree) -> Float[Array, "n k"]:
        """Responsibilities: the posterior probability of each member, `[n, k]`."""
        return self._shares(params, data).T

    @question
    def predict(self, params: PyTree, data: PyTree) -> Int[Array, " n"]:
        """The most probable member of each row, `[n]`."""
        return jnp.argmax(self._shares(params, data), 0)

    def _shares(self, params: PyTree, data: PyTree) -> Float[Array, "k n"]:
        return self._share(self.expectation(params, data)[0])

    def _share(self, moments: PyTree) -> Array:
        """What of each row is each member's, from the moments of the latent."""
        return self.structure.choice.local(moments if self.distribution.latent is None else moments.outer)

    # Names

    def _frozen_members(self) -> tuple[str, ...] | None:
        """The names of the family's frozen parameters; `None` if all of them are."""
        members = self.structure.members
        if not members:
            return self._frozen
        if members in self._frozen:
            return None
        return tuple(name.removeprefix(f"{members}.") for name in self._frozen if name.startswith(f"{members}."))

    def check_names(self) -> None:
        """Raise an error if the family is none, or `frozen` has a name that no parameter has."""
        members = self.structure.members
        prefix = f"{members}." if members else ""
        names = [*self.structure.names, members, *(prefix + name for name in self.distribution.parameters)]
        for name in self._frozen:
            if name not in names:
                raise ValueError(f"frozen: unknown parameter {name!r}; choose from {', '.join(filter(None, names))}")

    def num_parameters(self, params):
        frozen, members = self._frozen_members(), self.structure.split(params)[1]
        redundant = 0 if frozen is None else self.distribution.redundant(members, frozen)
        return super().num_parameters(params) - redundant

    # The door of data

    def observed(self, data):
        return has_entries(self.rows(data)).astype(jnp.int32)

    @property
    def domains(self) -> Mapping[str, str]:
        prefix = f"{self.structure.members}." if self.structure.members else ""
        of_members = {f"{prefix}{name}": kind for name, kind in self.distribution.domains.items()}
        return {**self.structure.domains, **of_members}

    def require_parameters(self, params: PyTree) -> None:
        """Raise `DataError` for what lacks the family's part of the parameters."""
        members = self.structure.members
        if members and not hasattr(params, members):
            raise DataError(
                f"params must be parameters of {type(self).__name__}, which have {members!r}, got "
                f"{type(params).__name__}: parameters come first, then data"
            )

    def check_shape(self, params, data):
        self.require_parameters(params)
        self.distribution.check_shape(jax.eval_shape(self.structure.split, params)[1], self.rows(data))

    def check_rows(self, data):
        self.distribution.check_rows(self.rows(data))

    def check(self, data, weights):
        self.check_members()
        self.distribution.check(self.rows(data))

    def check_members(self) -> None:
        """Raise an error unless the family can have so many members."""
        found, needs, name = self.structure.num_members, self.distribution.num_members, type(self.distribution).__name__
        if needs == 0:
            raise MissingCapabilityError(f"{name} has no parameters to estimate; use it as a member of a OneOf")
        if needs is not None and needs != found:
            each = ", ".join(getattr(self.distribution, "names", ()))
            raise DataError(
                f"{name} has {needs} members ({each}), and the model asks for {found}: it takes one member of each "
                "family, in the order of their names"
            )

    def unusable(self, data):
        return self.distribution.unusable(self.rows(data))

    def impute(self, params: PyTree, data: PyTree, *, key: PRNGKeyArray | None = None, num_draws: int = 1) -> PyTree:
        """The data with their missing entries filled in, by posterior means or, with a `key`, by draws.

        Of the shape of the data, which may be a tree of arrays; draws have a leading axis `num_draws`. For models whose
        family is `jaxem.Incomplete`, `jaxem.families.IncompleteColumns`, `jaxem.Factor`, or a `jaxem.Product` with
        blocks of these, whose other blocks stay as they are. Means are the expected entries given those that are there,
        averaged over the members; they understate the spread of what is missing, which draws show (Rubin 1987).

        **Arguments:**

        - `params`: fitted parameters.
        - `data`: what the model is fitted to, or other rows.
        - `key`, `num_draws`: for so many draws from the distribution of the missing entries given the others.
        """
        if not self.kernel.imputes:
            return self.kernel.impute(params, data)  # says what would
        data, _, params, _ = for_question(self, params, data)
        if key is None:
            return self._imputed(params, data, None)
        return jax.vmap(lambda key: self._imputed(params, data, key))(jax.random.split(key, num_draws))

    @eqx.filter_jit
    def _imputed(self, params, data, key):
        keys: Any = (None, None) if key is None else jax.random.split(key)
        rows, latent, members = self.rows(data), self.latent, self.structure.split(params)[1]
        model: Any = self._scoring(params)
        potentials = model.potentials(model.natural(params), data)
        moments = latent.expectation(potentials)[0] if key is None else latent.sample(keys[0], potentials)
        share = self._share(moments)
        return fill(rows, share.reshape(share.shape[:2]), self.distribution.kernel().impute(members, rows, keys[1]))


@final
class Bound(AbstractJoined):
    """A structure and a kernel, both in coordinates suited to the data: what the engine runs of a model."""

    own: AbstractStructure
    members: Any
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    start: AbstractInit = KMeansPlusPlus()

    @property
    def structure(self) -> AbstractStructure:
        return self.own

    @property
    def kernel(self) -> Any:
        return self.members

    def check_shape(self, params, data):
        """Nothing: what is bound has been through the door."""

    def check_rows(self, data):
        """Nothing, likewise."""
