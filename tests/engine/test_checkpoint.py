"""A fit that is stopped or killed goes on from its file, and ends with the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

import jaxem
from jaxem.engine import checkpoint as module
from jaxem.engine import lanes, pool

KEY = jax.random.key(2)
RNG = np.random.default_rng(5)
X = np.r_[RNG.normal(size=(20, 2)), RNG.normal(4, 2, size=(37, 2))]
MODEL = jaxem.GaussianMixture(3, "diagonal")
OPTIONS = {"key": KEY, "restarts": 37, "tol": 1e-9}


def at_round(number):
    """Ends a fit after so many rounds."""
    heard = []
    return lambda report: heard.append(report) or len(heard) == number


def require_same_bits(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f")


@pytest.fixture(scope="module")
def whole():
    return jaxem.fit(MODEL, X, **OPTIONS)


@pytest.mark.parametrize("number", [1, 4, 9])
@pytest.mark.parametrize("cores", [1, 2])
def test_a_fit_goes_on_where_it_was(number, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "_cores", lambda: cores)
    whole = jaxem.fit(MODEL, X, **OPTIONS)
    stopped = jaxem.fit(MODEL, X, **OPTIONS, checkpoint=tmp_path / "c", progress=at_round(number))
    assert jaxem.status_name(stopped.status) == "stopped"
    monkeypatch.setattr(lanes, "_cores", lambda: 3 - cores)  # another machine has the lanes that there were
    require_same_bits(whole, jaxem.fit(MODEL, X, **OPTIONS, checkpoint=tmp_path / "c"))


def test_again_and_again_until_it_is_over(tmp_path, whole):
    calls, options = 0, {**OPTIONS, "checkpoint": jaxem.Checkpoint(tmp_path / "c", seconds=0)}
    while True:
        fit, calls = jaxem.fit(MODEL, X, **options, progress=at_round(3)), calls + 1
        if jaxem.status_name(fit.status) != "stopped":
            break
    assert calls > 3
    require_same_bits(whole, fit)


@pytest.mark.slow
def test_lanes_that_were_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "COMPILATION_PRODUCTS", 0.0)
    options, heard = {**OPTIONS, "lanes": 37}, []
    whole = jaxem.fit(MODEL, X, **options, progress=heard.append)
    few = next(i for i, report in enumerate(heard) if 0 < report.running < 6)
    jaxem.fit(MODEL, X, **options, checkpoint=tmp_path / "c", progress=at_round(few + 2))
    with np.load(tmp_path / "c") as file:
        assert min(len(file[name]) for name in file if name.endswith("owner")) < 37 // 4
    require_same_bits(whole, jaxem.fit(MODEL, X, **options, checkpoint=tmp_path / "c"))


def test_a_fit_that_is_over_is_read(tmp_path, whole):
    for _ in range(2):
        heard = []
        fit = jaxem.fit(MODEL, X, **OPTIONS, checkpoint=str(tmp_path / "c"), progress=heard.append)
        require_same_bits(whole, fit)
    assert len(heard) == 1
    assert os.listdir(tmp_path) == ["c"]
    # kilobytes, whatever the number of rows
    assert (tmp_path / "c").stat().st_size < 30_000


@pytest.mark.slow
def test_a_race_and_the_accurate_kernel(tmp_path):
    """Rounds of a race, and then what lacks accuracy in single precision."""
    rng = np.random.default_rng(5)
    x = np.r_[rng.normal(size=(40, 2)) * 0.02, rng.normal(4, 2, size=(57, 2))].astype(np.float32)
    racing = jaxem.termination.Racing(finalists=20, steps=9, growth=2, keep=0.7)
    options = {**OPTIONS, "tol": 1e-6, "racing": racing, "init": "points"}
    kinds, heard = set(), []
    with jax.enable_x64(False):
        whole = jaxem.fit(MODEL, x, **options, progress=heard.append)
        last = len(heard) - 2  # what is heard last is told of the end
        for number in (1, last // 3, 2 * last // 3, last):
            path = tmp_path / str(number)
            jaxem.fit(MODEL, x, **options, checkpoint=path, progress=at_round(number))
            kinds.add(json.loads(np.load(path)["header"].tobytes())["parts"]["fit"]["stage"][0])
            require_same_bits(whole, jaxem.fit(MODEL, x, **options, checkpoint=path))
    assert kinds >= {"race", "accurate"}


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(jaxem.squarem(), id="squarem"),
        pytest.param(jaxem.stochastic_em(), id="stochastic", marks=pytest.mark.slow),
        pytest.param(jaxem.vbem(), id="variational", marks=pytest.mark.slow),
    ],
)
def test_what_the_rules_carry_is_kept(algorithm, tmp_path):
    priors = jaxem.priors.NormalInverseWishart(np.zeros(2), 1.0, np.eye(2), 4.0), jaxem.priors.Dirichlet(2.0)
    prior = jaxem.GaussianMixture(2, prior=priors[0], weights_prior=priors[1])
    model = prior if algorithm == jaxem.vbem() else MODEL
    options = {"key": KEY, "restarts": 3, "algorithm": algorithm, "max_steps": 40}
    jaxem.fit(model, X, **options, checkpoint=tmp_path / "c", progress=at_round(2))
    require_same_bits(jaxem.fit(model, X, **options), jaxem.fit(model, X, **options, checkpoint=tmp_path / "c"))


def test_many_fits(tmp_path):
    weights = RNG.integers(0, 3, (12, len(X)))
    options = {"key": KEY, "weights": weights, "restarts": 2, "lanes": 8}
    whole = jaxem.fit_many(MODEL, X, **options)
    stopped = jaxem.fit_many(MODEL, X, **options, checkpoint=tmp_path / "c", progress=at_round(4))
    names = np.asarray(jaxem.status_name(stopped.restarts.status))
    over = (names != "stopped").all(1)
    assert (np.asarray(jaxem.status_name(stopped.status))[~over] == "stopped").all()
    assert not (~over).all() or names.size
    begun = np.isfinite(stopped.restarts.objective).any(1)
    assert 0 < begun.sum() < len(begun)
    np.testing.assert_array_equal(np.isnan(stopped.params.weights).all(1), ~begun)
    require_same_bits(whole, jaxem.fit_many(MODEL, X, **options, checkpoint=tmp_path / "c"))


@pytest.mark.slow
def test_a_choice_between_models(tmp_path):
    models = [jaxem.GaussianMixture(1), jaxem.GaussianMixture(2), jaxem.GaussianMixture(2, "tied")]
    options = {"key": KEY, "restarts": 8}
    heard = []
    whole = jaxem.select(models, X, **options, progress=heard.append)
    for number in {1, len(heard) // 2, len(heard) - 2}:
        part = jaxem.select(models, X, **options, checkpoint=tmp_path / str(number), progress=at_round(number))
        assert "stopped" in {row["status"].split()[0] for row in part.table}
        again = jaxem.select(models, X, **options, checkpoint=tmp_path / str(number))
        assert again.table == whole.table
        require_same_bits(again.fit, whole.fit)


CHANGES = {
    "data": {"data": X + 1},
    "weights": {"weights": np.r_[2, np.ones(len(X) - 1)]},
    "key": {"key": jax.random.key(3)},
    "model": {"model": jaxem.GaussianMixture(3, "spherical")},
    "tol was 1e-09 and is 1e-08": {"tol": 1e-8},
    "restarts was 37 and is 38": {"restarts": 38},
    "algorithm": {"algorithm": jaxem.squarem()},
    "lanes was None and is 4": {"lanes": 4},
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_another_call_is_refused_by_name(what, tmp_path_factory, whole):
    path = tmp_path_factory.getbasetemp() / "c"
    if not path.exists():
        jaxem.fit(MODEL, X, **OPTIONS, checkpoint=path)
    call = {"model": MODEL, "data": X, **OPTIONS, **CHANGES[what]}
    with pytest.raises(jaxem.DataError, match=rf"belongs to another call \(.*{what}"):
        jaxem.fit(call.pop("model"), call.pop("data"), **call, checkpoint=path)


def test_a_model_of_functions_is_known_by_its_source(tmp_path):
    def model(scale):
        def log_joint(params, x, z):
            return -0.5 * (x - params["mean"][z]) ** 2 / scale

        return jaxem.FunctionModel(log_joint, 2, start=lambda key, *_: {"mean": jax.random.normal(key, (2,))})

    options = {"key": KEY, "restarts": 2, "max_steps": 20}
    jaxem.fit(model(1.0), X[:, 0], **options, checkpoint=tmp_path / "c")
    jaxem.fit(model(1.0), X[:, 0], **options, checkpoint=tmp_path / "c")
    with pytest.raises(jaxem.DataError, match="another model"):
        jaxem.fit(model(2.0), X[:, 0], **options, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(jaxem.DataError, match="is not a checkpoint of jaxem, or is damaged"):
        jaxem.fit(MODEL, X, **OPTIONS, checkpoint=tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == content


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "c"
    jaxem.fit(MODEL, X, **OPTIONS, checkpoint=path, progress=at_round(3))
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 30):
        path.write_bytes(whole[:at])
        with pytest.raises(jaxem.DataError, match="checkpoint"):
            jaxem.fit(MODEL, X, **OPTIONS, checkpoint=path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "must be a path or a jaxem.Checkpoint"),
        ("/no/such/folder/file", "no folder"),
        (".", "is a folder"),
    ],
)
def test_paths_that_cannot_be(given, message):
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.fit(MODEL, X, **OPTIONS, checkpoint=given)


@pytest.mark.parametrize("options", [{"seconds": -1}, {"seconds": "often"}, {"rounds": 0}, {"rounds": True}])
def test_how_often_is_checked(options, tmp_path):
    with pytest.raises(jaxem.DataError, match=next(iter(options))):
        jaxem.Checkpoint(tmp_path / "c", **options)


def test_written_as_often_as_asked(tmp_path, monkeypatch):
    written = []
    original = module._replace
    monkeypatch.setattr(module, "_replace", lambda *args: (written.append(1), original(*args))[1])
    for rounds, fewest in ((None, 0), (2, 5)):
        written.clear()
        path = tmp_path / str(rounds)
        jaxem.fit(MODEL, X, **OPTIONS, lanes=5, checkpoint=jaxem.Checkpoint(path, seconds=1e9, rounds=rounds))
        assert len(written) == 1 if rounds is None else len(written) > fewest  # at least once, in the end


_SCRIPT = """
import os, signal, sys, time
import jax, numpy as np, jaxem
jaxem.fit, jaxem.Checkpoint
jax.config.update("jax_enable_x64", True)
x = np.random.default_rng(5).normal(size=(300, 2))
x[100:] += 2
folder, number = sys.argv[1], int(sys.argv[2])
random = np.random.default_rng(number)


