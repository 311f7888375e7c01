from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.families.covariance import AbstractCovariance
from jaxem.families.priors._prior import AbstractPrior, require_positive
from jaxem.kernels.linalg import trailing
from jaxem.kernels.special import ratio_divergence


@final
class NormalInverseWishart(AbstractPrior):
    """Conjugate prior of a Gaussian's mean and covariance.

    `covariance ~ InverseWishart(scale, degrees_of_freedom)` and then `mean ~ N(mean, covariance / mean_precision)`.
    With `"diagonal"` and `"spherical"` covariances the inverse-Wishart becomes inverse gammas of shape
    `degrees_of_freedom / 2` and rate `scale / 2`. The posterior-mode estimate is the joint mode in mean and covariance
    (Fraley and Raftery 2007).

    **Arguments:**

    - `mean`: prior mean, `[d]`.
    - `mean_precision`: how many observations the prior mean counts for, positive.
    - `scale`: `[d, d]` for full, tied and VEV covariances, `[d]` for diagonal ones, a scalar for spherical ones.
    - `degrees_of_freedom`: more than `d - 1` (more than 0 for diagonal and spherical ones).

    A posterior has `mean` `[k, d]`, `mean_precision` `[k]`, `scale` in the shape of the covariances (full `[k, d, d]`,
    tied `[d, d]`, diagonal `[k, d]`, spherical `[k]`) and `degrees_of_freedom` `[k]` (tied: a scalar).

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> prior = jaxem.priors.NormalInverseWishart(jnp.zeros(2), 0.01, jnp.eye(2), 4.0)
    >>> model = jaxem.GaussianMixture(2, prior=prior)
    """

    mean: Any
    mean_precision: Any
    scale: Any
    degrees_of_freedom: Any

    def __check_init__(self):
        require_positive(self.mean_precision, "mean_precision")
        require_positive(self.degrees_of_freedom, "degrees_of_freedom")

    # What follows is for posteriors. `structure` is that of the covariances.

    @property
    def covariance(self) -> Array:
        """`scale / degrees_of_freedom`, the inverse of the expected precision; there at any degrees of freedom."""
        return self.scale / trailing(self.degrees_of_freedom, self.scale)

    def update(
        self, structure: AbstractCovariance, counts: Float[Array, " k"], total: Float[Array, "k d"], scatter: Array
    ) -> "NormalInverseWishart":
        """The posterior given expected counts and sums of `x` and `x x^T`."""
        precision = self.mean_precision + counts
        weighted = self.mean_precision[:, None] * self.mean + total
        mean = weighted / precision[:, None]
        about = structure.outer(self.mean, self.mean_precision[:, None] * self.mean) - structure.outer(mean, weighted)
        if structure.shared:
            about = jnp.sum(about, 0)
        dof = structure.posterior_dof(self.degrees_of_freedom, counts, mean.shape[1])
        return NormalInverseWishart(mean, precision, self.scale + (scatter + about), dof)

    def mode(self, structure: AbstractCovariance) -> tuple[Array, Array]:
        """The most probable means and covariances, jointly."""
        k, d = self.mean.shape
        count = jnp.broadcast_to(structure.prior_count(self.degrees_of_freedom, d, k), (k,))
        return self.mean, structure.divide(self.scale, count, d)

    def log_excess(self, structure: AbstractCovariance) -> Array:
        """The mean of `log |precision|` less the logarithm of the determinant of the mean; `[k]`, or a scalar."""
        return structure.log_excess(self.degrees_of_freedom, self.mean.shape[1])

    def draw(self, key: PRNGKeyArray, structure: AbstractCovariance) -> tuple[Array, Array]:
        """One draw of means and covariances."""
        spread, place = jax.random.split(key)
        covariance, root = structure.draw(spread, self.scale, self.degrees_of_freedom)
        noise = jax.random.normal(place, self.mean.shape, self.mean.dtype)
        return self.mean + structure.colour(root, noise / jnp.sqrt(self.mean_precision)[:, None]), covariance

    def kl(self, prior: "NormalInverseWishart", structure: AbstractCovariance) -> Float[Array, ""]:
        """Kullback-Leibler divergence from `prior`, whose fields have the same shapes."""
        d = self.mean.shape[1]
        factor = structure.factor(self.covariance)
        distance = structure.whiten(factor, (self.mean - prior.mean)[..., None])[..., 0]
        of_means = d * ratio_divergence(prior.mean_precision / self.mean_precision)
        of_means = of_means + prior.mean_precision * jnp.sum(distance * distance, -1)
        pairs = (self.scale, self.degrees_of_freedom), (prior.scale, prior.degrees_of_freedom)
        return jnp.sum(of_means) / 2 + structure.divergence(*pairs[0], *pairs[1])

    def unconstrain(self, structure: AbstractCovariance) -> tuple[Array, ...]:
        """Means, logarithms, log-Cholesky factors of matrices, and logarithms above the least degrees of freedom."""
        dof = self.degrees_of_freedom - structure.least_dof(self.mean.shape[1])
        return self.mean, jnp.log(self.mean_precision), structure.unconstrain(self.scale), jnp.log(dof)

    @staticmethod
    def constrain(free: tuple[Array, ...], structure: AbstractCovariance) -> "NormalInverseWishart":
        """The inverse of `unconstrain`."""
        mean, precision, scale, dof = free
        dof = jnp.exp(dof) + structure.least_dof(mean.shape[1])
        return NormalInverseWishart(mean, jnp.exp(precision), structure.constrain(scale), dof)
