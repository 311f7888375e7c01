"""Algorithms x models: every legal cell keeps its promise, every other is refused with its reason."""

from collections import Counter
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from tests.helpers import engine, product

# Model by model: plain EM, which most of its cells are compared with, is compiled once.
LEGAL = [
    (a, m, dtype)
    for m in product.models()
    for dtype in ("float64", "float32")
    for a in product.ALGORITHMS
    if product.legal(a, m)
]


def sample():
    """A cell for each model, single precision in turn with double: of the algorithms that have had the fewest so far,
    the one with the fewest models."""
    rare, times = Counter(cell[0] for cell in LEGAL), Counter()
    for i, model in enumerate(product.models()):
        own = [cell for cell in LEGAL if cell[1:] == (model, ("float64", "float32")[i % 2])]
        cell = min(own, key=lambda cell: (times[cell[0]], rare[cell[0]]))
        times[cell[0]] += 1
        yield cell


SAMPLE = set(sample())
REFUSED = [
    pytest.param(a, m, marks=pytest.mark.slow if m in product.latents() else ())
    for a in product.ALGORITHMS
    for m in product.models()
    if not product.legal(a, m)
]


def test_the_table_in_the_documentation_is_this_one():
    written = (Path(__file__).parents[1] / "docs" / "product.md").read_text()
    assert product.table() in written, "write the output of `python -m tests.helpers.product` into docs/product.md"


@pytest.mark.parametrize(("algorithm", "model"), REFUSED)
def test_refused_when_traced(algorithm, model):
    cell = product.models()[model]
    with pytest.raises(jaxem.MissingCapabilityError, match=r"rung|prior|needs the (expectation|mode|sample)"):
        jax.eval_shape(
            lambda start, x: jaxem.solve(cell.model, start, x, algorithm=product.algorithm(algorithm, model)).objective,
            cell.start,
            cell.x,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "model", "dtype"),
    [pytest.param(*cell, marks=pytest.mark.optimized if cell in SAMPLE else ()) for cell in LEGAL],
)
def test_legal(algorithm, model, dtype):
    cell, rule = product.models()[model], product.algorithm(algorithm, model)
    start, x, w = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        (cell.start, cell.x, cell.weights),
    )
    plain = product.ALGORITHMS[product.plain(model)]
    exact = dtype == "float64"
    eps = float(jnp.finfo(dtype).eps)
    if algorithm in product.LIKE_EM:
        start = engine.solve(cell.model, start, x, w, tol=1e-4, algorithm=plain).params
    steps = 3000 if algorithm in product.LIKE_EM else 400
    fit = engine.solve(
        cell.model, start, x, w, algorithm=rule, tol=1e-13 if exact else 1e-6, max_steps=steps, key=jax.random.key(2)
    )
    # The joint density of parameters and latents that are continuous may have no maximum.
    unbounded = isinstance(rule.e_step, jaxem.e_step.Mode) and not product.discrete(cell.model)
    # One draw in the place of an expectation may leave a member a row or two, and without a prior its scale goes to 0.
    alone = algorithm == "stochastic_em" and model in ("full", "VEV")
    well = ("converged", "completed", "max_steps_reached", *(("degenerate_component",) if unbounded or alone else ()))
    assert jaxem.status_name(fit.status) in well
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((fit.params, fit.objective)))
    assert fit.objective.dtype == dtype
    history = np.asarray(fit.history, np.float64)[: int(fit.num_steps) + 1]
    scale = abs(history[np.isfinite(history)]).max() + len(w)
    # What rounding may take, of the objective and by what the model says that its statistics lose.
    slack = 64 * eps * scale + 4 * len(w) * float(cell.model.bound().rounding_error(fit.params))
    ordinary = not isinstance(rule.e_step, jaxem.e_step.Annealed) and not rule.update.additive
    if rule.monotone and ordinary and not isinstance(rule.accelerator, jaxem.accelerate.Squarem):
        assert np.diff(history).min(initial=0) >= -slack
    if rule.monotone and ordinary:
        assert float(fit.objective) >= history[0] - slack
    if algorithm in product.LIKE_EM and exact:
        best = engine.solve(cell.model, start, x, w, tol=1e-14, algorithm=plain, max_steps=3000)
        assert jaxem.status_name(best.status) == "converged"
        np.testing.assert_allclose(fit.objective, best.objective, atol=1e-6 * len(w) * 1e-2)
    fitted = jaxem.status_name(fit.status) != "degenerate_component"
    if algorithm in product.STOCHASTIC and exact and fitted and product.legal(product.plain(model), model):
        # The sample itself costs half a nat for each parameter; what the draws cost must not be more.
        for origin in (start, fit.params):
            best = engine.solve(cell.model, origin, x, w, tol=1e-10, algorithm=plain, max_steps=3000)
            assert float(best.objective - fit.objective) <= cell.model.num_parameters(fit.params) / 2
    if rule.m_step.rung == 3 and rule.monotone:
        assert fit.posterior is not None
        assert float(fit.log_likelihood) > float(fit.objective)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", product.ALGORITHMS)
def test_tolerance_limit_and_key_retrace_nothing(algorithm):
    cell, rule = product.models()["poisson, priors"], product.ALGORITHMS[algorithm]
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(1)
    def run(tol, max_steps, key):
        return jaxem.solve(
            cell.model, cell.start, cell.x, algorithm=rule, tol=tol, max_steps=max_steps, key=key, history_size=1
        )

    shapes = [run.eval_shape(tol, steps, jax.random.key(steps)) for tol, steps in ((1e-6, 10), (1e-9, 50))]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
