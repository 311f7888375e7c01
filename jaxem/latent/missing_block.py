import math
from collections.abc import Callable
from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxem.latent._latent import AbstractLatent
from jaxem.latent.gaussian import GaussianLatent, GaussianPotentials


@final
class MissingBlock(AbstractLatent):
    """Gaussian variables of which each observation hides some: `b` independent blocks of `q` of them.

    Potentials are `GaussianPotentials` with the variables first, so that the observations are contiguous: `constant`
    `[...]`, `linear` `[q, b, ...]` and `precision` `[q, q, b, ...]`. A variable whose diagonal entry of the precision
    is 0 is not hidden: its linear coefficient and its row and column of the precision must be 0 too, it has moments 0
    and no part in the log-normalizer, which is that of `GaussianLatent`.

    **Example**

    The first of two variables is hidden, with mean 3 and variance 1/2:

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import GaussianPotentials, MissingBlock
    >>> linear, precision = jnp.array([6.0, 0.0]), jnp.array([[2.0, 0.0], [0.0, 0.0]])
    >>> potentials = GaussianPotentials(jnp.zeros(1), linear[:, None, None], precision[:, :, None, None])
    >>> moments, _ = MissingBlock().expectation(potentials)
    >>> moments.linear[:, 0, 0].tolist(), (-2 * moments.precision)[:, :, 0, 0].round(3).tolist()
    ([3.0, 0.0], [[9.5, 0.0], [0.0, 0.0]])
    """

    gaussian: GaussianLatent = GaussianLatent()

    def expectation(self, potentials: GaussianPotentials) -> tuple[GaussianPotentials, Array]:
        hidden, filled = _filled(potentials)
        mean, covariance, value = self.gaussian.posterior(filled)
        mean, covariance = jnp.moveaxis(mean, -1, 0), jnp.moveaxis(covariance, (-2, -1), (0, 1))
        seen = jnp.sum(jnp.where(hidden, 0, jnp.full_like(potentials.linear, math.log(2 * math.pi) / 2)), 0)
        moments = _moments(hidden, mean, covariance + mean[:, None] * mean[None])
        return moments, potentials.constant + jnp.sum(value - seen, 0)

    def mode(self, potentials: GaussianPotentials) -> tuple[GaussianPotentials, Array]:
        hidden, filled = _filled(potentials)
        moments, value = self.gaussian.mode(filled)
        return self._at(hidden, moments.linear), potentials.constant + jnp.sum(value, 0)

    def sample(self, key: PRNGKeyArray, potentials: GaussianPotentials) -> GaussianPotentials:
        hidden, filled = _filled(potentials)
        return self._at(hidden, self.gaussian.draw(key, filled))

    def pair(self, potentials: GaussianPotentials, moments: GaussianPotentials) -> Array:
        each = [_product(a, b) for a, b in zip(potentials, moments, strict=True)]
        return each[0] + jnp.sum(each[1], (0, 1)) + jnp.sum(each[2], (0, 1, 2))

    def scale(self, moments: GaussianPotentials, factor: Array) -> GaussianPotentials:
        def one(leaf):
            spread = jnp.broadcast_to(factor.reshape((1,) * (leaf.ndim - factor.ndim) + factor.shape), leaf.shape)
            return jnp.where(spread == 0, 0, leaf * spread)

        return GaussianPotentials(*map(one, moments))

    def map_rows(self, fn: Callable[[Array, int], Array], tree: GaussianPotentials) -> GaussianPotentials:
        return jax.tree.map(lambda leaf: fn(leaf, leaf.ndim - 1), tree)

    def _at(self, hidden: Array, z: Array) -> GaussianPotentials:
        z = jnp.moveaxis(z, -1, 0)
        return _moments(hidden, z, z[:, None] * z[None])


def _filled(potentials: GaussianPotentials) -> tuple[Array, GaussianPotentials]:
    """Which variables are hidden, and potentials in which the others are independent standard normals, blocks first."""
    precision: Any = potentials.precision
    q = precision.shape[0]
    hidden = jnp.stack([precision[i, i] for i in range(q)]) != 0
    eye = jnp.eye(q, dtype=precision.dtype).reshape(q, q, *(1,) * (precision.ndim - 2))
    filled = jnp.where(_both(hidden), precision, jnp.broadcast_to(eye, precision.shape))
    linear, filled = jnp.moveaxis(potentials.linear, 0, -1), jnp.moveaxis(filled, (0, 1), (-2, -1))
    return hidden, GaussianPotentials(jnp.zeros_like(linear[..., 0]), linear, filled)


def _moments(hidden: Array, first: Array, second: Array) -> GaussianPotentials:
    first, second = jnp.where(hidden, first, 0), jnp.where(_both(hidden), second, 0)
    return GaussianPotentials(jnp.ones_like(first[0, 0]), first, -second / 2)


def _both(hidden: Array) -> Array:
    return hidden[:, None] & hidden[None]


def _product(a: Array, b: Array) -> Array:
    return jnp.where(b == 0, 0, b * jnp.where(b == 0, 0, a))
