"""Small models on shared problems in the package's terms, and `solve` compiled once for each of them."""

from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

import jaxem
from jaxem import _bijections as bijections
from tests.helpers import oracles, problems

HISTORY = 4000


class Case(NamedTuple):
    model: Any
    start: Any
    x: Any  # [n, d]
    weights: Any  # [n]
    oracle: Any  # the problem in the oracles' terms


def log_prob(bound, params, data):
    """Log density of each observation by what the engine runs of a model."""
    value = bound.latent.log_normalizer(bound.potentials(bound.natural(params), data))
    return value + bound.log_base(data)


def params(start, dtype=np.float64):
    """Parameters of the oracles as those of the package."""
    kind = {2: jaxem.families.GaussianParams, 1: jaxem.families.PoissonParams}[len(start.components)]
    leaves = [jnp.asarray(np.asarray(leaf, dtype)) for leaf in start.components]
    return jaxem.models.MixtureParams(jnp.asarray(np.asarray(start.weights, dtype)), kind(*leaves))


def poisson_log_joint(params, x, z):
    """A mixture of Poisson columns as a joint density, with parameters as for `Mixture(Poisson(), k)`."""
    rate = params.components.rate[z]
    return jnp.log(params.weights[z]) + jnp.sum(x * jnp.log(rate) - rate - gammaln(x + 1))


def unconstrain(params):
    return jaxem.models.MixtureParams(
        bijections.simplex_to_free(params.weights), jax.tree.map(jnp.log, params.components)
    )


def constrain(free):
    return jaxem.models.MixtureParams(bijections.free_to_simplex(free.weights), jax.tree.map(jnp.exp, free.components))


def function_model(k, start):
    return jaxem.FunctionModel(poisson_log_joint, k, start, to_constrained=constrain, to_unconstrained=unconstrain)


@lru_cache
def case(name):
    """A case of each model: the four covariances, `poisson`, and `function`, the same without a closed form."""
    if name in problems.COVARIANCES:
        problem = problems.overlapping_gaussians(name)
        model = jaxem.GaussianMixture(3, name)
    else:
        problem = problems.poisson_counts()
        model = jaxem.Mixture(jaxem.Poisson(), 3)
    start = params(problem.start)
    if name == "function":
        model = function_model(3, start)
    x = jnp.asarray(np.asarray(problem.x, float))
    return Case(model, start, x, jnp.ones(len(x)), problem)


LINEAR = (*problems.COVARIANCES, "poisson")
EVERY = (*LINEAR, "function")

_solve = eqx.filter_jit(jaxem.solve)


def solve(model, start, x, weights=None, *, tol=1e-9, max_steps=HISTORY - 1, key=None, **options):
    """`jaxem.solve`, compiled once for each model, shape and set of options."""
    dtype = jax.tree.leaves(start)[0].dtype
    return _solve(
        model,
        start,
        x,
        weights=jnp.ones(len(jax.tree.leaves(x)[0]), dtype) if weights is None else weights,
        tol=jnp.asarray(tol, dtype),
        max_steps=jnp.asarray(max_steps, jnp.int32),
        key=jax.random.key(0) if key is None else key,
        history_size=HISTORY,
        **options,
    )


def history(fit):
    """The values that were recorded; the rest must be NaN."""
    values = np.asarray(fit.history)
    steps = int(fit.num_steps)
    assert steps < len(values)
    assert np.isnan(values[steps + 1 :]).all()
    return values[: steps + 1]


def name(fit):
    return jaxem.status_name(fit.status)


def as_oracle(params):
    """Parameters of the package as those of the oracles."""
    return oracles.Mixture(np.asarray(params.weights), tuple(np.asarray(leaf) for leaf in params.components))


def assert_same(a, b, rtol=1e-9, atol=1e-9):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)
