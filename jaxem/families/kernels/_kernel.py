"""What every kernel answers, and the one that works in the coordinates of the data."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._errors import MissingCapabilityError
from jaxem.families.priors._prior import AbstractPrior
from jaxem.kernels.gaps import Blocks
from jaxem.kernels.linalg import matmul
from jaxem.kernels.rows import take
from jaxem.latent import AbstractLatent


class Coefficients(NamedTuple):
    """Natural parameters as the rows of a matrix, whose product with the statistics of the data are the potentials."""

    rows: Float[Array, "k p"]


class AbstractKernel(eqx.Module):
    """A family made ready for rows: the map in coordinates that suit the arithmetic, and what speed and accuracy take.

    `family` is the specification. What a kernel does not say itself is the family's, in the coordinates of the data.
    """

    family: eqx.AbstractVar[Any]

    # The map

    @property
    def latent(self) -> AbstractLatent | None:
        """What is hidden of a row whose member is known; `None` if nothing is."""
        return self.family.latent

    @property
    def product_form(self) -> bool:
        """Whether `potentials` are the matrix product of `coefficients` and `statistics`."""
        return False

    @property
    def quadratic(self) -> bool:
        """Whether `statistics` are the products of `(1, columns)` with one another, as `linalg.products` has them."""
        return False

    def natural(self, params: PyTree) -> PyTree:
        """Natural parameters of `params`, which are in the coordinates of the kernel."""
        return self.family.natural(params)

    def coefficients(self, natural: PyTree) -> Float[Array, "k p"]:
        """Natural parameters as rows of coefficients of `statistics`; linear."""
        return self.family.coefficients(natural)

    def statistics(self, x: PyTree) -> Float[Array, "p n"]:
        """Sufficient statistics, features first."""
        return self.family.statistics(x)

    def prepare(self, natural: PyTree) -> PyTree:
        """What `potentials` takes as well as `natural`, and need not work out for each block of rows; linear."""
        return Coefficients(self.coefficients(natural)) if self.product_form else natural

    def potentials(self, natural: PyTree, x: PyTree) -> PyTree:
        """The part of the log density of every row under every member that depends on the parameters, `[k, n]`."""
        rows = natural.rows if isinstance(natural, Coefficients) else self.coefficients(natural)
        return matmul(rows, self.statistics(x))

    def potentials_of(self, natural: PyTree, x: PyTree, chosen: Int[Array, " n"]) -> Float[Array, " n"] | None:
        """The potential of each row under one member; `None` where that is no less work than those of all."""
        if not self.product_form:
            return None
        rows = natural.rows if isinstance(natural, Coefficients) else self.coefficients(natural)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(x)) // chosen.shape[0]
        # More of them are products of columns: to turn these into rows takes longer than to multiply by them.
        return jnp.sum(take(rows, chosen) * self.statistics(x).T, -1) if rows.shape[1] <= 2 * numbers + 2 else None

    def add_constant(self, natural: PyTree, constant: Float[Array, " k"]) -> PyTree | None:
        """Natural parameters whose potentials are larger by `constant`; `None` if they have no coefficient of 1.

        Asked only where nothing is hidden.
        """
        return None

    def log_base(self, x: PyTree) -> Float[Array, " n"]:
        """The part of the log density that does not depend on the parameters."""
        return self.family.log_base(x)

    # Rows with gaps

    def integrated(self) -> "AbstractKernel | None":
        """A kernel with what is hidden of a row integrated out, if there is one; see `AbstractBound.integrated`."""
        return None

    def gaps(self, x: PyTree) -> np.ndarray | None:
        """Which entries of each row are missing, `[n, m]`, if it helps that rows lie together that lack the same."""
        return None

    def laid_out(self, blocks: Blocks) -> "AbstractKernel":
        """This kernel for rows that lie in such blocks."""
        return self

    # The maximum

    def maximize(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """The M-step, in the coordinates of the kernel; see `AbstractFamily.maximize`."""
        return self.family.maximize(stats, params, frozen)

    @property
    def expands(self) -> bool:
        """Whether `maximize_expanded` is there."""
        return type(self).maximize_expanded is not AbstractKernel.maximize_expanded

    def maximize_expanded(self, stats: PyTree, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """As `maximize`, in a larger model that leaves the rows as they are, led back to parameters of this one."""
        raise MissingCapabilityError(
            f"{type(self.family).__name__} does not say how to expand its parameters (`maximize_expanded` of its "
            "kernel); use jaxem.em()"
        )

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density of the parameters, as a density of those in the coordinates of the data."""
        return self.family.log_prior(params)

    def conjugate(self) -> AbstractConjugate | None:
        """Posteriors in the coordinates of the kernel; `None` without a conjugate prior."""
        return self.family.conjugate()

    # Coordinates

    def encode(self, params: PyTree) -> PyTree:
        """Parameters in the coordinates of the kernel."""
        return params

    def decode(self, params: PyTree) -> PyTree:
        """Parameters in the coordinates of the data."""
        return params

    # Accuracy

    def about(self, params: PyTree) -> "AbstractKernel":
        """The same map with its statistics taken about `params`."""
        return self

    def translate(self, stats: PyTree, source: Any) -> PyTree:
        """Statistics that `source`, this kernel about other parameters, collected, as seen from here."""
        return stats

    def rounding_error(self, params: PyTree, natural: PyTree = None) -> Array:
        """Estimated relative error that rounding leaves in the statistics; `natural` is that of `params`."""
        return jnp.zeros((), dtype=jnp.result_type(float))

    def accurate(self) -> "AbstractKernel | None":
        """A slower kernel of the same map that loses fewer digits, where there is one."""
        return None

    def degenerate(self, params: PyTree) -> Array:
        """Whether the likelihood at `params` is spurious: a collapsed member, or one that runs off to infinity."""
        return jnp.zeros((), bool)

    def blocks(self, free: PyTree) -> tuple[list[Array], Any]:
        """Coordinates as `[blocks, size]` arrays, a block for each member; see `AbstractModel.blocks`."""
        return one_block(free) if self.family.shared else member_blocks(free)

    def for_lanes(self, lanes: int) -> "AbstractKernel":
        """This kernel where so many runs go side by side, and share what does not depend on their parameters."""
        return self

    def floats_per_row(self, params: PyTree) -> tuple[int, int]:
        """Numbers that an E-step holds for each row: those that all runs share, and those of each run."""
        if self.product_form:
            k, p = jax.eval_shape(lambda params: self.coefficients(self.natural(params)), params).shape
            return p, 2 * k
        return 0, 6 * sum(leaf.size for leaf in jax.tree.leaves(params))

    # Starts, and rows with gaps

    def for_starts(self, key: PRNGKeyArray) -> "AbstractKernel":
        """With a prior under which every posterior has a mode, and the `key` where starts are random."""
        prior = getattr(self.family, "prior", None)
        if not isinstance(prior, AbstractPrior):
            return self
        return eqx.tree_at(lambda kernel: kernel.family.prior, self, prior.with_mode())

    def from_points(self, points: PyTree, x: PyTree, weights: Float[Array, " n"]) -> PyTree:
        """Parameters centred on `points`, as spread out as the whole data."""
        return self.family.from_points(points, x, weights)

    def embed(self, x: PyTree, weights: Float[Array, " n"] | None = None) -> Float[Array, "n q"]:
        """Coordinates of rows for seeding; see `AbstractFamily.embed`."""
        return self.family.embed(x, weights)

    def refine(self, params: PyTree, x: PyTree, weights: Float[Array, "k n"]) -> PyTree:
        """Starting parameters moved towards the maximum where each row has these weights in each member.

        Where there is no closed-form M-step; see `jaxem.init`.
        """
        return params

    def pool(self, params: PyTree, pooled: PyTree, counts: Array) -> PyTree:
        """Starting parameters, pooled for members with too few rows; see `AbstractFamily.pool`."""
        return self.family.pool(params, pooled, counts)

    @property
    def imputes(self) -> bool:
        """Whether `impute` is there."""
        return type(self).impute is not AbstractKernel.impute

    def impute(self, params: PyTree, x: PyTree, key: PRNGKeyArray | None = None) -> PyTree:
        """Rows with their missing entries filled in under each member, `[k, n, ...]`: by means, or drawn by a `key`."""
        raise MissingCapabilityError(
            f"{type(self.family).__name__} takes no missing entries, which is for jaxem.Incomplete(family), "
            "jaxem.families.IncompleteColumns(family), jaxem.Factor(...), or a jaxem.Product with a block of these"
        )


