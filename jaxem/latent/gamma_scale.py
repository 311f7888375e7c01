import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.kernels.special import digamma_excess, ratio_divergence, stirling_excess
from jaxem.latent._latent import AbstractLatent


class GammaScaleTree(NamedTuple):
    """Potentials, or moments, of 1, of `log u - u + 1`, of `log u` and of `u`; the last three of one shape."""

    constant: Float[Array, "*n"]
    shape: Float[Array, "..."]
    power: Float[Array, "..."]
    rate: Float[Array, "..."]


@final
class GammaScale(AbstractLatent):
    """A positive scale `u` for each observation, or several independent ones, with gamma posteriors.

    With potentials `c, a, h, r` the density with respect to `d log u` is
    `exp(c + a (log u - u + 1) + h log u + r u)`: a gamma of shape `a + h` and rate `a - r`. A precision that is `u`
    times a given one, of `d` columns, has `h = d / 2` and `r` minus half the squared distance; under a prior of mean 1
    with `nu` degrees of freedom `a = nu / 2`. No two terms cancel as `a` grows and the posterior closes in on 1.
    `c` has the leading axes of an observation, `[n]` or `[k, n]`; the others have more where there are several scales.

    The mode is that of `log u`, which there always is, and where `u` equals its mean.

    **Arguments:**

    - `common`: whether all observations (the last axis) have the same shape and power, as they have in a family of t
        distributions; what depends on these alone is then worked out once and not for each observation.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import GammaScale, GammaScaleTree
    >>> rows = jnp.zeros(2)
    >>> moments, _ = GammaScale().expectation(GammaScaleTree(rows, rows + 2, rows + 0.5, jnp.array([0.0, -8.0])))
    >>> moments.rate.tolist()
    [1.25, 0.25]
    """

    common: bool = eqx.field(static=True, default=False)

    def expectation(self, potentials: GammaScaleTree) -> tuple[GammaScaleTree, Array]:
        return _expectation(self.common, potentials)

    def mode(self, potentials: GammaScaleTree) -> tuple[GammaScaleTree, Array]:
        mean, log = _mean(potentials)
        found = GammaScaleTree(jnp.ones_like(potentials.constant), -ratio_divergence(mean, log), log, mean)
        return found, self.pair(potentials, found)

    def sample(self, key: PRNGKeyArray, potentials: GammaScaleTree) -> GammaScaleTree:
        shape = potentials.shape + potentials.power
        log = jax.random.loggamma(key, shape, shape.shape, shape.dtype) - jnp.log(potentials.shape - potentials.rate)
        drawn = jnp.exp(log)
        near = jnp.abs(log) < 0.1
        centred = jnp.where(near, -ratio_divergence(jnp.where(near, drawn, 1)), log - drawn + 1)
        return GammaScaleTree(jnp.ones_like(potentials.constant), centred, log, drawn)

    def pair(self, potentials: GammaScaleTree, moments: GammaScaleTree) -> Array:
        terms = [jnp.where(m == 0, 0, p * jnp.where(m == 0, 0, m)) for p, m in zip(potentials, moments, strict=True)]
        return _sum(terms)


def _sum(terms: Sequence[Array]) -> Array:
    """The sum over the terms, and over the scales of an observation."""
    own = terms[1] + terms[2] + terms[3]
    return terms[0] + jnp.sum(own, tuple(range(terms[0].ndim, own.ndim)))


def _mean(potentials: GammaScaleTree) -> tuple[Array, Array]:
    """The mean of `u`, and its logarithm."""
    _, shape, power, rate = potentials
    mean, excess = (shape + power) / (shape - rate), (power + rate) / (shape - rate)
    near = jnp.abs(excess) < 0.5
    # `log1p` where the mean is near 1, at the cost of one logarithm in all: what `1 + excess` rounds off is put back.
    about = jnp.where(near, 1 + excess, mean)
    rest = jnp.where(near, excess - (about - 1), 0)
    return mean, jnp.log(about) + rest / about


def _total(common: bool, potentials: GammaScaleTree) -> Array:
    """The shape of the posterior."""
    total = potentials.shape + potentials.power
    return total[..., :1] if common else total


def _moments(common: bool, potentials: GammaScaleTree, means: tuple[Array, Array]) -> GammaScaleTree:
    mean, log = means
    excess = jnp.broadcast_to(digamma_excess(_total(common, potentials)), log.shape)
    constant = jnp.ones_like(potentials.constant)
    return GammaScaleTree(constant, excess - ratio_divergence(mean, log), excess + log, mean)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _expectation(common: bool, potentials: GammaScaleTree) -> tuple[GammaScaleTree, Array]:
    """Moments and log-normalizer from one logarithm for each row."""
    means, total = _mean(potentials), _total(common, potentials)
    own = (math.log(2 * math.pi) - jnp.log(total)) / 2 + stirling_excess(total)
    own = jnp.broadcast_to(own, means[1].shape)
    value = _sum((potentials.constant, total * means[1], -potentials.power, own))
    return _moments(common, potentials, means), value


@_expectation.defjvp
def _(common, primals, tangents):
    # Differentiated term by term the log-normalizer would lose at large shapes what it was written to keep.
    moments, value = _expectation(common, *primals)
    changes = jax.jvp(lambda p: _moments(common, p, _mean(p)), primals, tangents)[1]
    terms = [m * t for m, t in zip(moments, tangents[0], strict=True)]
    return (moments, value), (changes, _sum(terms))
