"""The model contract: a ladder of what a model supplies, and what follows from it."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import reduce as fold
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jaxem._bound import AbstractBound, Plain, rows_per_chunk, scoring
from jaxem._conjugate import AbstractConjugate
from jaxem._constraints import Constraints, mapped
from jaxem._errors import MissingCapabilityError
from jaxem._moved import moved_method
from jaxem._paths import leaves_but
from jaxem.engine.buckets import Lengthen
from jaxem.engine.door import question
from jaxem.engine.shapes import result_shapes
from jaxem.families.priors import require_priors
from jaxem.kernels.chunks import not_finite, num_rows, sum_chunks
from jaxem.kernels.sums import Reduce, unreduced, weighted_sum
from jaxem.latent import AbstractLatent


class AbstractModel(eqx.Module):
    """Rung 1: the potentials of a structured latent, as any function of the parameters.

    `potentials(natural(params), data)` are the natural parameters of the latent's own exponential family. Here
    `natural` is the identity and `potentials` need not be linear; `AbstractLinearModel` is the rung above.

    A model is a specification: it has the fields that the user gave, and its methods work in the coordinates of the
    data. `bind` makes what the engine runs.

    A model says `linear = True` if `potentials` are linear in `natural(params)`, `fixed_start = True` if `init`
    returns the same for every key, and in `prior_hint` what a posterior of its parameters lacks. A model of sequences
    has a function `lengthen(data, grid)`: the data with `grid(T)` steps in the place of `T`, of which those added come
    after the end, and how many these are; on the host.
    """

    linear: ClassVar[bool] = False
    fixed_start: ClassVar[bool] = False
    prior_hint: ClassVar[str] = "define `conjugate`"
    lengthen: ClassVar[Lengthen | None] = None

    def __check_init__(self):
        require_priors(self)

    # Required

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

    # Unlocks something

    def natural(self, params: PyTree) -> PyTree:
        """What `potentials` takes."""
        return params

    def maximize(self, stats: PyTree, params: PyTree) -> PyTree:
        """The parameters that maximise Q; where the statistics leave one undetermined, that of `params`."""
        raise MissingCapabilityError(f"{type(self).__name__} has no closed-form M-step: define `maximize`")

    def log_base(self, data: PyTree) -> Float[Array, " n"]:
        """The part of the log density of each observation that depends on neither parameters nor latents."""
        return jnp.zeros(num_rows(data), dtype=jnp.result_type(float))

    def log_prior(self, params: PyTree) -> Array:
        """Log prior density of the parameters; 0 for maximum likelihood."""
        return jnp.zeros((), dtype=jax.tree.leaves(params)[0].dtype)

    def conjugate(self) -> AbstractConjugate | None:
        """Rung 3: posteriors of all parameters, for variational Bayes and Gibbs sampling; `None` if it has none."""
        return None

    def unconstrain(self, params: PyTree) -> PyTree:
        """Unconstrained coordinates, for gradient and extrapolating methods; those of `domains` if not defined."""
        return mapped(Constraints(self.domains.items()), params, 0)

    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""
        return mapped(Constraints(self.domains.items()), free, 1)

    def trainable(self, tree: PyTree) -> PyTree:
        """A tree of booleans like `tree` (parameters, or coordinates): false for leaves that stay fixed.

        Those are the ones that `self.frozen`, where a model has it, names.
        """
        return leaves_but(getattr(self, "frozen", ()), tree)

    def sample(self, key: PRNGKeyArray, params: PyTree, n: int) -> tuple[PyTree, PyTree]:
        """Draw `n` observations and their latents."""
        raise MissingCapabilityError(f"{type(self).__name__} does not say how to draw observations: define `sample`")

    # Speed and accuracy: what the engine runs

    def bound(self) -> AbstractBound:
        """This model in the coordinates of the data, for questions about given parameters."""
        return Plain(self)

    def bind(self, data: PyTree, weights: Array, reduce: Reduce = unreduced) -> AbstractBound:
        """This model in coordinates suited to the data; `reduce` sums a tree over the devices that share the rows."""
        return self.bound()

    # The door of data

    @property
    def domains(self) -> Mapping[str, str]:
        """Where parameters lie, by name: `"positive"`, `"nonnegative"`, `"unit"`, `"simplex"`, `"definite"`.

        Those that are not named are real.
        """
        return {}

    def observed(self, data: PyTree) -> Array:
        """How many observations there are in each of the `n` entries of the leading axis of `data`, `[n]`.

        Here 1, or 0 for a row all of whose entries are missing (NaN).
        """
        return has_entries(data).astype(jnp.int32)

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

    # Questions, which follow from the above

    @question(fill=False)
    def expectation(self, params: PyTree, data: PyTree) -> tuple[PyTree, Array]:
        """Posterior moments of the latents and log density of each observation, all rows at once."""
        model = scoring(self, params)
        moments, value = model.latent.expectation(model.potentials(model.natural(params), data))
        return moments, value + model.log_base(data).astype(value.dtype)

    @question
    def log_prob(self, params: PyTree, data: PyTree) -> Float[Array, " n"]:
        """Log density of each observation, with the latents summed out; shape `[n]`, in nats."""
        model = scoring(self, params)
        value = model.latent.log_normalizer(model.potentials(model.natural(params), data))
        return value + model.log_base(data).astype(value.dtype)

    @question
    def log_likelihood(self, params: PyTree, data: PyTree, weights: Array | None = None) -> Float[Array, ""]:
        """Weighted sum of `log_prob`, in row chunks; a row of weight 0 does not count whatever its density."""
        n = num_rows(data)
        model = scoring(self, params)
        natural = model.prepare(model.natural(params))

        def one(chunk, w, index):
            value = model.latent.log_normalizer(model.potentials(natural, chunk))
            return (), weighted_sum(w, value + model.log_base(chunk).astype(value.dtype))

        dtype = jax.tree.leaves(params)[0].dtype
        w = jnp.ones(n, dtype) if weights is None else jnp.asarray(weights, dtype)
        return sum_chunks(one, data, w, rows_per_chunk(model, params, n))[1]

    @question
    def entropy(self, params: PyTree, data: PyTree) -> Float[Array, " n"]:
        """Entropy of the discrete latents of each observation given the data, `[n]`, in nats."""
        return self.latent.entropy(self.expectation(params, data)[0])

    def num_parameters(self, params: PyTree) -> int:
        """Number of free parameters: the dimension of the unconstrained coordinates, without frozen ones."""
        free = result_shapes(_unconstrained, self, params)
        used = jax.tree.map(lambda leaf, free: leaf.size if free else 0, free, self.trainable(free))
        return sum(jax.tree.leaves(used))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no {name}{moved_method(name)}")


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


class AbstractBoundModel(AbstractModel):
    """A model whose `bound` does the work, and is asked in the coordinates of the data here."""

    @abstractmethod
    def bound(self) -> AbstractBound:
        """This model in the coordinates of the data."""

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.bound().linear

    @property
    def latent(self):
        return self.bound().latent

    def natural(self, params):
        return self.bound().natural(params)

    def potentials(self, natural, data):
        return self.bound().potentials(natural, data)

    def log_base(self, data):
        return self.bound().log_base(data)

    def maximize(self, stats, params):
        return self.bound().maximize(stats, params)

    def log_prior(self, params):
        return self.bound().log_prior(params)

    def conjugate(self):
        return self.bound().conjugate()

    def unconstrain(self, params):
        return self.bound().unconstrain(params)

    def constrain(self, free):
        return self.bound().constrain(free)

    def trainable(self, tree):
        return self.bound().trainable(tree)

    def init(self, key, data, weights=None):
        return self.bound().init(key, data, weights)


def _unconstrained(model: AbstractModel, params: PyTree) -> PyTree:
    return model.unconstrain(params)


def has_entries(rows: PyTree) -> Array:
    """Which rows have an entry that is not missing, `[n]`."""
    found = [
        jnp.any(~jnp.isnan(leaf), tuple(range(1, leaf.ndim)))
        for leaf in map(jnp.asarray, jax.tree.leaves(rows))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return fold(jnp.logical_or, found) if found else jnp.ones(num_rows(rows), bool)


def rung(model: AbstractModel) -> int:
    """How far up the ladder the model has climbed."""
    return 3 if model.conjugate() is not None else 2 if model.linear else 1
