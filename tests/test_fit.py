"""The host entry: starts, lanes, choice of the best, and what it refuses."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem import _fit
from jaxem.engine import pool, spread
from jaxem.engine.door import for_fit
from tests.helpers.problems import old_faithful, overlapping_gaussians

pytestmark = pytest.mark.optimized

MODEL = jaxem.GaussianMixture(3)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def x():
    return overlapping_gaussians().x


@pytest.fixture(scope="module")
def reference(x):
    return jaxem.fit(MODEL, x, key=KEY, restarts=20, tol=1e-8)


def names(status):
    return np.asarray(jaxem.status_name(status))


def test_the_result_belongs_together(reference, x):
    fit = reference
    np.testing.assert_allclose(fit.objective, MODEL.log_likelihood(fit.params, x), rtol=1e-12)
    assert fit.history.shape == (int(fit.num_steps) + 1,)
    np.testing.assert_allclose(fit.history[-1], fit.objective, rtol=1e-12)
    assert np.all(np.diff(fit.history) > -1e-9)
    assert fit.restarts.objective.shape == fit.restarts.num_steps.shape == (20,)
    good = names(fit.restarts.status) == "converged"
    np.testing.assert_allclose(fit.objective, np.asarray(fit.restarts.objective)[good].max(), rtol=1e-12)
    assert fit.params.components.covariance.shape == (3, 2, 2)
    np.testing.assert_allclose(fit.params.weights.sum(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("lanes", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_same_key_same_answer_at_any_number_of_lanes(reference, x, lanes):
    fit = jaxem.fit(MODEL, x, key=KEY, restarts=20, tol=1e-8, lanes=lanes)
    chex.assert_trees_all_close(fit.params, reference.params, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.restarts.objective, reference.restarts.objective, rtol=1e-9)
    np.testing.assert_array_equal(names(fit.restarts.status), names(reference.restarts.status))
    np.testing.assert_array_equal(fit.restarts.num_steps, reference.restarts.num_steps)


def test_every_start_is_what_solve_makes_of_it(reference, x):
    """Lanes, rounds and refilling change nothing: each start alone gives the same."""
    starts, _ = _starts(x, 20)
    alone = jax.jit(jax.vmap(lambda params: jaxem.solve(MODEL, params, x, tol=1e-8)))(starts)
    np.testing.assert_allclose(alone.objective, reference.restarts.objective, rtol=1e-9)
    # Two programs may round differently, and the gain of a step lie on either side of the tolerance.
    np.testing.assert_allclose(alone.num_steps, reference.restarts.num_steps, atol=1, rtol=0)


def test_given_starts_run_in_their_order(reference, x):
    starts, _ = _starts(x, 20)
    fit = jaxem.fit(MODEL, x, key=jax.random.key(9), init=starts, tol=1e-8, lanes=20)
    np.testing.assert_allclose(fit.restarts.objective, reference.restarts.objective, rtol=1e-9)


def test_aligned_data_are_not_copied(reference, x, tmp_path):
    """Those of a mapped file are, as `numpy.load` says."""
    np.save(tmp_path / "x.npy", np.asarray(x))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    if jax.default_backend() == "cpu":
        assert spread.placed(np.asarray(mapped)).unsafe_buffer_pointer() == mapped.ctypes.data
    fit = jaxem.fit(MODEL, mapped, key=KEY, restarts=20, tol=1e-8)
    np.testing.assert_array_equal(fit.restarts.objective, reference.restarts.objective)


def _starts(x, count):
    problem = _fit.problem_of(MODEL, jaxem.em(), for_fit(MODEL, x), 0.0, 0, None)
    params, keys = _fit.draw(problem, KEY, np.arange(count, dtype=np.int32))
    return jax.vmap(problem.model.decode)(params), keys


@pytest.mark.slow
def test_packing_the_last_lanes_changes_nothing(reference, x, monkeypatch):
    monkeypatch.setattr(pool, "COMPILATION_PRODUCTS", 0.0)
    sizes = []
    take = pool.take
    monkeypatch.setattr(pool, "take", lambda lanes, lane: (sizes.append(lane.shape), take(lanes, lane))[1])
    fit = jaxem.fit(MODEL, x, key=KEY, restarts=20, tol=1e-8)
    assert any(shape != () for shape in sizes)  # several lanes were taken at once
    np.testing.assert_allclose(fit.restarts.objective, reference.restarts.objective, rtol=1e-9)
    np.testing.assert_array_equal(fit.restarts.num_steps, reference.restarts.num_steps)


def test_racing_finds_the_best_with_less_work(reference, x):
    racing = jaxem.termination.Racing(steps=5, keep=0.4, growth=2, finalists=3)
    fit = jaxem.fit(MODEL, x, key=KEY, restarts=20, tol=1e-8, racing=racing)
    status = names(fit.restarts.status)
    assert set(status) == {"converged", "eliminated"}
    assert 1 <= np.sum(status == "converged") <= 8
    np.testing.assert_allclose(fit.objective, reference.objective, rtol=1e-7)
    assert fit.restarts.num_steps.sum() < reference.restarts.num_steps.sum()
    assert np.all(np.isfinite(fit.restarts.objective))
    assert fit.history.shape == (int(fit.num_steps) + 1,)
    assert np.all(np.diff(fit.history) > -1e-9)


def test_limits_and_key_compile_nothing(x):
    jaxem.fit(MODEL, x, key=KEY, restarts=20, tol=1e-8)
    chex.clear_trace_counter()
    traced = []
    original = jaxem.GaussianMixture(3).family.__class__.potentials
    patched = lambda self, *args: (traced.append(1), original(self, *args))[1]  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(MODEL.family), "potentials", patched)
        fit = jaxem.fit(MODEL, x, key=jax.random.key(77), restarts=20, tol=1e-3, max_steps=17)
    assert traced == []
    assert fit.restarts.num_steps.max() <= 17


def test_progress_adds_up(x):
    seen = []
    fit = jaxem.fit(MODEL, x, key=KEY, restarts=20, tol=1e-8, progress=seen.append)
    assert seen[-1].done == seen[-1].total == 20
    assert seen[-1].running == 0
    assert seen[-1].best == pytest.approx(float(fit.objective), rel=1e-9)
    assert all(a.done <= b.done and a.rounds <= b.rounds and a.steps <= b.steps for a, b in itertools.pairwise(seen))
    assert seen[-1].steps == int(fit.restarts.num_steps.sum())


def test_weights_are_copies(x):
    counts = np.random.default_rng(0).integers(0, 3, len(x))
    start = jax.tree.map(lambda leaf: leaf[0], _starts(x, 1)[0])
    weighted = jaxem.fit(MODEL, x, key=KEY, init=start, weights=counts, tol=1e-10)
    repeated = jaxem.fit(MODEL, np.repeat(x, counts, 0), key=KEY, init=start, tol=1e-10)
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-10)
    np.testing.assert_allclose(
        jaxem.bic(MODEL, weighted.params, x, counts), jaxem.bic(MODEL, repeated.params, np.repeat(x, counts, 0))
    )
    chex.assert_trees_all_close(weighted.params, repeated.params, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_integers_are_the_same_as_floats():
    x = np.round(old_faithful().x * 10).astype(int)
    a, b = (jaxem.fit(jaxem.GaussianMixture(2), data, key=KEY, restarts=2) for data in (x, x.astype(float)))
    chex.assert_trees_all_equal(a.params, b.params)


def test_known_labels_are_kept(x):
    labels = np.full(len(x), -1)
    labels[: len(x) // 2] = np.arange(len(x) // 2) % 3
    fit = jaxem.fit(MODEL, x, key=KEY, restarts=3, labels=labels)
    data = jaxem.Labelled(jnp.asarray(x), jnp.asarray(labels, jnp.int32))
    np.testing.assert_array_equal(MODEL.predict(fit.params, data)[: len(x) // 2], labels[: len(x) // 2])
    np.testing.assert_allclose(fit.objective, MODEL.log_likelihood(fit.params, data), rtol=1e-12)


@pytest.mark.parametrize(
    "method", ["points", *(pytest.param(name, marks=pytest.mark.slow) for name in ("random", "short_runs"))]
)
def test_ways_to_start(method):
    fit = jaxem.fit(jaxem.GaussianMixture(2), old_faithful().x, key=KEY, restarts=6, tol=1e-9, init=method)
    np.testing.assert_allclose(fit.objective, -1130.263960, rtol=1e-8)
    assert len(np.unique(fit.restarts.objective)) > 1


def test_collapsed_starts_are_reported_and_never_win():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 2))
    x[:12] = x[0] + 1e-13 * rng.standard_normal((12, 2))
    fit = jaxem.fit(jaxem.GaussianMixture(2), x, key=KEY, restarts=16)
    status = names(fit.restarts.status)
    assert "degenerate_component" in status
    if "converged" in status:
        assert jaxem.status_name(fit.status) == "converged"
    collapsed = np.asarray(fit.restarts.objective)[status == "degenerate_component"]
    assert np.all(np.isfinite(collapsed))


def test_failing_lanes_touch_no_other(x, reference):
    starts, _ = _starts(x, 20)
    bad = starts._replace(components=starts.components._replace(mean=starts.components.mean.at[4].set(1e300)))
    fit = jaxem.fit(MODEL, x, key=KEY, init=bad, tol=1e-8, lanes=20)
    status = names(fit.restarts.status)
    assert status[4] == "not_finite"
    others = np.arange(20) != 4
    np.testing.assert_allclose(fit.restarts.objective[others], reference.restarts.objective[others], rtol=1e-9)
    alone = jax.tree.map(lambda leaf: leaf[4], bad)
    with pytest.raises(jaxem.FitError, match="all 1 starts failed \\(1 not_finite\\)"):
        jaxem.fit(MODEL, x, key=KEY, init=alone)
    kept = jaxem.fit(MODEL, x, key=KEY, init=alone, throw=False)
    assert jaxem.status_name(kept.status) == "not_finite"


def _refusals():
    x = old_faithful().x
    bad, word = x.copy(), x.astype(str)
    bad[7, 1] = np.nan
    n = len(x)
    yield "nan", {"data": bad}, r"data: row 7, column 1 has value nan"
    yield "infinity", {"data": np.where(np.isnan(bad), np.inf, bad)}, r"row 7, column 1 has value inf"
    yield "strings", {"data": word}, "not numbers"
    yield "one-dimensional", {"data": x[:, 0]}, r"shape \[rows, columns\], got shape \(272,\); .*data\[:, None\]"
    yield "ragged", {"data": [[1.0, 2.0], [3.0]]}, "not a rectangular table"
    yield "empty", {"data": x[:0]}, "data is empty"
    yield "too few rows", {"data": x[:2]}, "2 rows with positive weight, fewer than num_components=3"
    yield "constant column", {"data": np.c_[x, np.ones(n)]}, r"column 2 is constant \(value 1.0\)"
    yield "one repeated row", {"data": np.ones((50, 2))}, "column 0 is constant"
    yield "half precision", {"data": x.astype(np.float16)}, "float16"
    yield "negative weight", {"weights": np.r_[np.ones(n - 1), -1.0]}, "weights: row 271 has weight -1.0"
    yield "zero weights", {"weights": np.zeros(n)}, "weights sum to zero"
    yield "weights of another length", {"weights": np.ones(5)}, "272 numbers"
    yield "labels out of range", {"labels": np.full(n, 3)}, "row 0 has label 3; labels run from 0 to 2"
    yield "labels of another type", {"labels": np.zeros(n)}, "272 integers"
    yield "method", {"init": "magic"}, "no method 'magic'; choose from kmeans"
    yield "parameters of another model", {"init": (1.0, 2.0)}, "init has structure"
    yield "restarts", {"restarts": 0}, "restarts must be at least 1, got 0"
    yield "fractional restarts", {"restarts": 2.5}, "restarts must be an integer"
    yield "lanes", {"lanes": 0}, "lanes must be at least 1"
    yield "tol", {"tol": float("nan")}, "tol is not a number"


@pytest.mark.parametrize(("options", "message"), [pytest.param(o, m, id=n) for n, o, m in _refusals()])
def test_what_is_refused(options, message):
    options = {"data": old_faithful().x, **options}
    data = options.pop("data")
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.fit(MODEL, data, key=KEY, **options)


def test_starts_of_the_wrong_shape_are_refused(reference, x):
    wrong = dataclasses.replace(reference).params._replace(weights=jnp.ones(2) / 2)
    with pytest.raises(jaxem.DataError, match=r"init.weights has shape \(2,\), expected \(3,\)"):
        jaxem.fit(MODEL, x, key=KEY, init=wrong)


@pytest.mark.slow
def test_a_constant_column_is_fine_with_a_prior():
    x = np.c_[old_faithful().x, np.full(272, 5.0)]
    prior = jaxem.priors.NormalInverseWishart(x.mean(0), 0.01, 0.1 * np.eye(3), 5.0)
    fit = jaxem.fit(jaxem.GaussianMixture(2, prior=prior), x, key=KEY)
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(fit.params.components.mean[:, 2], 5.0, rtol=1e-9)


def test_one_component_and_one_row():
    x = old_faithful().x
    fit = jaxem.fit(jaxem.GaussianMixture(1), x, key=KEY)
    np.testing.assert_allclose(fit.params.components.mean[0], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(fit.params.components.covariance[0], np.cov(x.T, bias=True), rtol=1e-10)
    one = jaxem.fit(jaxem.Mixture(jaxem.Poisson(), 1), np.array([[3, 4]]), key=KEY)
    np.testing.assert_allclose(one.params.components.rate, [[3.0, 4.0]], rtol=1e-12)
