"""Any structure with any family: what `Mixture`, `Single`, `HMM` and `MixtureOfExperts` are short names of."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._bound import scoring
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractBoundModel, has_entries
from jaxem._paths import covers, leaf_name
from jaxem.engine.door import for_question, question
from jaxem.families import AbstractFamily
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.kernels.sums import unreduced
from jaxem.models._joined_bound import JoinedBound
from jaxem.models._members import fill, frozen_members, require_family
from jaxem.structures._structure import AbstractStructure


class AbstractJoined(AbstractBoundModel):
    """A model in which a structure says which member of a family each row comes from.

    The structure and the family know nothing of each other; what concerns both is here, for users, and in
    `JoinedBound`, for the engine.
    """

    @property
    @abstractmethod
    def structure(self) -> AbstractStructure:
        """Which member each row comes from."""

    @property
    @abstractmethod
    def distribution(self) -> AbstractFamily:
        """The family that the distribution of a row belongs to."""

    # Fields of those who inherit, in whatever place of their signature

    @property
    def _frozen(self) -> tuple[str, ...]:
        return self.frozen  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def _start(self) -> AbstractInit:
        return self.start  # pyright: ignore[reportAttributeAccessIssue]

    # What the engine runs

    def bound(self) -> JoinedBound:
        return self._bound(self.structure, self.distribution.kernel())

    def bind(self, data, weights, reduce=unreduced) -> JoinedBound:
        rows, each = self.rows(data), self.structure.row_weights(data, weights)
        structure = self.structure.bind(data, weights, reduce, self._frozen)
        return self._bound(structure, self.distribution.bind(rows, each, reduce))

    def _bound(self, structure: AbstractStructure, kernel: Any) -> JoinedBound:
        return JoinedBound(structure, kernel, self._frozen, self._start, type(self).__name__)

    def rows(self, data: PyTree) -> PyTree:
        """The rows of the table in `data`, as the family takes them."""
        return self.distribution.read(self.structure.rows(data))

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self._frozen:
            return (
                f"{', '.join(self._frozen)} is frozen; take it out of `frozen` and give it a prior that says what is "
                "known"
            )
        lacks = self.structure.conjugate() is None
        return self.structure.prior_hint if lacks else self.distribution.prior_hint

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

    # Members

    @property
    def num_members(self) -> int:
        """How many members the family has here."""
        return self.structure.num_members

    def permuted(self, params: PyTree, order: Int[Array, " k"]) -> PyTree | None:
        """`params` with member `order[j]` in the place of member `j`; `None` if members have places of their own."""
        own, members = self.structure.split(params)
        moved = self.structure.permuted(own, order)
        if moved is None or self.distribution.num_members is not None:
            return None

        def one(path: Any, leaf: Array) -> Array:
            common = any(covers(prefix, leaf_name(path)) for prefix in self.distribution.shared)
            return leaf if common else leaf[order]

        return self.structure.join(moved, jax.tree_util.tree_map_with_path(one, members))

    # Names

    def check_names(self) -> None:
        """Raise an error if the family is none, or `frozen` has a name that no parameter has."""
        members = self.structure.members
        prefix = f"{members}." if members else ""
        names = [*self.structure.names, members, *(prefix + name for name in self.distribution.parameters)]
        for name in self._frozen:
            if name not in names:
                raise ValueError(f"frozen: unknown parameter {name!r}; choose from {', '.join(filter(None, names))}")

    def num_parameters(self, params):
        frozen, members = frozen_members(self.structure, self._frozen), self.structure.split(params)[1]
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
        kernel = self.distribution.kernel()
        if not kernel.imputes:
            return kernel.impute(params, data)  # says what would
        data, _, params, _ = for_question(self, params, data)
        if key is None:
            return self._imputed(params, data, None)
        return jax.vmap(lambda key: self._imputed(params, data, key))(jax.random.split(key, num_draws))

    @eqx.filter_jit
    def _imputed(self, params, data, key):
        keys: Any = (None, None) if key is None else jax.random.split(key)
        rows, latent, members = self.rows(data), self.latent, self.structure.split(params)[1]
        model = scoring(self, params)
        potentials = model.potentials(model.natural(params), data)
        moments = latent.expectation(potentials)[0] if key is None else latent.sample(keys[0], potentials)
        share = self._share(moments)
        return fill(rows, share.reshape(share.shape[:2]), self.distribution.kernel().impute(members, rows, keys[1]))


@final
class Joined(AbstractJoined):
    """A model in which a structure, of your own or of `jaxem.structures`, says which member each row comes from.

    **Arguments:**

    - `structure`: an `AbstractStructure`, such as `jaxem.structures.Weights(3)`.
    - `family`: the distribution of a row, such as `jaxem.Gaussian(...)`.
    - `frozen`: names of parameters kept at their starting value.
    - `start`: how the members of a start are drawn when `fit` is not told: an `AbstractInit`.

    Parameters are what the structure makes them: `structure.params_type`, with those of the members in its last field.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.models.Joined(jaxem.structures.Weights(2), jaxem.Poisson())
    >>> counts = jnp.array([[0.0], [1.0], [0.0], [9.0], [11.0], [10.0]])
    >>> fit = jaxem.fit(model, counts, key=jax.random.key(0), restarts=4)
    >>> model.predict(fit.params, counts).shape
    (6,)
    """

    own: AbstractStructure
    family: AbstractFamily
    frozen: tuple[str, ...] = eqx.field(static=True)
    start: AbstractInit

    def __init__(
        self,
        structure: AbstractStructure,
        family: AbstractFamily,
        frozen: tuple[str, ...] = (),
        start: AbstractInit = KMeansPlusPlus(),  # noqa: B008
    ):
        self.own, self.family, self.frozen, self.start = structure, family, tuple(frozen), start
        if not isinstance(structure, AbstractStructure):
            raise ValueError(f"structure must be such as jaxem.structures.Weights(3), got {structure!r}")
        require_family(family)
        self.check_names()

    @property
    def structure(self) -> AbstractStructure:
        return self.own

    @property
    def distribution(self) -> AbstractFamily:
        return self.family
