"""Hidden Markov models whose transitions depend on covariates, against enumeration, SciPy and a published fit."""

from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

import jaxem
from jaxem.models import Driven
from jaxem.structures import SoftmaxTransitions
from jaxem.testing import check_model
from tests.helpers import chains, driven, engine

MODEL = jaxem.HMM(jaxem.Poisson(), 2, transitions=SoftmaxTransitions())


def params(initial, coefficients, rate):
    first, moves, rate = (jnp.asarray(np.asarray(a, float)) for a in (initial, coefficients, rate))
    return jaxem.models.HMMParams(first, moves, jaxem.families.PoissonParams(rate))


START = params([0.5, 0.5], [[[-1.0, 0.5]], [[-1.0, -0.5]]], [[1.5], [6.0]])


@lru_cache
def cell():
    """A model, a start, data and weights."""
    rows, x, lengths, _ = driven.counts()
    data = Driven(jaxem.Sequences(jnp.asarray(rows), jnp.asarray(lengths)), jnp.asarray(x))
    return MODEL, START, data, jnp.ones(6)


def solved(model, start, data, weights=None, max_steps=3, **options):
    return engine.solve(model, start, data, weights, tol=-np.inf, max_steps=max_steps, **options)


@lru_cache
def best():
    model, start, data, _ = cell()
    return engine.solve(model, start, data, tol=1e-11)


# Against NumPy and SciPy


@lru_cache
def tiny():
    """Three states, five steps at most; what does not matter is NaN."""
    rng = np.random.default_rng(46)
    rows, x = rng.poisson(3.0, (3, 5, 2)).astype(float), rng.standard_normal((3, 5, 2))
    lengths = np.array([5, 1, 3], np.int32)
    rows[0, 2] = np.nan
    x[:, 0] = np.nan
    for own, length in zip(x, lengths, strict=True):
        own[length:] = np.nan
    start = params(rng.dirichlet(np.ones(3)), rng.standard_normal((3, 2, 2)), rng.uniform(1, 6, (3, 2)))
    model = jaxem.HMM(jaxem.Poisson(), 3, transitions=SoftmaxTransitions())
    return model, start, Driven(jaxem.Sequences(jnp.asarray(rows), jnp.asarray(lengths)), jnp.asarray(x))


