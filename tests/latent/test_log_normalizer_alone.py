"""A structure that supplies its log-normalizer alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxem
from jaxem.latent import AbstractLatent
from jaxem.models import AbstractLinearModel
from jaxem.testing import check_latent

Y = np.array([0.3, 2.9, -1.1, 4.2, 1.7, 3.3, -0.4])


class LevelTree(NamedTuple):
    """Coefficients of 1, of `z` and of `-z^2 / 2`, `[n]`."""

    constant: Any
    linear: Any
    precision: Any


class Level(AbstractLatent):
    """A normal number for each observation."""

    def log_normalizer(self, potentials):
        constant, linear, precision = potentials
        return constant + linear**2 / precision / 2 - jnp.log(precision) / 2


class LevelsParams(NamedTuple):
    mean: Any
    variance: Any


class Levels(AbstractLinearModel):
    """`y ~ N(z, 1)` with `z ~ N(mean, variance)`."""

    @property
    def latent(self):
        return Level()

    def natural(self, params):
        mean, variance = params
        constant = -(mean**2 / variance + jnp.log(variance)) / 2
        return LevelTree(constant, mean / variance, 1 / variance)

    def potentials(self, natural, data):
        return LevelTree(
            jnp.broadcast_to(natural.constant, data.shape),
            natural.linear + data,
            jnp.broadcast_to(natural.precision + 1, data.shape),
        )

    def log_base(self, data):
        return -(data**2 + jnp.log(2 * jnp.pi)) / 2

    def maximize(self, stats, params):
        mean = stats.linear / stats.constant
        return LevelsParams(mean, -2 * stats.precision / stats.constant - mean**2)

    def init(self, key, data, weights=None):
        return LevelsParams(jnp.zeros((), data.dtype), jnp.ones((), data.dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_moments_are_the_gradient(dtype):
    with jax.enable_x64(dtype == "float64"):
        tree = LevelTree(*(jnp.asarray(leaf, dtype) for leaf in ([0.1, 0.2], [0.5, -1.0], [2.0, 0.7])))
        moments, value = Level().expectation(tree)
        mean = tree.linear / tree.precision
        assert_allclose(moments.linear, mean, rtol=1e-5)
        assert_allclose(moments.precision, -(mean**2 + 1 / tree.precision) / 2, rtol=1e-5)
        assert_allclose(Level().pair(tree, moments).shape, value.shape)
        assert Level().lacks == ("mode", "sample")
        check_latent(Level(), tree)


def test_em_reaches_the_maximum_of_the_likelihood():
    fit = jaxem.fit(Levels(), Y, key=jax.random.key(0), tol=1e-14, max_steps=10_000)
    assert_allclose(fit.params.mean, Y.mean(), rtol=1e-6)
    assert_allclose(fit.params.variance, Y.var() - 1, rtol=1e-4)
    total = Y.var()
    assert_allclose(fit.log_likelihood, -len(Y) / 2 * (np.log(2 * np.pi * total) + 1), rtol=1e-9)


def test_what_it_lacks_is_named():
    with pytest.raises(jaxem.MissingCapabilityError, match="Level"):
        jaxem.fit(Levels(), Y, key=jax.random.key(0), algorithm=jaxem.hard_em())
    with pytest.raises(jaxem.MissingCapabilityError, match="Level"):
        jaxem.fit(Levels(), Y, key=jax.random.key(0), algorithm=jaxem.stochastic_em())


def test_one_of_the_two_is_needed():
    class Neither(AbstractLatent):
        pass

    with pytest.raises(TypeError, match="Neither defines neither `log_normalizer` nor `expectation`"):
        Neither()
