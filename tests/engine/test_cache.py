"""Programs that are kept on disk: what they are known by, that they do the same, and what becomes of a folder."""

import os
import subprocess
import sys
import threading
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxem
from jaxem.engine import cache, kept, programs
from jaxem.engine.cache import Store
from jaxem.engine.fingerprint import fingerprint
from jaxem.engine.kept import Arguments
from jaxem.engine.programs import Program
from jaxem.engine.shapes import _start as starts_of
from jaxem.kernels.sums import inner, weighted_sum
from tests.helpers.compiling import compilations


@pytest.fixture
def store(tmp_path, monkeypatch):
    found = Store(tmp_path, 2**30)
    monkeypatch.setattr(cache, "_store", found)
    return found


ARGS = (jnp.arange(5.0), jnp.ones(5))


def test_another_process_need_not_compile(store):
    """A `Program` of its own knows of another one's only what is on disk."""
    first, made = compilations(lambda: Program(weighted_sum)(*ARGS))
    again, none = compilations(lambda: Program(weighted_sum)(*ARGS))
    assert (made, none) == (1, 0)
    np.testing.assert_array_equal(first, again)
    assert len(list(store.folder.iterdir())) == 1


def test_without_a_folder_nothing_is_written(tmp_path):
    assert cache.store() is None
    assert float(Program(weighted_sum)(*ARGS)) == 10


def test_results_are_put_together_again(store):
    """Trees with arrays, keys and what is no array; the same for what is loaded."""
    tree = {"a": jnp.ones(2), "key": jax.random.key(3), "word": "x", "none": None}
    for _ in range(2):
        found = Program(inner)({"a": jnp.ones(2)}, {"a": jnp.arange(2.0)})
        assert float(found) == 1
        same = Program(jax.tree_util.tree_leaves)(tree)
        assert same[2] == "x"
        np.testing.assert_array_equal(jax.random.key_data(same[1]), jax.random.key_data(tree["key"]))


def test_programs_can_be_prepared(store):
    for _ in range(2):
        program = Program(weighted_sum)
        shapes = program.begin_compiling(*ARGS)
        assert (shapes.shape, shapes.dtype) == ((), ARGS[0].dtype)
        assert float(program(*ARGS)) == 10


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b"", lambda b: b[:60] + b"x" + b[61:], lambda b: b * 2])
def test_what_is_damaged_is_compiled_again(store, spoil):
    Program(weighted_sum)(*ARGS)
    (path,) = store.folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    found, made = compilations(lambda: Program(weighted_sum)(*ARGS))
    assert (float(found), made) == (10, 1)
    assert compilations(lambda: Program(weighted_sum)(*ARGS))[1] == 0


def test_what_is_foreign_is_compiled_again(store):
    Program(weighted_sum)(*ARGS)
    (path,) = store.folder.iterdir()
    for thing in (("no", "program"), 5, (b"payload", None, None, None)):
        store.save(path.stem, thing)
        assert float(Program(weighted_sum)(*ARGS)) == 10


def test_shapes_are_remembered(store):
    traced = []

    for model in (jaxem.GaussianMixture(2), jaxem.GaussianMixture(2)):
        shapes = kept.result_shapes(starts_of, (model, jax.ShapeDtypeStruct((50, 3), jnp.float64)), store)
        assert shapes.components.covariance.shape == (2, 3, 3)
        traced.append(len(list(store.folder.iterdir())))
    assert traced == [1, 1]
    assert kept.result_shapes(lambda x: x, (jax.ShapeDtypeStruct((5,), jnp.float64),), store).shape == (5,)


def test_under_a_trace_and_on_a_chosen_device_nothing_is_kept(store):
    program = Program(weighted_sum)
    assert float(jax.jit(lambda w: program(w, jnp.ones(5)))(ARGS[0])) == 10
    placed = jax.device_put(ARGS, jax.devices()[-1])
    assert float(program(*placed)) == 10
    assert not list(store.folder.iterdir())


