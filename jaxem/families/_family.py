"""What a family of distributions says of itself: the contract of its authors."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._errors import MissingCapabilityError
from jaxem.families._table import check_width
from jaxem.families.kernels._kernel import AbstractKernel, PlainKernel
from jaxem.kernels.chunks import not_finite
from jaxem.kernels.linalg import matmul
from jaxem.latent import AbstractLatent


class AbstractFamily(eqx.Module):
    """An exponential family for the rows of a table, with `k` members at once.

    Parameters carry a leading axis of length `k` (or none, for those that `shared` names), rows are `[n, d]` (or
    a tree of arrays with a leading axis `n`), and potentials `[k, n]`. The log density is
    `coefficients(natural(params)) @ statistics(x) + log_base(x)`, or what `potentials` makes it.

    A family is a specification: it has the fields that the user gave, and its methods work in the coordinates of the
    data. `bind` makes a kernel of it, which the engine runs.
    """

    parameters: ClassVar[tuple[str, ...]]
    linear: ClassVar[bool] = True  # whether `potentials` are linear in `natural(params)`
    prior_hint: ClassVar[str] = "define `conjugate`"  # what a posterior of the parameters lacks

    # Required

    @abstractmethod
    def natural(self, params: PyTree) -> PyTree:
        """Natural parameters, with the log-partition function among the coefficients."""

    def coefficients(self, natural: PyTree) -> Float[Array, "k p"]:
        """Natural parameters as rows of coefficients of `statistics`; linear."""
        raise NotImplementedError(f"{type(self).__name__} defines neither `coefficients` nor `potentials`")

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        """Sufficient statistics, features first."""
        raise NotImplementedError(f"{type(self).__name__} defines neither `statistics` nor `potentials`")

    @abstractmethod
    def unconstrain(self, params: PyTree) -> PyTree:
        """Unconstrained coordinates."""

    @abstractmethod
    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""

    @abstractmethod
    def from_points(self, points: Float[Array, "k d"], x: Float[Array, "n d"], weights: Float[Array, " n"]) -> PyTree:
        """Parameters centred on `points`, as spread out as the whole data."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, params: PyTree, labels: Array) -> PyTree:
        """One row from the member that each label names."""

    @abstractmethod
    def check(self, x: Any, name: str = "data") -> None:
        """Raise `DataError` for rows outside the family's support, or that cannot be fitted; called on the host."""

    # Unlocks something

    def maximize(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """Maximum-likelihood (or, with a prior, posterior-mode) parameters given expected statistics: closed-form EM.

        Given `frozen` fields of `params`, the maximum of the others. The model sees to it that frozen fields stay, and
        that a member without weight keeps its parameters.
        """
        raise MissingCapabilityError(f"{type(self).__name__} has no closed-form M-step: define `maximize`")

    def potentials(self, natural: PyTree, x: PyTree) -> PyTree:
        """The part of the log density of every row under every member that depends on the parameters, `[k, n]`.

        Define it for a family that is not linear, or hides variables of a row: potentials are then those of `latent`,
        with leading axes `[k, n]`.
        """
        return matmul(self.coefficients(natural), self.statistics(x))

    @property
    def latent(self) -> AbstractLatent | None:
        """What is hidden of a row whose member is known; `None` if nothing is."""
        return None

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """The part of the log density that does not depend on the parameters."""
        return jnp.zeros(x.shape[0], x.dtype)

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density; 0 without a prior."""
        return jnp.zeros((), dtype=jnp.result_type(float))

    def conjugate(self) -> AbstractConjugate | None:
        """Posteriors of the parameters, for variational Bayes and Gibbs sampling; `None` without a conjugate prior."""
        return None

    def maximize_expanded(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """As `maximize`, in a larger model that leaves the rows as they are, led back to parameters of this one."""
        raise MissingCapabilityError(
            f"{type(self).__name__} does not say how to expand its parameters: define `maximize_expanded`, or use "
            "jaxem.em()"
        )

    def impute(self, params: PyTree, x: PyTree, key: PRNGKeyArray | None = None) -> PyTree:
        """Rows with their missing entries filled in under each member, `[k, n, ...]`: by means, or drawn by a `key`."""
        raise MissingCapabilityError(
            f"{type(self).__name__} takes no missing entries, which is for jaxem.Incomplete(family), "
            "jaxem.families.IncompleteColumns(family), jaxem.Factor(...), or a jaxem.Product with a block of these"
        )

    @property
    def expands(self) -> bool:
        """Whether `maximize_expanded` is there."""
        return defines(self, "maximize_expanded")

    @property
    def imputes(self) -> bool:
        """Whether `impute` is there."""
        return defines(self, "impute")

    # Rows and members

    @property
    def domains(self) -> Mapping[str, str]:
        """Where parameters lie, by name; see `AbstractModel.domains`."""
        return {}

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the parameters that all members have in common, which lack the leading axis."""
        return ()

    def redundant(self, params: PyTree, frozen: tuple[str, ...] = ()) -> int:
        """In how many directions the parameters that are not frozen can move without the likelihood noticing."""
        return 0

    def read(self, x: PyTree) -> PyTree:
        """Rows as the other functions take them, where they may come in more than one shape."""
        return x

    def check_rows(self, x: Any, name: str = "data") -> None:
        """Raise `DataError` for rows that have no density. `check` asks besides for what a fit needs of them."""
        self.check(x, name)

    def check_shape(self, params: PyTree, x: PyTree, name: str = "data") -> None:
        """Raise `DataError` for rows of another shape than those that `params` are for; also called under a trace."""
        width = self.width(params)
        if width is not None:
            check_width(x, width, name)

    def width(self, params: PyTree) -> int | None:
        """How many columns a table has that these parameters are for; `None` where rows are no table."""
        return None

    def check_members(self, count: int) -> None:
        """Raise an error unless there can be so many members; called on the host."""

    def unusable(self, x: PyTree) -> Bool[Array, " n"]:
        """The rows that hold numbers which the family can make nothing of; see `AbstractModel.unusable`."""
        return not_finite(x)

    # Starts

    def for_starts(self, key: PRNGKeyArray) -> "AbstractFamily":
        """The family with a prior under which every posterior has a mode, and with a key if its starts are random."""
        prior = getattr(self, "prior", None)
        return self if prior is None else eqx.tree_at(lambda family: family.prior, self, prior.with_mode())

    def embed(self, x: PyTree, weights: Float[Array, " n"] | None = None) -> Float[Array, "n q"]:
        """Coordinates in which Euclidean distance makes sense, for seeding; rows of weight 0 have no say in them."""
        return x

    def pool(self, params: PyTree, pooled: PyTree, counts: Array) -> PyTree:
        """Starting parameters in which members with too few rows to have a spread of their own take the pooled one."""
        return params

    def refine(self, params: PyTree, x: PyTree, weights: Float[Array, "k n"]) -> PyTree:
        """Starting parameters moved towards the maximum where each row has these weights in each member.

        For families without a closed-form M-step; see `jaxem.init`.
        """
        return params

    # Speed and accuracy

    def kernel(self) -> AbstractKernel:
        """The kernel in the coordinates of the data, for questions about given parameters."""
        return PlainKernel(self, defines(self, "coefficients") and not defines(self, "potentials"))

    def bind(self, x: PyTree, weights: Float[Array, " n"], reduce: Any) -> AbstractKernel:
        """The kernel in coordinates suited to the rows; `reduce` sums a tree over the devices that share them."""
        return self.kernel()

    def add_constant(self, natural: PyTree, constant: Float[Array, " k"]) -> PyTree | None:
        """Natural parameters whose potentials are larger by `constant`; `None` if they have no coefficient of 1.

        Asked only of families that hide nothing.
        """
        return None

    def floats_per_row(self, params: PyTree) -> tuple[int, int]:
        """Numbers that an E-step holds for each row: those that all runs share, and those of each run."""
        return 0, sum(leaf.size for leaf in jax.tree.leaves(params))

    @property
    def coupled(self) -> bool:
        """Whether the parameters of a member cannot be estimated without the others."""
        return bool(self.shared)

    def blocks(self, free: PyTree) -> tuple[list[Array], Any]:
        """Unconstrained coordinates as `[blocks, size]` arrays, a block for each member; see `AbstractModel.blocks`."""
        if self.coupled:
            flat, unravel = ravel_pytree(free)
            return [flat[None]], lambda arrays: unravel(arrays[0][0])
        leaves, structure = jax.tree.flatten(free)
        shapes = [leaf.shape for leaf in leaves]
        ends = np.cumsum([int(np.prod(shape[1:])) for shape in shapes])[:-1]

        def undo(arrays):
            parts = jnp.split(arrays[0], ends, axis=1)
            return jax.tree.unflatten(structure, [part.reshape(s) for part, s in zip(parts, shapes, strict=True)])

        return [jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], 1)], undo


