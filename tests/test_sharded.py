"""Rows spread over devices: the same answer. In a process of its own, as the number of devices is set at its start."""

import os

import pytest

from tests.helpers import apart, product

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from functools import partial
from jax.sharding import AxisType, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
import jaxem
from tests.helpers import engine
from tests.helpers.experts import START, Experts

assert jax.device_count() == 2
mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))


def both(model, start, x, weights, check=True, **options):
    def run(x, weights, **more):
        return jaxem.solve(model, start, x, weights=weights, max_steps=200, history_size=1, **options, **more)

    spread = jax.shard_map(
        partial(run, axis_name="rows"), mesh=mesh, in_specs=(P("rows"), P("rows")), out_specs=P(), check_vma=check
    )
    return jax.jit(spread)(x, weights), jax.jit(run)(x, weights), spread, run


def same(a, b, tol):
    engine.assert_same(a.params, b.params, rtol=tol, atol=tol)
    np.testing.assert_allclose(a.objective, b.objective, rtol=tol)
    assert jaxem.status_name(a.status) == jaxem.status_name(b.status)
    assert int(a.num_steps) == int(b.num_steps)


if CASE == "em":
    case = engine.case("spherical")
    # A prior, without which twice the statistics would go unnoticed; unequal weights; chunks that overlap.
    model = jaxem.GaussianMixture(3, "spherical", weights_prior=jaxem.priors.Dirichlet(20.0))
    weights = jnp.linspace(0.0, 2.0, len(case.x))
    for check in (True, False):
        a, b, spread, run = both(model, case.start, case.x, weights, check, tol=1e-9, chunk_rows=64)
        same(a, b, 1e-9)
    a, b = (jax.jit(jax.grad(lambda x, f=f: f(x, weights).params.weights[0]))(case.x) for f in (spread, run))
    assert np.abs(b).max() > 1e-6
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
elif CASE == "stepwise":
    # Each device takes a block of its own: what one device sees must be what both see.
    case = engine.case("poisson")
    twice = jnp.concatenate([case.x, case.x])
    weights = jnp.concatenate([case.weights, 3 * case.weights])
    key, algorithm = jax.random.key(1), jaxem.stepwise_em(rows=50)
    a, *_ = both(case.model, case.start, twice, weights, algorithm=algorithm, key=key)
    b, *_ = both(case.model, case.start, jnp.concatenate([case.x, case.x]), weights + 1, algorithm=algorithm, key=key)
    _, one, *_ = both(case.model, case.start, case.x, case.weights, algorithm=algorithm, key=key)
    engine.assert_same(a.params, one.params, rtol=1e-9, atol=1e-9)
    engine.assert_same(b.params, one.params, rtol=1e-9, atol=1e-9)
elif CASE == "rung 1":
    rng = np.random.default_rng(0)
    t = jnp.asarray(rng.uniform(-2, 2, 100))
    y = jnp.asarray(np.where(rng.random(100) < 0.5, 1.5 * t, 2.0 - t))
    a, b, *_ = both(Experts(), START, (t, y), jnp.linspace(0.5, 2.0, 100), algorithm=jaxem.em_gradient(), tol=1e-9)
    same(a, b, 1e-7)
else:
    from jaxem._algorithm import default_algorithm
    from tests.helpers import product

    cell = product.models()[CASE]
    even = len(cell.weights) // 2 * 2
    x, weights = jax.tree.map(lambda leaf: leaf[:even], cell.x), jnp.linspace(0.5, 2.0, even)
    a, b, *_ = both(cell.model, cell.start, x, weights, algorithm=default_algorithm(cell.model), tol=1e-4)
    same(a, b, 1e-6)
"""


# Draws differ between devices, so that a latent that is drawn gives another answer.
LATENTS = [name for name in product.latents() if name != "continuous function"]


@pytest.mark.parametrize("case", ["em", "stepwise", "rung 1", *LATENTS])
@pytest.mark.slow
def test_rows_over_two_devices(case):
    apart.run(f"CASE = {case!r}\n{PROGRAM}", 2, os.environ["XLA_FLAGS"])
