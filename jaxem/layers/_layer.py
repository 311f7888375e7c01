"""What all layers hold: a temperature, which may be learned."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractLayer(eqx.Module):
    """A layer with a temperature."""

    log_temperature: eqx.AbstractVar[Array]
    learn_temperature: eqx.AbstractVar[bool]

    @property
    def temperature(self) -> Float[Array, ""]:
        """The temperature, constant to JAX unless it is learned."""
        value = jnp.exp(self.log_temperature)
        return value if self.learn_temperature else jax.lax.stop_gradient(value)
