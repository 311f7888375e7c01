"""Fits of batches against the same recursion on data in memory, and against a transcription."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import poisson

import jaxem
from jaxem import _stepwise
from tests.helpers.problems import old_faithful, overlapping_gaussians, two_gaussians

KEY = jax.random.key(4)
POISSON = jaxem.Mixture(jaxem.Poisson(), 2)
RATES = np.array([[2.0, 6.0], [7.0, 3.0]])


def counts(n=60):
    rng = np.random.default_rng(8)
    return rng.poisson(np.array([[1.0, 5.0], [8.0, 2.0]])[rng.integers(0, 2, n)])


def poisson_start():
    return jaxem.models.MixtureParams(jnp.full(2, 0.5), jaxem.families.PoissonParams(jnp.asarray(RATES)))


def recursion(stream, power=0.7, delay=2.0):
    """Stepwise EM on a Poisson mixture, written out: weights and rates after every batch."""
    pi, rates, stats = np.full(2, 0.5), RATES, None
    for t, (x, w) in enumerate(stream):
        joint = np.log(pi) + poisson.logpmf(x[:, None], rates).sum(-1)
        r = np.exp(joint - logsumexp(joint, 1, keepdims=True)) * w[:, None]
        new = np.c_[r.sum(0), r.T @ x] / w.sum()
        gain = 1.0 if t == 0 else (t + delay) ** -power
        stats = new if stats is None else (1 - gain) * stats + gain * new
        pi, rates = stats[:, 0] / stats[:, 0].sum(), stats[:, 1:] / stats[:, :1]
    return pi, rates


def test_the_recursion_with_weights_and_a_short_batch():
    x, rng = counts(57), np.random.default_rng(1)
    w = rng.uniform(0.2, 3.0, 57)
    stream = [(x[i : i + 10], w[i : i + 10]) for i in range(0, 57, 10)]
    fit = jaxem.fit_stream(POISSON, stream, key=KEY, init=poisson_start(), passes=3, total_weight=w.sum())
    pi, rates = recursion(stream * 3)
    np.testing.assert_allclose(fit.params.weights, pi, rtol=1e-10)
    np.testing.assert_allclose(fit.params.components.rate, rates, rtol=1e-10)
    assert jaxem.status_name(fit.status) == "completed"
    assert int(fit.num_steps) == 18
    assert fit.history.shape == (19,)
    assert np.isnan(fit.log_likelihood)
    assert np.isnan(fit.objective)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_it_is_solve_on_the_same_blocks(covariance):
    """The model is bound to the first batch here and to all rows there: other coordinates, the same parameters."""
    x, rows, passes = overlapping_gaussians().x[:280], 40, 3
    model = jaxem.GaussianMixture(3, covariance)
    start = jaxem.fit(model, x, key=KEY, max_steps=2).params
    algorithm = jaxem.stepwise_em(rows, power=0.6)
    blocks = len(x) // rows
    _, key = jax.random.split(KEY)
    whole = jaxem.solve(model, start, jnp.asarray(x), algorithm=algorithm, max_steps=blocks * passes, key=key)
    order = iter([jax.random.permutation(jax.random.fold_in(key, p), blocks) for p in range(passes)])

    def read():
        return (x[i * rows : (i + 1) * rows] for i in np.asarray(next(order)))

    fit = jaxem.fit_stream(model, read, key=KEY, init=start, algorithm=algorithm, passes=passes, total_weight=len(x))
    chex.assert_trees_all_close(fit.params, whole.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fit.history[:-1], whole.history[: blocks * passes], rtol=1e-9)


@pytest.mark.slow
def test_a_prior_is_set_against_all_rows():
    x = counts()
    model = jaxem.Mixture(
        jaxem.Poisson(prior=jaxem.priors.Gamma(5.0, 2.0)), 2, weights_prior=jaxem.priors.Dirichlet(4.0)
    )
    with pytest.raises(jaxem.DataError, match="pass total_weight"):
        jaxem.fit_stream(model, [x], key=KEY, init=poisson_start())
    options = {"key": KEY, "init": poisson_start(), "score": True}
    one = jaxem.fit_stream(model, [x], total_weight=60, **options)
    step = jaxem.solve(model, poisson_start(), jnp.asarray(x, float), max_steps=1)
    chex.assert_trees_all_close(one.params, step.params, rtol=1e-12)
    np.testing.assert_allclose([one.log_likelihood, one.objective], [step.log_likelihood, step.objective], rtol=1e-12)


def test_the_score_is_that_of_all_rows():
    x, w = counts(57), np.arange(57) % 4
    stream = [(x[i : i + 10], w[i : i + 10]) for i in range(0, 57, 10)]
    fit = jaxem.fit_stream(POISSON, stream, key=KEY, init=poisson_start(), score=True)
    expected = POISSON.log_likelihood(fit.params, jnp.asarray(x, float), jnp.asarray(w, float))
    np.testing.assert_allclose([fit.log_likelihood, fit.objective], expected, rtol=1e-12)


@pytest.mark.slow
def test_variational_bayes_streams_too():
    x = counts()
    model = jaxem.Mixture(
        jaxem.Poisson(prior=jaxem.priors.Gamma(5.0, 2.0)), 2, weights_prior=jaxem.priors.Dirichlet(4.0)
    )
    algorithm = dataclasses.replace(jaxem.vbem(), update=jaxem.update.Stepwise())
    fit = jaxem.fit_stream(model, [x], key=KEY, init=poisson_start(), algorithm=algorithm, total_weight=60, score=True)
    step = jaxem.solve(model, poisson_start(), jnp.asarray(x, float), algorithm=jaxem.vbem(), max_steps=1)
    chex.assert_trees_all_close(fit.posterior, step.posterior, rtol=1e-10)
    np.testing.assert_allclose(fit.objective, step.objective, rtol=1e-10)


@pytest.mark.slow
def test_a_file_larger_than_what_is_read_at_a_time(tmp_path):
    x = two_gaussians().x
    file = np.memmap(tmp_path / "rows.bin", np.float64, "w+", shape=(20 * len(x), 2))
    file[:] = np.tile(x, (20, 1)) + 0.1 * np.random.default_rng(0).standard_normal((20 * len(x), 2))
    file.flush()
    again = np.memmap(tmp_path / "rows.bin", np.float64, "r", shape=file.shape)
    model = jaxem.GaussianMixture(2)
    stream = jaxem.batches(again, rows=900, key=KEY)
    assert len(stream) == 23
    fit = jaxem.fit_stream(model, stream, key=KEY, passes=8, score=True)
    whole = jaxem.fit(model, np.asarray(file), key=KEY, restarts=4)
    # The batches are mixtures of rows of one cluster for the most part: a gap of a few hundredths of a nat is left.
    assert 0 <= float(whole.log_likelihood - fit.log_likelihood) / len(file) < 0.02
    repeated = jaxem.fit_stream(model, stream, key=KEY, passes=8, score=True)
    chex.assert_trees_all_equal(fit.params, repeated.params)


def test_batches_are_blocks_in_an_order_of_their_own_each_pass():
    x, w = np.arange(23.0)[:, None], np.arange(23.0)
    stream = jaxem.batches(x, 5, KEY, weights=w)
    passes = [[block for block, _ in stream.blocks(number)] for number in range(2)]
    for blocks in passes:
        assert {len(block) for block in blocks} == {4, 5}
        np.testing.assert_array_equal(np.sort(np.concatenate(blocks)[:, 0]), x[:, 0])
    assert [block[0, 0] for block in passes[0]] != [block[0, 0] for block in passes[1]]
    assert all(np.array_equal(block[:, 0], weights) for block, weights in stream)
    assert [block[0, 0] for block, _ in jaxem.batches(x, 5)] == [0, 4, 9, 13, 18]


def test_all_batches_are_one_program(monkeypatch):
    traced = []
    step = _stepwise.step
    monkeypatch.setattr(_stepwise, "step", lambda *args: (traced.append(1), step(*args))[1])
    x = counts(77)
    stream = [x[i : i + 11] for i in range(0, 66, 11)] + [x[66:70], (x[70:74], np.ones(4)), x[74:74], x[74:]]
    fit = jaxem.fit_stream(POISSON, stream, key=KEY, init=poisson_start(), passes=2)
    assert int(fit.num_steps) == 18
    assert len(traced) == 1


def test_a_buffer_may_be_filled_again():
    x, buffer = counts(), np.empty((10, 2))

    def reused():
        for i in range(0, 60, 10):
            buffer[:] = x[i : i + 10]
            yield buffer

    options = {"key": KEY, "init": poisson_start(), "passes": 4}
    fit = jaxem.fit_stream(POISSON, reused, **options)
    other = jaxem.fit_stream(POISSON, [x[i : i + 10] for i in range(0, 60, 10)], **options)
    chex.assert_trees_all_equal(fit.params, other.params)


def test_a_batch_without_weight_or_with_a_constant_column_is_fine():
    x = old_faithful().x
    nothing, level = (x[:50], np.zeros(50)), np.c_[x[200:, 0], np.full(72, 70.0)]
    start = jaxem.fit(jaxem.GaussianMixture(2), x, key=KEY).params
    fit = jaxem.fit_stream(jaxem.GaussianMixture(2), [x[:200], nothing, level], key=KEY, init=start)
    assert jaxem.status_name(fit.status) == "completed"
    assert np.isfinite(fit.params.components.covariance).all()


@pytest.mark.slow
def test_single_precision_moves_to_the_accurate_kernel():
    """A narrow cluster far from a wide one: the products of the fast kernel lose its covariance."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, (600, 2)), rng.normal(3e4, 1, (600, 2))])
    x = rng.permutation(x).astype(np.float32)
    model = jaxem.GaussianMixture(2)
    single, double = (
        jaxem.fit_stream(model, jaxem.batches(x.astype(dtype), 200), key=KEY, passes=4)
        for dtype in (np.float32, np.float64)
    )
    assert jaxem.status_name(single.status) == "completed"
    assert single.params.weights.dtype == np.float32
    covariances = [np.sort(np.asarray(f.params.components.covariance, float)[:, 0, 0]) for f in (single, double)]
    np.testing.assert_allclose(*covariances, rtol=0.05)
    np.testing.assert_allclose(covariances[0], 1.0, rtol=0.2)


