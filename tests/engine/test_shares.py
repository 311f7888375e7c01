"""Fits shared out between processes go on in another number of them: what is over is taken, all else begins anew."""

import json
import os

import jax
import numpy as np
import pytest

import jaxem
from tests.helpers.shares import by_processes

KEY = jax.random.key(3)
RNG = np.random.default_rng(5)
X = RNG.poisson(RNG.choice([1.0, 4.0], (40, 1))).astype(float)
WEIGHTS = RNG.random((8, 40))
MODEL = jaxem.Mixture(jaxem.Poisson(), 2)
OPTIONS = {"key": KEY, "weights": WEIGHTS, "restarts": 3, "tol": 1e-9, "lanes": 4}


@pytest.fixture(scope="module")
def whole():
    return jaxem.fit_many(MODEL, X, **OPTIONS)


def require_same(fit, whole):
    assert jax.tree.structure(fit) == jax.tree.structure(whole)
    for a, b in zip(jax.tree.leaves(fit), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def ends(path, data=X, **options):
    """What one process has in the end, and how many starts were over as it began."""
    heard = []
    fit = jaxem.fit_many(MODEL, data, **{**OPTIONS, **options}, checkpoint=path, progress=heard.append)
    assert heard[-1].done == heard[-1].total
    assert heard[-1].steps == int(fit.restarts.num_steps.sum())
    return fit, heard[0].done


def over(path):
    """How many starts are over by the file of a process."""
    with np.load(path) as file:
        return int((file["fit_many:record/code"] != 0).sum())


def headers(path):
    with np.load(path) as file:
        return json.loads(file["header"].tobytes())["parts"]


def test_one_process_goes_on_from_the_files_of_three(tmp_path, whole):
    path = tmp_path / "c"
    by_processes(3, MODEL, X, **OPTIONS, checkpoint=path, stops=5)
    before = sum(over(path.with_name(name)) for name in os.listdir(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["c", "c.1", "c.2"]
    fit, first = ends(path)
    assert 0 < before < 24
    assert before <= first  # after a round
    require_same(fit, whole)
    for _ in range(2):  # all of it is in one file now
        fit, first = ends(path)
        assert first == 24
        require_same(fit, whole)
        (tmp_path / "c.1").unlink(missing_ok=True)


def test_again_and_again_with_other_numbers(tmp_path, whole):
    path = tmp_path / "c"
    for processes, running in ((1, [0]), (3, [0, 1, 2]), (2, [1]), (2, [0, 1]), (3, [2, 0]), (1, [0])):
        by_processes(processes, MODEL, X, **OPTIONS, checkpoint=path, stops=3, running=running)
    before = over(path)
    fit, first = ends(path)
    assert 0 < before <= first
    require_same(fit, whole)


def test_as_many_go_on_with_the_runs_that_were_under_way(tmp_path):
    """To the bit, whatever older files lie beside theirs."""
    path = tmp_path / "c"
    never = by_processes(2, MODEL, X, **OPTIONS, checkpoint=tmp_path / "other")
    by_processes(3, MODEL, X, **OPTIONS, checkpoint=path, stops=1)
    by_processes(2, MODEL, X, **OPTIONS, checkpoint=path, stops=4)
    assert headers(path)["fit_many"]["groups"]
    again = by_processes(2, MODEL, X, **OPTIONS, checkpoint=path)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(never), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_known_is_written_before_anything_is_run(tmp_path, whole):
    """The file that the second of two processes replaces has fits of the first."""
    path = tmp_path / "c"
    by_processes(3, MODEL, X, **OPTIONS, checkpoint=path)
    by_processes(2, MODEL, X, **OPTIONS, checkpoint=path, running=[1])
    assert all(start // 3 == fit for fit, start, *_ in headers(tmp_path / "c.1")["fit_many"]["best"])
    (tmp_path / "c.2").unlink()
    fit, first = ends(path)
    assert first == 24
    require_same(fit, whole)


def test_fits_of_a_file_that_is_not_there_begin_anew(tmp_path, whole):
    path = tmp_path / "c"
    by_processes(2, MODEL, X, **OPTIONS, checkpoint=path)
    for name, known in (("c.1", 12), ("c", 0)):
        (tmp_path / name).rename(tmp_path / "away")
        fit, first = ends(path)
        assert known <= first < 24
        require_same(fit, whole)
        (tmp_path / "c").unlink(missing_ok=True)
        (tmp_path / "away").rename(tmp_path / "c")


def test_files_of_others_are_refused_where_they_belong_to_the_call_and_else_let_be(tmp_path, whole):
    path = tmp_path / "c"
    by_processes(2, MODEL, X, **OPTIONS, checkpoint=path, stops=3)
    (tmp_path / "c.2").write_bytes(b"notes")
    jaxem.fit(MODEL, X, key=KEY, checkpoint=tmp_path / "c.3")
    content = (tmp_path / "c.1").read_bytes()
    (tmp_path / "c.1").write_bytes(content[: len(content) // 2])
    with pytest.raises(jaxem.DataError, match=r"c\.1 is not a checkpoint of jaxem, or is damaged"):
        ends(path)
    (tmp_path / "c.1").write_bytes((tmp_path / "c.3").read_bytes())
    with pytest.raises(jaxem.DataError, match=r"c\.1 belongs to another call"):
        ends(path)
    (tmp_path / "c.1").write_bytes(content)
    require_same(ends(path)[0], whole)
    assert (tmp_path / "c.2").read_bytes() == b"notes"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ([6], r"c\.1 belongs to another call \(another weights of fit 6\)"),
        ([1, 2], r"c belongs to another call \(another weights of fits 1, 2\)"),
        (range(8), r"c belongs to another call \(another weights\)"),
    ],
)
def test_fits_that_differ_are_named(changed, told, tmp_path):
    path = tmp_path / "c"
    by_processes(2, MODEL, X, **OPTIONS, checkpoint=path, stops=1)
    weights = WEIGHTS.copy()
    weights[[*changed]] += 1
    for processes in (1, 2):
        with pytest.raises(jaxem.DataError, match=told):
            by_processes(processes, MODEL, X, **{**OPTIONS, "weights": weights}, checkpoint=path)
    with pytest.raises(jaxem.DataError, match="number of fits was 8 and is 7"):
        ends(path, weights=WEIGHTS[:7])


@pytest.mark.slow
@pytest.mark.parametrize("racing", [None, jaxem.termination.Racing(steps=4, keep=0.5, growth=2, finalists=1)])
def test_a_race_that_is_not_decided_is_run_again(racing, tmp_path):
    tables = RNG.poisson(RNG.choice([1.0, 4.0], (6, 40, 1))).astype(float)
    options = {"weights": None, "racing": racing, "restarts": 5}
    whole = jaxem.fit_many(MODEL, tables, **{**OPTIONS, **options})
    taken = []
    for rounds in (4, 9, 14):
        path = tmp_path / str(rounds)
        by_processes(2, MODEL, tables, **{**OPTIONS, **options}, checkpoint=path, stops=rounds)
        fit, first = ends(path, tables, **options)
        taken.append(first)
        require_same(fit, whole)
        np.testing.assert_array_equal(fit.restarts.num_steps, whole.restarts.num_steps)
    assert taken[-1] > 0


@pytest.mark.slow
def test_runs_on_the_accurate_kernel_are_taken(tmp_path):
    rng = np.random.default_rng(5)
    x = np.r_[rng.normal(size=(40, 2)) * 0.02, rng.normal(4, 2, size=(57, 2))].astype(np.float32)
    model, weights = jaxem.GaussianMixture(3, "diagonal"), rng.integers(0, 3, (6, 97)).astype(np.float32)
    options = {"key": KEY, "weights": weights, "restarts": 2, "tol": 1e-6}
    with jax.enable_x64(False):
        whole = jaxem.fit_many(model, x, **options)
        for stops in (None, 12):
            path = tmp_path / str(stops)
            by_processes(2, model, x, **options, checkpoint=path, stops=stops)
            fit = jaxem.fit_many(model, x, **options, checkpoint=path)
            assert any(best[-1] for best in headers(path)["fit_many"]["best"])
            for a, b in zip(jax.tree.leaves(fit), jax.tree.leaves(whole), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
