"""Starts at rows, or from responsibilities, drawn at random."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.init._init import AbstractInit, draw_rows, from_assignment, rows_of, start_at, subsample


@final
class Points(AbstractInit):
    """Components centred on distinct rows drawn by weight, with equal weights and the spread of the whole data.

    A component with labelled rows is centred on one of these.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.Points())
    """

    def __call__(self, model, key, data, weights):
        rows, _ = rows_of(data)
        chosen = draw_rows(key, data, weights, model.structure.num_members)
        return start_at(model, jax.tree.map(lambda a: a[chosen], rows), rows, weights)


@final
class RandomResponsibilities(AbstractInit):
    """Responsibilities uniform on the simplex for each row, then one M-step.

    All components start near the overall distribution: slow, but without a bias towards compact clusters. Those with
    labelled rows start halfway between it and these.

    **Arguments:**

    - `rows`: at most so many rows (drawn anew for each start) are looked at.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.RandomResponsibilities())
    """

    rows: int = eqx.field(static=True, default=8192)

    def __call__(self, model, key, data, weights):
        k = model.structure.num_members
        data, weights = subsample(key, data, weights, max(self.rows, 32 * k), k)
        rows, _ = rows_of(data)
        moments = jax.random.exponential(key, (k, weights.shape[0]), weights.dtype)
        moments = moments / jnp.sum(moments, 0, keepdims=True)
        points = draw_rows(jax.random.fold_in(key, 3), data, weights, k)
        pooled = start_at(model, jax.tree.map(lambda a: a[points], rows), rows, weights)
        return from_assignment(model, moments, data, weights, pooled)
