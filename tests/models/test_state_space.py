"""The linear Gaussian state-space model against its dense joint, SciPy, statsmodels and published figures."""

import dataclasses
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize

import jaxem
from jaxem._bound import collect
from jaxem._coordinates import vector
from jaxem.kernels.sums import inner
from jaxem.models._linear_regression import LinearRegression
from jaxem.structures.sequences import Sequences
from jaxem.termination import FixedSteps
from jaxem.testing import check_model
from tests.helpers import engine
from tests.helpers.kalman import condition, matrix, prior, random_params

LENGTHS = np.array([6, 5, 6, 1], np.int32)


class Case(NamedTuple):
    model: Any
    params: Any
    data: Any


@lru_cache
def case(name):
    """Four short series of unequal lengths with missing steps and, where the model takes them, entries."""
    q, d = {"full": (2, 3), "diagonal": (3, 2), "partly": (2, 2)}[name]
    kind = "diagonal" if name == "diagonal" else "full"
    intercepts = name != "full"
    model = jaxem.LinearGaussianStateSpace(q, kind, kind, intercepts, intercepts, name == "partly")
    params = jax.tree.map(jnp.asarray, random_params(q, d, 1, kind, kind, intercepts))
    values = 2 * np.random.default_rng(3).standard_normal((4, 6, d))
    values[0, 2] = values[1, :2] = np.nan
    if name != "full":
        values[2, 1, 0] = values[2, 5, 0] = values[0, 4, 1] = np.nan
    values[3, 1:] = 1e6  # beyond the end
    return Case(model, params, Sequences(jnp.asarray(values), jnp.asarray(LENGTHS)))


def series(data):
    return [np.asarray(values)[:length] for values, length in zip(data.values, LENGTHS, strict=True)]


@lru_cache
def e_step(name):
    """Statistics about the parameters, with weights, of the bound model."""
    model, params, data = case(name)
    weights = jnp.array([1.0, 2.0, 0.5, 1.0])

    def run(params, near):
        bound = model.bind(data, weights)
        params, near = bound.encode(params), bound.encode(near)
        here, there = bound.about(params), bound.about(near)
        own = collect(here, here.natural(params), data, weights, here.latent.expectation)[0]
        other = collect(there, there.natural(params), data, weights, there.latent.expectation)[0]
        return own, other, there.translate(own, here)

    flat, back = vector(model, params)
    near = back(flat + 0.1 * jax.random.normal(jax.random.key(0), flat.shape))
    return jax.jit(run)(params, near), weights


SLOW = pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param("full", marks=SLOW), "diagonal", pytest.param("partly", marks=SLOW)])
def test_density_and_smoother_are_those_of_the_joint(name):
    model, params, data = case(name)
    log_prob, smoothed = model.log_prob(params, data), model.smoother(params, data)
    q = model.state_dim
    for i, y in enumerate(series(data)):
        expected, mean, covariance = condition(params, y)
        np.testing.assert_allclose(log_prob[i], expected, rtol=1e-11)
        np.testing.assert_allclose(np.asarray(smoothed.mean[i, : len(y)]).ravel(), mean, atol=1e-11)
        blocks = covariance.reshape(len(y), q, len(y), q)
        for t in range(len(y)):
            np.testing.assert_allclose(smoothed.covariance[i, t], blocks[t, :, t], atol=1e-11)


