"""What the engine runs of a model, and the one that works in the coordinates of the data."""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._errors import MissingCapabilityError
from jaxem._passed import passed
from jaxem.kernels import exclusion
from jaxem.kernels.chunks import chunk_rows, num_rows, per_device
from jaxem.kernels.gaps import Blocks
from jaxem.kernels.largest import largest
from jaxem.latent import AbstractLatent


class AbstractBound(eqx.Module):
    """A model made ready for data: the map in coordinates that suit the arithmetic, and what speed and accuracy take.

    `model.bind(data, weights, reduce)` makes it before the first iteration, `model.bound()` makes the one in the
    coordinates of the data. The rules of an algorithm see nothing else of a model. Parameters are those of the loop:
    `encode` leads to them, `decode` back.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What errors call the model."""

    # The map

    @property
    @abstractmethod
    def linear(self) -> bool:
        """Whether `potentials` are linear in `natural(params)`."""

    @property
    @abstractmethod
    def latent(self) -> AbstractLatent:
        """The structure of the hidden variables."""

    @abstractmethod
    def natural(self, params: PyTree) -> PyTree:
        """What `potentials` takes."""

    def prepare(self, natural: PyTree) -> PyTree:
        """`natural` in a form from which `potentials` takes fewer steps for each block of rows; linear."""
        return natural

    @abstractmethod
    def potentials(self, natural: PyTree, data: PyTree) -> PyTree:
        """Potentials of the latent for each observation in `data`."""

    def potentials_of(self, natural: PyTree, data: PyTree, chosen: Int[Array, " n"]) -> Float[Array, " n"] | None:
        """The potential of one class of each observation; `None` where that is no less work than those of all.

        Asked of models whose latent is `Categorical`, for statistics where the classes are known.
        """
        return None

    def log_base(self, data: PyTree) -> Float[Array, " n"]:
        """The part of the log density of each observation that depends on neither parameters nor latents."""
        return jnp.zeros(num_rows(data), dtype=jnp.result_type(float))

    # Rows with gaps

    def integrated(self) -> "AbstractBound":
        """This model with what is hidden of a row, given its member, integrated out, where that can be had cheaper.

        `prepare` and `potentials` need no longer be linear. The statistics, the derivative of the log-likelihood in
        `natural`, and the log-likelihood are the same. For rules that ask for these alone; see `jaxem.kernels.gaps`.
        """
        return self

    def gaps(self, data: PyTree) -> np.ndarray | None:
        """Which entries of each observation are missing, `[n, m]`, of data on the host.

        `None` for a model that is no faster where observations that lack the same lie side by side.
        """
        return None

    def laid_out(self, blocks: Blocks) -> "AbstractBound":
        """This model for data that lie in such blocks, by `gaps`; see `jaxem.engine.layout`."""
        return self

    # The maximum

    def maximize(self, stats: PyTree, params: PyTree) -> PyTree:
        """The parameters that maximise Q; where the statistics leave one undetermined, that of `params`."""
        raise MissingCapabilityError(f"{self.name} has no closed-form M-step: define `maximize`")

    def maximize_expanded(self, stats: PyTree, params: PyTree) -> PyTree:
        """As `maximize`, in a larger model that leaves the data as they are, led back to parameters of this one."""
        raise MissingCapabilityError(
            f"{self.name} does not say how to expand its parameters: define `maximize_expanded` of its bound model, or "
            "use jaxem.em()"
        )

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density of the parameters, as a density of those in the coordinates of the data."""
        return jnp.zeros((), dtype=jax.tree.leaves(params)[0].dtype)

    def conjugate(self) -> AbstractConjugate | None:
        """Posteriors of all parameters, in the coordinates of the loop; `None` if there are none."""
        return None

    # Coordinates

    @abstractmethod
    def unconstrain(self, params: PyTree) -> PyTree:
        """Unconstrained coordinates of the parameters."""

    @abstractmethod
    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""

    @abstractmethod
    def trainable(self, tree: PyTree) -> PyTree:
        """A tree of booleans like `tree` (parameters, or coordinates): false for leaves that stay fixed."""

    def freeze(self, names: tuple[str, ...]) -> "AbstractBound":
        """This model with the parameters of these names kept fixed as well."""
        return also_frozen(self, self.name, names)

    def blocks(self, free: PyTree) -> tuple[list[Array], Any]:
        """Unconstrained coordinates as a list of `[blocks, size]` arrays, and the function that undoes it.

        Coordinates in different blocks do not interact in Q, so that its Hessian is block diagonal.
        """
        flat, unravel = ravel_pytree(free)
        return [flat[None]], lambda arrays: unravel(arrays[0][0])

    def encode(self, params: PyTree) -> PyTree:
        """Parameters in the coordinates of the loop."""
        return params

    def decode(self, params: PyTree) -> PyTree:
        """Parameters in the coordinates of the data."""
        return params

    @property
    def plain(self) -> "AbstractBound | None":
        """The bound model that the user asked for, where the loop's is one of its posteriors; `None` where it is not.

        `lower(params)` is then there, and leads to its parameters.
        """
        return None

    # Accuracy and speed

    def about(self, params: PyTree) -> "AbstractBound":
        """This model with its statistics taken about `params`; the same linear map about another origin."""
        return self

    def translate(self, stats: PyTree, source: Any) -> PyTree:
        """Statistics that `source`, this model about another origin, collected, as seen from here."""
        return stats

    def rounding_error(self, params: PyTree, natural: PyTree = None) -> Array:
        """Estimated relative error that rounding leaves in the statistics at `params`.

        `natural` is `self.natural(params)`, where that is at hand.
        """
        return jnp.zeros((), dtype=jnp.result_type(float))

    def accurate(self) -> "AbstractBound | None":
        """The same model on a slower kernel that loses fewer digits, where there is one."""
        return None

    def degenerate(self, params: PyTree) -> Array:
        """Whether the likelihood at `params` is spurious (a collapsed or empty component)."""
        return jnp.zeros((), bool)

    def floats_per_row(self, params: PyTree, lanes: int = 1) -> int:
        """How many numbers an E-step of `lanes` runs holds for each observation; sets the size of the row chunks."""
        return lanes * max(sum(leaf.size for leaf in jax.tree.leaves(params)), 1)

    def for_lanes(self, lanes: int) -> "AbstractBound":
        """This model where so many runs go side by side, and share what does not depend on their parameters."""
        return self

    def expanded_per_row(self, params: PyTree) -> int:
        """How many of these are written once and read by several matrix products, and should stay in a core's cache.

        0 where other costs than those of the products set the size of a chunk.
        """
        return 0

    # Starts

    @abstractmethod
    def init(self, key: PRNGKeyArray, data: PyTree, weights: Array | None = None) -> PyTree:
        """Starting parameters, in the coordinates of the loop, drawn on the device."""


class AbstractPlain(AbstractBound):
    """What it does not say itself is the model's, in the coordinates of the data."""

    model: eqx.AbstractVar[Any]

    @property
    def name(self) -> str:
        return type(self.model).__name__

    linear = passed("model")  # pyright: ignore[reportIncompatibleMethodOverride]
    latent = passed("model")  # pyright: ignore[reportIncompatibleMethodOverride]
    natural = passed("model")
    potentials = passed("model")
    log_base = passed("model")
    maximize = passed("model")
    log_prior = passed("model")
    conjugate = passed("model")
    unconstrain = passed("model")
    constrain = passed("model")
    trainable = passed("model")

    def freeze(self, names):
        return dataclasses.replace(self, model=also_frozen(self.model, self.name, names))

    init = passed("model")


