"""`solve`: one run, pure."""

import dataclasses
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._arguments import as_count, as_tolerance, require_key, require_kind
from jaxem._described import describe
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem._status import Status, status_code
from jaxem.e_step import Expectation
from jaxem.engine.adjoint.adjoint import AbstractAdjoint, Implicit
from jaxem.engine.door import for_question, without_unusable
from jaxem.engine.em import score
from jaxem.engine.loop import enter, require_modes, resume, step
from jaxem.engine.problem import Problem, on_accurate_kernel
from jaxem.engine.spread import explicit_mesh, with_auto_axes
from jaxem.engine.state import State, begin
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.sums import unreduced
from jaxem.record import Restarts
from jaxem.termination import AbstractTermination, default_tolerance


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
    - `converged`: whether `status` is `converged`, a boolean array; elementwise for a batch of fits.

    `repr` names status, steps, objective and log-likelihood. Of a batch, which `jax.vmap` makes, it says how many fits
    ended how, and the best objective. Under a trace it shows kinds and shapes.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> fit = jaxem.fit(jaxem.GaussianMixture(2), x, key=jax.random.key(0), restarts=4)
    >>> bool(fit.converged), repr(fit)[:21]
    (True, 'Fit(status=converged,')
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

    @property
    def converged(self) -> Bool[Array, "..."]:
        """True where `status` is `converged`."""
        return jnp.equal(status_code(self.status), status_code(Status.converged))

    def __repr__(self) -> str:
        return describe(self)


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
    kernel: str = "auto",
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
    - `kernel`: the arithmetic of the E-step; static. `"auto"` begins on the fast kernel, and goes on with the accurate
        one where too many digits are lost: it compiles both. `"fast"` and `"accurate"` compile one loop, half as much.
        `"fast"` is as good where no component is thousands of times (in single precision: fifty times) narrower than
        the data, or collapses or empties on the way. Where it lacks digits the status is `inaccurate`, or
        `degenerate_component` if so many that a variance came out at its floor.
    - `axis_name`: for use inside `jax.shard_map`: the mesh axis over which the rows are split.

    **Returns:** a `Fit`. Under a trace nothing is checked that would need the values of `params` or `data`: a bad start
    shows in `status`. With concrete values they are checked as by `fit`, but for what only a whole data set can lack.

    **Raises:** `DataError` (a `ValueError`) for data and arguments that cannot be used.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0], [0.2], [0.1], [4.9], [5.0], [5.3]])
    >>> model = jaxem.GaussianMixture(2, "spherical")
    >>> components = jaxem.families.GaussianParams(x[:4:3], jnp.array([1.0, 1.0]))
    >>> start = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), components)
    >>> fit = jax.jit(jaxem.solve, static_argnums=0)(model, start, x)
    >>> fit.params.weights.round(3).tolist()
    [0.5, 0.5]
    """
    _check_arguments(model, algorithm, termination, adjoint, tol, max_steps, key, kernel)
    algorithm, adjoint = algorithm or default_algorithm(model), adjoint or Implicit()
    mesh = explicit_mesh((params, data, weights))
    if mesh is not None:
        rules: dict[str, Any] = {"algorithm": algorithm, "termination": termination, "adjoint": adjoint}
        rules |= {"history_size": history_size, "chunk_rows": chunk_rows, "kernel": kernel, "axis_name": axis_name}

        def run(model, params, data, weights, tol, max_steps, key):
            return solve(model, params, data, weights=weights, tol=tol, max_steps=max_steps, key=key, **rules)

        return with_auto_axes(run, mesh, num_rows(data), model, params, data, weights, tol, max_steps, key)
    data, weights, params, _ = for_question(model, params, data, weights, promote=False)
    dtype = _float_dtype(params, data)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if jnp.result_type(leaf) != dtype else leaf, params)
    w = jnp.ones(num_rows(data), dtype) if weights is None else jnp.asarray(weights, dtype)
    data = data if weights is None else without_unusable(model, data, w)

    reduce = unreduced if axis_name is None else lambda tree: jax.lax.psum(tree, axis_name)

    lifted = algorithm.m_step.lift(model)
    problem = Problem.make(
        lifted.bind(data, w, reduce),
        algorithm,
        data,
        w,
        tol=default_tolerance(dtype) if tol is None else tol,
        max_steps=max_steps,
        termination=termination,
        chunk_rows=chunk_rows,
        reduce=reduce,
        moves_on=kernel == "auto",
    )
    if kernel == "accurate":
        problem = on_accurate_kernel(problem) or problem
    key = jax.random.key(0) if key is None else key
    start = enter(problem.model, params, data, w, lifted is not model, reduce)
    begun = begin(problem, start, key, history_size)
    require_modes(problem.model, algorithm, lambda: step(problem, begun))
    state = adjoint.run(problem, begun)
    if problem.moves_on:
        problem = on_accurate_kernel(problem) or problem
        state = adjoint.run(problem, resume(problem, state))
    return finish(problem, adjoint.attach(problem, state))


def finish(problem: Problem, state: State) -> Fit:
    """The result of a run, with the objective evaluated at the very parameters that are returned."""
    model: Any = problem.model
    algorithm, e_state = problem.algorithm, state.rules.e_step
    report = algorithm.record.report(state.record)
    final = model.decode(state.iterate.params) if report.params is None else report.params
    encoded = model.encode(final)
    if report.params is not None:
        final = model.decode(encoded)  # an average of parameters need not be one of them
    at, posterior = model.about(encoded), None
    # Rules that draw latents report the log-likelihood too, and can where there is no exact E-step.
    exact = algorithm.e_step if "expectation" in model.latent.lacks else Expectation()
    plain: Any = model.plain
    if plain is None:
        log_likelihood = score(problem, at, exact, encoded, e_state, state.key)
    else:
        lowered = model.lower(encoded)
        posterior, final = final, plain.decode(lowered)
        likelihood = dataclasses.replace(problem, model=plain)
        log_likelihood = score(likelihood, plain.about(lowered), Expectation(), lowered, (), state.key)
    same = plain is None and isinstance(algorithm.e_step, type(exact))
    value = log_likelihood if same else score(problem, at, algorithm.e_step, encoded, e_state, state.key)
    objective = value + model.log_prior(encoded).astype(problem.weights.dtype)
    return Fit(
        final,
        log_likelihood,
        objective,
        state.status,
        state.num_steps,
        _in_order(state.history, state.num_steps),
        None,
        report.standard_error,
        report.draws,
        posterior,
    )


def _in_order(history: Array, num_steps: Array) -> Array:
    """The values in a ring, the oldest first."""
    size = jnp.asarray(history.shape[0], num_steps.dtype)
    first = jnp.where(num_steps >= size, num_steps + 1, 0)
    return history[jax.lax.rem(first + jax.lax.iota(num_steps.dtype, history.shape[0]), size)]


def _check_arguments(
    model: Any, algorithm: Any, termination: Any, adjoint: Any, tol: Any, max_steps: Any, key: Any, kernel: Any
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
    if kernel not in ("auto", "fast", "accurate"):
        raise DataError(f"kernel must be 'auto', 'fast' or 'accurate', got {kernel!r}")


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
