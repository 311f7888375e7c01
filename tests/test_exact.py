"""Exact runs over batches against `jaxem.fit` on the same rows in memory."""

import dataclasses
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._sampled import Sampled
from jaxem.engine import over_passes
from jaxem.priors import Dirichlet, Gamma
from tests.helpers.engine import name
from tests.helpers.problems import old_faithful, overlapping_gaussians

KEY = jax.random.key(4)
RNG = np.random.default_rng(8)
COUNTS = RNG.poisson(np.array([[1.0, 5.0], [8.0, 2.0]])[RNG.integers(0, 2, 131)]).astype(float)
MODEL = jaxem.Mixture(jaxem.Poisson(prior=Gamma(5.0, 2.0)), 2, weights_prior=Dirichlet(4.0))
START = jaxem.models.MixtureParams(jnp.full(2, 0.5), jaxem.families.PoissonParams(jnp.array([[2.0, 6.0], [7.0, 3.0]])))


def cut(data, rows, weights=None):
    n = len(jax.tree.leaves(data)[0])
    parts = [slice(i, i + rows) for i in range(0, n, rows)]
    blocks = [jax.tree.map(lambda a: a[part], data) for part in parts]  # noqa: B023
    return blocks if weights is None else [(x, weights[p]) for x, p in zip(blocks, parts, strict=True)]


def assert_equal(fit, whole):
    """The same run: parameters, objective and history to 1e-12, steps and status."""
    assert name(fit) == name(whole)
    assert int(fit.num_steps) == int(whole.num_steps)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(fit.history, whole.history, **close)
    np.testing.assert_allclose([fit.objective, fit.log_likelihood], [whole.objective, whole.log_likelihood], **close)
    chex.assert_trees_all_close(fit.params, whole.params, rtol=1e-11, atol=1e-12)
    assert (fit.posterior is None) == (whole.posterior is None)


class Read:
    """Batches that count how often each is read."""

    def __init__(self, batches):
        self.batches, self.counts = batches, np.zeros(len(batches), int)

    def __iter__(self):
        for i, batch in enumerate(self.batches):
            self.counts[i] += 1
            yield batch


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "jaxem-reader"]


def test_a_posterior_mode_with_weights(monkeypatch):
    """Batches of unequal lengths, rows of weight 0 that hold anything, one batch without weight, each read once a
    pass; one program for all batches."""
    weights, x = np.random.default_rng(1).uniform(0.2, 3.0, 131), COUNTS.copy()
    weights[[0, 60]], weights[100:131] = 0, 0
    x[[0, 60, 110]] = np.nan
    stream = Read([*cut(x[:100], 23, weights[:100]), (x[100:], weights[100:])])
    traced, look = [], over_passes.look
    monkeypatch.setattr(over_passes, "look", lambda *args: (traced.append(args[0].num_rows), look(*args))[1])
    options = {"key": KEY, "init": START, "algorithm": jaxem.em()}
    fit = jaxem.fit_stream(MODEL, stream, **options)
    assert_equal(fit, jaxem.fit(MODEL, x, weights=weights, **options))
    assert name(fit) == "converged"
    assert set(stream.counts) == {int(fit.num_steps) + 1 + 2}  # what a step finds, and what binds the model
    assert traced == [23, 1]  # a batch, the shorter ones filled up; a row in the place of all
    assert not readers()


def test_many_starts_share_the_passes():
    stream = Read(cut(COUNTS, 40))
    fit = jaxem.fit_stream(MODEL, stream, key=KEY, algorithm=jaxem.em(), restarts=5)
    whole = jaxem.fit(MODEL, COUNTS, key=KEY, restarts=5)
    assert_equal(fit, whole)  # the sample is the whole table: the very starts that `fit` draws
    chex.assert_trees_all_close(fit.restarts.objective, whole.restarts.objective, rtol=1e-12)
    np.testing.assert_array_equal(fit.restarts.num_steps, whole.restarts.num_steps)
    assert len(set(fit.restarts.num_steps.tolist())) > 1
    assert set(stream.counts) == {int(fit.restarts.num_steps.max()) + 1 + 2}


