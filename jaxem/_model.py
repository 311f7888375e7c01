"""The model contract: a ladder of what a model supplies, and what follows from it."""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import reduce as fold
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._conjugate import AbstractConjugate
from jaxem._errors import MissingCapabilityError
from jaxem._paths import covers, leaf_name
from jaxem.engine.door import for_start, question
from jaxem.kernels.chunks import chunk_rows, not_finite, num_rows, per_device, sum_chunks
from jaxem.latent import AbstractLatent

Reduce = Callable[[PyTree], PyTree]


def unreduced(tree: PyTree) -> PyTree:
    """The sum over devices when there is one."""
    return tree


class AbstractModel(eqx.Module):
    """Rung 1: the potentials of a structured latent, as any function of the parameters.

    `potentials(natural(params), data)` are the natural parameters of the latent's own exponential family. Here
    `natural` is the identity and `potentials` need not be linear; `AbstractLinearModel` is the rung above.

    A model is a specification. Before the first iteration `bind` lets it look at the data, so that it can work in
    coordinates in which the arithmetic is accurate; parameters inside the loop are `encode`d, and `decode`d at the end.
    """

    linear: ClassVar[bool] = False

    @property
    def rung(self) -> int:
        """How far up the ladder the model has climbed."""
        return 3 if self.conjugate() is not None else 2 if self.linear else 1

    def conjugate(self) -> AbstractConjugate | None:
        """Rung 3: posteriors of all parameters, for variational Bayes and Gibbs sampling; `None` if it has none."""
        return None

    @property
    def prior_hint(self) -> str:
        """What a posterior of the parameters lacks, and what to write for it."""
        return "define `conjugate`"

    @property
    @abstractmethod
    def latent(self) -> AbstractLatent:
        """The structure of the hidden variables."""

    @abstractmethod
    def potentials(self, natural: PyTree, data: PyTree) -> PyTree:
        """Potentials of the latent for each observation in `data`."""

    @abstractmethod
    def init(self, key: PRNGKeyArray, data: PyTree, weights: Array | None = None) -> PyTree:
        """Starting parameters, drawn on the device; the library's models take `for_start(data, weights)`."""

    def natural(self, params: PyTree) -> PyTree:
        """What `potentials` takes."""
        return params

    def prepare(self, natural: PyTree) -> PyTree:
        """`natural` in a form from which `potentials` takes fewer steps for each block of rows; linear."""
        return natural

    def log_base(self, data: PyTree) -> Float[Array, " n"]:
        """The part of the log density of each observation that depends on neither parameters nor latents."""
        return jnp.zeros(num_rows(data), dtype=jnp.result_type(float))

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density of the parameters; 0 for maximum likelihood."""
        return jnp.zeros((), dtype=jax.tree.leaves(params)[0].dtype)

    def unconstrain(self, params: PyTree) -> PyTree:
        """Unconstrained coordinates of the parameters, for gradient and extrapolating methods."""
        return params

    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""
        return free

    def trainable(self, tree: PyTree) -> PyTree:
        """A tree of booleans like `tree` (parameters, or coordinates): false for leaves that stay fixed.

        Those are the ones that `self.frozen`, where a model has it, names.
        """
        frozen = getattr(self, "frozen", ())
        return jax.tree_util.tree_map_with_path(
            lambda path, _: not any(covers(prefix, leaf_name(path)) for prefix in frozen), tree
        )

    def parameter_names(self, params: PyTree) -> tuple[str, ...]:
        """Names of the leaves of `params` (or of its coordinates), in their order, such as `"components.mean"`."""
        return tuple(leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))

    def freeze(self, names: tuple[str, ...]) -> "AbstractModel":
        """This model with the parameters of these names kept fixed as well."""
        frozen = getattr(self, "frozen", None)
        if frozen is None:
            raise MissingCapabilityError(
                f"{type(self).__name__} does not say how to keep some parameters fixed: give it a field `frozen`"
            )
        return dataclasses.replace(self, frozen=(*frozen, *(name for name in names if name not in frozen)))  # pyright: ignore[reportCallIssue]

    def blocks(self, free: PyTree) -> tuple[list[Array], Any]:
        """Unconstrained coordinates as a list of `[blocks, size]` arrays, and the function that undoes it.

        Coordinates in different blocks do not interact in Q, so that its Hessian is block diagonal.
        """
        flat, unravel = ravel_pytree(free)
        return [flat[None]], lambda arrays: unravel(arrays[0][0])

    def bind(self, data: PyTree, weights: Array, reduce: Reduce = unreduced) -> "AbstractModel":
        """This model in coordinates suited to the data; `reduce` sums a tree over the devices that share the rows."""
        return self

    def encode(self, params: PyTree) -> PyTree:
        """Parameters in the coordinates of the bound model."""
        return params

    def decode(self, params: PyTree) -> PyTree:
        """Parameters in the user's coordinates."""
        return params

    def lower(self, params: PyTree) -> PyTree | None:
        """Parameters of the model that the user asked for, where those of the loop are something else."""
        return None

    def about(self, params: PyTree) -> "AbstractModel":
        """This model with its statistics taken about `params`; the same linear map about another origin."""
        return self

    def translate(self, stats: PyTree, source: "AbstractModel") -> PyTree:
        """Statistics that `source`, this model about another origin, collected, as seen from here."""
        return stats

    def rounding_error(self, params: PyTree, natural: PyTree = None) -> Array:
        """Estimated relative error that rounding leaves in the statistics of this kernel at `params`.

        `natural` is `self.natural(params)`, where that is at hand.
        """
        return jnp.zeros((), dtype=jnp.result_type(float))

    def accurate(self) -> "AbstractModel | None":
        """The same model on a slower kernel that loses fewer digits, where there is one."""
        return None

    def degenerate(self, params: PyTree) -> Array:
        """Whether the likelihood at `params` is spurious (a collapsed or empty component)."""
        return jnp.zeros((), bool)

    def maximize_expanded(self, stats: PyTree, params: PyTree) -> PyTree:
        """As `maximize`, in a larger model that leaves the data as they are, led back to parameters of this one."""
        raise MissingCapabilityError(
            f"{type(self).__name__} does not say how to expand its parameters: define `maximize_expanded`, or use "
            "jaxem.em()"
        )

    def floats_per_row(self, params: PyTree, lanes: int = 1) -> int:
        """How many numbers an E-step of `lanes` runs holds for each observation; sets the size of the row chunks."""
        return lanes * max(sum(leaf.size for leaf in jax.tree.leaves(params)), 1)

    @question
    def expectation(self, params: PyTree, data: PyTree) -> tuple[PyTree, Array]:
        """Posterior moments of the latents and log density of each observation, all rows at once."""
        model = self._scoring(params)
        moments, value = model.latent.expectation(model.potentials(model.natural(params), data))
        return moments, value + model.log_base(data).astype(value.dtype)

    @question
    def log_prob(self, params: PyTree, data: PyTree) -> Float[Array, " n"]:
        """Log density of each observation, with the latents summed out; shape `[n]`, in nats."""
        model = self._scoring(params)
        value = model.latent.log_normalizer(model.potentials(model.natural(params), data))
        return value + model.log_base(data).astype(value.dtype)

    @question
    def log_likelihood(self, params: PyTree, data: PyTree, weights: Array | None = None) -> Float[Array, ""]:
        """Weighted sum of `log_prob`, in row chunks; a row of weight 0 does not count whatever its density."""
        n = num_rows(data)
        model = self._scoring(params)
        natural = model.prepare(model.natural(params))

        def one(chunk, w, index):
            value = model.latent.log_normalizer(model.potentials(natural, chunk))
            return (), weighted_sum(w, value + model.log_base(chunk).astype(value.dtype))

        dtype = jax.tree.leaves(params)[0].dtype
        w = jnp.ones(n, dtype) if weights is None else jnp.asarray(weights, dtype)
        return sum_chunks(one, data, w, chunk_rows(n, model.floats_per_row(params)))[1]

    def sample(self, key: PRNGKeyArray, params: PyTree, n: int) -> tuple[PyTree, PyTree]:
        """Draw `n` observations and their latents."""
        raise MissingCapabilityError(f"{type(self).__name__} does not say how to draw observations: define `sample`")

    def num_parameters(self, params: PyTree) -> int:
        """Number of free parameters: the dimension of the unconstrained coordinates, without frozen ones."""
        free = jax.eval_shape(self.unconstrain, params)
        used = jax.tree.map(lambda leaf, free: leaf.size if free else 0, free, self.trainable(free))
        return sum(jax.tree.leaves(used))

    def observed(self, data: PyTree) -> Array:
        """How many observations there are in each of the `n` entries of the leading axis of `data`, `[n]`.

        Here 1, or 0 for a row all of whose entries are missing (NaN).
        """
        return has_entries(data).astype(jnp.int32)

    def num_observations(self, data: PyTree, weights: Array | None = None) -> Float[Array, ""]:
        """How many observations criteria count: those of `observed`, each as often as its weight says."""
        data, each = for_start(data, weights)
        return jnp.sum(each * self.observed(data).astype(each.dtype))

    @question
    def entropy(self, params: PyTree, data: PyTree) -> Float[Array, " n"]:
        """Entropy of the discrete latents of each observation given the data, `[n]`, in nats."""
        return self.latent.entropy(self.expectation(params, data)[0])

    @property
    def fixed_start(self) -> bool:
        """Whether `init` returns the same for every key."""
        return False

    # The door of data

    @property
    def domains(self) -> Mapping[str, str]:
        """Where parameters lie, by name: `"positive"`, `"nonnegative"`, `"unit"`, `"simplex"`, `"definite"`.

        Those that are not named are real.
        """
        return {}

    def check(self, data: Any, weights: Any) -> None:
        """Raise `DataError` for data that the model cannot be fitted to; called on the host, by `fit`.

        Rows of weight 0 are copies of one of positive weight.
        """
        self.check_rows(data)

    def check_rows(self, data: Any) -> None:
        """Raise `DataError` for data that have no density; called on the host, by all that takes data."""

    def check_shape(self, params: PyTree, data: PyTree) -> None:
        """Raise `DataError` for data of another shape than those that `params` are for; also called under a trace."""

    def unusable(self, data: PyTree) -> Bool[Array, " n"]:
        """The observations that hold numbers which this model can make nothing of, whatever the parameters."""
        return not_finite(data)

    def _scoring(self, params):
        return (self.accurate() or self).about(params)


