"""What models have in common whose observations come from the members of a family."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._door import for_question
from jaxem._errors import DataError
from jaxem._model import AbstractConjugateModel, has_entries, unreduced
from jaxem.families import AbstractFamily
from jaxem.kernels.linalg import trailing
from jaxem.latent import AbstractChoice, AbstractLatent, Categorical, Nested


class AbstractFamilyModel(AbstractConjugateModel):
    """A model in which each row of a table comes from one of the `k` members of a family.

    Coordinates, accuracy and the hidden variables that a row has of its own are the family's. `members` names the
    field of parameters, natural parameters and statistics that is the family's (`""` if all of them are).
    """

    members: ClassVar[str] = "components"

    @property
    @abstractmethod
    def distribution(self) -> AbstractFamily:
        """The family that the distribution of a row belongs to."""

    @abstractmethod
    def with_family(self, family: AbstractFamily) -> "AbstractFamilyModel":
        """This model with another family of the same parameters."""

    def rows(self, data: PyTree) -> PyTree:
        """The rows of the table in `data`, as the family takes them."""
        return self.distribution.read(data)

    def row_weights(self, data: PyTree, weights: Array) -> Array:
        """The weight of each of `rows(data)`."""
        return weights

    @property
    def choice(self) -> AbstractChoice:
        """The structure that chooses the member of each row."""
        return Categorical()

    @property
    def latent(self) -> AbstractLatent:
        hidden = self.distribution.latent
        return self.choice if hidden is None else Nested(self.choice, hidden)

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.distribution.linear

    def own(self, tree: PyTree) -> PyTree:
        """The family's part of a tree."""
        return getattr(tree, self.members) if self.members else tree

    def put(self, tree: PyTree, own: PyTree) -> PyTree:
        """A tree with another part of the family's."""
        return tree._replace(**{self.members: own}) if self.members else own

    def frozen_members(self) -> tuple[str, ...] | None:
        """The names of the family's frozen parameters; `None` if all of them are."""
        frozen: tuple[str, ...] = getattr(self, "frozen", ())
        if not self.members:
            return frozen
        if self.members in frozen:
            return None
        prefix = f"{self.members}."
        return tuple(name.removeprefix(prefix) for name in frozen if name.startswith(prefix))

    def known_names(self, *own: str) -> None:
        """Raise `ValueError` if the family is none, or `frozen` has a name that is neither its nor one of `own`."""
        require_family(self.distribution)
        prefix = f"{self.members}." if self.members else ""
        names = [*own, self.members, *(prefix + name for name in self.distribution.parameters)]
        for name in getattr(self, "frozen", ()):
            if name not in names:
                raise ValueError(f"frozen: unknown parameter {name!r}; choose from {', '.join(filter(None, names))}")

    def maximize_members(self, stats: PyTree, params: PyTree) -> PyTree:
        """The family's part of the M-step."""
        frozen = self.frozen_members()
        if frozen is None:
            return self.own(params)
        return self.distribution.maximize(self.own(stats), self.own(params), frozen)

    def maximize_expanded(self, stats, params):
        plain, frozen = self.maximize(stats, params), self.frozen_members()
        if frozen is None:
            return plain
        return self.put(plain, self.distribution.maximize_expanded(self.own(stats), self.own(params), frozen))

    def prepare(self, natural):
        return self.put(natural, self.distribution.prepare(self.own(natural)))

    def log_base(self, data):
        return self.distribution.log_base(self.rows(data))

    def bind(self, data, weights, reduce=unreduced):
        return self.with_family(self.distribution.bind(self.rows(data), self.row_weights(data, weights), reduce))

    def encode(self, params):
        return self.put(params, self.distribution.encode(self.own(params)))

    def decode(self, params):
        return self.put(params, self.distribution.decode(self.own(params)))

    def encode_posterior(self, posterior):
        return self.put(posterior, self.distribution.encode_posterior(self.own(posterior)))

    def decode_posterior(self, posterior):
        return self.put(posterior, self.distribution.decode_posterior(self.own(posterior)))

    def at(self, params):
        return self.with_family(self.distribution.at(self.own(params)))

    def translate(self, stats, source: Any):
        return self.put(stats, self.distribution.translate(self.own(stats), source.distribution))

    def loss(self, params, natural=None):
        return self.distribution.loss(self.own(params), None if natural is None else self.own(natural))

    def accurate(self):
        family = self.distribution.accurate()
        return None if family is None else self.with_family(family)

    def degenerate(self, params):
        return self.distribution.degenerate(self.own(params))

    def observed(self, data):
        return has_entries(self.rows(data)).astype(jnp.int32)

    def num_parameters(self, params):
        frozen = self.frozen_members()
        redundant = 0 if frozen is None else self.distribution.redundant(self.own(params), frozen)
        return super().num_parameters(params) - redundant

    # The door of data

    @property
    def domains(self) -> Mapping[str, str]:
        prefix = f"{self.members}." if self.members else ""
        return {f"{prefix}{name}": kind for name, kind in self.distribution.domains.items()}

    def require_parameters(self, params: PyTree) -> None:
        """Raise `DataError` for what lacks the family's part of the parameters."""
        if self.members and not hasattr(params, self.members):
            raise DataError(
                f"params must be parameters of {type(self).__name__}, which have {self.members!r}, got "
                f"{type(params).__name__}: parameters come first, then data"
            )

    def check_shape(self, params, data):
        self.require_parameters(params)
        self.distribution.check_shape(self.own(params), self.rows(data))

    def check_rows(self, data):
        self.distribution.check_rows(self.rows(data))

    def check(self, data, weights):
        self.distribution.check(self.rows(data))

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
        if not self.distribution.imputes:
            return self.distribution.impute(self.own(params), data)  # says what would
        data, _, params, _ = for_question(self, params, data)
        if key is None:
            return self._imputed(params, data, None)
        return jax.vmap(lambda key: self._imputed(params, data, key))(jax.random.split(key, num_draws))

    @eqx.filter_jit
    def _imputed(self, params, data, key):
        keys: Any = (None, None) if key is None else jax.random.split(key)
        rows, latent = self.rows(data), self.latent
        model: Any = self._scoring(params)
        potentials = model.potentials(model.natural(params), data)
        moments = latent.expectation(potentials)[0] if key is None else latent.sample(keys[0], potentials)
        share = self.choice.local(moments if self.distribution.latent is None else moments.outer)
        return fill(rows, share.reshape(share.shape[:2]), self.distribution.impute(self.own(params), rows, keys[1]))


def require_family(family: Any) -> None:
    """Raise `DataError` (a `ValueError`) for what is no family, with what to pass instead."""
    if isinstance(family, AbstractFamily):
        return
    if isinstance(family, type) and issubclass(family, AbstractFamily):
        raise DataError(f"family is the class {family.__name__}; pass an instance: {family.__name__}()")
    raise DataError(f"family must be a family of distributions such as jaxem.Gaussian(), got {family!r}")


def fill(rows: PyTree, share: Float[Array, "k n"], completed: PyTree) -> PyTree:
    """Rows whose NaN are the mean of those `completed` under each member, `[k, n, ...]`, weighted by its share."""

    def one(leaf, own):
        return jnp.where(jnp.isnan(leaf), jnp.sum(trailing(share, own) * own, 0), leaf)

    return jax.tree.map(one, rows, completed)