def test_progress_and_averaging():
    x, seen = counts(), []
    stream = [x[i : i + 10] for i in range(0, 60, 10)]
    algorithm = jaxem.stepwise_em(average=True)
    options = {"key": KEY, "init": poisson_start(), "algorithm": algorithm, "passes": 3}
    fit = jaxem.fit_stream(POISSON, stream, progress=seen.append, **options)
    assert [(p.pass_number, p.batches, p.rows) for p in seen[5:7]] == [(0, 6, 60), (1, 7, 70)]
    assert len(seen) == 18
    assert np.isfinite(fit.standard_error.weights).all()
    with pytest.raises(jaxem.DataError, match="how many batches"):
        jaxem.fit_stream(POISSON, lambda: iter(stream), **options)


def _refusals():
    x = old_faithful().x
    bad = x[100:150].copy()
    bad[7, 1] = np.nan
    yield "nan", {"batches": [x[:100], bad]}, r"batch 1: data: row 7, column 1 has value nan"
    yield "nan at once", {"batches": [bad]}, r"batch 0: data: row 7, column 1 has value nan"
    yield "weights", {"batches": [x[:100], (x[100:], -np.ones(172))]}, "batch 1: weights: row 0 has weight -1"
    yield "columns", {"batches": [x[:100], x[:, :1]]}, r"batch 1: data has rows of shape \(1,\), and .* \(2,\)"
    yield "nothing", {"batches": []}, "batches holds no rows"
    yield "iterator", {"batches": iter([x]), "passes": 2}, "can be read once, and 2 passes"
    yield "iterator to score", {"batches": iter([x]), "score": True}, "can be read once, and 2 passes"
    yield "number", {"batches": 3}, "must be an iterable"
    yield "passes", {"batches": [x], "passes": 0}, "passes must be at least 1"
    yield "weight", {"batches": [x], "total_weight": -1.0}, "total_weight must be finite and positive"


