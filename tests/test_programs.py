import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.engine import lane, lanes, runner
from jaxem.engine import programs as _programs
from jaxem.engine.kept import Arguments, Shelf
from jaxem.engine.programs import Program, blank, worth_preparing

KEY = jax.random.key(0)


@pytest.fixture
def compiled(caplog):
    """Counts compilations of functions by name, in any thread."""
    caplog.set_level("DEBUG", logger="jax._src.dispatch")

    class Compiled:
        def names(self) -> list[str]:
            found = (re.match(r"Finished XLA compilation of jit\((.*)\) in", r.getMessage()) for r in caplog.records)
            return [match[1] for match in found if match]

        def __call__(self, name: str) -> int:
            return self.names().count(name)

    return Compiled()


@pytest.mark.parametrize("quickly", [False, True])
def test_a_prepared_program_is_not_compiled_again(quickly, compiled):
    def sums(name, x, key):
        return name, jnp.sin(x).sum(), key

    program = Program(sums, quickly)
    name, total, key = blank(program.begin_compiling("a", np.zeros((3, 4)), KEY), KEY)
    assert (name, total.shape, key.dtype) == ("a", (), KEY.dtype)
    name, total, _ = program("a", jnp.ones((3, 4)), KEY)
    assert name == "a"
    assert np.isclose(total, 12 * np.sin(1))
    assert compiled("sums") == 1


def test_a_compilation_that_fails_is_not_reported_to_another_call():
    program = Program(lambda x: x + 1)
    failed = _programs._thread().submit(lambda: 1 // 0)
    program._pending.append(failed)
    assert program(jnp.zeros(())) == 1
    assert isinstance(failed.exception(), ZeroDivisionError)


def test_programs_are_prepared_once_and_not_for_arrays_bound_to_a_device():
    x = jnp.zeros(7)
    assert worth_preparing("these arguments", x)
    assert not worth_preparing("these arguments", x + 1)
    assert worth_preparing("these arguments", jnp.zeros(8))
    assert not worth_preparing("these arguments", jax.device_put(jnp.zeros(9), jax.devices()[0]))


def test_a_fit_compiles_each_of_its_programs_once(compiled, monkeypatch):
    monkeypatch.setattr(_programs, "_SHELF", Shelf())
    x = np.random.default_rng(0).normal(size=(83, 2))
    jaxem.fit(jaxem.GaussianMixture(2), x, key=KEY, restarts=5, lanes=3)
    names = "_bind", "draw", "_begin", "_advance", "finish"
    assert {name: compiled(name) for name in names} == dict.fromkeys(names, 1)
    # Filling lanes is the host's, and no operation of JAX is called by itself there: each would be compiled.
    assert {*compiled.names()} <= {*names, "_threefry_seed", "_threefry_split", "<lambda>"}


def test_starts_that_all_have_a_lane_need_no_refilling(compiled, monkeypatch):
    for room in (lanes, lane):
        monkeypatch.setattr(room, "in_memory", lambda *trees: False)  # as on an accelerator
    x = np.random.default_rng(0).normal(size=(84, 2))
    fit = jaxem.fit(jaxem.GaussianMixture(2), x, key=KEY, restarts=3)
    assert compiled("refill_on_device") == 0
    few = jaxem.fit(jaxem.GaussianMixture(2), x, key=KEY, restarts=3, lanes=2)
    assert compiled("refill_on_device") == 1
    np.testing.assert_allclose(fit.restarts.objective, few.restarts.objective, rtol=1e-9)


def test_what_is_soon_done_is_not_optimized(monkeypatch):
    name = "xla_backend_optimization_level"
    monkeypatch.setattr(_programs, "_quick_options", lambda: {name: 1, "another": False})

    def level(size, *options):
        return Program(jnp.sin, *options)._options(Arguments((np.zeros(size),)))

    assert level(10, True) == {name: 0, "another": False}
    assert level(10_000, True) == {name: 1, "another": False}
    assert level(10, True, 1) == {name: 1, "another": False}
    assert level(10_000, True, 0) == {name: 0, "another": False}
    assert level(10, False) == {}
    monkeypatch.setattr(_programs, "_quick_options", dict)
    assert level(10, True) == {}


def test_a_long_search_goes_on_with_a_program_that_is_optimized(monkeypatch):
    """By sizes and steps alone; one that is long for its number of starts has it from the first."""
    used, advance = [], lanes.advance

    def chosen(problem, states, runs, age=0.0):
        found = advance(problem, states, runs, age)
        used.append(found is lanes._advance_few)
        return found

    monkeypatch.setattr(runner, "advance", chosen)
    x = np.random.default_rng(0).normal(size=(80, 2))
    options = {"key": KEY, "restarts": 2, "tol": 0.0, "max_steps": 190}
    for products, optimized in ((3e7, {False}), (2e5, {False, True}), (1.0, {True})):
        monkeypatch.setattr(lanes, "_UNOPTIMIZED_PRODUCTS", products)
        used.clear()
        jaxem.fit(jaxem.GaussianMixture(2), x, **options)
        assert set(used) == optimized
        assert used == sorted(used)


def test_what_the_environment_says_of_the_compiler_holds(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert "xla_backend_optimization_level" not in _programs._quick_options.__wrapped__()
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(_programs, "_QUICKLY", {"xla_no_such_option": 1})
    assert _programs._quick_options.__wrapped__() == {}
