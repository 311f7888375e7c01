from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._model import AbstractModel, num_rows
from jaxem.latent import Categorical


@final
class FunctionModel(AbstractModel):
    """Rung 0: a model given by its joint log density and an enumerable latent.

    **Arguments:**

    - `log_joint`: `log_joint(params, x, z)`, the log density of one observation `x` and its latent `z` (an integer from
        0 to `num_values - 1`), a scalar.
    - `num_values`: how many values the latent takes.
    - `start`: `start(key, data, weights)`, starting parameters (or fixed parameters, for a single start).
    - `to_constrained`, `to_unconstrained`: a bijection between unconstrained coordinates and the parameters; the
        identity if not given.
    - `prior`: log prior density of the parameters.

    The potentials come by enumeration. It works with every rule that needs no closed-form M-step.

    **Example**

    Two Poisson distributions in the unknown proportion `params[0]`, on the log scale throughout.

    >>> import jax, jax.numpy as jnp, jaxem
    >>> def log_joint(params, x, z):
    ...     weights, rates = jax.nn.log_softmax(jnp.stack([params[0], 0.0])), params[1:]
    ...     return weights[z] + x * rates[z] - jnp.exp(rates[z])
    >>> model = jaxem.FunctionModel(log_joint, num_values=2, start=jnp.array([0.0, 0.0, 1.0]))
    >>> counts = jnp.array([0.0, 1.0, 0.0, 9.0, 11.0, 10.0])
    >>> fit = jaxem.solve(model, model.start, counts, algorithm=jaxem.em_gradient())
    >>> jnp.exp(fit.params[1:]).round(1).tolist()
    [0.30000001192092896, 10.0]
    """

    log_joint: Callable[[PyTree, PyTree, Array], Array] = eqx.field(static=True)
    num_values: int = eqx.field(static=True)
    start: Any = None
    to_constrained: Callable[[PyTree], PyTree] | None = eqx.field(static=True, default=None)
    to_unconstrained: Callable[[PyTree], PyTree] | None = eqx.field(static=True, default=None)
    prior: Callable[[PyTree], Array] | None = eqx.field(static=True, default=None)

    @property
    def latent(self) -> Categorical:
        return Categorical()

    def potentials(self, natural, data):
        values = jnp.arange(self.num_values)
        one = jax.vmap(self.log_joint, (None, 0, None))
        return jax.vmap(one, (None, None, 0))(natural, data, values)

    def init(self, key, data, weights):
        return self.start(key, data, weights) if callable(self.start) else self.start

    def constrain(self, free):
        return free if self.to_constrained is None else self.to_constrained(free)

    def unconstrain(self, params):
        return params if self.to_unconstrained is None else self.to_unconstrained(params)

    def log_prior(self, params):
        if self.prior is None:
            return jnp.zeros((), jax.tree.leaves(params)[0].dtype)
        return self.prior(params)

    def log_base(self, data):
        return jnp.zeros(num_rows(data), jnp.result_type(float))

    def floats_per_row(self, params, lanes=1):
        return 4 * lanes * self.num_values