written = {}


def fit(path):
    fit = jaxem.fit(jaxem.GaussianMixture(4), x, key=jax.random.key(0), restarts=16, tol=1e-9, max_steps=500,
                    lanes=8, checkpoint=jaxem.Checkpoint(path, seconds=0.02))
    np.savez(path + ".npz", *[np.asarray(leaf) for leaf in jax.tree.leaves(fit)])


def run(path, seconds):
    # In a child, which JAX begins in: what is imported need not be imported again. Whether it ended in time.
    child = os.fork()
    if not child:
        try:
            fit(path)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    began = time.monotonic()
    until = began + seconds
    while time.monotonic() < until:
        if "first" not in written and os.path.exists(path):
            written["first"] = time.monotonic() - began
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


assert run(folder + f"/first {number}", 600)
written.clear()
began = time.monotonic()
assert run(folder + f"/whole {number}", 600)
length = time.monotonic() - began
with np.load(folder + f"/whole {number}.npz") as file:
    whole = list(file.values())
killed = ended = went_on = 0
while killed < 25:
    path = folder + f"/run {number} {ended}"
    for _ in range(6):
        least, began = min(0.8 * written["first"], 0.8 * length), time.monotonic()
        if run(path, random.uniform(least, length)):
            length = 0.9 * (time.monotonic() - began)  # the machine has become faster
            break
        killed += 1
        went_on += os.path.exists(path)
        length *= 1.0 if os.path.exists(path) else 1.2
    assert run(path, 600)
    with np.load(path + ".npz") as file:
        for a, b in zip(whole, file.values(), strict=True):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    ended += 1