@final
class Plain(AbstractPlain):
    """A model in the coordinates of the data: what the engine runs of one that asks for no other."""

    model: Any


def also_frozen(owner: Any, name: str, names: tuple[str, ...]) -> Any:
    """`owner` with these names in its field `frozen` as well; `name` is what an error calls it."""
    frozen = getattr(owner, "frozen", None)
    if frozen is None:
        raise MissingCapabilityError(f"{name} does not say how to keep some parameters fixed: give it a field `frozen`")
    return dataclasses.replace(owner, frozen=(*frozen, *(name for name in names if name not in frozen)))


def scoring(model: Any, params: PyTree) -> Any:
    """A model made ready for questions about given parameters: on its most accurate kernel, about these."""
    bound = model.bound()
    return (bound.accurate() or bound).about(params)


def rows_per_chunk(model: AbstractBound, params: PyTree, n: int, lanes: int = 1, block: int = 1) -> int:
    """How many of `n` rows an E-step of `lanes` runs side by side holds at a time: whole blocks of `block` rows.

    Only the shapes of `params`, those of one run, matter.
    """
    floats, expanded = model.floats_per_row(params, lanes), model.expanded_per_row(params)
    return chunk_rows(n, floats, expanded, block=block, alone=lanes == 1)


def collect(
    model: AbstractBound,
    natural: PyTree,
    data: PyTree,
    weights: Array,
    posterior: Callable[[PyTree], tuple[PyTree, Any]],
) -> tuple[PyTree, Any]:
    """Statistics of the moments in `posterior(potentials) -> (moments, value)`, and the value.

    The statistics are the transpose of the map from natural parameters to potentials.
    """
    # Potentials that are the same for all rows are each device's own too, or their cotangents would not match them.
    potentials, pull = jax.vjp(lambda natural: per_device(model.potentials(natural, data), (data, weights)), natural)
    moments, value = posterior(potentials)
    (stats,) = pull(model.latent.weigh(moments, weights))
    return stats, value


def collect_chosen(model: AbstractBound, natural: PyTree, data: PyTree, weights: Array) -> tuple[PyTree, Array]:
    """As `collect` at the mode of a `Categorical` latent.

    On a CPU the statistics of a row are added to those of its class, where the model says how, instead of all of them
    multiplied by `[k, n]` zeros and ones. Elsewhere additions in no fixed order would round otherwise each time.
    """
    latent: Any = model.latent
    potentials, pull = jax.vjp(lambda natural: per_device(model.potentials(natural, data), (data, weights)), natural)
    chosen, value = largest(potentials)

    def multiplied(weights: Array) -> PyTree:
        return pull(latent.weigh(latent.indicator(chosen, value, potentials.shape[0]), weights))[0]

    def added(weights: Array) -> PyTree:
        _, pull_own = jax.vjp(lambda natural: model.potentials_of(natural, data, chosen), natural)
        return pull_own(jnp.where(exclusion.possible(value), weights, jnp.zeros_like(weights)))[0]

    if model.potentials_of(natural, data, chosen) is None:
        return multiplied(weights), exclusion.or_minus_infinity(value)
    stats = jax.lax.platform_dependent(weights, cpu=added, default=multiplied)
    return stats, exclusion.or_minus_infinity(value)
