"""Layers that are trained: no derivative is NaN, whatever dies on the way."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxem.adjoint import Implicit, OneStep, Unroll
from jaxem.layers import Fitting
from tests.layers.cases import MODULES

SETS, STEPS = 4, 300
ADJOINTS = {"implicit": Implicit(), "one step": OneStep(), "unrolled": Unroll(8)}
slow = pytest.mark.slow


def batch(key, name):
    """Sets of rows `[SETS, 12, 2]` (or of one sequence of them) that a class moves apart, and the classes."""
    labels, noise = jax.random.split(key)
    labels = jax.random.randint(labels, (SETS,), 0, 2)
    rows = jax.random.normal(noise, (SETS, 12, 2), jnp.float32)
    groups = jnp.arange(12)[None, :, None] % 3
    apart = (1.0 + 2.0 * labels.astype(jnp.float32))[:, None, None]
    rows = 0.3 * rows + apart * (groups.astype(jnp.float32) - 1)
    if name == "slots":  # the layer makes each row of one size; beside a constant the columns keep theirs
        rows = jnp.concatenate([rows, jnp.ones_like(rows[..., :1])], -1)
    return (rows[:, None] if name == "smoothed" else rows), labels


def features(name, answer):
    """Numbers of a set, `[f]`, for the classifier."""
    if name == "density":
        return jnp.stack([jnp.mean(answer.log_density), jnp.var(answer.log_density)])
    if name == "smoothed":
        return jnp.concatenate([jnp.var(answer.states[0], 0), answer.params.emission.mean[:, 0]])
    if name == "slots":
        return jnp.concatenate([answer.readout.reshape(-1), jnp.mean(answer.attention, 0)])
    return jnp.concatenate([answer.codes.reshape(-1), jnp.var(answer.responsibilities, 0)])


def lonely(name, layer):
    """The layer with its first member so far away that no row is its own."""
    where = {"clusters": lambda m: m.codes, "slots": lambda m: m.queries}.get(
        name, lambda m: (m.components if name == "density" else m.emission).mean
    )
    return eqx.tree_at(where, layer, replace_fn=lambda mean: mean.at[0].set(60.0))


def train(name, adjoint, pseudo_count, alone=False):
    """Losses, whether every derivative was finite, and the share of sets that was trusted, in each step."""
    fitting = Fitting(adjoint=adjoint, pseudo_count=pseudo_count, max_steps=60)
    layer = MODULES[name](key=jax.random.key(0), fitting=fitting)
    layer = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, layer)
    layer = lonely(name, layer) if alone else layer
    width = jax.eval_shape(lambda: features(name, layer(batch(jax.random.key(0), name)[0][0])[0])).shape[0]
    model = layer, jnp.zeros((width, 2), jnp.float32)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-2))

    def loss(model, x, labels):
        layer, head = model
        answer, _ = jax.vmap(layer)(x)
        logits = jax.vmap(lambda a: features(name, a) @ head)(answer)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), answer.trusted

    dynamic, static = eqx.partition(model, eqx.is_inexact_array)

    def step(carry, key):
        dynamic, state = carry
        value, found = jax.value_and_grad(lambda d: loss(eqx.combine(d, static), *batch(key, name)), has_aux=True)(
            dynamic
        )
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(found)]))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, state = optimiser.update(found, state, dynamic)
        dynamic = jax.tree.map(lambda a, b: a + b.astype(a.dtype), dynamic, updates)
        return (dynamic, state), (value[0], finite & jnp.isfinite(value[0]), jnp.mean(value[1].astype(jnp.float32)))

    keys = jax.random.split(jax.random.key(1), STEPS)
    return [np.asarray(a) for a in jax.jit(lambda d: jax.lax.scan(step, (d, optimiser.init(d)), keys)[1])(dynamic)]


@slow
@pytest.mark.parametrize("pseudo_count", [1.0, None], ids=["prior", "no prior"])
@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("name", MODULES)
def test_no_derivative_is_nan_in_300_steps(name, adjoint, pseudo_count):
    loss, finite, trusted = train(name, ADJOINTS[adjoint], pseudo_count)
    assert finite.all()
    if pseudo_count is not None:
        # Of four sets a step, at a large rate: what counts is the best stretch.
        assert np.convolve(loss, np.full(50, 0.02), "valid").min() < 0.8 * loss[:20].mean()
        # Eight iterations are mostly too few.
        assert trusted.mean() > 0.8 or adjoint == "unrolled"


@pytest.mark.parametrize("adjoint", [pytest.param(name, marks=slow if name != "implicit" else ()) for name in ADJOINTS])
@pytest.mark.parametrize("name", [pytest.param(name, marks=slow if name != "clusters" else ()) for name in MODULES])
def test_none_is_nan_where_a_member_has_died(name, adjoint):
    """Without a prior an empty member is not determined: such sets are not trusted."""
    _, finite, trusted = train(name, ADJOINTS[adjoint], None, alone=True)
    assert finite.all()
    assert trusted[0] == 0
