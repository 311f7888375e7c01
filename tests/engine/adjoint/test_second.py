"""Second derivatives of fits: symmetric, the same by every order of the two modes, and those of finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem

N = 12


def mixture():
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.concatenate([rng.standard_normal(N // 2), rng.standard_normal(N // 2) + 3]))[:, None]
    start = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]), jaxem.families.GaussianParams(jnp.array([[0.0], [3.0]]), jnp.ones((2, 1)))
    )

    def mean(weights):
        fit = jaxem.solve(
            jaxem.GaussianMixture(2, "diagonal"), start, x, weights=weights, tol=1e-14, max_steps=4000, history_size=1
        )
        return fit.params.components.mean[0, 0] + fit.params.weights[0]

    return mean


def log_joint(params, x, z):
    """Of two rates, of which the second is `ratio` times the first, by thirds."""
    rate = params["rate"] * jnp.where(z == 0, 1.0, params["ratio"])
    return jnp.log(rate) - rate * x + jnp.log(jnp.where(z == 0, 1 / 3, 2 / 3))


def exponentials():
    """A model without natural parameters."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.exponential(size=N) * np.where(np.arange(N) % 3 == 0, 3.0, 0.3))
    start = {"rate": jnp.array(0.4), "ratio": jnp.array(6.0)}
    model = jaxem.FunctionModel(log_joint, 2, start, constraints="positive")

    # Where gains end in rounding, a run is still some 1e-8 from the maximum, which differences divide by their step.
    steps = {"termination": jaxem.termination.FixedSteps(), "max_steps": 300, "history_size": 1}

    def rate(weights):
        fit = jaxem.solve(model, start, x, weights=weights, **steps)
        return fit.params["rate"] + jnp.log(fit.params["ratio"])

    return rate


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem", [pytest.param(mixture, marks=pytest.mark.optimized), exponentials], ids=["linear", "nonlinear"]
)
def test_hessians_are_symmetric_and_those_of_differences(problem):
    value, h = problem(), 1e-4
    weights = jnp.asarray(np.random.default_rng(2).uniform(0.7, 1.5, N))
    gradients = jax.jit(jax.vmap(jax.grad(value)))
    rows = [gradients(weights[None] + sign * h * jnp.eye(N)[:3]) for sign in (1.0, -1.0)]
    expected = np.asarray(rows[0] - rows[1]) / (2 * h)
    size = np.abs(expected).max()
    for outer, inner in (
        (jax.jacfwd, jax.jacrev),
        (jax.jacrev, jax.jacfwd),
        (jax.jacrev, jax.jacrev),
        (jax.jacfwd, jax.jacfwd),
    ):
        hessian = np.asarray(jax.jit(outer(inner(value)))(weights))
        np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-7 * size)
        np.testing.assert_allclose(hessian[:3], expected, rtol=0, atol=1e-4 * size)


@pytest.mark.slow
def test_third_derivatives_are_those_of_differences():
    value, h = mixture(), 1e-3
    weights = jnp.asarray(np.random.default_rng(2).uniform(0.7, 1.5, N))
    by = jnp.asarray(np.random.default_rng(3).standard_normal(N))

    def along(fn):
        return lambda t: jax.jvp(fn, (t,), (jnp.ones(()),))[1]

    def line(t):
        return value(weights + t * by)

    second = jax.jit(along(along(line)))
    third = jax.jit(along(along(along(line))))(jnp.zeros(()))
    np.testing.assert_allclose(third, (second(jnp.array(h)) - second(jnp.array(-h))) / (2 * h), rtol=1e-3)
