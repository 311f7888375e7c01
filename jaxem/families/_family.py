from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem._model import Reduce
from jaxem.families._table import check_width
from jaxem.kernels.chunks import not_finite
from jaxem.kernels.linalg import matmul
from jaxem.latent import AbstractLatent


class Coefficients(NamedTuple):
    """Natural parameters as the rows of a matrix, whose product with the statistics of the data are the potentials."""

    rows: Float[Array, "k p"]


class AbstractFamily(eqx.Module):
    """An exponential family for the rows of a table, with `k` members at once.

    Parameters carry a leading axis of length `k` (or none, for those that `shared` names), rows are `[n, d]` (or
    a tree of arrays with a leading axis `n`), and potentials `[k, n]`. The log density is
    `coefficients(natural(params)) @ statistics(x) + log_base(x)`, or what `potentials` makes it.

    A family that hides variables of a row says which by `latent`; potentials are then those of that structure, with
    leading axes `[k, n]`.
    """

    parameters: ClassVar[tuple[str, ...]]
    linear: ClassVar[bool] = True  # whether `potentials` are linear in `natural(params)`
    conjugate: ClassVar[str] = "define `prior`"

    @abstractmethod
    def natural(self, params: PyTree) -> PyTree:
        """Natural parameters, with the log-partition function among the coefficients."""

    def maximize(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """Maximum-likelihood (or, with a prior, posterior-mode) parameters given expected statistics.

        A member without weight keeps `params`; so do the fields named in `frozen`, given which the others are
        maximised.
        """
        raise MissingCapabilityError(f"{type(self).__name__} has no closed-form M-step: define `maximize`")

    def maximize_expanded(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """As `maximize`, in a larger model that leaves the rows as they are, led back to parameters of this one."""
        raise MissingCapabilityError(
            f"{type(self).__name__} does not say how to expand its parameters: define `maximize_expanded`, or use "
            "jaxem.em()"
        )

    @property
    def expands(self) -> bool:
        """Whether `maximize_expanded` is defined."""
        return type(self).maximize_expanded is not AbstractFamily.maximize_expanded

    def impute(self, params: PyTree, x: PyTree, key: PRNGKeyArray | None = None) -> PyTree:
        """Rows with their missing entries filled in under each member, `[k, n, ...]`: by means, or drawn by a `key`."""
        raise MissingCapabilityError(
            f"{type(self).__name__} takes no missing entries, which is for jaxem.Incomplete(family), "
            "jaxem.families.IncompleteColumns(family), jaxem.Factor(...), or a jaxem.Product with a block of these"
        )

    @property
    def imputes(self) -> bool:
        """Whether `impute` is defined."""
        return type(self).impute is not AbstractFamily.impute

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

    # The door of data

    @property
    def domains(self) -> Mapping[str, str]:
        """Where parameters lie, by name; see `AbstractModel.domains`."""
        return {}

    @abstractmethod
    def check(self, x: Any, name: str = "data") -> None:
        """Raise `DataError` for rows outside the family's support, or that cannot be fitted; called on the host."""

    def check_rows(self, x: Any, name: str = "data") -> None:
        """Raise `DataError` for rows that have no density. `check` asks besides for what a fit needs of them."""
        self.check(x, name)

    def width(self, params: PyTree) -> int | None:
        """How many columns a table has that these parameters are for; `None` where rows are no table."""
        return None

    def check_shape(self, params: PyTree, x: PyTree, name: str = "data") -> None:
        """Raise `DataError` for rows of another shape than those that `params` are for; also called under a trace."""
        width = self.width(params)
        if width is not None:
            check_width(x, width, name)

    def unusable(self, x: PyTree) -> Bool[Array, " n"]:
        """The rows that hold numbers which the family can make nothing of; see `AbstractModel.unusable`."""
        return not_finite(x)

    def check_members(self, count: int) -> None:
        """Raise an error unless there can be so many members; called on the host."""

    def read(self, x: PyTree) -> PyTree:
        """Rows as the other functions take them, where they may come in more than one shape."""
        return x

    @property
    def latent(self) -> AbstractLatent | None:
        """What is hidden of a row whose member is known; `None` if nothing is."""
        return None

    def prepare(self, natural: PyTree) -> PyTree:
        """What `potentials` takes as well as `natural`, and need not work out for each block of rows; linear.

        `Coefficients`, unless `potentials` is the family's own; if that takes them too, return `self.as_rows(natural)`.
        """
        return self.as_rows(natural) if type(self).potentials is AbstractFamily.potentials else natural

    def as_rows(self, natural: PyTree) -> PyTree:
        """`Coefficients`, where potentials are a product of these and the statistics; otherwise `natural` itself."""
        return Coefficients(self.coefficients(natural)) if self.product_form else natural

    def potentials(self, natural: PyTree, x: PyTree) -> PyTree:
        """The part of the log density of every row under every member that depends on the parameters, `[k, n]`."""
        rows = natural.rows if isinstance(natural, Coefficients) else self.coefficients(natural)
        return matmul(rows, self.statistics(x))

    def add_constant(self, natural: PyTree, constant: Float[Array, " k"]) -> PyTree | None:
        """Natural parameters whose potentials are larger by `constant`; `None` if they have no coefficient of 1.

        Asked only of families that hide nothing.
        """
        return None

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """The part of the log density that does not depend on the parameters."""
        return jnp.zeros(x.shape[0], x.dtype)

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density; 0 without a prior."""
        return jnp.zeros((), dtype=jnp.result_type(float))

    # With a conjugate prior

    def require_prior(self) -> Any:
        """The prior; raises `MissingCapabilityError` where there is none that a posterior could come from."""
        prior = getattr(self, "prior", None)
        if prior is None:
            raise MissingCapabilityError(
                f"{type(self).__name__} has no prior, and a posterior of its parameters needs one: {self.conjugate}"
            )
        return prior

    def posterior(self, stats: PyTree) -> PyTree:
        """The posterior of the parameters given expected statistics: a prior with arrays for its fields."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `posterior`")

    def expected_natural(self, posterior: PyTree) -> PyTree:
        """Expected natural parameters."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `expected_natural`")

    def posterior_mean(self, posterior: PyTree) -> PyTree:
        """Parameters to plug in for the posterior."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `posterior_mean`")

    def draw(self, key: PRNGKeyArray, posterior: PyTree) -> PyTree:
        """One draw of the parameters."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `draw`")

    def kl(self, posterior: PyTree) -> Array:
        """Kullback-Leibler divergence of the posterior from the prior, over all members."""
        raise MissingCapabilityError(f"{type(self).__name__} has no conjugate prior: define `kl`")

    def unconstrain_posterior(self, posterior: PyTree) -> PyTree:
        """Unconstrained coordinates of a posterior."""
        return posterior.unconstrain()

    def constrain_posterior(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain_posterior`."""
        return type(self.require_prior()).constrain(free)

    def encode_posterior(self, posterior: PyTree) -> PyTree:
        return posterior

    def decode_posterior(self, posterior: PyTree) -> PyTree:
        return posterior

    def for_starts(self) -> "AbstractFamily":
        """The family with a prior under which every posterior has a mode."""
        prior = getattr(self, "prior", None)
        return self if prior is None else eqx.tree_at(lambda family: family.prior, self, prior.with_mode())

    def mend(self, params: PyTree, pooled: PyTree, counts: Array) -> PyTree:
        """Starting parameters in which members with too few rows to have a spread of their own take the pooled one."""
        return params

    def seeded(self, key: PRNGKeyArray) -> "AbstractFamily":
        """The family with a key for `from_points`, where points alone do not tell starting parameters."""
        return self

    def warm(self, params: PyTree, x: PyTree, weights: Float[Array, "k n"]) -> PyTree:
        """Starting parameters moved towards the maximum where each row has these weights in each member.

        For families without a closed-form M-step; see `jaxem.init`.
        """
        return params

    def embed(self, x: Float[Array, "n d"]) -> Float[Array, "n q"]:
        """Coordinates in which Euclidean distance makes sense, for seeding."""
        return x

    def seeding(self, x: PyTree, weights: Float[Array, " n"]) -> Float[Array, "n q"]:
        """`embed(x)`, where what it takes from all rows together is taken from those of positive weight."""
        return self.embed(x)

    def empty(self, counts: Array) -> Array:
        """Which members hold no more than rounding error of the weight."""
        return counts <= 10 * jnp.finfo(counts.dtype).eps * jnp.sum(counts)

    @property
    def product_form(self) -> bool:
        """Whether `potentials` is the matrix product of `coefficients` and `statistics`."""
        return type(self).coefficients is not AbstractFamily.coefficients

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the parameters that all members have in common, which lack the leading axis."""
        return ()

    @property
    def coupled(self) -> bool:
        """Whether the parameters of a member cannot be estimated without the others."""
        return bool(self.shared)

    def redundant(self, params: PyTree, frozen: tuple[str, ...] = ()) -> int:
        """In how many directions the parameters that are not frozen can move without the likelihood noticing."""
        return 0

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

    def bind(self, x: Array, weights: Array, reduce: Reduce) -> "AbstractFamily":
        return self

    def encode(self, params: PyTree) -> PyTree:
        return params

    def decode(self, params: PyTree) -> PyTree:
        return params

    def at(self, params: PyTree) -> "AbstractFamily":
        return self

    def translate(self, stats: PyTree, source: Any) -> PyTree:
        return stats

    def loss(self, params: PyTree, natural: PyTree = None) -> Array:
        return jnp.zeros((), dtype=jnp.result_type(float))

    def accurate(self) -> "AbstractFamily | None":
        return None

    def degenerate(self, params: PyTree) -> Array:
        return jnp.zeros((), bool)

    def floats_per_row(self, params: PyTree) -> tuple[int, int]:
        """Numbers that an E-step holds for each row: those that all runs share, and those of each run."""
        return 0, sum(leaf.size for leaf in jax.tree.leaves(params))