# What a program is known by


def hmm(entry):
    return jaxem.HMM(jaxem.Poisson(), 2, transition_pattern=[[np.nan, np.nan], [entry, 1 - entry]])


SPECS = {
    "another structure": (jaxem.Gaussian("full"), jaxem.Gaussian("diagonal")),
    "another number in a field": (jaxem.Gaussian(floor=1e-6), jaxem.Gaussian(floor=1e-7)),
    "another number of members": (jaxem.GaussianMixture(2), jaxem.GaussianMixture(3)),
    "another array in what is static": (hmm(0.0), hmm(0.25)),
    "another rule": (jaxem.em(), jaxem.hard_em()),
    "another setting of a rule": (jaxem.alpha_em(alpha=0.5), jaxem.alpha_em(alpha=0.25)),
    "another function of another package": (jaxem.gem(optax.adam(0.1)), jaxem.gem(optax.sgd(0.1))),
    "another number that such a function closes over": (jaxem.gem(optax.adam(0.1)), jaxem.gem(optax.adam(0.2))),
    "another type": (jnp.zeros(3, jnp.float32), jnp.zeros(3, jnp.float64)),
    "another shape": (jnp.zeros(3), jnp.zeros((3, 1))),
    "another function": (weighted_sum, inner),
    "another word": ("a", "b"),
    "a number that is equal": (1, 1.0),
    "a flag that is equal": (1, True),
}


def known(thing):
    return fingerprint(Arguments((thing,)).described())


@pytest.mark.parametrize("case", SPECS)
def test_what_differs_is_another_program(case):
    one, other = map(known, SPECS[case])
    assert one is not None
    assert other is not None
    assert one != other
    assert known(SPECS[case][0]) == one


def test_values_of_arrays_do_not_matter():
    assert known(jnp.zeros(3)) == known(jnp.ones(3)) == known(np.ones(3))
    prior = jaxem.priors.Dirichlet
    assert known(jaxem.Mixture(jaxem.Poisson(), 2, prior(jnp.asarray(2.0)))) == known(
        jaxem.Mixture(jaxem.Poisson(), 2, prior(jnp.asarray(3.0)))
    )


def test_settings_matter(monkeypatch):
    before = known(1)
    with jax.default_matmul_precision("highest"):
        assert known(1) != before
    with jax.enable_x64(False):
        assert known(1) != before
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert known(1) != before
    monkeypatch.undo()
    assert known(1) == before


class Mine(eqx.Module):
    field: int = 0


@pytest.mark.parametrize("thing", [Mine(), lambda x: x, Mine, jaxem.gem(optax.adam(lambda step: 0.1)), object()])
def test_what_is_yours_has_no_name(thing):
    assert known(thing) is None


def test_programs_of_what_is_yours_work(store):
    assert float(Program(lambda w, x: w @ x)(*ARGS)) == 10
    assert not list(store.folder.iterdir())


# The folder


def test_the_oldest_go_first(tmp_path):
    store = Store(tmp_path, 5000)
    for number in range(4):
        store.save(str(number), b"x" * 1500)
        os.utime(tmp_path / f"{number}.program", (number, number))
    assert store.load("0") is None
    assert store.load("1") is not None  # and it is the youngest from here on
    store.save("4", b"x" * 1500)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["1", "3", "4"]
    store.save("5", b"x" * 9000)
    assert store.load("5") is None


