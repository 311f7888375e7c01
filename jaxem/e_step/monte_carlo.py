from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.e_step._e_step import AbstractEStep


class MonteCarloState(NamedTuple):
    """Draws for each observation, and the upper confidence bound of the last gain in Q."""

    draws: Array
    upper: Array


@final
class MonteCarlo(AbstractEStep):
    """Draws from the posterior, as many as it takes to see that Q rises: ascent-based Monte Carlo EM.

    An M-step is taken only if the gain in Q that it promises exceeds `confidence` of its Monte Carlo standard errors;
    otherwise the parameters stay and the draws grow by half. Each M-step sets the draws that the next one is expected
    to need. It stops when the gain plus `confidence` standard errors falls below `tol` per unit of weight. The
    likelihood rises at each step with the probability that `confidence` stands for (0.84 for 1).
    Caffo, Jank and Jones (2005).

    **Arguments:**

    - `draws`: for each observation, at first.
    - `max_draws`: no more than so many.
    - `confidence`: in standard errors.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.monte_carlo_em(draws=10)
    """

    draws: int = eqx.field(static=True, default=10)
    max_draws: int = eqx.field(static=True, default=10_000)
    confidence: float = 1.0

    monotone: ClassVar[bool] = False
    needs: ClassVar[str] = "sample"
    stops: ClassVar[bool] = True

    def __check_init__(self):
        if not 2 <= self.draws <= self.max_draws:
            raise ValueError(f"draws must lie between 2 and max_draws={self.max_draws}, got {self.draws}")

    def init(self, model, params):
        dtype = jax.tree.leaves(params)[0].dtype
        return MonteCarloState(jnp.asarray(self.draws, jnp.int32), jnp.full((), jnp.inf, dtype))

    def extras(self, model, params, state):
        return state.draws

    def posterior(self, model, potentials, extras, data, key):
        moments = model.latent.average(key, potentials, extras, self.max_draws)
        return moments, model.latent.log_normalizer(potentials)

    def review(self, sweep, model, params, proposed, state, key):
        gain, variance = sweep(_gains(model, params, proposed, state.draws))
        gain = gain + (model.log_prior(proposed) - model.log_prior(params)).astype(gain.dtype)
        draws = state.draws.astype(gain.dtype)
        error = jnp.sqrt(variance / draws)
        risen = gain > self.confidence * error
        wanted = variance * (2 * self.confidence / jnp.where(gain > 0, gain, 1)) ** 2
        grown = jnp.where(risen, jnp.maximum(draws, wanted), jnp.ceil(1.5 * draws))
        draws = jnp.minimum(grown, self.max_draws).astype(jnp.int32)
        params = jax.tree.map(lambda new, old: jnp.where(risen, new, old), proposed, params)
        return params, MonteCarloState(draws, gain + self.confidence * error)

    def converged(self, state: MonteCarloState, tol: Array, total_weight: Array) -> Any:
        return state.upper < tol * total_weight


def _gains(model, params, proposed, draws):
    """The gain in complete log density, averaged over the draws, and the variance of one draw of it."""
    here = model.about(params)
    old, new = (here.prepare(here.natural(p)) for p in (params, proposed))

    def sums(chunk, w, key):
        before, after = here.potentials(old, chunk), here.potentials(new, chunk)

        def add(j, carry):
            total, squares = carry
            drawn = here.latent.sample(jax.random.fold_in(key, j), before)
            change = here.latent.pair(after, drawn) - here.latent.pair(before, drawn)
            return total + change, squares + change**2

        zeros = jnp.zeros_like(w)
        total, squares = jax.lax.fori_loop(0, draws, add, (zeros, zeros))
        m = draws.astype(w.dtype)
        spread = jnp.maximum(squares - total**2 / m, 0) / (m - 1)
        return jnp.sum(w * total / m), jnp.sum(w**2 * spread)

    return sums