class AbstractLinearModel(AbstractModel):
    """Rung 2: potentials that are linear in `natural(params)`, and a closed-form M-step.

    The expected statistics are then the transpose of the map, applied to the moments; they have the structure of
    `natural(params)` and a size that does not depend on the number of rows, and
    `Q(params; stats) = <natural(params), stats> + log_prior(params)` needs no data.
    """

    linear: ClassVar[bool] = True

    @abstractmethod
    def natural(self, params: PyTree) -> PyTree:
        """Natural parameters."""

    @abstractmethod
    def maximize(self, stats: PyTree, params: PyTree) -> PyTree:
        """The parameters that maximise Q; where the statistics leave one undetermined, that of `params`."""


def require_conjugate(model: AbstractModel, use: str) -> AbstractConjugate:
    """The posteriors of a model; raises `MissingCapabilityError` where it has none, with what they would take."""
    found = model.conjugate()
    if found is None:
        raise MissingCapabilityError(
            f"{type(model).__name__} has no conjugate prior (rung 3), which {use} needs: {model.prior_hint}"
        )
    return found


def has_entries(rows: PyTree) -> Array:
    """Which rows have an entry that is not missing, `[n]`."""
    found = [
        jnp.any(~jnp.isnan(leaf), tuple(range(1, leaf.ndim)))
        for leaf in map(jnp.asarray, jax.tree.leaves(rows))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return fold(jnp.logical_or, found) if found else jnp.ones(num_rows(rows), bool)


def inner(natural: PyTree, stats: PyTree) -> Array:
    """`<natural, stats>`."""
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), natural, stats)))  # pyright: ignore[reportReturnType]


def collect(
    model: AbstractModel,
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


def weighted_sum(weights: Array, values: Array) -> Array:
    """Sum of `weights * values` in which a weight of zero wins over a value that is not finite."""
    return jnp.sum(weights * jnp.where((weights == 0) & ~jnp.isfinite(values), 0, values))