@pytest.mark.slow
def test_filter_and_predictions_use_the_past_alone():
    model, params, data = case("diagonal")
    filtered, predicted = model.filter(params, data), model.predict(params, data)
    ahead = model.forecast(params, data, 2)
    view, q = np.asarray(params.observation), model.state_dim
    error = matrix(params.observation_covariance)
    for i, y in enumerate(series(data)):
        longer = np.concatenate([y, np.full((2, y.shape[1]), np.nan)])
        for t in range(len(longer)):
            early = longer.copy()
            early[t + 1 :] = np.nan
            own = slice(t * q, t * q + q)
            if t < len(y):
                _, mean, covariance = condition(params, early)
                np.testing.assert_allclose(filtered.mean[i, t], mean[own], atol=1e-11)
                np.testing.assert_allclose(filtered.covariance[i, t], covariance[own, own], atol=1e-11)
            early[t] = np.nan
            _, mean, covariance = condition(params, early)
            found, at = (predicted, t) if t < len(y) else (ahead, t - len(y))
            expected = view @ mean[own] + np.asarray(params.observation_intercept)
            np.testing.assert_allclose(found.mean[i, at], expected, atol=1e-11)
            spread = view @ covariance[own, own] @ view.T + error
            np.testing.assert_allclose(found.covariance[i, at], spread, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diagonal", "partly"])
def test_statistics_about_another_origin(name):
    (_, other, translated), _ = e_step(name)
    engine.assert_same(translated, other, rtol=1e-9, atol=1e-9)


FROZEN = [
    (),
    ("transition", "observation_intercept"),
    ("initial_mean", "transition_intercept", "transition_covariance", "observation"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diagonal", "partly"])
@pytest.mark.parametrize("frozen", FROZEN)
def test_the_m_step_is_the_conditional_maximum(name, frozen):
    model, params, data = case(name)
    (stats, _, _), weights = e_step(name)
    model = dataclasses.replace(model, frozen=frozen)

    def run(params, stats):
        bound = model.bind(data, weights)
        params = bound.encode(params)
        here = bound.about(params)

        def q(u, at):
            return inner(here.natural(at(u)), stats)

        best = here.maximize(stats, params)
        start, end = vector(here, params), vector(here, best)
        slope = jax.grad(q)(end[0], end[1])
        return best, params, q(*start), q(*end), slope, jax.hessian(lambda u: q(u, end[1]))(end[0])

    best, start, before, after, slope, curvature = jax.jit(run)(params, stats)
    assert after > before
    np.testing.assert_allclose(slope, 0, atol=1e-8)
    assert np.linalg.eigvalsh(curvature).max() < 0
    for field in frozen:
        assert np.array_equal(getattr(best, field), getattr(start, field))


@pytest.mark.parametrize(("kind", "by_column"), [("full", False), ("diagonal", True), ("diagonal", False)])
def test_regressions_are_least_squares(kind, by_column):
    """With coefficients held, entries missing, and statistics about other coefficients."""
    rng = np.random.default_rng(6)
    u, w, anchor = (rng.standard_normal(shape) for shape in ((30, 3), (30, 2), (2, 3)))
    seen = (rng.random((30, 2)) < 0.7).astype(float) if by_column else np.ones((30, 1))
    free, start = np.array([True, True, False]), rng.standard_normal((2, 3))
    regression = LinearRegression(kind, by_column)
    old = np.eye(2) if kind == "full" else np.ones(2)

    def run(w, u, seen):
        def total(natural):
            return jnp.sum(regression.terms(regression.symmetric(natural), w - u @ anchor.T, u, seen).constant)

        stats = jax.grad(total)(regression.natural(jnp.zeros((2, 3)), jnp.asarray(old)))
        return regression.maximize(stats, jnp.asarray(start - anchor), jnp.asarray(old), free, False)

    change, covariance = jax.jit(run)(seen * w, u, seen)
    for j in range(2):
        rows = seen[:, j if by_column else 0] > 0
        rest = w[rows, j] - u[rows, 2] * start[j, 2]
        expected = np.linalg.lstsq(u[rows][:, :2], rest, rcond=None)[0]
        np.testing.assert_allclose(change[j] + anchor[j], [*expected, start[j, 2]], rtol=1e-9)
        residual = rest - u[rows][:, :2] @ expected
        own = covariance[j] if covariance.ndim == 1 else covariance[j, j]
        np.testing.assert_allclose(own, np.mean(residual**2), rtol=1e-9)


@pytest.mark.slow
def test_nothing_observed():
    """The likelihood is 1, and the parameters stay where they are."""
    model, params, data = case("diagonal")
    blank = data._replace(values=jnp.full_like(data.values, jnp.nan))
    weights = jnp.ones(4)

    def run(params, data):
        here = model.bind(data, weights).about(params)
        stats, value = collect(here, here.natural(params), data, weights, here.latent.expectation)
        return value, here.maximize(stats, params)

    value, new = jax.jit(run)(params, blank)
    np.testing.assert_allclose(value, 0, atol=1e-12)
    engine.assert_same(new, params, rtol=1e-9, atol=1e-9)


def identified(model, params, steps=6):
    """The rank of the derivative of the mean and covariance of the observations in the free parameters."""
    flat, back = vector(model, params)

    def moments(u):
        p = back(u)
        q = p.initial_mean.shape[0]
        mean, covariance = p.initial_mean, p.initial_covariance
        noise = p.transition_covariance if p.transition_covariance.ndim == 2 else jnp.diag(p.transition_covariance)
        error = p.observation_covariance if p.observation_covariance.ndim == 2 else jnp.diag(p.observation_covariance)
        drift = jnp.zeros(q) if p.transition_intercept is None else p.transition_intercept
        offset = 0.0 if p.observation_intercept is None else p.observation_intercept
        out = []
        for t in range(steps):
            out += [p.observation @ mean + offset, p.observation @ covariance @ p.observation.T + error]
            tied = covariance
            for _ in range(t + 1, steps):
                tied = p.transition @ tied
                out.append(p.observation @ tied @ p.observation.T)
            mean = p.transition @ mean + drift
            covariance = p.transition @ covariance @ p.transition.T + noise
        return jnp.concatenate([part.ravel() for part in out])

    jacobian = np.asarray(jax.jit(jax.jacfwd(moments))(flat))
    scaled = jacobian / np.linalg.norm(jacobian, axis=0)
    return np.linalg.matrix_rank(scaled, tol=1e-8)


@pytest.mark.parametrize(
    ("kind", "intercepts", "frozen"),
    [
        ("full", True, ()),
        pytest.param("diagonal", True, (), marks=SLOW),
        pytest.param("full", True, ("initial_covariance",), marks=SLOW),
        pytest.param("full", False, ("observation",), marks=SLOW),
        pytest.param("diagonal", False, ("transition_covariance", "initial_mean"), marks=SLOW),
    ],
)
def test_number_of_identified_parameters(kind, intercepts, frozen):
    params = jax.tree.map(jnp.asarray, random_params(2, 3, 5, kind, "diagonal", intercepts))
    model = jaxem.LinearGaussianStateSpace(2, kind, "diagonal", intercepts, intercepts, frozen=frozen)
    assert model.num_parameters(params) == identified(model, params)


def test_refusals():
    model = jaxem.LinearGaussianStateSpace(1)
    y = np.zeros((2, 4, 2))
    with pytest.raises(jaxem.DataError, match="shape"):
        model.check(y[0], None)
    y[1, 2, 1] = np.nan
    with pytest.raises(jaxem.DataError, match="sequence 1 misses column 1 at step 2"):
        model.check(y, None)
    jaxem.LinearGaussianStateSpace(1, observation_covariance="diagonal").check(y, None)
    jaxem.LinearGaussianStateSpace(1, partly_missing=True).check(y, None)
    model.check(Sequences(y, np.array([4, 2], np.int32)), None)  # pyright: ignore[reportArgumentType]
    y[0, 1, 0] = np.inf
    with pytest.raises(jaxem.DataError, match="sequence 0 is inf at step 1"):
        model.check(y, None)
    with pytest.raises(ValueError, match="unknown parameter 'loading'"):
        jaxem.LinearGaussianStateSpace(1, frozen=("loading",))
    with pytest.raises(ValueError, match="state_dim"):
        jaxem.LinearGaussianStateSpace(0)
    with pytest.raises(jaxem.MissingCapabilityError, match="num_steps"):
        model.sample(jax.random.key(0), None, 3)


@pytest.mark.slow
def test_samples_have_the_moments_of_the_joint():
    model, params, _ = case("partly")
    n, steps = 20_000, 3
    values, states = model.sample(jax.random.key(2), params, n, steps)
    assert states.shape == (n, steps, 2)
    mean, covariance = prior(params, steps)
    flat = np.asarray(states).reshape(n, -1)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(flat.mean(0), mean, atol=5 * scale.max() / np.sqrt(n))
    np.testing.assert_allclose(np.cov(flat.T), covariance, atol=8 * scale.max() ** 2 / np.sqrt(n))
    error = np.asarray(values) - np.asarray(states) @ np.asarray(params.observation).T
    error = (error - np.asarray(params.observation_intercept)).reshape(-1, 2)
    expected = np.asarray(params.observation_covariance)
    np.testing.assert_allclose(np.cov(error.T), expected, atol=8 * expected.max() / np.sqrt(n))


# Fits


@lru_cache
def nile(diffuse=1e12, dtype=np.float64):
    """The local level model of the Nile (Durbin and Koopman 2001), with a diffuse first level about the first flow."""
    table: Any = sm.datasets.nile.load_pandas().data
    y = np.asarray(table["volume"], dtype)
    frozen = ("initial_mean", "initial_covariance", "transition", "observation")
    one = np.ones((1, 1), dtype)
    start = jaxem.models.StateSpaceParams(y[:1], diffuse * one, one, 1000 * one, one, 10_000 * one)  # pyright: ignore[reportArgumentType]
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), start)
    return Case(jaxem.LinearGaussianStateSpace(1, frozen=frozen), start, jnp.asarray(y)[None, :, None])


def diffuse_likelihood(fit, diffuse):
    """Without the constant of the first observation."""
    return float(fit.log_likelihood) + np.log(2 * np.pi * diffuse) / 2


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [jaxem.algorithms.newton(), jaxem.squarem()])
def test_nile(algorithm):
    fit = engine.solve(*nile(), algorithm=algorithm, tol=1e-14, max_steps=200)
    assert engine.name(fit) == "converged"
    rtol = 1e-7 if algorithm == jaxem.algorithms.newton() else 1e-5
    np.testing.assert_allclose(fit.params.observation_covariance[0, 0], 15098.518, rtol=max(rtol, 5e-8))
    np.testing.assert_allclose(fit.params.transition_covariance[0, 0], 1469.176, rtol=max(rtol, 5e-7))
    assert abs(diffuse_likelihood(fit, 1e12) + 632.54562510) < 1e-7


