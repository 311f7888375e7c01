"""Covariances of equal shape, `Gaussian("VEV")`, in families and models; what all families promise is in the laws."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

import jaxem
from jaxem._model import rung
from tests.families import cases

K, D, N = 2, 3, 60
MODEL = jaxem.GaussianMixture(K, "VEV", covariance_floor=1e-6)
BALLS = np.stack([np.eye(D)] * 2)


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((2, N // 2, D)) * np.array([[[2.0, 1.0, 0.5]], [[1.0, 0.5, 0.3]]])
    turned = rows @ np.linalg.qr(rng.standard_normal((2, D, D)))[0]
    return np.concatenate(list(turned + np.array([[[0.0, 0.0, 0.0]], [[3.0, 2.0, -1.0]]])))


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(4).uniform(0.5, 2.0, N)


def start(x, covariance):
    return jaxem.models.MixtureParams(
        jnp.full(K, 0.5), jaxem.families.GaussianParams(jnp.asarray(x[[0, -1]]), jnp.asarray(covariance, float))
    )


def ratios(covariance):
    values = np.linalg.eigvalsh(np.asarray(covariance, float))
    return values / values[:, -1:]


def assert_equal_shapes(covariance, tol=1e-9):
    found = ratios(covariance)
    assert_allclose(found, found[:1] * np.ones_like(found), rtol=tol)


@pytest.mark.parametrize("with_prior", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_m_step_is_the_direct_maximum(with_prior, x, weights):
    """Over means, volumes, shape and orientations (rotation vectors), by BFGS from elsewhere."""
    prior = jaxem.priors.NormalInverseWishart(np.ones(D), 0.5, np.diag([1.0, 2.0, 3.0]), 6.0) if with_prior else None
    r = np.random.default_rng(5).dirichlet(np.ones(K), N).T * weights

    @jax.jit
    def estimate(x, r):
        family = jaxem.Gaussian("VEV", prior).bind(x, jnp.sum(r, 0), lambda tree: tree)
        params = family.from_points(x[:K], x, jnp.sum(r, 0))
        return family.decode(family.maximize(cases.collect(family, params, x, r), params))

    def parts(u):
        mean, volume, shape, turn = np.split(u, [K * D, K * D + K, K * D + K + D - 1])
        values = np.exp(volume[:, None] + np.append(shape, -shape.sum()))
        q = Rotation.from_rotvec(turn.reshape(K, D)).as_matrix()
        return mean.reshape(K, D), np.einsum("kij,kj,klj->kil", q, values, q)

    def negative_q(u):
        means, covariances = parts(u)
        total = 0.0
        for mean, covariance, w in zip(means, covariances, r, strict=True):
            precision, log_det = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
            total += w @ (np.einsum("ni,ij,nj->n", x - mean, precision, x - mean) + log_det)
            if with_prior:
                about = mean - 1
                total += (
                    0.5 * about @ precision @ about
                    + (6 + D + 2) * log_det
                    + np.diag([1, 2, 3]).ravel() @ precision.ravel()
                )
        return total

    found = estimate(jnp.asarray(x), jnp.asarray(r))
    elsewhere = 0.3 * np.random.default_rng(0).standard_normal(16)
    mean, covariance = parts(minimize(negative_q, elsewhere, options={"gtol": 1e-5}).x)
    assert_allclose(found.mean, mean, atol=1e-4)
    assert_allclose(found.covariance, covariance, atol=1e-4 * np.abs(covariance).max())


run = eqx.filter_jit(jaxem.solve)


@jax.jit
def solve(start, x, weights):
    return jaxem.solve(MODEL, start, x, weights=weights, tol=1e-10, max_steps=500)


@pytest.mark.slow
def test_em_ascends_to_equal_shapes_in_every_lane(x, weights):
    """From several starts in one program, some of whose shapes differ; with weights."""
    shapes = np.stack([BALLS, np.stack([np.diag([4.0, 1.0, 0.2]), np.eye(D)])])
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(start(x, shape) for shape in shapes))
    fits = jax.jit(jax.vmap(solve, (0, None, None)))(starts, jnp.asarray(x), jnp.asarray(weights))
    assert (np.asarray(jaxem.status_name(fits.status)) == "converged").all()
    for lane in range(2):
        history = np.asarray(fits.history[lane])
        assert np.diff(history[np.isfinite(history)]).min() > -1e-9
        assert_equal_shapes(fits.params.components.covariance[lane])
        again = MODEL.log_likelihood(jax.tree.map(lambda leaf, i=lane: leaf[i], fits.params), jnp.asarray(x), weights)
        assert_allclose(fits.log_likelihood[lane], again, rtol=1e-12)
    alone = solve(start(x, shapes[1]), jnp.asarray(x), jnp.asarray(weights))
    assert_allclose(alone.log_likelihood, fits.log_likelihood[1], rtol=1e-12)
    assert MODEL.num_parameters(alone.params) == 1 + K * D + K + (D - 1) + K * D * (D - 1) // 2


def test_one_member_or_one_column_is_full(x, weights):
    for k, columns in ((1, D), (2, 1)):
        rows, r = (
            jnp.asarray(x[:, :columns]),
            jnp.asarray(np.random.default_rng(5).dirichlet(np.ones(k), N).T * weights),
        )

        @partial(jax.jit, static_argnums=0)
        def estimate(structure, x, r):
            family = jaxem.Gaussian(structure)
            params = family.from_points(x[: len(r)], x, jnp.sum(r, 0))
            found = family.maximize(cases.collect(family, params, x, r), params)
            return found, family.constrain(family.unconstrain(found))

        for vev, full in zip(estimate("VEV", rows, r), estimate("full", rows, r), strict=True):
            assert_allclose(vev.covariance, full.covariance, rtol=1e-12)


def test_a_collapsed_member_is_at_the_floor_and_said_to_be(x):
    x = np.concatenate([x[:-5], np.full((5, D), 40.0)])
    begin = start(x, np.stack([np.eye(D), 1e-2 * np.eye(D)]))
    fit = solve(begin, jnp.asarray(x), jnp.ones(N))
    assert jaxem.status_name(fit.status) == "degenerate_component"
    least = np.linalg.eigvalsh(fit.params.components.covariance)[:, 0]
    assert_allclose(least[1], 1e-6 * x.var(0).mean(), rtol=1e-6)
    assert least[0] > least[1]
    assert_equal_shapes(fit.params.components.covariance, 1e-6)


@pytest.mark.slow
def test_derivatives_of_a_fit(x, weights):
    """By the implicit function theorem, against differences of fits."""
    rng = np.random.default_rng(6)
    dx, dw = rng.standard_normal(x.shape), rng.standard_normal(N)
    near = solve(start(x, BALLS), jnp.asarray(x), jnp.asarray(weights)).params

    @jax.jit
    @jax.vmap
    def report(t):
        def run(t):
            fit = jaxem.solve(
                MODEL, near, x + t * dx, weights=weights + t * dw, max_steps=200,
                termination=jaxem.termination.FixedSteps(), history_size=1,
            )  # fmt: skip
            return fit.params

        return jax.jvp(run, (t,), (jnp.ones_like(t),))

    values, tangents = report(jnp.asarray([1e-5, 0.0, -1e-5]))
    for value, tangent in zip(jax.tree.leaves(values), jax.tree.leaves(tangents), strict=True):
        assert_allclose(tangent[1], (value[0] - value[2]) / 2e-5, rtol=1e-4, atol=1e-4)
        assert np.abs(tangent[1]).max() > 1e-2


def test_there_is_no_conjugate_prior():
    prior = jaxem.priors.NormalInverseWishart(np.zeros(D), 0.1, np.eye(D), 5.0)
    model = jaxem.Mixture(jaxem.Gaussian("VEV", prior), K, weights_prior=jaxem.priors.Dirichlet(1.5))
    assert rung(model) == 2
    with pytest.raises(jaxem.MissingCapabilityError, match="VEV covariances have no conjugate prior"):
        jaxem.models.Variational(model)


def test_samples_have_the_covariances(x):
    covariance = np.stack([np.diag([4.0, 1.0, 0.25]), 0.5 * np.diag([0.25, 4.0, 1.0])])
    rows, labels = MODEL.sample(jax.random.key(0), start(x, covariance), 20_000)
    for j in range(K):
        assert_allclose(np.cov(np.asarray(rows)[np.asarray(labels) == j].T), covariance[j], atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", [jaxem.em_gradient(), jaxem.squarem(), jaxem.anderson(), jaxem.algorithms.newton()]
)
def test_methods_that_move_in_coordinates_end_where_em_does(algorithm, x, weights):
    begin = start(x, BALLS)
    em = run(MODEL, begin, jnp.asarray(x), weights=weights, tol=1e-12)
    near = run(MODEL, begin, jnp.asarray(x), weights=weights, max_steps=5).params
    fit = run(MODEL, near, jnp.asarray(x), weights=weights, tol=1e-12, algorithm=algorithm)
    assert jaxem.status_name(fit.status) == "converged"
    assert_allclose(fit.log_likelihood, em.log_likelihood, rtol=1e-9)
    assert_equal_shapes(fit.params.components.covariance)


@pytest.mark.slow
def test_averages_of_iterates_are_given_equal_shapes(x):
    begin = start(x, BALLS)
    fit = run(MODEL, begin, jnp.asarray(x), algorithm=jaxem.stochastic_em(), max_steps=50, key=jax.random.key(0))
    assert_equal_shapes(fit.params.components.covariance)
    assert_allclose(fit.log_likelihood, MODEL.log_likelihood(fit.params, jnp.asarray(x)), rtol=1e-12)


@pytest.mark.slow
def test_student_t_scales_of_equal_shape(x):
    """PX-EM, whose one extra scale keeps shapes equal, ends where EM does."""
    model = jaxem.StudentTMixture(K, "VEV", 4.0)
    begin = jaxem.models.MixtureParams(
        jnp.full(K, 0.5), jaxem.families.StudentTParams(*start(x, BALLS).components, jnp.full(K, 4.0))
    )
    fits = [run(model, begin, jnp.asarray(x), tol=1e-12, algorithm=rule) for rule in (jaxem.em(), jaxem.px_em())]
    for fit in fits:
        history = np.asarray(fit.history)
        assert jaxem.status_name(fit.status) == "converged"
        assert np.diff(history[np.isfinite(history)]).min() > -1e-9
        assert_equal_shapes(fit.params.components.covariance)
    assert_allclose(fits[0].log_likelihood, fits[1].log_likelihood, rtol=1e-9)
    assert int(fits[1].num_steps) < int(fits[0].num_steps)


@pytest.mark.slow
def test_rows_with_missing_entries(x):
    """Complete rows are as without; the likelihood of incomplete ones rises to equal shapes."""
    model, begin = jaxem.GaussianMixture(K, "VEV", missing=True), start(x, BALLS)
    plain = run(jaxem.GaussianMixture(K, "VEV"), begin, jnp.asarray(x), tol=1e-10)
    complete = run(model, begin, jnp.asarray(x), tol=1e-10)
    assert_allclose(complete.log_likelihood, plain.log_likelihood, rtol=1e-12)
    gaps = np.where(np.random.default_rng(7).random(x.shape) < 0.1, np.nan, x)
    fit = run(model, begin, jnp.asarray(gaps), tol=1e-10)
    history = np.asarray(fit.history)
    assert np.diff(history[np.isfinite(history)]).min() > -1e-9
    assert_equal_shapes(fit.params.components.covariance)