@pytest.mark.parametrize(("options", "message"), [pytest.param(o, m, id=n) for n, o, m in _refusals()])
def test_what_is_refused(options, message):
    start = jaxem.models.MixtureParams(
        jnp.full(2, 0.5),
        jaxem.families.GaussianParams(jnp.array([[2.0, 50.0], [4.0, 80.0]]), jnp.stack([jnp.eye(2)] * 2)),
    )
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.fit_stream(jaxem.GaussianMixture(2), key=KEY, init=start, **options)


def test_algorithms_and_models_that_cannot_stream():
    class Other(jaxem.update.AbstractUpdate):
        def __call__(self, expect, translate, natural, previous, fresh, data, weights, state, key, reduce):
            return *expect(data, weights, key), state

    with pytest.raises(jaxem.MissingCapabilityError, match=r"Other chooses rows of its own.*stepwise_em"):
        jaxem.fit_stream(POISSON, [counts()], key=KEY, algorithm=jaxem.Algorithm(update=Other()))
    nonlinear = jaxem.FunctionModel(lambda params, x, z: -((x - params) ** 2).sum(), 2)
    with pytest.raises(jaxem.MissingCapabilityError, match="FunctionModel has none"):
        jaxem.fit_stream(nonlinear, [counts()], key=KEY)


