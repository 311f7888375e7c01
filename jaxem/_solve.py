"""`solve`: one run, pure."""

import dataclasses
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._arguments import as_count, as_tolerance, require_key, require_kind
from jaxem._door import for_question, without_unusable
from jaxem._loop import Problem, State, begin, enter, evaluate, on_accurate_kernel, rehearse, resume, step
from jaxem._model import AbstractModel, unreduced
from jaxem._status import Status
from jaxem.adjoint import AbstractAdjoint, Implicit
from jaxem.e_step import Expectation
from jaxem.kernels.chunks import num_rows
from jaxem.termination import AbstractTermination, default_tolerance


@final
class Restarts(eqx.Module):
    """What became of every start, failed ones included: arrays of length `restarts`."""

    objective: Array
    status: Any
    num_steps: Array


@final
class Fit(eqx.Module):
    """The result of `fit` and `solve`.

    **Attributes:**

    - `params`: the parameters, in the coordinates of the data.
    - `log_likelihood`: total log-likelihood at `params`, in nats.
    - `objective`: what the algorithm ascends (log-likelihood plus log prior for EM), at `params`.
    - `status`: how it ended, a `jaxem.Status`.
    - `num_steps`: the number of iterations.
    - `history`: the objective at the start and after every step. From `solve`, of fixed length: the last
        `history_size` values, and NaN beyond the end.
    - `restarts`: objective, status and number of steps of every start (from `fit`; `None` from `solve`).
    - `standard_error`: Monte Carlo standard errors of `params`, under `jaxem.record.Average`.
    - `draws`: the iterates kept by `jaxem.record.Draws`, along a leading axis.
    - `posterior`: the posterior of the parameters, under variational Bayes; `params` is then its mean.
    """

    params: Any
    log_likelihood: Array
    objective: Array
    status: Any
    num_steps: Array
    history: Array
    restarts: Restarts | None = None
    standard_error: Any = None
    draws: Any = None
    posterior: Any = None


def solve(
    model: AbstractModel,
    params: PyTree,
    data: PyTree,
    *,
    algorithm: Algorithm | None = None,
    weights: Array | None = None,
    tol: Any = None,
    max_steps: Any = 1000,
    termination: AbstractTermination | None = None,
    adjoint: AbstractAdjoint | None = None,
    key: PRNGKeyArray | None = None,
    history_size: int = 256,
    chunk_rows: int | None = None,
    axis_name: str | None = None,
) -> Fit:
    """One run of an EM algorithm from given parameters: a pure function to jit, vmap, shard, differentiate and embed.

    **Arguments:**

    - `model`: a model, such as `jaxem.GaussianMixture(3)`.
    - `params`: starting parameters.
    - `data`: arrays with a common leading axis of observations, in a floating-point type that is also that of `params`
        (integers are converted to it), or what else `jaxem.fit` takes.
    - `algorithm`: a variant of EM; by default `jaxem.em()`, or `jaxem.em_gradient()` for a model without a closed-form
        M-step.
    - `weights`: a weight for each observation, `[n]`; weight `k` is the same as `k` copies, 0 as none.
    - `tol`: tolerance of the termination: by default how much more objective per unit of weight there is to gain, in
        nats; 1e-8 in double precision, 1e-6 in single precision. Traced.
    - `max_steps`: the most iterations. Traced.
    - `termination`: see `jaxem.termination`.
    - `adjoint`: how to differentiate the result with respect to data, weights and the model's arrays; by default
        `jaxem.adjoint.Implicit()`. The start has derivative zero, but under `jaxem.adjoint.Unroll`.
    - `key`: for algorithms that draw random numbers.
    - `history_size`: how many of the last values of the objective are returned.
    - `chunk_rows`: rows that an E-step holds at a time; chosen by default.
    - `axis_name`: for use inside `jax.shard_map`: the mesh axis over which the rows are split.

    **Returns:** a `Fit`. Under a trace nothing is checked that would need the values of `params` or `data`: a bad start
    shows in `status`. With concrete values they are checked as by `fit`, but for what only a whole data set can lack.

    **Raises:** `DataError` (a `ValueError`) for data and arguments that cannot be used.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0], [0.2], [0.1], [4.9], [5.0], [5.3]])
    >>> model = jaxem.GaussianMixture(2, "spherical")
    >>> start = jaxem.MixtureParams(jnp.array([0.5, 0.5]), jaxem.GaussianParams(x[:4:3], jnp.array([1.0, 1.0])))
    >>> fit = jax.jit(jaxem.solve, static_argnums=0)(model, start, x)
    >>> fit.params.weights.round(3).tolist()
    [0.5, 0.5]
    """
    _check_arguments(model, algorithm, termination, adjoint, tol, max_steps, key)
    algorithm, adjoint = algorithm or default_algorithm(model), adjoint or Implicit()
    data, weights, params, _ = for_question(model, params, data, weights, promote=False)
    dtype = _float_dtype(params, data)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if jnp.result_type(leaf) != dtype else leaf, params)
    w = jnp.ones(num_rows(data), dtype) if weights is None else jnp.asarray(weights, dtype)
    data = data if weights is None else without_unusable(model, data, w)

    reduce = unreduced if axis_name is None else lambda tree: jax.lax.psum(tree, axis_name)

    lifted = algorithm.m_step.lift(model)
    bound: Any = lifted.bind(data, w, reduce)
    problem = Problem.make(
        bound,
        algorithm,
        data,
        w,
        tol=default_tolerance(dtype) if tol is None else tol,
        max_steps=max_steps,
        termination=termination,
        rows=chunk_rows,
        reduce=reduce,
    )
    key = jax.random.key(0) if key is None else key
    start = enter(bound, params, data, w, lifted is not model, reduce)
    begun = begin(problem, start, key, history_size)
    rehearse(bound, algorithm, lambda: step(problem, begun))
    state = adjoint.run(problem, begun)
    accurate = on_accurate_kernel(problem)
    if accurate is not None:
        state, problem = adjoint.run(accurate, resume(accurate, state)), accurate
    return finish(problem, adjoint.attach(problem, state))


