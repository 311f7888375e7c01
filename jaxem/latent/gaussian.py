import math
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.kernels import linalg, small
from jaxem.latent._latent import AbstractLatent


class GaussianPotentials(NamedTuple):
    """Coefficients of a log density `constant + linear^T z - z^T precision z / 2`, or of several that were added up.

    As moments: 1 (the weight of the row), `E[z]` and `-E[z z^T] / 2`. The precision is symmetric.
    """

    constant: Float[Array, "..."]
    linear: Float[Array, "... q"]
    precision: Float[Array, "... q q"]


@final
class GaussianLatent(AbstractLatent):
    """A Gaussian vector `z` for each observation, by information vector and precision.

    Potentials are `GaussianPotentials` with any leading axes: a constant, the information vector `h` and the precision
    `J`. The log-normalizer is `constant + h^T J^-1 h / 2 - log det(J) / 2 + q / 2 log(2 pi)`, NaN where `J` is not
    positive definite. Its derivatives, of any order, are arithmetic on the moments.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import GaussianLatent, GaussianPotentials
    >>> potentials = GaussianPotentials(jnp.zeros(1), jnp.array([[6.0]]), jnp.array([[[2.0]]]))
    >>> moments, _ = GaussianLatent().expectation(potentials)
    >>> round(moments.linear.item(), 3), round(-2 * moments.precision.item(), 3)
    (3.0, 9.5)
    """

    def expectation(self, potentials: GaussianPotentials) -> tuple[GaussianPotentials, Array]:
        mean, covariance, value = self.posterior(potentials)
        second = covariance + linalg.outer(mean, mean)
        return GaussianPotentials(jnp.ones_like(value), mean, -second / 2), value

    def posterior(self, potentials: GaussianPotentials) -> tuple[Array, Array, Array]:
        """Mean `[..., q]` and covariance `[..., q, q]` of `z`, and the log-normalizer `[...]`."""
        q = potentials.linear.shape[-1]
        mean, covariance, quadratic, log_det = _solve(potentials.precision, potentials.linear)
        value = potentials.constant + (quadratic - log_det + q * math.log(2 * math.pi)) / 2
        return mean, covariance, value

    def mode(self, potentials: GaussianPotentials) -> tuple[GaussianPotentials, Array]:
        mean, _, quadratic, _ = _solve(potentials.precision, potentials.linear)
        return self._at(mean), potentials.constant + quadratic / 2

    def sample(self, key: PRNGKeyArray, potentials: GaussianPotentials) -> GaussianPotentials:
        return self._at(self.draw(key, potentials))

    def draw(self, key: PRNGKeyArray, potentials: GaussianPotentials) -> Float[Array, "... q"]:
        """One draw of `z` for each observation."""
        h, precision = potentials.linear, potentials.precision
        noise = jax.random.normal(key, h.shape, h.dtype)
        mean, *_ = _solve(precision, h)
        if h.shape[-1] <= small.SMALL:
            factor = small.cholesky(jnp.moveaxis(precision, (-2, -1), (0, 1)))
            return mean + jnp.moveaxis(small.solve_upper(factor, jnp.moveaxis(noise, -1, 0)), 0, -1)
        inverse = linalg.transpose(linalg.inverse_lower(linalg.cholesky(precision)))
        return mean + linalg.matmul(inverse, noise[..., None])[..., 0]

    def pair(self, potentials: GaussianPotentials, moments: GaussianPotentials) -> Array:
        linear = jnp.sum(_product(potentials.linear, moments.linear), -1)
        precision = jnp.sum(_product(potentials.precision, moments.precision), (-2, -1))
        return _product(potentials.constant, moments.constant) + linear + precision

    def _at(self, z: Array) -> GaussianPotentials:
        return GaussianPotentials(jnp.ones_like(z[..., 0]), z, -linalg.outer(z, z) / 2)


@jax.custom_jvp
def _solve(precision: Array, h: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, covariance, `h^T J^-1 h` and `log det J`."""
    if h.shape[-1] <= small.SMALL:
        covariance, mean, quadratic, log_det = small.sweep(
            jnp.moveaxis(precision, (-2, -1), (0, 1)), jnp.moveaxis(h, -1, 0)
        )
        return jnp.moveaxis(mean, 0, -1), jnp.moveaxis(covariance, (0, 1), (-2, -1)), quadratic, log_det
    factor = linalg.cholesky(precision)
    inverse = linalg.inverse_lower(factor)
    whitened = linalg.matmul(inverse, h[..., None])
    mean = linalg.matmul(linalg.transpose(inverse), whitened)[..., 0]
    covariance = linalg.matmul(linalg.transpose(inverse), inverse)
    return mean, covariance, jnp.sum(whitened[..., 0] ** 2, -1), 2 * linalg.half_log_det(factor)


@_solve.defjvp
def _(primals, tangents):
    solved = _solve(*primals)
    mean, covariance, *_ = solved
    d_precision, d_h = linalg.symmetrize(tangents[0]), tangents[1]
    moved = linalg.matmul(d_precision, mean[..., None])[..., 0]
    d_mean = linalg.matmul(covariance, (d_h - moved)[..., None])[..., 0]
    d_covariance = -linalg.matmul(linalg.matmul(covariance, d_precision), covariance)
    d_quadratic = jnp.sum(mean * (2 * d_h - moved), -1)
    d_log_det = jnp.sum(covariance * d_precision, (-2, -1))
    return solved, (d_mean, d_covariance, d_quadratic, d_log_det)


def _product(a: Array, b: Array) -> Array:
    """`a * b`, 0 where `b` is, whatever `a`."""
    return jnp.where(b == 0, 0, b * jnp.where(b == 0, 0, a))
