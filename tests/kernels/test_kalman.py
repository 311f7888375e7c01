"""The passes of a Gaussian chain against its dense joint distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import kalman
from tests.helpers.kalman import condition, random_params

STEPS = 5


def passes(params, y):
    """The chain of one series, with the observations as factors."""
    p = [jnp.asarray(leaf)[..., None] for leaf in params[:4]]
    precision = np.linalg.inv(params.observation_covariance)
    quadratic = jnp.asarray(params.observation.T @ precision @ params.observation)
    linear = jnp.asarray(y @ precision @ params.observation)
    root, _ = kalman.inverse_root(jnp.linalg.inv(jnp.asarray(params.transition_covariance))[..., None])
    steps, q = linear.shape
    dynamics = kalman.Dynamics(p[2], p[3], root, jnp.zeros((steps - 1, q, 1)))
    quadratic = jnp.broadcast_to(quadratic[None, ..., None], (steps, q, q, 1))
    there = jnp.ones((steps, 1))
    filtered = kalman.filter(p[0], p[1], dynamics, quadratic, linear[..., None], there)
    return filtered, kalman.reverse(filtered, dynamics), there


@pytest.fixture(scope="module")
def series():
    params = random_params(2, 3, seed=1)
    y = np.random.default_rng(2).standard_normal((STEPS, 3))
    return params, y, jax.jit(lambda: passes(params, y))()


def test_smoother_is_the_conditional_of_the_joint(series):
    params, y, (filtered, backward, there) = series
    mean, covariance = kalman.smooth(filtered, backward, there)
    _, expected, dense = condition(params, y)
    np.testing.assert_allclose(np.asarray(mean)[..., 0].ravel(), expected, atol=1e-12)
    blocks = dense.reshape(STEPS, 2, STEPS, 2)
    np.testing.assert_allclose(np.asarray(covariance)[..., 0], [blocks[t, :, t] for t in range(STEPS)], atol=1e-12)


def test_filter_knows_the_past_alone(series):
    params, y, (filtered, _, _) = series
    for t in range(STEPS):
        early = y.copy()
        early[t + 1 :] = np.nan
        _, mean, covariance = condition(params, early)
        own = slice(2 * t, 2 * t + 2)
        np.testing.assert_allclose(filtered.mean[t, :, 0], mean[own], atol=1e-12)
        np.testing.assert_allclose(kalman.square(filtered.root[t])[..., 0], covariance[own, own], atol=1e-12)
        early[t] = np.nan
        _, mean, covariance = condition(params, early)
        root = filtered.predicted_root[t]
        np.testing.assert_allclose(filtered.predicted_mean[t, :, 0], mean[own], atol=1e-12)
        predicted = kalman.product(root, kalman.transpose(root))[..., 0]
        np.testing.assert_allclose(predicted, covariance[own, own], atol=1e-12)


def test_draws_are_linear_in_noise_and_have_the_joint_covariance(series):
    params, y, (filtered, backward, there) = series

    def draw(noise):
        return kalman.simulate(filtered, backward, there, noise.reshape(STEPS, 2, 1)).ravel()

    _, mean, covariance = condition(params, y)
    zero = jnp.zeros(2 * STEPS)
    root = np.asarray(jax.jacfwd(draw)(zero))
    np.testing.assert_allclose(draw(zero), mean, atol=1e-12)
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-12)


@pytest.mark.parametrize("q", [1, 4, 18])
def test_factors_at_every_size(q):
    root = np.random.default_rng(q).standard_normal((3, q, q))
    a = root @ root.transpose(0, 2, 1) + q * np.eye(q)
    last = jnp.moveaxis(jnp.asarray(a), 0, -1)
    factor, solved = jax.jit(lambda a: (f := kalman.cholesky(a), kalman.solve_lower(f, a)))(last)
    np.testing.assert_allclose(np.moveaxis(factor, -1, 0), np.linalg.cholesky(a), rtol=1e-12)
    np.testing.assert_allclose(kalman.product(factor, solved), last, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(2 * kalman.log_diagonal(factor), np.linalg.slogdet(a)[1], rtol=1e-12)


def test_small_noise_in_single_precision():
    """A ratio of 1e6 between the variances of observation and state, which an information filter would lose."""
    params = random_params(1, 1, seed=3)._replace(
        transition=np.ones((1, 1)), transition_covariance=np.full((1, 1), 1e-6), observation=np.ones((1, 1))
    )
    params = params._replace(observation_covariance=np.ones((1, 1)))
    y = np.random.default_rng(4).standard_normal((40, 1))
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    q = jnp.asarray(single.transition_covariance)[..., None]
    dynamics = kalman.Dynamics(jnp.ones((1, 1, 1), q.dtype), q, 1 / jnp.sqrt(q), jnp.zeros((39, 1, 1), q.dtype))
    ones = jnp.ones((40, 1, 1, 1), q.dtype)
    linear = jnp.asarray(y, q.dtype)[..., None]
    start = (jnp.asarray(single.initial_mean)[:, None], jnp.asarray(single.initial_covariance)[..., None])
    there = ones[:, 0, 0]

    @jax.jit
    def run(linear):
        filtered = kalman.filter(*start, dynamics, ones, linear, there)
        return kalman.smooth(filtered, kalman.reverse(filtered, dynamics), there)

    mean, covariance = run(linear)
    _, expected, dense = condition(params, y)
    np.testing.assert_allclose(np.asarray(mean).ravel(), expected, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(covariance).ravel(), np.diag(dense), rtol=1e-4)
