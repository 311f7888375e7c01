from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._coordinates import vector
from jaxem.e_step._e_step import AbstractEStep


@final
class Annealed(AbstractEStep):
    """The posterior at an inverse temperature that rises to 1: deterministic annealing EM.

    `q(z)` is proportional to `p(x, z)^b`. While `b` stays, the free energy `sum log(sum_z p(x, z)^b) / b` (plus log
    prior) never falls; it is what the history holds, and the log-likelihood once `b` is 1. Gains are judged only there.
    It often finds better maxima than EM from the same start, without a guarantee. Ueda and Nakano (1998). With `peak`
    above 1 it goes on to there and comes back down: anti-annealing (Naim and Gildea 2012).

    **Arguments:**

    - `start`: the first inverse temperature, in (0, 1].
    - `factor`: by which it grows.
    - `steps`: iterations at each.
    - `peak`: the largest inverse temperature.
    - `noise`: standard deviation of what is added to the unconstrained coordinates whenever the temperature changes;
        symmetric solutions are stationary at low `b`.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.annealed_em(start=0.2, factor=1.2)
    """

    start: float = eqx.field(static=True, default=0.25)
    factor: float = eqx.field(static=True, default=1.25)
    steps: int = eqx.field(static=True, default=5)
    peak: float = eqx.field(static=True, default=1.0)
    noise: float = eqx.field(static=True, default=0.01)

    def __check_init__(self):
        if not 0 < self.start <= 1 or self.factor <= 1 or self.steps < 1 or self.peak < 1 or self.noise < 0:
            raise ValueError(
                f"annealing needs 0 < start <= 1, factor > 1, steps >= 1, peak >= 1 and noise >= 0, got {self}"
            )

    @property
    def schedule(self) -> tuple[float, ...]:
        """Inverse temperatures, each for `steps` iterations; the last is 1 and stays."""
        rising = [self.start]
        while rising[-1] * self.factor < self.peak:
            rising.append(rising[-1] * self.factor)
        if rising[-1] < self.peak:
            rising.append(self.peak)
        while rising[-1] > 1:
            rising.append(max(rising[-1] / self.factor, 1.0))
        return tuple(rising)

    def init(self, model, params):
        return jnp.zeros((), jnp.int32)

    def _stage(self, state):
        return jnp.minimum(state // self.steps, len(self.schedule) - 1)

    def extras(self, model, params, state):
        dtype = jax.tree.leaves(params)[0].dtype
        return jnp.asarray(self.schedule, dtype)[self._stage(state)]

    def posterior(self, model, potentials, extras, data, key):
        tempered = jax.tree.map(lambda leaf: extras * leaf, potentials)
        moments, value = model.latent.expectation(tempered)
        return moments, value / extras

    def review(self, sweep, model, params, proposed, state, key):
        turned = self._stage(state + 1) != self._stage(state)
        if self.noise > 0:
            proposed = _perturbed(model, proposed, key, jnp.where(turned, self.noise, 0.0))
        return proposed, state + 1

    def comparable(self, state):
        return state > self.steps * (len(self.schedule) - 1)


def _perturbed(model, params, key, scale):
    flat, back = vector(model, params)
    moved = back(flat + scale.astype(flat.dtype) * jax.random.normal(key, flat.shape, flat.dtype))
    return jax.tree.map(lambda new, old: jnp.where(scale > 0, new, old), moved, params)