def test_densities_and_states_are_enumeration():
    model, start, data = tiny()
    posterior, filtered, path = (np.asarray(f(start, data)) for f in (model.posterior, model.filter, model.predict))
    total, steps, entropy = (np.asarray(f(start, data)) for f in (model.log_prob, model.log_predictive, model.entropy))
    moves = np.asarray(model.transition_probabilities(start, data))
    rate, coefficients = np.asarray(start.emission.rate), np.asarray(start.transition)
    for s, length in enumerate(data.rows.lengths):
        rows, x = np.asarray(data.rows.values)[s, :length], np.asarray(data.covariates)[s, :length]
        log = driven.log_transitions(coefficients, x)
        np.testing.assert_allclose(moves[s, : length - 1], np.exp(log), rtol=1e-12)
        assert not moves[s, length - 1 :].any()
        own = driven.local(rate, rows)
        paths, joint = chains.enumerate_paths(np.log(start.initial), log, own, length)
        value = np.logaddexp.reduce(joint)
        np.testing.assert_allclose(total[s], value, rtol=1e-12)
        np.testing.assert_allclose(value, driven.log_density(start.initial, coefficients, rate, rows, x), rtol=1e-12)
        np.testing.assert_allclose(steps[s].sum(), value, rtol=1e-12)
        p = np.exp(joint - value)
        np.testing.assert_allclose(entropy[s], -(p * np.log(p)).sum(), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(path[s, :length], paths[joint.argmax()])
        for t in range(length):
            before, so_far = chains.enumerate_paths(np.log(start.initial), log[:t], own, t + 1)
            q = np.exp(so_far - np.logaddexp.reduce(so_far))
            for j in range(3):
                np.testing.assert_allclose(posterior[s, t, j], p @ (paths[:, t] == j), atol=1e-12)
                np.testing.assert_allclose(filtered[s, t, j], q @ (before[:, t] == j), atol=1e-12)
        assert (path[s, length:] == -1).all()
        assert not posterior[s, length:].any()


def test_forecasts_take_the_covariates_of_the_steps_to_come():
    model, start, data = tiny()
    x = np.random.default_rng(1).standard_normal((3, 2, 2))
    ahead = np.asarray(model.forecast(start, data, covariates=x))
    now = np.asarray(model.filter(start, data))
    for s, length in enumerate(data.rows.lengths):
        moves = np.exp(driven.log_transitions(np.asarray(start.transition), np.concatenate([x[s, :1], x[s]])))
        first = now[s, length - 1] @ moves[0]
        np.testing.assert_allclose(ahead[s], [first, first @ moves[1]], atol=1e-12)
    common = model.forecast(start, data, 2, x[0])
    np.testing.assert_allclose(common[0], ahead[0], atol=1e-14)
    with pytest.raises(jaxem.MissingCapabilityError, match="forecast needs those of the steps to come"):
        model.forecast(start, data, 2)
    for wrong in (x[:, :1], x[..., :1], x[0, 0]):
        with pytest.raises(jaxem.DataError, match=r"covariates must have shape .* for 2 columns and 2 steps"):
            model.forecast(start, data, 2, wrong)
    with pytest.raises(jaxem.DataError, match="those of 2 sequences, but there are 3"):
        model.forecast(start, data, 2, x[:2])
    with pytest.raises(jaxem.DataError, match="not finite"):
        model.forecast(start, data, 2, np.full((2, 2), np.nan))
    plain = jaxem.HMM(jaxem.Poisson(), 2)
    uniform = params([0.5, 0.5], np.full((2, 2), 0.5), [[1.0], [2.0]])
    with pytest.raises(jaxem.DataError, match="FreeTransitions depends on none"):
        plain.forecast(uniform, np.ones((1, 3, 1)), 2, x[0])


@pytest.mark.slow
def test_the_fit_is_the_maximum_that_scipy_finds():
    model, _, data, _ = cell()
    rows, x, lengths, _ = driven.counts()

    def loss(free):
        first, rate = expit(free[0]), np.exp(free[5:])[:, None]
        each = (
            driven.log_density([first, 1 - first], free[1:5].reshape(2, 1, 2), rate, own[:length], z[:length])
            for own, z, length in zip(rows, x, lengths, strict=True)
        )
        return -sum(each)

    start = np.array([0.0, -1, 0.5, -1, -0.5, np.log(1.5), np.log(6)])
    found = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-4})
    fit = best()
    assert engine.name(fit) == "converged"
    assert (np.diff(engine.history(fit)) >= -1e-9).all()
    np.testing.assert_allclose(fit.log_likelihood, -found.fun, atol=1e-6)
    np.testing.assert_allclose(fit.params.transition.ravel(), found.x[1:5], atol=2e-3)
    np.testing.assert_allclose(fit.params.emission.rate[:, 0], np.exp(found.x[5:]), atol=1e-3)
    assert model.num_parameters(fit.params) == 7
    value = float(jaxem.bic(model, fit.params, data))
    seen = sum(int((~np.isnan(own[:length, 0])).sum()) for own, length in zip(rows, lengths, strict=True))
    np.testing.assert_allclose(value, 7 * np.log(seen) - 2 * float(fit.log_likelihood), rtol=1e-10)


def test_gradients_are_finite_differences():
    model, start, data, _ = cell()
    value = jax.jit(lambda p: jnp.sum(model.log_prob(p, data)))
    gradient = jax.jit(jax.grad(value))(start)
    step = 1e-6
    for index in np.ndindex(2, 1, 2):
        up, down = (value(start._replace(transition=start.transition.at[index].add(s))) for s in (step, -step))
        np.testing.assert_allclose(gradient.transition[index], (up - down) / (2 * step), rtol=1e-5)


@pytest.mark.slow
def test_a_constant_covariate_is_free_transitions():
    rows, _, lengths, _ = driven.counts()
    sequences = jaxem.Sequences(jnp.asarray(rows), jnp.asarray(lengths))
    matrix = jnp.array([[0.8, 0.2], [0.3, 0.7]])
    free = params([0.5, 0.5], matrix, [[1.5], [6.0]])
    odds = jnp.log(jnp.array([[[0.2 / 0.8]], [[0.3 / 0.7]]]))
    data = Driven(sequences, jnp.ones((6, 30, 1)))
    plain = jaxem.HMM(jaxem.Poisson(), 2)
    np.testing.assert_allclose(
        MODEL.log_prob(free._replace(transition=odds), data), plain.log_prob(free, sequences), rtol=1e-12
    )
    fit = engine.solve(MODEL, free._replace(transition=odds), data, tol=1e-10)
    other = engine.solve(plain, free, sequences, tol=1e-10)
    np.testing.assert_allclose(fit.log_likelihood, other.log_likelihood, rtol=1e-9)
    found = MODEL.transition_probabilities(fit.params, data)
    np.testing.assert_allclose(found[0, 0], other.params.transition, atol=1e-4)
    same = np.where(data.moving()[:, :, None, None], found[0, 0], 0)
    np.testing.assert_allclose(found, same, rtol=1e-12)


