"""What mixtures have in common, whatever the weights of their components depend on."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxem._door import question
from jaxem._errors import DataError
from jaxem.families import AbstractFamily
from jaxem.kernels.chunks import num_rows
from jaxem.latent import NestedTree
from jaxem.models._over_family import AbstractFamilyModel
from jaxem.models.labelled import Labelled


class AbstractMixture(AbstractFamilyModel):
    """Rows that choose one of `num_components` members of a family, independently of each other."""

    family: eqx.AbstractVar[AbstractFamily]
    num_components: eqx.AbstractVar[int]

    @property
    def distribution(self) -> AbstractFamily:
        return self.family

    def joint(self, log_weights: Float[Array, "k n"], members: PyTree, data: PyTree) -> PyTree:
        """Potentials of components of these log weights, the members' natural parameters and labels, if any."""
        own = self.family.potentials(members, self.rows(data))
        if self.family.latent is None:
            return self.allowed(log_weights + own, data)
        return NestedTree(self.allowed(log_weights, data), own)

    def allowed(self, potentials: Float[Array, "k n"], data: PyTree) -> Float[Array, "k n"]:
        """Potentials of the components that the labels allow, if there are any; minus infinity for the others."""
        if not isinstance(data, Labelled):
            return potentials
        return jnp.where(data.allowed(self.num_components), potentials, jnp.full_like(potentials, -jnp.inf))

    @question
    def posterior(self, params: PyTree, data: PyTree) -> Float[Array, "n k"]:
        """Responsibilities: the posterior probability of each component, `[n, k]`."""
        return self._responsibilities(params, data).T

    @question
    def predict(self, params: PyTree, data: PyTree) -> Int[Array, " n"]:
        """The most probable component of each row, `[n]`."""
        return jnp.argmax(self._responsibilities(params, data), 0)

    def _responsibilities(self, params, data):
        moments = self.expectation(params, data)[0]
        return moments if self.family.latent is None else moments.outer

    def check_components(self) -> None:
        """Raise `ValueError` for a number of components that is no positive integer."""
        number = self.num_components
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"num_components must be a positive integer, got {self.num_components!r}")

    # The door of data

    def check_shape(self, params, data):
        super().check_shape(params, data)
        if isinstance(data, Labelled) and data.labels.shape != (num_rows(data.rows),):
            raise DataError(f"labels must be {num_rows(data.rows)} integers, got shape {data.labels.shape}")

    def check_rows(self, data):
        super().check_rows(data)
        if isinstance(data, Labelled):
            data.check(num_rows(data.rows), self.num_components)

    def unusable(self, data):
        return super().unusable(data.rows if isinstance(data, Labelled) else data)

    def check_enough(self, n: int, weights: Any) -> None:
        """Raise `DataError` for fewer rows of positive weight than components."""
        used = n if weights is None else int(np.sum(np.asarray(weights) > 0))
        if 0 < used < self.num_components:
            raise DataError(
                f"data has {used} rows with positive weight, fewer than num_components={self.num_components}"
            )
