import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxem.kernels import exclusion
from jaxem.kernels.largest import largest
from jaxem.latent._latent import AbstractChoice


class Categorical(AbstractChoice):
    """One of `k` classes for each observation.

    Potentials are unnormalised log-probabilities `[k, n]`, classes first so that the observations are contiguous.
    Moments are the posterior probabilities `[k, n]`. An observation that no class allows (all potentials minus
    infinity) has moments 0 and log-normalizer minus infinity.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import Categorical
    >>> moments, log_normalizer = Categorical().expectation(jnp.log(jnp.array([[1.0], [3.0]])))
    >>> moments[:, 0].round(2).tolist()
    [0.25, 0.75]
    """

    def expectation(self, potentials: Float[Array, "k n"]) -> tuple[Float[Array, "k n"], Float[Array, " n"]]:
        # Its derivative cancels, and JAX's own is NaN where rounding leaves no potential equal to their maximum.
        top = jax.lax.stop_gradient(_highest(potentials)[None])
        unnormalised = jnp.exp(potentials - top)
        total = jnp.sum(unnormalised, 0, keepdims=True)
        possible = total > 0
        scale = jnp.where(possible, 1 / jnp.where(possible, total, 1), 0)
        value = jnp.where(possible, jnp.log(jnp.where(possible, total, 1)) + top, -jnp.inf)
        return unnormalised * scale, value[0]

    def mode(self, potentials: Float[Array, "k n"]) -> tuple[Float[Array, "k n"], Float[Array, " n"]]:
        chosen, value = largest(potentials)
        return self.indicator(chosen, value, potentials.shape[0]), exclusion.or_minus_infinity(value)

    def sample(self, key: PRNGKeyArray, potentials: Float[Array, "k n"]) -> Float[Array, "k n"]:
        drawn = jax.random.categorical(key, potentials, axis=0)
        return self.indicator(drawn, jnp.max(potentials, 0), potentials.shape[0])

    def weigh(self, moments: Float[Array, "k n"], weights: Float[Array, " n"]) -> Float[Array, "k n"]:
        return moments * weights[None, :]

    def pair(self, potentials: Float[Array, "k n"], moments: Float[Array, "k n"]) -> Float[Array, " n"]:
        return jnp.sum(jnp.where(moments == 0, 0, moments * jnp.where(moments == 0, 0, potentials)), 0)

    def entropy(self, moments: Float[Array, "k n"]) -> Float[Array, " n"]:
        return jnp.sum(jax.scipy.special.entr(moments), 0)

    def attach(self, potentials: Float[Array, "k n"], value: Float[Array, "k n"]) -> Float[Array, "k n"]:
        return potentials + value

    def local(self, moments: Float[Array, "k n"]) -> Float[Array, "k n"]:
        return moments

    def given(self, potentials: Float[Array, "k n"], moments: Float[Array, "k n"]) -> Float[Array, "k n"]:
        return moments

    def indicator(self, chosen: Int[Array, " n"], value: Float[Array, " n"], k: int) -> Float[Array, "k n"]:
        """Moments of the classes that are `chosen`; 0 where the largest potential, `value`, excludes them all."""
        classes = jnp.arange(k, dtype=chosen.dtype)
        moments = (classes[:, None] == chosen[None, :]) & exclusion.possible(value)[None, :]
        return moments.astype(value.dtype)


def _highest(potentials: Array) -> Array:
    """The largest potential of each observation; 0 where all are excluded, so that each has `exp` 0."""
    top = jnp.max(potentials, 0)
    return jnp.where(exclusion.possible(top), top, jnp.zeros_like(top))