@pytest.mark.slow
def test_nile_in_single_precision():
    model, start, y = nile(1e7, np.float32)
    fit = engine.solve(model, start, y, algorithm=jaxem.squarem(), tol=1e-5, max_steps=200)
    assert engine.name(fit) == "converged"
    assert abs(diffuse_likelihood(fit, 1e7) + 632.5456) < 0.01
    np.testing.assert_allclose(fit.params.observation_covariance[0, 0], 15098.5, rtol=0.03)


@lru_cache
def small():
    """Eight series of two columns, with missing entries, and a start away from the optimum; states in a fixed basis."""
    frozen = ("initial_mean", "initial_covariance", "transition_covariance")
    model = jaxem.LinearGaussianStateSpace(1, "diagonal", "diagonal", frozen=frozen)
    true = random_params(1, 2, 7, "diagonal", "diagonal")._replace(
        initial_mean=np.zeros(1),
        initial_covariance=np.eye(1),
        transition=np.array([[0.8]]),
        transition_covariance=np.ones(1),
        observation=np.array([[1.0], [-0.7]]),
    )
    true = jax.tree.map(jnp.asarray, true)
    values, _ = model.sample(jax.random.key(3), true, 8, 12)
    values = values.at[0, 3].set(jnp.nan).at[1, 5:7, 1].set(jnp.nan)
    start = true._replace(
        transition=jnp.array([[0.3]]), observation=jnp.array([[0.5], [-0.2]]), observation_covariance=jnp.ones(2)
    )
    return Case(model, start, values)


