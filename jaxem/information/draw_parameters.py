"""Draws of the parameters from the normal distribution that the information describes."""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._arguments import as_count, require_key, require_kind
from jaxem._coordinates import vector
from jaxem.engine.programs import program
from jaxem.information._information import Information


def draw_parameters(information: Information, key: PRNGKeyArray, num_draws: int) -> PyTree:
    """Parameters drawn from the normal approximation of their posterior, for proper multiple imputation.

    Normal in the unconstrained coordinates, about the fit and with the covariance that the information tells, and
    mapped back: variances stay positive and probabilities sum to 1. It holds in large samples (Little and Rubin 2019);
    where a conjugate prior is at hand, `jaxem.gibbs` draws without the approximation.

    **Arguments:**

    - `information`: what `jaxem.information.observed` returns.
    - `key`: a JAX random key.
    - `num_draws`: how many.

    **Returns:** a tree like the parameters with a leading axis `num_draws`. What is frozen, lies on a bound, or is not
    determined by the data, such as the rotation of loadings, stays where it is.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x, w = jnp.arange(4.0)[:, None], jnp.array([2.0, 5.0, 3.0, 1.0])
    >>> model, params = jaxem.Single(jaxem.Poisson()), jaxem.families.PoissonParams(jnp.array([14 / 11]))
    >>> found = jaxem.information.observed(model, params, x, weights=w)
    >>> jaxem.information.draw_parameters(found, jax.random.key(0), 5).rate.shape
    (5, 1)
    """
    require_kind("information", information, Information, "jaxem.information.observed(...)", optional=False)
    require_key(key)
    num_draws = as_count("num_draws", num_draws)
    dtype = information.matrix.dtype
    root = jnp.asarray(information.root, dtype)
    steps = jax.random.normal(key, (num_draws, root.shape[1]), dtype)
    return _moved(information.model, information.params, root, steps)


@program(quickly=True)
def _moved(model, params, root, steps):
    here, at = vector(model, params)
    return jax.vmap(lambda step: at(here + root @ step))(steps)
