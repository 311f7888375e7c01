from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem.e_step._e_step import AbstractEStep
from jaxem.families.priors import require_positive
from jaxem.kernels.exclusion import possible


@final
class Tempered(AbstractEStep):
    """The posterior at a temperature that stays: `q(z)` is proportional to `p(x, z)^(1 / temperature)`.

    Never lowers the free energy `temperature sum log(sum_z p(x, z)^(1 / temperature))` (plus log prior), which is the
    objective. Towards 0 it is hard EM, and at 1 EM. Unlike the schedule of `Annealed` the temperature is a number like
    those in the data: it may be traced, and a fit has derivatives with respect to it. Ueda and Nakano (1998).

    **Arguments:**

    - `temperature`: positive.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.Algorithm(e_step=jaxem.e_step.Tempered(0.5))
    """

    temperature: Any = 1.0

    def __check_init__(self):
        require_positive(self.temperature, "temperature")

    def extras(self, model, params, state):
        return jnp.asarray(self.temperature, jax.tree.leaves(params)[0].dtype)

    def posterior(self, model, potentials, extras, data, key):
        moments, value = model.latent.expectation(tempered(potentials, extras))
        return moments, extras * value


def tempered(potentials: PyTree, temperature: Array) -> PyTree:
    """Potentials divided by a temperature `[]`; what is excluded stays so."""

    def one(leaf: Array) -> Array:
        usual = possible(leaf)
        # Minus infinity, though not chosen, would make the derivative by the temperature NaN.
        return jnp.where(usual, jnp.where(usual, leaf, 0) / temperature, leaf)

    return jax.tree.map(one, potentials)
