"""What a fit says of itself: whether it converged, and `repr`, of one fit, of many, and under a trace."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._status import status_code, status_from_code

CONVERGED, STOPPED = int(status_code(jaxem.Status.converged)), int(status_code(jaxem.Status.max_steps_reached))


def one(code=CONVERGED, steps=12, objective=-1130.25):
    return jaxem.Fit(
        params={"a": jnp.arange(3.0)},
        log_likelihood=jnp.asarray(-1120.5),
        objective=jnp.asarray(objective),
        status=status_from_code(jnp.asarray(code, jnp.int32)),
        num_steps=jnp.asarray(steps, jnp.int32),
        history=jnp.zeros(4),
    )


def many(*fits):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *fits)


BATCH = many(one(), one(STOPPED, 100, -1100.0), one(steps=3, objective=np.nan))


def test_one_fit_in_a_line():
    expected = "Fit(status=converged, num_steps=12, objective=-1130.25, log_likelihood=-1120.5)"
    assert repr(one()) == str(one()) == expected
    assert repr(one(STOPPED)).startswith("Fit(status=max_steps_reached, ")


def test_how_many_starts_there_were():
    record = jaxem.record.Restarts(jnp.zeros(16), status_from_code(jnp.zeros(16, jnp.int32)), jnp.zeros(16))
    assert repr(dataclasses.replace(one(), restarts=record)).endswith(", log_likelihood=-1120.5, restarts=16)")


def test_a_batch_in_two_lines():
    expected = "Fit(3 fits: 2 converged, 1 max_steps_reached,\n    num_steps=3 to 100, best objective=-1100 at [1])"
    assert repr(BATCH) == expected
    assert repr(many(BATCH, BATCH)).startswith("Fit(2 x 3 fits: 4 converged, 2 max_steps_reached,\n")
    assert repr(many(one(objective=np.nan))) == "Fit(1 fits: 1 converged,\n    num_steps=12 to 12)"
    assert repr(jax.tree.map(lambda leaf: leaf[:0], BATCH)) == "Fit(0 fits: none)"


def test_under_a_trace_and_of_shapes():
    said = []

    def ask(fit):
        said.append(repr(fit))
        return fit.converged

    assert bool(jax.jit(ask)(one()))
    np.testing.assert_array_equal(jax.vmap(ask)(BATCH), [True, False, True])
    np.testing.assert_array_equal(jax.jit(jax.vmap(ask))(BATCH), [True, False, True])
    said.append(repr(jax.eval_shape(one)))
    kind = one().objective.dtype
    plain = f"Fit(status=int32[], num_steps=int32[], objective={kind}[], log_likelihood={kind}[])"
    assert said == [plain] * 4
    said.clear()

    def half_traced(objective):
        ask(dataclasses.replace(one(), objective=objective))
        return objective

    jax.grad(half_traced)(jnp.asarray(1.0))
    assert said == [f"Fit(status=converged, num_steps=12, objective={kind}[], log_likelihood=-1120.5)"]


@pytest.mark.parametrize("leaf", [None, "text", object(), (), jax.sharding.PartitionSpec("x"), np.zeros((2, 0))])
def test_it_never_fails(leaf):
    assert repr(jax.tree.map(lambda _: leaf, one())).startswith("Fit(")
    assert repr(jax.tree.map(lambda _: leaf, BATCH)).startswith("Fit(")


def test_of_arrays_that_are_gone_and_of_no_arrays():
    gone = jax.tree.map(jnp.copy, one())
    for leaf in jax.tree.leaves(gone):
        leaf.delete()
    assert repr(gone).startswith("Fit(status=int32[], num_steps=int32[], ")
    assert repr(eqx.filter(one(), lambda _: False)).endswith("num_steps=None, objective=None, log_likelihood=None)")
    assert repr(one(77)).startswith("Fit(status=unknown (77), ")


def test_converged_is_true_where_the_status_is():
    np.testing.assert_array_equal(BATCH.converged, [True, False, True])
    for status in ("converged", "completed", "max_steps_reached", "not_finite", "degenerate_component", "running"):
        code = int(status_code(getattr(jaxem.Status, status)))
        found = one(code).converged
        assert (found.shape, found.dtype) == ((), jnp.bool_)
        assert bool(found) == (status == "converged")


@pytest.mark.slow
def test_of_real_fits():
    x = jnp.array([[0.0], [0.2], [0.1], [4.9], [5.0], [5.3]])
    model = jaxem.GaussianMixture(2, "spherical")
    fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=3)
    assert bool(fit.converged)
    assert repr(fit).endswith(", restarts=3)")
    starts = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), fit.params)
    fits = jax.vmap(lambda start, steps: jaxem.solve(model, start, x, max_steps=steps))(starts, jnp.array([0, 50]))
    np.testing.assert_array_equal(fits.converged, [False, True])
    assert "1 converged, 1 max_steps_reached" in repr(fits)