def _runs():
    x, rng = old_faithful().x, np.random.default_rng(5)
    weights = rng.uniform(0.2, 3.0, len(x))
    mixture, gaps = jaxem.GaussianMixture(3), x.copy()
    gaps[[5, 100], [0, 1]] = np.nan
    answers = (rng.random((150, 4)) < np.array([[0.2, 0.8, 0.5, 0.3], [0.9, 0.3, 0.1, 0.6]])[np.arange(150) % 2]) * 1.0
    sequences = rng.normal(size=(30, 12, 2)) + 3 * rng.integers(0, 2, (30, 12, 1))
    yield "normal", mixture, x, weights, jaxem.em()
    # Extrapolation makes more of a rounding error: two members, so that it has little to grow on.
    yield "squarem", jaxem.GaussianMixture(2), x, weights, jaxem.squarem()
    yield "anderson", jaxem.GaussianMixture(2), x, None, jaxem.anderson()
    yield "ecm", mixture, x, None, jaxem.ecm("components.mean", "components.covariance", "weights")
    yield "hard", mixture, x, None, jaxem.hard_em()
    yield "alpha", mixture, x, None, jaxem.alpha_em()
    yield "annealed", mixture, x, None, jaxem.annealed_em()
    yield "bayes", MODEL, COUNTS, None, jaxem.vbem()
    yield "categories", jaxem.Mixture(jaxem.Categorical(2), 2), answers, None, jaxem.em()
    yield "chain", jaxem.HMM(jaxem.Gaussian(), 2), sequences, None, jaxem.em()
    yield "gaps", jaxem.Mixture(jaxem.Incomplete(jaxem.Gaussian()), 2), gaps, None, jaxem.em()
    yield "lines", jaxem.Mixture(jaxem.LinearRegression(), 2), jaxem.Responses(x[:, :1], x[:, 1]), None, jaxem.em()
    yield "factors", jaxem.FactorAnalysis(1), x @ rng.normal(size=(2, 4)) + rng.normal(size=(272, 4)), None, jaxem.em()
    yield "tails", jaxem.StudentTMixture(2), x, None, jaxem.em()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data", "weights", "algorithm"), [pytest.param(*a, id=n) for n, *a in _runs()])
def test_it_is_fit_on_all_rows(model, data, weights, algorithm):
    start = jaxem.fit(model, data, key=KEY, weights=weights, max_steps=1).params
    options = {"key": KEY, "algorithm": algorithm, "init": start, "max_steps": 25}
    fit = jaxem.fit_stream(model, cut(data, 61 if len(data) != 30 else 7, weights), **options)
    assert_equal(fit, jaxem.fit(model, data, weights=weights, **options))


@pytest.mark.slow
def test_single_precision_moves_to_the_accurate_kernel():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, (600, 2)), rng.normal(3e4, 1, (600, 2))])
    x = rng.permutation(x).astype(np.float32)
    options = {"key": KEY, "algorithm": jaxem.em(), "restarts": 2}
    fit = jaxem.fit_stream(jaxem.GaussianMixture(2), jaxem.batches(x, 200), **options)
    whole = jaxem.fit(jaxem.GaussianMixture(2), x, **options)
    assert fit.params.weights.dtype == np.float32
    assert name(fit) == name(whole) == "converged"
    chex.assert_trees_all_close(fit.params, whole.params, rtol=1e-3, atol=0.01)