@pytest.mark.slow
def test_the_contract_is_kept():
    model, start, data, _ = cell()
    check_model(model, start, data, skip=("family",))
    penalised = jaxem.HMM(jaxem.Poisson(), 2, transitions=SoftmaxTransitions(deviation=2.0))
    check_model(penalised, start, data, skip=("family", "latent"))


# Starts, lanes, weights


@pytest.mark.slow
def test_restarts_are_runs_of_their_own():
    model, _, data, _ = cell()
    fit = jaxem.fit(model, data, key=jax.random.key(0), restarts=4, tol=1e-11)
    np.testing.assert_allclose(fit.restarts.objective, best().log_likelihood, rtol=1e-8)
    np.testing.assert_allclose(np.sort(fit.params.emission.rate[:, 0]), best().params.emission.rate[:, 0], rtol=1e-4)


def test_a_start_has_transitions_that_stay_put_to_some_extent():
    model, _, data, _ = cell()
    shifted = data._replace(covariates=data.covariates.at[..., 1].add(1000.0))
    drawn = jax.jit(jax.vmap(lambda key: model.init(key, shifted)))(jax.random.split(jax.random.key(1), 5))
    moves = jax.vmap(lambda p: model.transition_probabilities(p, shifted))(drawn)
    # The same in every step, and another matrix for each key.
    np.testing.assert_allclose(moves[:, 0, :11], np.broadcast_to(moves[:, 0, :1], (5, 11, 2, 2)), rtol=1e-6)
    assert np.std(np.asarray(moves)[:, 0, 0, 0, 0]) > 0.05
    assert np.asarray(moves)[:, 0].min() > 0


@pytest.mark.slow
def test_weights_are_copies():
    model, start, data, _ = cell()
    weights = jnp.array([2.0, 0.0, 1.0, 3.0, 1.0, 0.0])
    rows = np.repeat(np.arange(6), np.asarray(weights).astype(int))
    copied = jax.tree.map(lambda a: a[rows], data)
    # Of weight 0 nothing is looked at.
    spoilt = data._replace(covariates=data.covariates.at[1].set(jnp.nan))
    a, b = solved(model, start, spoilt, weights), solved(model, start, copied)
    engine.assert_same(a.params, b.params, rtol=1e-9)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-12)
    chunked = solved(model, start, data, chunk_rows=4)
    engine.assert_same(chunked.params, solved(model, start, data).params, rtol=1e-9)


@pytest.mark.slow
def test_frozen_transitions_stay():
    _, start, data, _ = cell()
    frozen = jaxem.HMM(jaxem.Poisson(), 2, transitions=SoftmaxTransitions(), frozen=("transition",))
    fit = solved(frozen, start, data)
    np.testing.assert_array_equal(fit.params.transition, start.transition)
    assert np.abs(fit.params.emission.rate - start.emission.rate).max() > 0.01
    assert frozen.num_parameters(start) == 3


# Precision and coordinates


@pytest.mark.slow
def test_years_as_covariates_are_accurate_in_single_precision():
    model, start, data, _ = cell()
    years = data._replace(covariates=data.covariates.at[..., 1].set(2000 + 10 * data.covariates[..., 1]))
    slope = start.transition[..., 1] / 10
    moved = jnp.stack([start.transition[..., 0] - 2000 * slope, slope], -1)
    begin = start._replace(transition=moved)
    single = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, (begin, years))
    a = engine.solve(model, *single, weights=jnp.ones(6, jnp.float32), tol=1e-7)
    b = best()
    assert a.params.transition.dtype == jnp.float32
    assert engine.name(a) == "converged"
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(a.params.transition[..., 1] * 10, b.params.transition[..., 1], atol=0.02)


