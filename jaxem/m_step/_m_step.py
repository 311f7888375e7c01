from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._bound import AbstractBound
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem.e_step import AbstractEStep, Expectation
from jaxem.kernels.chunks import per_device, per_part, sum_chunks
from jaxem.kernels.sums import Reduce, inner, weighted_sum


class Surrogate(eqx.Module):
    """Q, the expected complete log density (plus log prior), as a function of the parameters.

    For a linear model it is `<natural(params), stats> + log_prior(params)`. Otherwise it is
    `<potentials(params, data), moments> + log_prior(params)`, with the moments taken afresh at `reference` for each
    chunk of rows, so that none are stored.
    """

    model: AbstractBound
    stats: PyTree
    reference: PyTree
    e_step: AbstractEStep
    e_state: PyTree
    data: PyTree
    weights: Array
    key: PRNGKeyArray
    chunk_rows: int | None = eqx.field(static=True)
    reduce: Reduce = eqx.field(static=True)

    def __call__(self, params: PyTree) -> Array:
        model = self.model
        if model.linear:
            return self._with_prior(inner(model.natural(params), self.stats), params)
        extras = self.e_step.extras(model, self.reference, self.e_state)
        reference, natural = (model.prepare(model.natural(p)) for p in (self.reference, params))

        def one(chunk, w, index):
            key = jax.random.fold_in(self.key, index)
            moments, _ = self.e_step.posterior(model, model.potentials(reference, chunk), extras, chunk, key)
            own = per_part(natural, index, self.weights)
            return (), weighted_sum(w, model.latent.pair(model.potentials(own, chunk), moments))

        value = self.reduce(sum_chunks(one, self.data, self.weights, self.chunk_rows)[1])
        return self._with_prior(value, params)

    def log_likelihood(self, params: PyTree) -> Array:
        """What EM ascends: the log-likelihood plus log prior, but for what depends on the data alone.

        A pass over the data. Its gradient at `reference` is that of Q (Fisher's identity).
        """
        if not isinstance(self.e_step, Expectation):
            raise MissingCapabilityError(
                "the M rule works on the log-likelihood, which is not the objective under the E rule "
                f"{type(self.e_step).__name__}; use jaxem.e_step.Expectation()"
            )
        model = self.model
        natural = per_device(model.prepare(model.natural(params)), (self.data, self.weights))

        def one(chunk, w, index):
            value = model.latent.log_normalizer(model.potentials(per_part(natural, index, self.weights), chunk))
            return (), weighted_sum(w, value)

        return self._with_prior(self.reduce(sum_chunks(one, self.data, self.weights, self.chunk_rows)[1]), params)

    @property
    def total_weight(self) -> Array:
        """Sum of the weights of all rows."""
        return self.reduce(jnp.sum(self.weights))

    def _with_prior(self, value, params):
        return value + self.model.log_prior(params).astype(value.dtype)


def require_linear(model: AbstractBound, instead: str) -> None:
    """Raise `MissingCapabilityError` for a model without a closed-form M-step."""
    if not model.linear:
        raise MissingCapabilityError(
            f"{model.name} has no closed-form M-step (rung 2: `natural` and `maximize` on linear `potentials`){instead}"
        )


class AbstractMStep(eqx.Module):
    """How parameters are chosen given Q. `ascends` says that Q never falls, so that the likelihood does not.

    `closed` says that its fixed points are those of the model's closed-form M-step, bounds of parameters included; the
    others stop where the gradient of Q is zero in unconstrained coordinates.
    """

    ascends: ClassVar[bool] = True
    closed: ClassVar[bool] = False
    rung: ClassVar[int] = 0  # of the ladder of models that it needs

    def init(self, model: AbstractBound, params: PyTree) -> PyTree:
        """State carried between iterations; raises `MissingCapabilityError` for a model that lacks what is needed."""
        return ()

    def lift(self, model: AbstractModel) -> AbstractModel:
        """The model whose parameters the rule works on: `model` itself, or one made of it."""
        return model

    def comparable(self, state: PyTree) -> Any:
        """True if the objective may be compared with the last one for which this was true."""
        return True

    @abstractmethod
    def __call__(self, surrogate: Surrogate, params: PyTree, state: PyTree, key: PRNGKeyArray) -> tuple[PyTree, PyTree]:
        """New parameters and state."""
