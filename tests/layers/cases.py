"""Layers that tests share: what each is given, and its answer as a number."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxem import layers
from jaxem.families import GaussianParams
from jaxem.models import HMMParams, MixtureParams


def _rows(rng, shape):
    """Rows of overlapping groups."""
    centres = np.array([[-1.0, 0.5], [1.2, -0.4], [0.3, 1.5]])
    return centres[rng.integers(3, size=shape)] + 0.6 * rng.standard_normal((*shape, 2))


def _members(rng, k):
    return GaussianParams(rng.standard_normal((k, 2)), rng.uniform(0.5, 1.5, (k, 2)))


def _clusters(rng):
    return {"x": _rows(rng, (16,)), "start": rng.standard_normal((3, 2)), "temperature": 0.4}


def _density(rng):
    start = MixtureParams(np.array([0.3, 0.3, 0.4]), _members(rng, 3))
    return {"x": _rows(rng, (24,)), "start": start, "temperature": 0.8, "at": rng.standard_normal((4, 2))}


def _smoothed(rng):
    transition = np.array([[0.7, 0.3], [0.4, 0.6]])
    start = HMMParams(np.array([0.4, 0.6]), transition, _members(rng, 2))
    return {"x": _rows(rng, (2, 10)), "start": start, "temperature": 0.9}


def _slots(rng):
    keys = _rows(rng, (12,))
    return {"x": keys, "values": rng.standard_normal((12, 3)), "start": rng.standard_normal((2, 2)), "temperature": 0.5}


INPUTS = {"clusters": _clusters, "density": _density, "smoothed": _smoothed, "slots": _slots}
CALLS = {
    "clusters": layers.soft_clustering,
    "density": layers.mixture_density,
    "smoothed": layers.hmm_smoothing,
    "slots": lambda x, start, values, **rest: layers.slot_competition(x, values, start, **rest),
}
MODULES = {
    "clusters": partial(layers.SoftClustering, 4, 2),
    "density": partial(layers.MixtureDensity, 4, 2, learn_temperature=True),
    "smoothed": partial(layers.HMMSmoothing, 3, 2, learn_temperature=True),
    "slots": partial(layers.SlotCompetition, 4, 3, num_keys=2),
}


def inputs(name, seed=0, dtype=np.float64):
    """What the layer is given, as arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), INPUTS[name](np.random.default_rng(seed)))


def call(name, given, fitting, **rest):
    """The answer of a layer."""
    given = dict(given)
    return CALLS[name](given.pop("x"), given.pop("start"), **given, fitting=fitting, **rest)


def number(answer):
    """A number that depends on every number in an answer, and whether it can be trusted."""
    leaves = [leaf for leaf in jax.tree.leaves(answer) if leaf.dtype != bool]
    rng = np.random.default_rng(7)
    return sum(
        jnp.sum(leaf * jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype)) for leaf in leaves
    ), answer.trusted


def value(name, fitting, **rest):
    """`number` as a function of what the layer is given."""
    return lambda given: number(call(name, given, fitting, **rest))


def directions(given, count=3, seed=1):
    """Directions to differentiate along: one that moves everything, and one for start and temperature each."""
    rng = np.random.default_rng(seed)
    all_of = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype), given)
    nothing = jax.tree.map(jnp.zeros_like, given)
    alone = [{**nothing, name: all_of[name]} for name in ("start", "temperature")]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), all_of, *alone)


def along(gradient, by):
    """Derivatives along each of `directions`."""
    each = jax.tree.map(lambda g, b: jnp.sum((g[None] * b).reshape(b.shape[0], -1), 1), gradient, by)
    return np.asarray(sum(jax.tree.leaves(each)))


def differences(run, given, by, step=1e-5):
    """Central differences of a function along each of `directions`."""

    def there(sign):
        return jax.tree.map(lambda leaf, b: leaf[None] + sign * step * b, given, by)

    many = jax.jit(jax.vmap(lambda at: run(at)[0]))
    up, down = np.asarray(many(there(1))), np.asarray(many(there(-1)))
    return (up - down) / (2 * step)