@pytest.mark.slow
def test_binding_changes_coordinates_alone():
    model, start, data, weights = cell()
    penalised = jaxem.HMM(jaxem.Poisson(), 2, transitions=SoftmaxTransitions(1.7))
    bound = eqx.filter_jit(penalised.bind)(data, weights)
    inside = bound.encode(start)
    engine.assert_same(bound.decode(inside), start)
    np.testing.assert_allclose(engine.log_prob(bound, inside, data), model.log_prob(start, data), rtol=1e-10)
    # A normal prior about the mean over the states that may be next, of which staying has 0.
    every = np.stack([np.zeros((2, 2)), np.asarray(start.transition)[:, 0]], 1)
    squares = ((every - every.mean(1, keepdims=True)) ** 2).sum() / 1.7**2
    expected = -squares / 2 - 4 * (np.log(2 * np.pi * 1.7**2) + np.log(2)) / 2
    for own, at in ((bound, inside), (penalised, start)):
        np.testing.assert_allclose(own.log_prior(at), expected, rtol=1e-10)
    blocks, undo = bound.blocks(bound.unconstrain(inside))
    assert [block.shape for block in blocks[:2]] == [(1, 1), (2, 2)]
    engine.assert_same(bound.constrain(undo(blocks)), inside)


# Edges


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [None, 3.0])
def test_transitions_that_covariates_separate_are_degenerate_and_a_prior_cures_it(deviation):
    t = np.arange(80)
    state = (t // 10) % 2
    rows = np.where(state == 0, 1.0, 40.0) + t % 2
    x = np.stack([np.ones(80), np.where(t % 10 == 0, 1.0, -1.0)], 1)
    model = jaxem.HMM(jaxem.Poisson(), 2, transitions=SoftmaxTransitions(deviation))
    start = params([0.9, 0.1], [[[-1.0, 0.5]], [[-1.0, 0.5]]], [[2.0], [35.0]])
    fit = engine.solve(model, start, Driven(jnp.asarray(rows)[None, :, None], jnp.asarray(x)[None]))
    assert engine.name(fit) == ("degenerate_component" if deviation is None else "converged")
    assert np.isfinite(fit.params.transition).all()


@pytest.mark.slow
def test_one_state_and_one_step():
    rows = jnp.asarray(driven.counts()[0][:, 1:2])
    one = jaxem.HMM(jaxem.Poisson(), 1, transitions=SoftmaxTransitions())
    longer = jnp.asarray(driven.counts()[0][:, 1:4])
    for values in (rows, longer):
        data = Driven(values, jnp.ones((*values.shape[:2], 1)))
        fit = engine.solve(one, params([1.0], np.zeros((1, 0, 1)), [[2.0]]), data)
        assert engine.name(fit) == "converged"
        np.testing.assert_allclose(fit.params.emission.rate[0], np.nanmean(values), rtol=1e-6)
        np.testing.assert_allclose(one.transition_probabilities(fit.params, data), 1)
    # Two states and no transition: coefficients stay, and the rest is a mixture.
    data = Driven(rows, jnp.ones((6, 1, 2)))
    fit = solved(MODEL, START, data)
    np.testing.assert_allclose(fit.params.transition, START.transition, rtol=1e-12)
    mixture = jaxem.models.MixtureParams(fit.params.initial, fit.params.emission)
    values = jaxem.Mixture(jaxem.Poisson(), 2).log_prob(mixture, rows[:, 0])
    np.testing.assert_allclose(MODEL.log_prob(fit.params, data), values, rtol=1e-10)
    assert MODEL.transition_probabilities(fit.params, data).shape == (6, 0, 2, 2)
    MODEL.check(jax.tree.map(np.asarray, data), None)


@pytest.mark.slow
def test_draws_follow_the_covariates():
    x = np.stack([np.ones(4), [0.0, -1.0, 0.5, 2.0]], 1)
    _, states = MODEL.sample(jax.random.key(0), START, 4000, covariates=x)
    states = np.asarray(states)
    share = np.asarray(START.initial)
    for t, moves in enumerate(np.exp(driven.log_transitions(np.asarray(START.transition), x))):
        share = share @ moves
        np.testing.assert_allclose((states[:, t + 1] == 0).mean(), share[0], atol=5 * 0.5 / np.sqrt(4000))
    rows, _ = MODEL.sample(jax.random.key(0), START, 2, 4, np.broadcast_to(x, (2, 4, 2)))
    assert rows.shape == (2, 4, 1)
    with pytest.raises(jaxem.MissingCapabilityError, match="sample needs those"):
        MODEL.sample(jax.random.key(0), START, 2, 4)
    model, start, data, _ = cell()
    paths = jax.vmap(lambda key: model.sample_states(key, start, data))(jax.random.split(jax.random.key(0), 400))
    np.testing.assert_allclose((paths == 1).mean(0), model.posterior(start, data)[..., 1], atol=5 * 0.5 / 20)


@pytest.mark.slow
def test_missing_entries_are_filled_in():
    rng = np.random.default_rng(47)
    x = rng.standard_normal((2, 6, 2))
    x[0, 2, 0] = x[1, 3] = np.nan
    model = jaxem.HMM(jaxem.Incomplete(jaxem.Gaussian()), 2, transitions=SoftmaxTransitions())
    mean = jnp.array([[0.0, 0.0], [1.0, 2.0]])
    start = START._replace(emission=jaxem.families.GaussianParams(mean, jnp.stack([jnp.eye(2)] * 2)))
    data = Driven(jnp.asarray(x), jnp.asarray(np.stack([np.ones((2, 6)), rng.standard_normal((2, 6))], 2)))
    filled = np.asarray(model.impute(start, data))
    np.testing.assert_allclose(filled[1, 3], np.asarray(model.posterior(start, data))[1, 3] @ np.asarray(mean))
    np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])


