from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._model import AbstractModel, Reduce, weighted_sum
from jaxem.e_step import AbstractEStep
from jaxem.kernels.chunks import sum_chunks


class Surrogate(eqx.Module):
    """Q, the expected complete log density (plus log prior), as a function of the parameters.

    For a linear model it is `<natural(params), stats> + log_prior(params)`. Otherwise it is
    `<potentials(params, data), moments> + log_prior(params)`, with the moments taken afresh at `reference` for each
    chunk of rows, so that none are stored.
    """

    model: AbstractModel
    stats: PyTree
    reference: PyTree
    e_step: AbstractEStep
    e_state: PyTree
    data: PyTree
    weights: Array
    key: PRNGKeyArray
    rows: int | None = eqx.field(static=True)
    reduce: Reduce = eqx.field(static=True)

    def __call__(self, params: PyTree) -> Array:
        model = self.model
        if model.linear:
            paired = jax.tree.map(lambda a, b: jnp.sum(a * b), model.natural(params), self.stats)
            return self._with_prior(sum(jax.tree.leaves(paired)), params)
        naturals = self.e_step.naturals(model, self.reference, self.e_state)
        reference, natural = model.natural(self.reference), model.natural(params)

        def one(chunk, w, index):
            key = jax.random.fold_in(self.key, index)
            moments, _ = self.e_step.posterior(model, model.potentials(reference, chunk), naturals, chunk, key)
            moments = jax.lax.stop_gradient(moments)
            return (), weighted_sum(w, model.latent.pair(model.potentials(natural, chunk), moments))

        value = self.reduce(sum_chunks(one, self.data, self.weights, self.rows)[1])
        return self._with_prior(value, params)

    def _with_prior(self, value, params):
        return value + self.model.log_prior(params).astype(value.dtype)


class AbstractMStep(eqx.Module):
    """How parameters are chosen given Q. `ascends` says that Q never falls, so that the likelihood does not."""

    ascends: ClassVar[bool] = True

    def init(self, model: AbstractModel, params: PyTree) -> PyTree:
        """State carried between iterations; raises `MissingCapabilityError` for a model that lacks what is needed."""
        return ()

    @abstractmethod
    def __call__(self, surrogate: Surrogate, params: PyTree, state: PyTree, key: PRNGKeyArray) -> tuple[PyTree, PyTree]:
        """New parameters and state."""
