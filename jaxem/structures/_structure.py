"""What a structure says of itself: the contract that joins it to any family."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._errors import MissingCapabilityError
from jaxem.families.priors import require_priors
from jaxem.latent import AbstractChoice, AbstractLatent, Categorical, Nested, NestedTree

Own = tuple[Any, ...]


class AbstractStructure(eqx.Module):
    """Which member of a family each row comes from, with parameters of its own; it knows nothing of the family.

    Parameters, natural parameters, statistics, coordinates and posteriors of a model are named tuples whose last field
    is the family's, with a leading axis of members. The fields before it are the structure's `own`, a tuple.

    A structure says the types of these tuples (`params_type`, `natural_type`), the `names` of its own parameters, and
    `linear = False` if `joint` is not linear in `natural`. Statistics are the transpose of `joint`: expected counts, of
    the shapes of its natural parameters.
    """

    params_type: ClassVar[Any] = None  # the named tuple of parameters
    natural_type: ClassVar[Any] = None  # and that of natural parameters
    members: ClassVar[str] = "components"  # the name of the family's field; "" if there are no others
    names: ClassVar[tuple[str, ...]] = ()  # of the structure's own parameters
    linear: ClassVar[bool] = True  # whether `joint` is linear in `natural`
    sequential: ClassVar[bool] = False  # whether an observation is a sequence of rows
    prior_hint: ClassVar[str] = ""  # what a posterior of its own parameters lacks

    def __check_init__(self):
        require_priors(self)

    # Required

    @property
    @abstractmethod
    def num_members(self) -> int:
        """How many members of the family there are, `k`."""

    @abstractmethod
    def natural(self, own: Own) -> Own:
        """Natural parameters."""

    @abstractmethod
    def joint(self, natural: Own | None, members: PyTree, hidden: AbstractLatent | None, data: PyTree) -> PyTree:
        """Potentials of the latent, from those of each row under each member, `[k, n]`.

        Where something is `hidden` in a row whose member is known, those are its potentials, and the result is a
        `NestedTree`. `natural` is `None` where `constant` has gone into the members.
        """

    @abstractmethod
    def unconstrain(self, own: Own) -> Own:
        """Unconstrained coordinates."""

    @abstractmethod
    def constrain(self, free: Own) -> Own:
        """The inverse of `unconstrain`."""

    @abstractmethod
    def start(self, key: PRNGKeyArray, weights: Array, data: PyTree) -> Own:
        """Starting parameters, given the weights `[k]` of a mixture of all rows whose members the model begins with."""

    def starts_as(self) -> "AbstractStructure | None":
        """The structure of the mixture that starts are drawn as; `None` for `num_members` weights."""
        return None

    # Unlocks something

    def maximize(self, stats: Own, own: Own, frozen: tuple[str, ...]) -> Own:
        """The parameters that maximise the structure's part of Q: closed-form EM, for a `linear` structure."""
        raise MissingCapabilityError(f"{type(self).__name__} has no closed-form M-step; use jaxem.em_gradient()")

    @property
    def choice(self) -> AbstractChoice:
        """The latent that chooses the member of each row."""
        return Categorical()

    def log_prior(self, own: Own) -> Any:
        """Log prior density; 0 without a prior."""
        return 0

    def conjugate(self) -> AbstractConjugate | None:
        """Posteriors of the structure's own parameters; `None` without a conjugate prior of all of them."""
        return None

    def counts(self, stats: Own) -> Array | None:
        """The expected number of rows of each member, `[k]`, where the statistics tell."""
        return None

    def constant(self, natural: Own) -> Array | None:
        """What `joint` adds to the potentials of each member in every row alike, `[k]`, if that is all that it does."""
        return None

    def degenerate(self, own: Own) -> Any:
        """Whether a member is lost."""
        return False

    @property
    def domains(self) -> Mapping[str, str]:
        """Where parameters lie, by name; see `AbstractModel.domains`."""
        return {}

    def permuted(self, own: Own, order: Array) -> Own | None:
        """The parameters with member `order[j]` in the place of member `j`; `None` if members have places of their own.

        Numbers alone: whether a prior, a pattern or a label tells members apart is asked elsewhere.
        """
        return None

    def blocks(self, free: Own) -> tuple[list[Array], Any]:
        """Coordinates as a list of `[blocks, size]` arrays, and the function that undoes it; see `AbstractModel`."""
        shapes = [leaf.shape for leaf in free]

        def undo(arrays):
            return tuple(array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True))

        return [leaf.reshape(1, -1) for leaf in free], undo

    # Rows

    def rows(self, data: PyTree) -> PyTree:
        """The rows of the table in `data`."""
        return data

    def row_weights(self, data: PyTree, weights: Array) -> Array:
        """The weight of each row, given those of the observations."""
        return weights

    def log_bases(self, data: PyTree, each: Array) -> Array:
        """`each` row's part of the log density that depends on no parameter, summed over those of an observation."""
        return each

    # Coordinates, and the shape of trees

    def bind(self, data: PyTree, weights: Array, reduce: Any, frozen: tuple[str, ...] = ()) -> "AbstractStructure":
        """The structure in coordinates suited to the data; in these what is `frozen` would not stay to the last bit."""
        return self

    def encode(self, own: Own) -> Own:
        """Parameters in the coordinates of the bound structure."""
        return own

    def decode(self, own: Own) -> Own:
        """Parameters in the coordinates of the data."""
        return own

    def split(self, params: PyTree) -> tuple[Own, PyTree]:
        """The structure's and the family's part of parameters, or of their coordinates."""
        return tuple(params[:-1]), params[-1]

    def join(self, own: Own, members: PyTree) -> PyTree:
        """Parameters, or their coordinates, from the two parts."""
        return self.params_type(*own, members)

    def split_natural(self, natural: PyTree) -> tuple[Own, PyTree]:
        """The two parts of natural parameters, statistics or a posterior."""
        return tuple(natural[:-1]), natural[-1]

    def join_natural(self, own: Own, members: PyTree) -> PyTree:
        """Natural parameters from the two parts."""
        return self.natural_type(*own, members)

    def join_posterior(self, own: Own, members: PyTree) -> PyTree:
        """A posterior from the two parts."""
        return self.params_type(*own, members)

    def floats_per_row(self, own: Own, shared: int, each: int, lanes: int) -> int:
        """Numbers that an E-step of `lanes` runs holds for each observation, given those of the family for a row."""
        return shared + lanes * (2 * self.num_members + each)

    def expanded_per_row(self, shared: int) -> int:
        """How many of these numbers should stay in a core's cache, given those of the family that all runs share."""
        return shared


