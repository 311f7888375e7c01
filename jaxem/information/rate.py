"""The rate matrix of EM: the fractions of information that are missing."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._coordinates import vector
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem.engine.adjoint.equation import defect, em_map, unknowns
from jaxem.engine.adjoint.linear import columns
from jaxem.engine.door import question
from jaxem.engine.problem import Problem, on_accurate_kernel
from jaxem.engine.state import begin
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.linalg import matmul
from jaxem.kernels.sums import unreduced
from jaxem.m_step import Newton


@question
def rate_matrix(
    model: AbstractModel,
    params: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    algorithm: Algorithm | None = None,
) -> Float[Array, "p p"]:
    """The derivative of one iteration at its fixed point `params`, `[p, p]`.

    In the unconstrained coordinates of the parameters that are not frozen (`model.unconstrain`, in the order of
    `jax.flatten_util.ravel_pytree`); in others it is similar to this one. For EM it is `J_c^-1 J_m`, with the
    information of the complete data and of what is missing of them (Dempster, Laird and Rubin 1977), and an error in
    the parameters shrinks by it in an iteration.

    **Arguments:**

    - `model`: a model.
    - `params`: a fixed point: fit with a `tol` near the precision first.
    - `data`, `weights`: what it was fitted to.
    - `algorithm`: the variant whose map is meant, by default `jaxem.em()` (`jaxem.em_gradient()` for a model without
        closed-form M-step); one that neither draws nor accelerates.

    **Raises:** `MissingCapabilityError` for an algorithm without a map.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x, w = jnp.arange(4.0)[:, None], jnp.array([2.0, 5.0, 3.0, 1.0])
    >>> model, params = jaxem.Single(jaxem.Poisson()), jaxem.families.PoissonParams(jnp.array([14 / 11]))
    >>> jaxem.information.rate_matrix(model, params, x, weights=w).tolist()  # nothing is hidden
    [[0.0]]
    """
    algorithm = algorithm or default_algorithm(model)
    if algorithm.accelerator is not None or not algorithm.monotone or algorithm.m_step.lift(model) is not model:
        raise MissingCapabilityError(
            "the rate matrix is the derivative of an iteration that depends on the last parameters alone and does not "
            "lower the objective; pass such an algorithm: jaxem.em(), jaxem.ecm(...), jaxem.em_gradient() ..."
        )
    dtype = jax.tree.leaves(params)[0].dtype
    w = jnp.ones(num_rows(data), dtype) if weights is None else jnp.asarray(weights, dtype)
    problem = Problem.make(model.bind(data, w, unreduced), algorithm, data, w, tol=0.0, max_steps=0)
    problem = on_accurate_kernel(problem) or problem
    bound: Any = problem.model
    state = begin(problem, bound.encode(params), jax.random.key(0))
    if isinstance(algorithm.m_step, Newton):
        return _of_newton(problem, model, state)
    here, at = vector(model, params)

    def iterate(u: Array) -> Array:
        return vector(model, bound.decode(em_map(problem, bound.encode(at(u)), state)))[0]

    return columns(lambda unit: jax.jvp(iterate, (here,), (unit,))[1], here.size, here.dtype).T


def _of_newton(problem: Problem, model: AbstractModel, state: Any) -> Array:
    """`1 - J_c^-1 J` of Newton's step on Q, from the two ways in which the gradient of Q moves.

    The step itself may be halved or refused at a fixed point: its derivative would be that of a decision.
    """
    here, at = unknowns(problem, state.iterate.params)

    def moved(unit: Array) -> tuple[Array, Array, Array]:
        def along(fn):
            return jax.jvp(fn, (here,), (unit,))[1]

        new = along(lambda new: defect(problem, state, at, new, here))
        old = along(lambda old: defect(problem, state, at, here, old))
        return new, old, along(lambda u: vector(model, problem.model.decode(at(u)))[0])

    new, old, units = (rows.T for rows in columns(moved, here.size, here.dtype))
    # In the user's coordinates rather than those of the loop.
    turned = matmul(units, -jnp.linalg.solve(new, old))
    return jnp.linalg.solve(units.T, turned.T).T


def rate_eigenvalues(
    model: AbstractModel,
    params: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    algorithm: Algorithm | None = None,
) -> Float[np.ndarray, " p"]:
    """Eigenvalues of `rate_matrix`, the largest first, `[p]`: fractions of missing information along the directions
    of the parameter space in which EM converges independently.

    Real and in [0, 1) for EM at a strict maximum; a 1 belongs to a direction in which the likelihood is flat. (Where
    the rule is another, they may come out complex: the real parts.) NumPy, on the host.

    **Arguments:** those of `rate_matrix`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.models.MultivariateNormal("diagonal", missing=True)
    >>> x = jnp.array([[1.0, 5.0], [2.0, 7.0], [4.0, jnp.nan], [6.0, jnp.nan]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), tol=0.0, max_steps=100)
    >>> abs(jaxem.information.rate_eigenvalues(model, fit.params, x)).round(3).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    matrix = np.asarray(rate_matrix(model, params, data, weights=weights, algorithm=algorithm), np.float64)
    return np.sort(np.linalg.eigvals(matrix).real)[::-1]


def fraction_missing(
    model: AbstractModel,
    params: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    algorithm: Algorithm | None = None,
) -> float:
    """The worst fraction of missing information: the largest eigenvalue of `rate_matrix`.

    EM's rate of convergence, too: it gains a digit in about `2.3 / (1 - fraction)` iterations.

    **Arguments:** those of `rate_matrix`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model = jaxem.models.MultivariateNormal("diagonal", missing=True)
    >>> x = jnp.array([[1.0, 5.0], [2.0, 7.0], [4.0, jnp.nan], [6.0, jnp.nan]])
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), tol=0.0, max_steps=100)
    >>> round(jaxem.information.fraction_missing(model, fit.params, x), 3)
    0.5
    """
    return float(rate_eigenvalues(model, params, data, weights=weights, algorithm=algorithm)[0])
