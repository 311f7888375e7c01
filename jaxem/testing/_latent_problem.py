"""A latent structure and potentials of some observations: what the laws are asked of."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem.latent import AbstractLatent


class LatentProblem(NamedTuple):
    """A structure, potentials, and potentials of the same observations elsewhere (or `None`)."""

    latent: AbstractLatent
    potentials: PyTree
    other: PyTree
    key: PRNGKeyArray

    @property
    def dtype(self) -> Any:
        leaves = [leaf for leaf in jax.tree.leaves(self.potentials) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return leaves[0].dtype

    @property
    def tol(self) -> float:
        return 1e-6 if self.dtype == np.float64 else 2e-3

    @property
    def closed(self) -> bool:
        """Whether there are moments in closed form."""
        return "expectation" not in self.latent.lacks

    def factors(self, like: Array) -> Array:
        """A weight for each observation, of the shape of `like`."""
        return jax.random.uniform(self.key, like.shape, like.dtype, 0.5, 2.0)


def times(potentials: PyTree, factor: Any) -> PyTree:
    """Potentials times a number; what is not finite stays."""
    return jax.tree.map(
        lambda p: jnp.where(jnp.isfinite(p), p * jnp.asarray(factor, p.dtype), p) if _real(p) else p, potentials
    )


def towards(potentials: PyTree, other: PyTree, step: Any) -> PyTree:
    """Potentials moved towards others by a share of the way."""

    def one(p, q):
        if not _real(p):
            return p
        both = jnp.isfinite(p) & jnp.isfinite(q)
        return jnp.where(both, p + jnp.asarray(step, p.dtype) * (jnp.where(both, q, 0) - jnp.where(both, p, 0)), p)

    return jax.tree.map(one, potentials, other)


def directions(problem: LatentProblem) -> dict[str, Any]:
    """Ways to move potentials by a step, which stay potentials."""
    found = {"along the potentials": lambda p, step: times(p, 1 + step)}
    if problem.other is not None:
        found["towards `other`"] = lambda p, step: towards(p, problem.other, step)
    return found


def total(problem: LatentProblem, factors: Array) -> Any:
    """The log-normalizers of all observations, weighted and added up, as a function of the potentials."""

    def run(potentials):
        value = problem.latent.log_normalizer(potentials)
        return jnp.sum(factors * jnp.where(jnp.isfinite(value), value, 0))

    return run


def _real(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)