def cell():
    """For the product of models and algorithms: model, start, data, weights."""
    model, start, data = small()
    return model, start, data, jnp.ones(len(data))


@lru_cache
def optimum():
    """By SciPy on the dense joint density."""
    _, start, data = small()
    series = np.asarray(data)

    def params(u):
        leaves = {"transition": u[:1, None], "observation": u[1:3, None], "observation_covariance": np.exp(u[3:])}
        return start._replace(**leaves)

    def loss(u):
        return -sum(condition(params(u), y)[0] for y in series)

    best = optimize.minimize(loss, [0.5, 0.8, -0.5, 0, 0], method="BFGS", options={"gtol": 1e-7})
    return params(best.x), -best.fun


@pytest.mark.slow
def test_em_climbs_to_the_maximum():
    expected, value = optimum()
    fit = engine.solve(*small(), tol=1e-12)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-10
    np.testing.assert_allclose(fit.log_likelihood, value, rtol=1e-9)
    for name in ("transition", "observation", "observation_covariance"):
        np.testing.assert_allclose(getattr(fit.params, name), getattr(expected, name), rtol=1e-3, atol=1e-4)


ALGORITHMS = {
    "squarem": jaxem.squarem(),
    "anderson": jaxem.anderson(),
    "em_gradient": jaxem.em_gradient(),
    "incremental": jaxem.incremental_em(4),
    "alpha": jaxem.alpha_em(),
    "ecm": jaxem.ecm("transition", "observation", "observation_covariance"),
    "newton": jaxem.algorithms.newton(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_way_up_leads_there(name):
    _, value = optimum()
    fit = engine.solve(*small(), algorithm=ALGORITHMS[name], tol=1e-11)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, value, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [jaxem.stepwise_em(rows=4), jaxem.stochastic_em(), jaxem.saem(hold=20)])
def test_noisy_ways_come_near(algorithm):
    _, value = optimum()
    start = engine.solve(*small(), tol=1e-12, max_steps=0)
    fit = engine.solve(*small(), algorithm=algorithm, max_steps=60, key=jax.random.key(4))
    assert value - 12 < fit.log_likelihood < value + 1e-6
    assert fit.log_likelihood > start.log_likelihood + 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "diagonal", "partly"])
