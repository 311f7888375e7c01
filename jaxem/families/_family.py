"""What a family of distributions says of itself: the contract of its authors."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._constraints import Constraints, mapped
from jaxem._errors import MissingCapabilityError
from jaxem.families.kernels._kernel import AbstractKernel, PlainKernel
from jaxem.families.priors._prior import require_priors
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

    `parameters` names the fields of the parameters. A family says `linear = False` if its `potentials` are not linear
    in `natural(params)`, and `num_members` if there has to be a certain number of members.
    """

    parameters: ClassVar[tuple[str, ...]]
    linear: ClassVar[bool] = True  # whether `potentials` are linear in `natural(params)`
    prior_hint: ClassVar[str] = "define `conjugate`"  # what a posterior of the parameters lacks
    num_members: ClassVar[int | None] = None  # how many members there have to be, where it matters

    def __check_init__(self):
        require_priors(self)

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

    @property
    def domains(self) -> Mapping[str, str]:
        """Where parameters lie, by name; see `AbstractModel.domains`."""
        return {}

    def unconstrain(self, params: PyTree) -> PyTree:
        """Unconstrained coordinates; those of `domains` if not defined."""
        return mapped(self._constraints, params, 0)

    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""
        return mapped(self._constraints, free, 1)

    @property
    def _constraints(self) -> Constraints:
        if not defines(self, "domains"):
            raise NotImplementedError(f"{type(self).__name__} defines neither `domains` nor `unconstrain`")
        return Constraints(self.domains.items())

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

    # Rows and members

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

    def unusable(self, x: PyTree) -> Bool[Array, " n"]:
        """The rows that hold numbers which the family can make nothing of; see `AbstractModel.unusable`."""
        return not_finite(x)

    # Starts

    def embed(self, x: PyTree, weights: Float[Array, " n"] | None = None) -> Float[Array, "n q"]:
        """Coordinates in which Euclidean distance makes sense, for seeding; rows of weight 0 have no say in them.

        By default the rows as they are.
        """
        return x

    def pool(self, params: PyTree, pooled: PyTree, counts: Array) -> PyTree:
        """Starting parameters in which members with too few rows to have a spread of their own take the pooled one.

        `pooled` is like `params`, with the spread of all rows; `counts` `[k]` is how many rows each member has.
        """
        return params

    # Speed and accuracy: what the engine runs

    def kernel(self) -> AbstractKernel:
        """The kernel in the coordinates of the data, for questions about given parameters."""
        return PlainKernel(self, defines(self, "coefficients") and not defines(self, "potentials"))

    def bind(self, x: PyTree, weights: Float[Array, " n"], reduce: Any) -> AbstractKernel:
        """The kernel in coordinates suited to the rows; `reduce` sums a tree over the devices that share them."""
        return self.kernel()


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
