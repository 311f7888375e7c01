"""How a model whose observations are sequences takes its data."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem.kernels.chunks import not_finite
from jaxem.models._joined import AbstractJoined
from jaxem.structures.sequences import Driven, lengthened, steps_of, transition_covariates


class AbstractSequenceModel(AbstractJoined):
    """A model in which each step of a sequence comes from the member of a family that the state of a chain names.

    Its structure is `Markov`.
    """

    lengthen: ClassVar = staticmethod(lengthened)

    @property
    def parts(self) -> Any:
        """The structure, with the two parts of the chain."""
        return self.structure

    def observed(self, data):
        """The number of steps of each sequence of which something was observed."""
        return jnp.sum(steps_of(data).seen(), 1, dtype=jnp.int32)

    # The door of data

    def check_shape(self, params, data):
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self.require_parameters(params)
        self._check_kind(data)
        sequences = steps_of(data)
        sequences.check_shape()
        if isinstance(data, Driven):
            data.check_shape()
            self.parts.transitions.check_width(params.transition, data.covariates)
        step = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape[2:]), leaf.dtype), sequences.values)
        self.distribution.check_shape(self.structure.split(params)[1], self.distribution.read(step))

    def _check_kind(self, data: PyTree) -> None:
        """Raise `DataError` where there are no covariates for the transitions, or some for none."""
        name, driven = type(self.parts.transitions).__name__, self.parts.transitions.driven
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

    def check(self, data: Any, weights: Any) -> None:
        if hasattr(data, "labels"):
            raise DataError("labels are for mixtures; an HMM takes sequences of which no states are known")
        self._check_kind(data)
        self.check_members()
        k = self.structure.num_members
        sequences = steps_of(data)
        sequences.check()
        seen = np.asarray(sequences.seen())
        counted = seen if weights is None else seen[np.asarray(weights) > 0]
        if counted.sum() < k:
            raise DataError(f"data has {counted.sum()} observed steps, fewer than num_states={k}")
        self._check_steps(data, self.distribution.check)
        if isinstance(data, Driven):
            self.parts.transitions.check_covariates(data.check())

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