@final
class PlainKernel(AbstractKernel):
    """A family in the coordinates of the data: the kernel of one that asks for no other."""

    family: Any
    multiplies: bool = eqx.field(static=True)  # the family has coefficients and statistics, and no potentials

    @property
    def product_form(self) -> bool:
        return self.multiplies

    def potentials(self, natural, x):
        return super().potentials(natural, x) if self.product_form else self.family.potentials(natural, x)


def one_block(free: PyTree) -> tuple[list[Array], Any]:
    """All coordinates as one block, and the function that undoes it."""
    flat, unravel = ravel_pytree(free)
    return [flat[None]], lambda arrays: unravel(arrays[0][0])


def member_blocks(free: PyTree) -> tuple[list[Array], Any]:
    """Coordinates with a leading axis of members as a block for each, and the function that undoes it."""
    leaves, structure = jax.tree.flatten(free)
    shapes = [leaf.shape for leaf in leaves]
    ends = np.cumsum([int(np.prod(shape[1:])) for shape in shapes])[:-1]

    def undo(arrays):
        parts = jnp.split(arrays[0], ends, axis=1) if leaves else []
        return jax.tree.unflatten(structure, [part.reshape(s) for part, s in zip(parts, shapes, strict=True)])

    return [jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], 1)] if leaves else [], undo
