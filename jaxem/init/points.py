from typing import final

import jax
import jax.numpy as jnp

from jaxem.init._init import AbstractInit, rows_of


@final
class Points(AbstractInit):
    """Components centred on distinct rows drawn by weight, with equal weights and the spread of the whole data.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(3, start=jaxem.init.Points())
    """

    def __call__(self, model, key, data, weights):
        rows, _ = rows_of(data)
        # The largest of log weight plus Gumbel noise: sampling without replacement (Yellott 1977).
        tiny = jnp.finfo(weights.dtype).tiny
        noise = jax.random.gumbel(key, weights.shape, weights.dtype)
        score = jnp.where(weights > 0, jnp.log(jnp.maximum(weights, tiny)) + noise, -jnp.inf)
        _, chosen = jax.lax.top_k(score, model.num_components)
        return model.start_at(jax.tree.map(lambda a: a[chosen], rows), rows, weights)