@pytest.mark.slow
def test_sorted_rows_need_not_vary_within_a_batch():
    """The whole table varies, no batch does; in memory nobody would notice."""
    x = np.repeat(np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.8], [0.9, 0.3]]), 40, 0)
    model = jaxem.GaussianMixture(2, "spherical")
    members = jaxem.families.GaussianParams(jnp.array([[0.3, 0.5], [0.6, 0.4]]), jnp.array([0.3, 0.2]))
    start = jaxem.models.MixtureParams(jnp.full(2, 0.5), members)
    options = {"key": KEY, "init": start, "algorithm": jaxem.em(), "max_steps": 5}
    assert_equal(jaxem.fit_stream(model, cut(x, 40), **options), jaxem.fit(model, x, **options))
    x[:, 1] = 3.0
    with pytest.raises(jaxem.DataError, match=r"^data: column 1"):
        jaxem.fit_stream(model, cut(x, 40), **options)


def test_where_the_run_ends():
    """Limits, progress, and a run that is interrupted."""
    seen, stream = [], cut(COUNTS, 50)
    options = {"key": KEY, "init": START, "algorithm": jaxem.em()}
    fit = jaxem.fit_stream(MODEL, stream, max_steps=2, progress=seen.append, **options)
    assert (name(fit), int(fit.num_steps)) == ("max_steps_reached", 2)
    assert [(p.pass_number, p.batches, p.rows) for p in seen[2:5]] == [(0, 3, 131), (1, 4, 181), (1, 5, 231)]
    np.testing.assert_allclose(seen[-1].objective, fit.history[-2], rtol=1e-12)  # of the last pass that is complete

    def interrupt(p):
        if p.pass_number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jaxem.fit_stream(MODEL, stream, progress=interrupt, **options)
    assert not readers()


