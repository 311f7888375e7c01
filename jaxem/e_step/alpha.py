from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._coordinates import vector
from jaxem.e_step._e_step import AbstractEStep
from jaxem.kernels.exclusion import possible

_WARM_UP = 4  # plain steps before extrapolation begins
_PERIOD = 20  # iterations between measurements of the rate, of two plain steps


class AlphaState(NamedTuple):
    """The other parameters that potentials are mixed with, and what is known about the rate of convergence."""

    other: PyTree
    c: Array
    steps: Array
    length: Array  # of the last step, in unconstrained coordinates
    rate: Array


@final
class Alpha(AbstractEStep):
    """Potentials extrapolated from the last two iterates, or mixed with the last outer one: alpha-EM.

    With `c = (1 + alpha) / 2`, the past-information form takes `p(x, z | t)^(1 + c) p(x, z | t - 1)^-c` for the
    posterior; near a maximum where EM converges at rate `gamma` it converges at `1 - sqrt(1 - gamma)` for the best
    `alpha`, and is stable for `-3 < alpha < 1`. The exact form takes `inner` M-steps on
    `p(x, z | outer)^(1 - c) p(x, z | current)^c`. Log-EM is `alpha = -1`. If the objective falls, the step is taken
    back and a plain one follows, so that the objective never falls. Matsuyama (2003).

    **Arguments:**

    - `alpha`: in (-3, 1); by default the best one for the rate of convergence, which plain steps measure: some at the
        start, and two in every twenty.
    - `form`: `"past"` or `"exact"`.
    - `inner`: M-steps for each outer one in the exact form.
    - `max_c`: bound on `c` when it is chosen automatically.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.alpha_em()
    """

    alpha: float | None = None
    form: str = eqx.field(static=True, default="past")
    inner: int = eqx.field(static=True, default=3)
    max_c: float = eqx.field(static=True, default=0.95)

    extrapolates: ClassVar[bool] = True

    def __check_init__(self):
        if self.form not in ("past", "exact"):
            raise ValueError(f"form must be 'past' or 'exact', got {self.form!r}")
        if isinstance(self.alpha, int | float) and not -3 < self.alpha < 1:
            raise ValueError(f"alpha must lie in (-3, 1), got {self.alpha}")
        if self.form == "exact" and self.alpha is None:
            raise ValueError("the exact form needs alpha; it is chosen automatically only in the past-information form")
        if self.inner < 1:
            raise ValueError(f"inner must be at least 1, got {self.inner}")

    def init(self, model, params):
        dtype = jax.tree.leaves(params)[0].dtype
        zero = jnp.zeros((), dtype)
        return AlphaState(params, zero, jnp.zeros((), jnp.int32), zero, zero)

    def extras(self, model, params, state):
        return model.prepare(model.natural(state.other)), state.c

    def posterior(self, model, potentials, extras, data, key):
        natural, c = extras
        value = model.latent.log_normalizer(potentials)
        other = model.potentials(natural, data)
        # In the exact form the weight of the current parameters is c, that of the outer ones 1 - c.
        push = c if self.form == "past" else c - 1

        def mix(a, b):
            return jnp.where(jnp.isfinite(a) & possible(b), a + push * (a - b), a)

        mixed = jax.tree.map(mix, potentials, other)
        moments, _ = model.latent.expectation(mixed)
        return moments, value

    def review(self, sweep, model, params, proposed, state, key):
        return proposed, (self._past if self.form == "past" else self._exact)(model, params, proposed, state)

    def _past(self, model, params, proposed, state: AlphaState) -> AlphaState:
        before, after = vector(model, params)[0], vector(model, proposed)[0]
        length = jnp.sqrt(jnp.sum((after - before) ** 2))
        steps = state.steps + 1
        phase = steps % _PERIOD
        # Two plain steps in a row, after the extrapolated ones, measure the rate.
        plain = (steps < _WARM_UP) | (phase < 2) if self.alpha is None else steps < _WARM_UP
        measures = (steps == _WARM_UP) | ((steps > _WARM_UP) & (phase == 2))
        rate = jnp.where(
            measures & (state.length > 0), length / jnp.where(state.length > 0, state.length, 1), state.rate
        )
        if self.alpha is None:
            root = jnp.sqrt(jnp.clip(1 - rate, 0, 1))
            c = jnp.minimum((1 - root) / (1 + root), self.max_c)
        else:
            c = jnp.asarray((1 + self.alpha) / 2, rate.dtype)
        return AlphaState(params, jnp.where(plain, 0, c).astype(rate.dtype), steps, length, rate)

    def _exact(self, model, params, proposed, state: AlphaState) -> AlphaState:
        steps = state.steps + 1
        turn = steps % self.inner == 0
        other = jax.tree.map(lambda new, old: jnp.where(turn, new, old), proposed, state.other)
        c = jnp.asarray((1 + self.alpha) / 2, state.c.dtype)  # pyright: ignore[reportOperatorIssue]
        return state._replace(other=other, c=c, steps=steps)

    def plain(self, state: AlphaState) -> Any:
        return state.c == 0

    def reset(self, model, params, state):
        fresh = self.init(model, params)
        return fresh._replace(rate=state.rate)