def finish(problem: Problem, state: State) -> Fit:
    """The result of a run, with the objective evaluated at the very parameters that are returned."""
    model, algorithm = problem.model, problem.algorithm
    report = algorithm.record.report(state.r_state)
    final = model.decode(state.params) if report.params is None else report.params
    encoded = model.encode(final)
    if report.params is not None:
        final = model.decode(encoded)  # an average of parameters need not be one of them
    at = model.at(encoded)
    prior = model.log_prior(encoded).astype(problem.weights.dtype)

    def value(e_step):
        expect = evaluate(problem, at, e_step, encoded, state.e_state)
        return expect(problem.data, problem.weights, state.key)[1] + problem.base

    # Rules that draw latents report the log-likelihood too, and can where there is no exact E-step.
    exact = algorithm.e_step if "expectation" in model.latent.lacks else Expectation()
    log_likelihood = value(exact)
    same = isinstance(algorithm.e_step, type(exact))
    objective = (log_likelihood if same else value(algorithm.e_step)) + prior
    lowered = model.lower(encoded)
    posterior = None
    if lowered is not None:
        plain: Any = model.model  # pyright: ignore[reportAttributeAccessIssue]
        score = dataclasses.replace(problem, model=plain)
        expect = evaluate(score, plain.at(lowered), Expectation(), lowered, ())
        log_likelihood = expect(problem.data, problem.weights, state.key)[1] + problem.base
        posterior, final = final, plain.decode(lowered)
    size = state.history.shape[0]
    shift = jnp.where(state.num_steps >= size, (state.num_steps + 1) % size, 0)
    return Fit(
        final,
        log_likelihood,
        objective,
        state.status,
        state.num_steps,
        jnp.roll(state.history, -shift),
        None,
        report.standard_error,
        report.draws,
        posterior,
    )


def _check_arguments(
    model: Any, algorithm: Any, termination: Any, adjoint: Any, tol: Any, max_steps: Any, key: Any
) -> None:
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    require_kind("termination", termination, AbstractTermination, "jaxem.termination.Gain()")
    require_kind("adjoint", adjoint, AbstractAdjoint, "jaxem.adjoint.Implicit()")
    if not (tol is None or isinstance(tol, jax.Array)):
        as_tolerance(tol)
    if not isinstance(max_steps, jax.Array):
        as_count("max_steps", max_steps, least=0)
    if key is not None:
        require_key(key)


def _float_dtype(params: PyTree, data: PyTree) -> Any:
    leaves = [leaf for leaf in jax.tree.leaves((params, data)) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    kinds = {jnp.result_type(leaf) for leaf in leaves}
    if len(kinds) != 1:
        raise TypeError(
            f"params and data must share one floating-point type, got {', '.join(sorted(map(str, kinds))) or 'none'}; "
            "convert one of them"
        )
    return kinds.pop()


__all__ = ["Fit", "Restarts", "Status", "finish", "solve"]