class AbstractKernelFamily(AbstractFamily):
    """A family whose `kernel` does the work, and is asked in the coordinates of the data here."""

    @abstractmethod
    def kernel(self) -> AbstractKernel:
        """The kernel in the coordinates of the data."""

    def _asked(self, method: str, *args: Any) -> Any:
        """What the kernel says, if it is what says it; otherwise the default of all families."""
        kernel = self.kernel()
        if getattr(type(kernel), method) is getattr(AbstractKernel, method):
            return getattr(super(), method)(*args)
        return getattr(kernel, method)(*args)

    def natural(self, params):
        return self._asked("natural", params)

    def potentials(self, natural, x):
        return self._asked("potentials", natural, x)

    def log_base(self, x):
        return self._asked("log_base", x)

    def log_prior(self, params):
        return self._asked("log_prior", params)

    def maximize(self, stats, params, frozen=()):
        return self._asked("maximize", stats, params, frozen)

    def conjugate(self):
        return self._asked("conjugate")

    def from_points(self, points, x, weights):
        return self._asked("from_points", points, x, weights)

    def embed(self, x, weights=None):
        return self._asked("embed", x, weights)


def defines(family: AbstractFamily, method: str) -> bool:
    """Whether a family says itself what is only a default, or a refusal, in the contract."""
    own: Any = getattr(type(family), method)
    return own is not getattr(AbstractFamily, method)
