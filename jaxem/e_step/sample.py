from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.e_step._e_step import AbstractEStep


@final
class Sample(AbstractEStep):
    """Draws from the posterior of the latents: stochastic EM, and Monte Carlo EM of a fixed sample size.

    The iterates are a Markov chain around the estimate: report its average (`jaxem.record.Average`). The objective in
    the history is the exact log-likelihood. Celeux and Diebolt (1985); Wei and Tanner (1990).

    **Arguments:**

    - `draws`: how many for each observation; their statistics are averaged.

    **Example**

    >>> import jaxem
    >>> jaxem.stochastic_em().e_step
    Sample(draws=1)
    """

    draws: int = eqx.field(static=True, default=1)

    monotone: ClassVar[bool] = False
    needs: ClassVar[str | None] = "sample"

    def __check_init__(self):
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    def posterior(self, model, potentials, naturals, data, key):
        _, value = model.latent.expectation(potentials)
        return average_of_draws(model.latent, potentials, key, self.draws), value


def average_of_draws(latent, potentials, key, draws):
    """Mean sufficient statistics of `draws` draws (a number, or a traced integer) of the latents."""
    if isinstance(draws, int) and draws == 1:
        return latent.sample(jax.random.fold_in(key, 0), potentials)

    def add(j, total):
        drawn = latent.sample(jax.random.fold_in(key, j), potentials)
        return jax.tree.map(jnp.add, total, drawn)

    shapes = jax.eval_shape(latent.sample, key, potentials)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total = jax.lax.fori_loop(0, draws, add, zeros)
    return jax.tree.map(lambda leaf: leaf / jnp.asarray(draws).astype(leaf.dtype), total)
