"""The programs of a first fit stay as small as they have been. Nothing is timed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from benchmarks import _counts
from benchmarks._plain_em import Diagonal, plain_em

HELP = (
    "see `python -m benchmarks.compilation`; where the growth is worth its compilation, raise the number in "
    "benchmarks/compilation.json and say in the commit what it buys"
)
pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the bounds are those of programs for a CPU")


def hold(group, found):
    grown = _counts.grown(group, found, _counts.read_bounds())
    assert not grown, "\n".join([*grown, HELP])


@pytest.mark.parametrize("name", _counts.MODELS)
def test_no_program_of_a_fit_grows(name):
    found = _counts.programs(name)
    assert {"bind", "draw", "begin", "advance", "finish"} <= set(found)
    hold(name, found)


def test_no_more_programs_and_operations_are_compiled():
    found = _counts.compilations("Gaussian mixture, full")
    assert found["programs"] > 0
    hold("Gaussian mixture, full", found)


def test_a_run_by_itself_does_not_grow():
    found = {name: counts["equations"] for name, counts in _counts.solves().items()}
    hold(_counts.SOLVE, found)


def test_plain_em_is_what_solve_computes():
    x = jnp.asarray(jaxem.datasets.old_faithful().data)
    weights, mean, variance = jnp.array([0.5, 0.5]), x[:2], jnp.full((2, 2), 10.0)
    params, total, steps = plain_em(Diagonal(weights, mean, variance), x, 1e-12, 1000)
    start = jaxem.models.MixtureParams(weights, jaxem.families.GaussianParams(mean, variance))
    fit = jaxem.solve(jaxem.GaussianMixture(2, "diagonal"), start, x, tol=1e-12)
    assert 1 < steps < 1000
    np.testing.assert_allclose(total, fit.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(params.weights, fit.params.weights, rtol=1e-4)


def test_equations_are_counted_through_all_that_is_nested():
    @jax.jit
    def square(x):
        return x * x

    def run(x):
        x = square(x) + square(x)  # 2 calls of 1, and 1
        x = jax.lax.while_loop(lambda x: x < 3, lambda x: x + 1, x)  # 1 of 2
        return jax.lax.cond(x > 1, lambda x: x, lambda x: -x, x)  # a comparison, a conversion, and 1 of 1

    assert _counts.equations(jax.make_jaxpr(run)(1.0)) == 5 + 3 + 4


def test_what_has_grown_is_named_with_by_how_much():
    bounds = {"versions": _counts.versions(), "model": {"advance": 100, "draw": 50}}
    assert _counts.grown("model", {"advance": 100, "draw": 10}, bounds) == []
    assert _counts.grown("model", {"advance": 103, "new": 7}, bounds) == [
        "model: advance has grown by 3, from 100 to 103",
        "model: new has grown by 7, from 0 to 7",
    ]
    elsewhere = bounds | {"versions": {"jax": "0.0"}}
    assert _counts.grown("model", {"advance": 125}, elsewhere) == []
    assert len(_counts.grown("model", {"advance": 126}, elsewhere)) == 1


def test_bounds_are_lowered_and_never_raised():
    bounds = {"versions": _counts.versions(), "model": {"advance": 100, "draw": 50, "gone": 3}}
    lowered = _counts.lowered({"model": {"advance": 103, "draw": 10}}, bounds)
    assert lowered == {"versions": _counts.versions(), "model": {"advance": 100, "draw": 10}}
    elsewhere = bounds | {"versions": {"jax": "0.0"}}
    assert _counts.lowered({"model": {"advance": 103}}, elsewhere)["model"] == {"advance": 103}
