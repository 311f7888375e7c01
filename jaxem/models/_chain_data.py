"""How a model whose observations are sequences takes its data."""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._errors import DataError
from jaxem.kernels.chunks import not_finite
from jaxem.models._over_family import AbstractFamilyModel
from jaxem.models.driven import Driven, steps_of, transition_covariates
from jaxem.structures.markov import Markov


class AbstractSequenceModel(AbstractFamilyModel):
    """A model in which each step of a sequence comes from the member of a family that the state of a chain names."""

    @property
    @abstractmethod
    def chain(self) -> Markov:
        """The distribution of the first state and the transitions."""

    def rows(self, data):
        sequences = steps_of(data)
        return self.distribution.read(sequences.rows(sequences.seen()))

    def row_weights(self, data, weights):
        return jnp.where(steps_of(data).seen().T, weights[None, :], 0).reshape(-1)

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(steps_of(data).seen(), 1, dtype=jnp.int32)

    def log_base(self, data):
        return jnp.sum(self.log_bases(data), 0)

    def log_bases(self, data: PyTree) -> Float[Array, "T n"]:
        """The part of the log density of each step that depends on neither parameters nor states."""
        seen = steps_of(data).seen().T
        each = self.distribution.log_base(self.rows(data)).reshape(seen.shape)
        return jnp.where(seen, each, 0)

    # The door of data

    @property
    def domains(self):
        return {**self.chain.domains, **super().domains}

    def check_shape(self, params, data):
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self.require_parameters(params)
        self._check_kind(data)
        sequences = steps_of(data)
        sequences.check_shape()
        if isinstance(data, Driven):
            data.check_shape()
            self.chain.transitions.check_width(params.transition, data.covariates)
        step = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape[2:]), leaf.dtype), sequences.values)
        self.distribution.check_shape(self.own(params), self.distribution.read(step))

    def _check_kind(self, data: PyTree) -> None:
        """Raise `DataError` where there are no covariates for the transitions, or some for none."""
        name, driven = type(self.chain.transitions).__name__, self.chain.transitions.driven
        if driven and not isinstance(data, Driven):
            raise DataError(f"{name} depends on covariates: pass jaxem.models.Driven(rows, covariates)")
        if isinstance(data, Driven) and not driven:
            raise DataError(
                f"{name} depends on no covariates: pass the rows of Driven alone, or give the HMM "
                "transitions=jaxem.structures.SoftmaxTransitions()"
            )

    def check_rows(self, data):
        self._check_steps(data, self.distribution.check_rows)
        if isinstance(data, Driven):
            data.check()

    def check_for(self, k: int, data: Any, weights: Any) -> None:
        """Raise `DataError` for data that a model of `k` states cannot be fitted to; on the host."""
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self._check_kind(data)
        self.distribution.check_members(k)
        sequences = steps_of(data)
        sequences.check()
        seen = np.asarray(sequences.seen())
        counted = seen if weights is None else seen[np.asarray(weights) > 0]
        if counted.sum() < k:
            raise DataError(f"data has {counted.sum()} observed steps, fewer than num_states={k}")
        self._check_steps(data, self.distribution.check)
        if isinstance(data, Driven):
            self.chain.transitions.check_covariates(data.check())

    def _check_steps(self, data: PyTree, check: Any) -> None:
        """`check` of all observed steps as the rows of a table, in which others are copies of the first of them."""
        sequences = steps_of(data)
        sequences.check()
        (n, steps), seen = sequences.shape, np.asarray(sequences.seen())
        if not seen.any():
            return
        index = np.where(seen, np.arange(n * steps).reshape(n, steps), np.flatnonzero(seen)[0]).reshape(-1)
        table = jax.tree.map(lambda a: np.asarray(a).reshape(n * steps, *np.shape(a)[2:])[index], sequences.values)
        try:
            check(self.distribution.read(table))
        except DataError as error:
            raise DataError(f"{error} (row r is step r % {steps} of sequence r // {steps})") from None

    def unusable(self, data):
        covariates = transition_covariates(data)
        return not_finite(steps_of(data).values, missing=True) | (
            False if covariates is None else not_finite(covariates)
        )
