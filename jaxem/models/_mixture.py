"""What mixtures have in common, whatever the weights of their components depend on."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

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

    def joint(self, log_weights: Array, members: PyTree, data: PyTree) -> PyTree:
        """Potentials of components of these log weights, `[k]` or those of each row `[k, n]`, the members' natural
        parameters, and labels, if any.
        """
        rows, nested, taken = self.rows(data), self.family.latent is not None, None
        if log_weights.ndim == 1:
            # A coefficient that is there anyway saves a pass over the potentials, and another over their moments.
            taken = self.family.add_constant(members, log_weights)
            log_weights = jnp.broadcast_to(log_weights[:, None], (self.num_components, num_rows(rows)))
        own = self.family.potentials(members if taken is None else taken, rows)
        outer = own if taken is not None else log_weights if nested else log_weights + own
        if isinstance(data, Labelled):
            outer = jnp.where(data.allowed(self.num_components), outer, jnp.full_like(outer, -jnp.inf))
        return NestedTree(outer, own) if nested else outer

    @eqx.filter_jit
    def posterior(self, params: PyTree, data: PyTree) -> Float[Array, "n k"]:
        """Responsibilities: the posterior probability of each component, `[n, k]`."""
        return self._responsibilities(params, data).T

    @eqx.filter_jit
    def predict(self, params: PyTree, data: PyTree) -> Int[Array, " n"]:
        """The most probable component of each row, `[n]`."""
        return jnp.argmax(self._responsibilities(params, data), 0)

    def _responsibilities(self, params, data):
        moments = self.expectation(params, data)[0]
        return moments if self.family.latent is None else moments.outer

    def check_components(self) -> None:
        """Raise `ValueError` for a number of components that is no positive integer."""
        if not isinstance(self.num_components, int | np.integer) or self.num_components < 1:
            raise ValueError(f"num_components must be a positive integer, got {self.num_components!r}")

    def check_enough(self, n: int, weights: Any) -> None:
        """Raise `DataError` for fewer rows of positive weight than components."""
        used = n if weights is None else int(np.sum(np.asarray(weights) > 0))
        if 0 < used < self.num_components:
            raise DataError(
                f"data has {used} rows with positive weight, fewer than num_components={self.num_components}"
            )