def test_contract(name):
    model, params, data = case(name)
    check_model(model, params, data)


@pytest.mark.slow
def test_statsmodels():
    """A random model of three states, against the Kalman filter of statsmodels."""
    from statsmodels.tsa.statespace.mlemodel import MLEModel

    params = random_params(3, 2, 11)
    y = np.random.default_rng(12).standard_normal((30, 2))
    y[4] = y[9, 1] = np.nan
    theirs = MLEModel(y, k_states=3, k_posdef=3)
    theirs["design"], theirs["obs_cov"] = params.observation, params.observation_covariance
    theirs["transition"], theirs["selection"] = params.transition, np.eye(3)
    theirs["state_cov"] = params.transition_covariance
    theirs.initialize_known(params.initial_mean, params.initial_covariance)
    model = jaxem.LinearGaussianStateSpace(3, partly_missing=True)
    ours = model.log_prob(jax.tree.map(jnp.asarray, params), jnp.asarray(y)[None])
    np.testing.assert_allclose(ours[0], theirs.ssm.loglike(), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 2e-3])
def test_single_precision(noise):
    """With noise 1e-2 or 2e-3 times as large as the signal, EM takes the same steps in both precisions."""
    model = jaxem.LinearGaussianStateSpace(2, "full", "diagonal", observation_intercept=True)
    params = random_params(2, 3, 13, "full", "diagonal")._replace(observation_intercept=np.full(3, 1e3))
    params = params._replace(observation_covariance=np.full(3, noise**2))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    data, _ = model.sample(jax.random.key(5), params, 5, 20)
    start = params._replace(transition=0.5 * params.transition)
    fits = []
    for dtype in (jnp.float32, jnp.float64):
        as_type = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), (start, data))
        fits.append(engine.solve(model, *as_type, termination=FixedSteps(), max_steps=5))
    assert engine.name(fits[0]) == engine.name(fits[1]) == "completed"
    np.testing.assert_allclose(fits[0].log_likelihood, fits[1].log_likelihood, rtol=1e-3)
    for name in ("transition", "transition_covariance", "observation", "observation_covariance"):
        a, b = (np.asarray(getattr(fit.params, name), float) for fit in fits)
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b).max())


@pytest.mark.slow
def test_starts_from_the_data():
    """More states than columns, and missing entries: restarts find a better fit than the first start had."""
    _, _, data = small()
    model = jaxem.LinearGaussianStateSpace(3, "full", "diagonal")
    fit = jaxem.fit(model, data, key=jax.random.key(0), restarts=3, max_steps=30)
    assert fit.restarts is not None
    objective = np.asarray(fit.restarts.objective)
    assert np.isfinite(objective).all()
    assert len(np.unique(objective.round(6))) == 3
    assert fit.history[-1] > fit.history[0]
    _, value = optimum()
    assert fit.log_likelihood > value