@pytest.mark.parametrize(
    ("data", "rows", "message"),
    [
        ([[0.0], [1.0]], 1, "data must be an array"),
        (np.zeros((4, 1)), 1.5, "rows must be an integer"),
        (np.zeros((4, 1)), True, "rows must be an integer"),
        (np.zeros((4, 1)), 0, "rows must be at least 1"),
        (np.zeros((0, 1)), 2, "data is empty"),
    ],
)
def test_blocks_that_cannot_be_cut_are_refused(data, rows, message):
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.batches(data, rows)


def test_starts_are_drawn_as_in_fit():
    x = old_faithful().x
    by_name, by_value = (
        jaxem.fit_stream(jaxem.GaussianMixture(2), [x], key=KEY, init=init, restarts=2)
        for init in ("points", jaxem.init.Points())
    )
    chex.assert_trees_all_equal(by_name.params, by_value.params)
    other = jaxem.fit_stream(jaxem.GaussianMixture(2), [x], key=KEY, restarts=2)
    assert not np.array_equal(by_name.params.components.mean, other.params.components.mean)
    with pytest.raises(jaxem.DataError, match="no method 'magic'"):
        jaxem.fit_stream(jaxem.GaussianMixture(2), [x], key=KEY, init="magic")


def equal(a, b):
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(two), equal_nan=one.dtype.kind == "f")


def after(batches):
    """Answers `True` once so many batches have come."""
    return lambda report: report.batches >= batches


def test_a_run_that_stops_and_goes_on(tmp_path):
    stream = jaxem.batches(counts(), 10, key=jax.random.key(1))
    options = {"key": KEY, "init": poisson_start(), "passes": 3}
    whole, part = jaxem.fit_stream(POISSON, stream, **options), {**options, "checkpoint": tmp_path / "c"}
    for batches in (1, 7, 13):
        stopped = jaxem.fit_stream(POISSON, stream, **part, progress=after(batches))
        assert jaxem.status_name(stopped.status) == "stopped"
        assert stopped.num_steps <= batches + 1
    equal(jaxem.fit_stream(POISSON, stream, **part), whole)
    equal(jaxem.fit_stream(POISSON, stream, **part), whole)  # all of it is in the file
    other = jaxem.batches(counts() + 1, 10, key=jax.random.key(1))
    with pytest.raises(jaxem.DataError, match="batches are not those"):
        jaxem.fit_stream(POISSON, other, **part)
    with pytest.raises(jaxem.DataError, match="belongs to another call"):
        jaxem.fit_stream(POISSON, stream, **(part | {"passes": 4}))
    limited = jaxem.fit_stream(POISSON, stream, **options, time_limit=1e-6)
    assert jaxem.status_name(limited.status) == "stopped"
    assert limited.num_steps <= 2


@pytest.mark.slow
@pytest.mark.parametrize("case", ["starts", "average", "accurate"])
def test_bits_of_a_run_that_goes_on(case, tmp_path):
    x = np.asarray(old_faithful().x)
    algorithm, options = jaxem.stepwise_em(), {"key": KEY, "passes": 2, "score": True}
    if case == "average":
        algorithm = dataclasses.replace(algorithm, record=jaxem.record.Average())
    if case == "accurate":  # in single precision the fast kernel loses its digits
        x = (np.r_[x, x + np.array([0.0, 4e4])]).astype(np.float32)[np.random.default_rng(0).permutation(2 * len(x))]
    model, stream = jaxem.GaussianMixture(2), jaxem.batches(x, 68, key=jax.random.key(1))
    whole = jaxem.fit_stream(model, stream, algorithm=algorithm, **options)
    part = {**options, "algorithm": algorithm, "checkpoint": jaxem.Checkpoint(tmp_path / "c", rounds=1)}
    for batches in (2, 5):
        jaxem.fit_stream(model, stream, **part, progress=after(batches))
    equal(jaxem.fit_stream(model, stream, **part), whole)