def test_what_it_lacks_is_said():
    _, start, data, _ = cell()
    with pytest.raises(jaxem.MissingCapabilityError, match="deviation serves its posterior mode"):
        engine.solve(MODEL, start, data, algorithm=jaxem.vbem())
    with pytest.raises(jaxem.MissingCapabilityError, match="em_gradient"):
        engine.solve(MODEL, start, data, algorithm=jaxem.em())


def test_data_are_checked():
    model, start, data, _ = cell()
    host = jax.tree.map(np.asarray, data)
    infinite = host.covariates.copy()
    infinite[3, 11, 1] = np.inf
    double = np.concatenate([host.covariates, host.covariates[..., :1]], 2)
    plain = jaxem.HMM(jaxem.Poisson(), 2)
    for own, words, wrong in (
        (model, r"pass jaxem\.models\.Driven", host.rows),
        (plain, "FreeTransitions depends on no covariates", host),
        (model, r"must have shape .*here \(6, 30, 'q'\), got \(6, 29, 2\)", host._replace(covariates=infinite[:, 1:])),
        (model, r"got \(6, 30\)", host._replace(covariates=infinite[..., 0])),
        (model, "step 11 of sequence 3, column 1 has value inf", host._replace(covariates=infinite)),
        (model, r"data\.covariates: column 2 is a linear combination", host._replace(covariates=double)),
        (model, "labels are for mixtures", jaxem.Labelled(host, np.zeros(6, int))),
    ):
        with pytest.raises(jaxem.DataError, match=words):
            own.check(wrong, None)
    jaxem.HMM(jaxem.Poisson(), 2, transitions=SoftmaxTransitions(1.0)).check(host._replace(covariates=double), None)
    infinite[3, 11, 1], infinite[3, 12, 1], infinite[0, 0] = 0.0, np.inf, np.nan
    # Sequence 3 has ended there.
    np.testing.assert_array_equal(
        model.log_prob(start, host._replace(covariates=infinite))[1], model.log_prob(start, host)[1]
    )
    with pytest.raises(jaxem.DataError, match=r"has 3 columns, but params\.transition has shape \(2, 1, 2\)"):
        model.log_prob(start, host._replace(covariates=double))
    with pytest.raises(jaxem.DataError, match="depends on covariates"):
        jax.jit(model.log_prob)(start, host.rows)


@pytest.mark.slow
def test_a_fit_has_derivatives_with_respect_to_the_covariates():
    model, start, data, weights = cell()

    def found(shift, **options):
        moved = data._replace(covariates=data.covariates.at[0, 3:9, 1].add(shift))
        fit = jaxem.solve(model, start, moved, weights=weights, **options)
        return fit.params.transition[0, 0, 1]

    slope, step = jax.jit(jax.grad(lambda shift: found(shift, tol=1e-13, max_steps=3000)))(0.0), 1e-4
    # Both ends take as many steps: runs that stop by themselves do so at different distances from the maximum.
    at = jax.jit(lambda shift: found(shift, termination=jaxem.termination.FixedSteps(), max_steps=60))
    np.testing.assert_allclose(slope, (at(step) - at(-step)) / (2 * step), rtol=1e-3)