def _blocks(x, count, weights=None):
    """The blocks that an incremental update cuts rows in memory into."""
    return cut(x, -(-len(jax.tree.leaves(x)[0]) // count), weights)


def test_incremental_steps_are_those_in_memory():
    """From drawn starts, with weights and a short last block; each batch is read once a pass, and no other program."""
    weights = np.random.default_rng(1).uniform(0.2, 3.0, 131)
    stream, heard = Read(_blocks(COUNTS, 5, weights)), []
    options = {"key": KEY, "algorithm": jaxem.incremental_em(5), "restarts": 3}
    fit = jaxem.fit_stream(MODEL, stream, progress=heard.append, **options)
    whole = jaxem.fit(MODEL, COUNTS, weights=weights, **options)
    assert_equal(fit, whole)
    assert name(fit) == "converged"
    np.testing.assert_array_equal(fit.restarts.num_steps, whole.restarts.num_steps)
    chex.assert_trees_all_close(fit.restarts.objective, whole.restarts.objective, rtol=1e-12)
    steps = fit.restarts.num_steps
    assert set(stream.counts) == {(int(steps.max()) + 1) // 5 + 2 + 1}  # the model is bound, and the best run scored
    told = [report.objective for report in heard if report.pass_number == 3]
    assert (np.diff(told) > 0).all()  # of the free energy, after each batch
    assert not readers()


def test_an_incremental_run_that_stops_and_goes_on(tmp_path):
    batches, heard = _blocks(COUNTS, 4), []
    options = {"key": KEY, "algorithm": jaxem.incremental_em(), "restarts": 2}
    whole = jaxem.fit_stream(MODEL, batches, **options)
    part = {**options, "checkpoint": tmp_path / "c"}
    stopped = jaxem.fit_stream(MODEL, batches, **part, progress=lambda report: heard.append(report) or len(heard) > 17)
    assert name(stopped) == "stopped"
    assert heard[-1].batches == 20 + 4  # to the end of the pass, and one that scores
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(jaxem.fit_stream(MODEL, batches, **part)), strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f")
    with pytest.raises(jaxem.DataError, match=r"belongs to another call \(another data\)"):
        jaxem.fit_stream(MODEL, _blocks(COUNTS, 5), **part)  # the same rows in other batches
    limited = jaxem.fit_stream(MODEL, batches, max_steps=6, **options)  # in the midst of a pass
    assert_equal(limited, jaxem.fit(MODEL, COUNTS, **{**options, "algorithm": jaxem.incremental_em(4)}, max_steps=6))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["normal", "hard", "bayes", "chain", "lines"])
def test_incremental_variants_are_those_in_memory(case):
    _, model, data, weights, algorithm = next(run for run in _runs() if run[0] == case)
    algorithm = dataclasses.replace(algorithm, update=jaxem.update.Incremental(3))
    options = {"key": KEY, "algorithm": algorithm, "max_steps": 25}
    options["init"] = jaxem.fit(model, data, key=KEY, weights=weights, max_steps=1).params
    fit = jaxem.fit_stream(model, _blocks(data, 3, weights), **options)
    assert_equal(fit, jaxem.fit(model, data, weights=weights, **options))


@pytest.mark.slow
def test_incremental_single_precision_moves_to_the_accurate_kernel():
    rng = np.random.default_rng(3)
    x = rng.permutation(np.concatenate([rng.normal(0, 1, (600, 2)), rng.normal(3e4, 1, (600, 2))])).astype(np.float32)
    options = {"key": KEY, "algorithm": jaxem.incremental_em(4), "restarts": 2}
    fit = jaxem.fit_stream(jaxem.GaussianMixture(2), jaxem.batches(x, 300), **options)
    whole = jaxem.fit(jaxem.GaussianMixture(2), x, **options)
    assert name(fit) == name(whole) == "converged"
    chex.assert_trees_all_close(fit.params, whole.params, rtol=1e-3, atol=0.01)


def _failing(at):
    reads = iter(range(1000))

    def read():
        number = next(reads)
        yield COUNTS[:50]
        if number == at:
            raise OSError("the disk is gone")
        yield COUNTS[50 : 100 - 10 * (at < 0 and number == 2)]

    return read


def _refusals():
    bad, half = COUNTS[50:100].copy(), COUNTS[50:100].copy()
    bad[7, 1], half[3, 0] = np.nan, 0.5
    stream = [COUNTS[:50], bad]
    yield "missing", stream, {}, jaxem.DataError, r"batch 1: data: row 7, column 1 has value nan"
    yield "no count", [COUNTS[:50], half], {}, jaxem.DataError, r"batch 1: data: row 3, column 0 has value 0.5"
    yield "columns", [COUNTS, COUNTS[:, :1]], {}, jaxem.DataError, "batch 1: data has rows of shape"
    yield "weights", [(COUNTS, -np.ones(131))], {}, jaxem.DataError, "batch 0: weights: row 0 has weight -1"
    yield "nothing", [(COUNTS, np.zeros(131))], {}, jaxem.DataError, "no rows, or none of positive weight"
    yield "once", iter([COUNTS]), {}, jaxem.DataError, "iterator, which can be read once, and an exact run needs many"
    yield "fewer", _failing(-1), {}, jaxem.DataError, "90 rows in 2 batches in pass 3, and 100 in 2 in the first"
    yield "at once", _failing(0), {}, OSError, "the disk is gone"
    yield "later", _failing(2), {}, OSError, "the disk is gone"
    yield "passes", [COUNTS], {"passes": 2}, jaxem.DataError, "limit them by max_steps"
    yield "total", [COUNTS], {"total_weight": 3.0}, jaxem.DataError, "adds the weights up itself"
    yield "starts", [COUNTS], {"restarts": 3}, jaxem.DataError, "init holds 1 sets of parameters"
    yield "path", "rows.npy", {}, jaxem.DataError, r"pass jaxem.batches\('rows.npy', rows=...\)"
    in_turn = {"algorithm": jaxem.incremental_em()}
    drawn = jaxem.batches(COUNTS, 20, key=KEY)
    yield "order", drawn, in_turn, jaxem.DataError, r"batch 0 of pass 2 is not that of the first.*without a key"
    yield "together", [COUNTS], {**in_turn, "together": True}, jaxem.DataError, "together: processes sum over all"
    yield "draws", [COUNTS], {"algorithm": jaxem.gibbs()}, jaxem.MissingCapabilityError, "Sample draws random numbers"
    yield "rows", [COUNTS], {"algorithm": jaxem.algorithms.newton()}, jaxem.MissingCapabilityError, "looks at the rows"
    yield "stepwise", [COUNTS], {"algorithm": None, "tol": 1e-3}, jaxem.DataError, "tol is for an exact run"


@pytest.mark.parametrize(("stream", "options", "error", "message"), [pytest.param(*a, id=n) for n, *a in _refusals()])
def test_what_is_refused(stream, options, error, message):
    options = {"algorithm": jaxem.em(), "init": START, **options}
    with pytest.raises(error, match=message):
        jaxem.fit_stream(MODEL, stream, key=KEY, **options)
    assert not readers()


def test_a_sample_is_the_same_however_rows_are_cut():
    x, w = np.arange(900.0)[:, None], np.arange(900) % 3.0
    samples = []
    for rows in (7, 100, 900):
        sampled = Sampled([3])
        sampled.most = 50
        for i in range(0, 900, rows):
            sampled.add(x[i : i + rows], w[i : i + rows])
        samples.append(sampled.rows())
    chex.assert_trees_all_equal(*samples)
    rows, weights = samples[0]
    assert rows.shape == (50, 1)
    assert (np.diff(rows[:, 0]) > 0).all()
    np.testing.assert_array_equal(weights, rows[:, 0] % 3)
    assert (weights > 0).all()


def test_a_sample_is_uniform():
    """Each of 60 rows comes into a sample of 20 a third of the time, the late as often as the early."""
    x, counts = np.arange(60.0)[:, None], np.zeros(60)
    for seed in range(600):
        sampled = Sampled([seed])
        sampled.most = 20
        for i in range(0, 60, 10):
            sampled.add(x[i : i + 10], np.ones(10))
        counts[sampled.rows()[0][:, 0].astype(int)] += 1
    deviation = np.sqrt(600 / 3 * 2 / 3)
    assert counts.sum() == 600 * 20
    assert np.abs(counts - 200).max() < 4.5 * deviation
    assert abs(counts[:30].sum() - 6000) < 4 * deviation * np.sqrt(30)


@pytest.mark.slow
def test_a_large_table_starts_from_the_sample(monkeypatch):
    monkeypatch.setattr("jaxem._sampled.MOST_ROWS", 1024)
    monkeypatch.setattr("jaxem._sampled._FEWEST_ROWS", 64)
    x = np.repeat(overlapping_gaussians().x, 4, 0)
    x = np.abs(np.round(x)) % 9
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    assert len(x) > 1024
    fit = jaxem.fit_stream(model, jaxem.batches(x, 700), key=KEY, algorithm=jaxem.em(), restarts=2, max_steps=3)
    other = jaxem.fit_stream(model, jaxem.batches(x, 300), key=KEY, algorithm=jaxem.em(), restarts=2, max_steps=3)
    assert_equal(fit, other)
    whole = jaxem.fit(model, x, key=KEY, restarts=2, max_steps=3)
    assert not np.allclose(fit.history, whole.history, rtol=1e-9)


def test_a_run_that_stops_and_goes_on(tmp_path):
    batches, options = cut(COUNTS, 40), {"key": KEY, "algorithm": jaxem.em(), "restarts": 2}
    whole, heard = jaxem.fit_stream(MODEL, batches, **options), []
    part = {**options, "checkpoint": tmp_path / "c"}
    stopped = jaxem.fit_stream(MODEL, batches, **part, progress=lambda report: heard.append(report) or len(heard) > 24)
    assert name(stopped) == "stopped"
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(jaxem.fit_stream(MODEL, batches, **part)), strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f")
    with pytest.raises(jaxem.DataError, match=r"belongs to another call \(another data\)"):
        jaxem.fit_stream(MODEL, cut(COUNTS + 1, 40), **part)
    assert name(jaxem.fit_stream(MODEL, batches, **options, time_limit=1e-6)) == "stopped"
