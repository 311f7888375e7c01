"""Groups of lanes, each on a thread of its own: the runs are those of one group."""

from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

import jaxem
from jaxem import _fit
from jaxem.engine import lanes, pool
from jaxem.engine.programs import Call

KEY = jax.random.key(2)
RNG = np.random.default_rng(5)
X = np.r_[RNG.normal(size=(20, 2)), RNG.normal(4, 2, size=(37, 2))]
MODEL = jaxem.GaussianMixture(3, "diagonal")


def fitted(x, **options):
    return jaxem.fit(MODEL, x, key=KEY, restarts=37, **options)


@pytest.mark.parametrize("cores", [2, 3])
def test_the_runs_do_not_depend_on_how_many_there_are(cores, monkeypatch):
    monkeypatch.setattr(lanes, "_cores", lambda: 1)
    one = fitted(X)
    monkeypatch.setattr(lanes, "_cores", lambda: cores)
    several, again = fitted(X), fitted(X)
    np.testing.assert_allclose(several.restarts.objective, one.restarts.objective, rtol=1e-11)
    assert np.asarray(several.restarts.num_steps).tolist() == np.asarray(one.restarts.num_steps).tolist()
    np.testing.assert_allclose(several.params.weights, one.params.weights, rtol=1e-7)
    for a, b in zip(jax.tree.leaves(several), jax.tree.leaves(again), strict=True):
        assert np.array_equal(a, b)  # whichever of the threads was the faster one


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_threads_compute_in_the_precision_of_the_caller(wide, elsewhere, monkeypatch):
    """JAX keeps its settings for each thread."""
    monkeypatch.setattr(lanes, "_cores", lambda: 2)
    began, threads = jax.config.jax_enable_x64, ThreadPoolExecutor(2)
    jax.config.update("jax_enable_x64", elsewhere)
    monkeypatch.setattr(pool, "threads", lambda: threads)
    try:
        _in_own_precision(wide)
    finally:
        jax.config.update("jax_enable_x64", began)


def _in_own_precision(wide):
    with jax.enable_x64(wide):
        fit = fitted(X.astype(np.float64 if wide else np.float32))
    assert fit.params.weights.dtype == (np.float64 if wide else np.float32)
    assert fit.converged


def test_lanes_are_split_and_progress_counts_all(monkeypatch):
    monkeypatch.setattr(lanes, "_cores", lambda: 2)
    heard = []
    fit = fitted(X, lanes=20, progress=heard.append)
    assert max(report.running for report in heard) <= 20
    assert heard[-1].done == heard[-1].total == 37
    assert heard[-1].running == 0
    assert heard[-1].steps == int(np.sum(fit.restarts.num_steps))


def test_few_starts_have_one_thread(monkeypatch):
    monkeypatch.setattr(lanes, "_cores", lambda: 8)
    monkeypatch.setattr(pool, "threads", lambda: pytest.fail("a thread for so few starts"))
    assert jaxem.fit(MODEL, X, key=KEY, restarts=15).converged


def test_a_key_that_is_bound_to_a_device(monkeypatch):
    """Is computed with as JAX does, under settings that it holds for each thread."""
    monkeypatch.setattr(lanes, "_cores", lambda: 2)
    with jax.enable_x64(False):
        fit = jaxem.fit(MODEL, X.astype(np.float32), key=jax.device_put(KEY, jax.devices()[0]), restarts=16)
    assert fit.params.weights.dtype == np.float32


def test_racing_and_failing_starts_in_groups(monkeypatch):
    starts = jaxem.fit(MODEL, X, key=KEY, restarts=1).params
    starts = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], 20, 0), starts)
    starts.components.mean[::2] = 1e300
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(lanes, "_cores", lambda cores=cores: cores)
        raced = fitted(X, racing=jaxem.termination.Racing(finalists=4, steps=5))
        failed = jaxem.fit(MODEL, X, key=KEY, init=starts, throw=False)
        found.append([raced, failed])
    for one, two in zip(*found, strict=True):
        assert (
            np.asarray(jaxem.status_name(one.restarts.status)).tolist()
            == np.asarray(jaxem.status_name(two.restarts.status)).tolist()
        )
        np.testing.assert_allclose(one.restarts.objective, two.restarts.objective, rtol=1e-9)


@pytest.mark.parametrize(("cores", "restarts", "groups"), [(2, 33, 2), (4, 36, 3), (1, 9, 1), (4, 9, 1), (2, 17, 2)])
def test_no_group_is_without_a_start(cores, restarts, groups, monkeypatch):
    monkeypatch.setattr(lanes, "_cores", lambda: cores)
    seen = []
    monkeypatch.setattr(_fit, "searched", lambda search, *_: seen.append(search.layout) or search)
    monkeypatch.setattr(_fit.Search, "result", lambda *_: jaxem.Fit(*[np.zeros(())] * 6))
    jaxem.fit(MODEL, X, key=KEY, restarts=restarts)
    jaxem.fit(MODEL, X, key=KEY, restarts=restarts, lanes=17)
    assert seen[0].groups == groups
    assert (groups - 1) * seen[0].lanes < restarts
    assert seen[1].lanes * seen[1].groups <= 17


def test_what_goes_wrong_in_a_thread_is_told(monkeypatch):
    monkeypatch.setattr(lanes, "_cores", lambda: 2)
    fitted(X)

    class Broken:
        def __getattr__(self, name):
            return getattr(advance, name)

        def of(self, *args):
            return Call(lambda: 1 // 0, in_any_thread=True)

    advance = lanes._advance_least
    monkeypatch.setattr(lanes, "_advance_least", Broken())
    with pytest.raises(ZeroDivisionError):
        fitted(X)