class Prepared(NamedTuple):
    """Natural parameters in the form that the potentials of a block of rows take fewest steps from.

    `own` is `None` where the members have taken in what the structure adds to each of them: that saves a pass over the
    potentials, and two over their moments.
    """

    own: Own | None
    members: PyTree


def nested(choice: AbstractChoice, hidden: AbstractLatent | None) -> AbstractLatent:
    """The latent of a structure over rows of which something may be hidden besides."""
    return choice if hidden is None else Nested(choice, hidden)


def over(outer: PyTree, members: PyTree, hidden: AbstractLatent | None) -> PyTree:
    """Potentials of the choice and of the members, together."""
    return outer + members if hidden is None else NestedTree(outer, members)


def first_leaf(tree: PyTree) -> Array:
    """Any leaf of a tree, for its type and number of rows."""
    return jax.tree.leaves(tree)[0]


def centred_normal(coefficients: Array, deviation: float, axis: int) -> Array:
    """Log prior density of coefficients that are normal about their mean over `axis`, where one of them is 0.

    The mean is integrated over, so that it does not matter which of them is the reference.
    """
    k = coefficients.shape[axis]
    squares = jnp.sum((coefficients - jnp.mean(coefficients, axis, keepdims=True)) ** 2) / deviation**2
    constant = coefficients.size // k * ((k - 1) * np.log(2 * np.pi * deviation**2) + np.log(k)) / 2
    return -squares / 2 - jnp.asarray(constant, coefficients.dtype)