assert went_on >= 5, went_on
"""


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    """Processes are killed again and again, 50 times in all, and go on each time; now and then one ends."""
    environment = {**os.environ, "JAXEM_CACHE_DIR": str(tmp_path / "programs")}
    commands = [[sys.executable, "-W", "ignore", "-c", _SCRIPT, str(tmp_path), str(number)] for number in range(2)]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, told = process.communicate(timeout=900)
        assert process.returncode == 0, told[-2000:]


def test_time_limit():
    fit = jaxem.fit(MODEL, X, **OPTIONS, lanes=4, time_limit=1e-6)
    names = np.asarray(jaxem.status_name(fit.restarts.status))
    assert jaxem.status_name(fit.status) == "stopped"
    assert not fit.converged
    assert (names == "stopped").sum() >= 33
    assert np.isfinite(fit.restarts.objective).sum() == 4  # of the first round
    begun = np.asarray(fit.restarts.objective)
    assert float(fit.objective) == pytest.approx(np.nanmax(begun))
    assert jaxem.status_name(jaxem.fit(MODEL, X, **OPTIONS, time_limit=1e6).status) == "converged"
    for wrong in (0, -1, True, "long", float("nan")):
        with pytest.raises(jaxem.DataError, match="time_limit"):
            jaxem.fit(MODEL, X, **OPTIONS, time_limit=wrong)


def test_progress_tells_the_best_parameters(whole):
    heard = []

    def look(report):
        if report.rounds in (2, 30):
            heard.append((report.leading, report.params()))

    jaxem.fit(MODEL, X, **OPTIONS, lanes=5, progress=look)
    for leading, params in heard:
        assert float(MODEL.log_likelihood(params, X)) == pytest.approx(leading, abs=1e-8)
        assert leading <= float(whole.objective) + 1e-8


def test_an_answer_that_is_not_true_goes_on(whole):
    require_same_bits(whole, jaxem.fit(MODEL, X, **OPTIONS, progress=lambda report: 1))


@pytest.fixture
def interrupts():
    """Ctrl-C as in a script: the processes in which tests run side by side ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt(report):
    if report.rounds == 2:
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_keeps_the_best(interrupts):
    with pytest.warns(UserWarning, match="interrupted: the best so far"):
        fit = jaxem.fit(MODEL, X, **OPTIONS, progress=_interrupt)
    assert jaxem.status_name(fit.status) == "stopped"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupt_is_raised(interrupts):
    with pytest.raises(KeyboardInterrupt):
        jaxem.fit(MODEL, X, **OPTIONS, progress=lambda report: (_interrupt(report), _interrupt(report)))


def test_interrupts_that_somebody_handles_are_left_to_them():
    caught = []
    before = signal.signal(signal.SIGINT, lambda *args: caught.append(args))
    try:
        fit = jaxem.fit(MODEL, X, **OPTIONS, progress=_interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught
    assert fit.converged


def test_another_thread_may_fit():
    found = []
    thread = threading.Thread(target=lambda: found.append(jaxem.fit(MODEL, X, key=KEY)))
    thread.start()
    thread.join()
    assert found[0].converged


def test_each_search_of_a_call_counts_its_own_rounds(tmp_path):
    keeper = module.Keeper(jaxem.Checkpoint(tmp_path / "c", seconds=1e9, rounds=5), {})
    keeper.write("first", module.Snapshot({}, {}), 100)
    assert not keeper.due("first", 104)
    assert keeper.due("first", 105)
    assert not keeper.due("second", 4)
    assert keeper.due("second", 5)