@pytest.mark.parametrize("within", ["", "programs", "jax"])
def test_a_folder_that_others_can_write_to_is_refused(within, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_store", None)
    (tmp_path / within).mkdir(exist_ok=True)
    (tmp_path / within).chmod(0o770)
    with pytest.raises(PermissionError, match="others can write to it"):
        jaxem.cache(tmp_path)
    monkeypatch.setenv("JAXEM_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAXEM_CACHE", "on")
    with pytest.warns(UserWarning, match="compiled programs are not kept"):
        cache.use_by_default()
    assert cache.store() is None


def test_jax_is_left_as_it_was(tmp_path, monkeypatch):
    """Also where it has compiled something already, and by a path that is relative to where the process was."""
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = [getattr(jax.config, name) for name in names]
    monkeypatch.chdir(tmp_path)
    jnp.zeros(3).block_until_ready()
    assert jaxem.cache("kept") == tmp_path / "kept" / "programs"
    monkeypatch.chdir("/")
    jax.block_until_ready(jax.jit(lambda x: x * 17.5)(jnp.ones(3)))
    assert list((tmp_path / "kept" / "jax").iterdir())
    assert jaxem.cache(enabled=False) is None
    assert [getattr(jax.config, name) for name in names] == before
    count = len(list((tmp_path / "kept" / "jax").iterdir()))
    jax.block_until_ready(jax.jit(lambda x: x * 18.5)(jnp.ones(3)))
    assert len(list((tmp_path / "kept" / "jax").iterdir())) == count
    assert cache.store() is None


def test_off_is_off(monkeypatch):
    monkeypatch.setattr(cache, "_store", None)
    for word in ("off", "OFF", "0", "no"):
        monkeypatch.setenv("JAXEM_CACHE", word)
        cache.use_by_default()
        assert cache.store() is None


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path):
    store = Store(tmp_path / "gone", 2**20)
    store.save("a", 1)
    assert store.load("a") is None


def test_several_writers_lose_nothing(tmp_path):
    store = Store(tmp_path, 2**30)
    threads = [threading.Thread(target=store.save, args=("same", list(range(1000)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.load("same") == list(range(1000))
    assert [path.name for path in tmp_path.iterdir()] == ["same.program"]


SCRIPT = """
import sys, jax, jaxem
heard = []
jax.monitoring.register_event_listener(lambda event, **_: heard.append(event))
folder = jaxem.cache(sys.argv[1])
x = jaxem.datasets.old_faithful().data.astype("float32")
model = jaxem.GaussianMixture(2)
fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
values = [float(fit.log_likelihood), float(jaxem.bic(model, fit.params, x)), *map(float, fit.params.weights)]
print(folder.stat().st_mode & 0o777, heard.count("/jax/compilation_cache/cache_misses"), values)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    env = {**os.environ, "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    runs = [subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    (mode, misses, values), (_, none, again) = (run.split(maxsplit=2) for run in runs)
    assert int(mode) == 0o700
    assert int(misses) > 0
    assert int(none) == 0
    assert values == again


MODELS = {
    "HMM": (jaxem.HMM(jaxem.Gaussian("diagonal"), 2), (4, 20, 2)),
    "factors": (jaxem.FactorAnalysis(1), (40, 4)),
    "t": (jaxem.StudentTMixture(2), (40, 2)),
    "missing": (jaxem.GaussianMixture(2, missing=True), (40, 2)),
    "variational": (
        jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(1.0, 1.0)), 2, weights_prior=jaxem.priors.Dirichlet(0.5)),
        (40, 1),
    ),
    "state space": (jaxem.LinearGaussianStateSpace(1), (4, 20, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_is_the_same_with_programs_that_were_kept(name, store, monkeypatch):
    model, shape = MODELS[name]
    x = np.random.default_rng(0).normal(size=shape)
    x = np.abs(x).round() if name == "variational" else x
    if name == "missing":
        x[::7, 0] = np.nan
    algorithm = jaxem.vbem() if name == "variational" else None

    def fit():
        return jaxem.fit(model, x, key=jax.random.key(0), restarts=3, max_steps=20, algorithm=algorithm, throw=False)

    monkeypatch.setattr(cache, "_store", None)
    plain = fit()
    monkeypatch.setattr(cache, "_store", store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = fit()
        monkeypatch.setattr(programs, "_SHELF", kept.Shelf())
        read, made = compilations(fit)
    for other in (written, read):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), other.params, plain.params)
        assert float(other.objective) == pytest.approx(float(plain.objective), rel=1e-12)
    assert made == 0
