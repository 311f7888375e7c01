"""Laws of a model."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._bound import AbstractBound, collect
from jaxem._coordinates import vector
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._paths import parameter_names
from jaxem._precision import precision_of
from jaxem._solve import solve
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.sums import inner, unreduced, weighted_sum
from jaxem.m_step import AbstractMStep, Maximize, Newton
from jaxem.models.joined import AbstractJoined
from jaxem.termination import FixedSteps
from jaxem.testing._coordinates import rank_of
from jaxem.testing._density import DRAWS, Sums, judge_integral, judge_sampling
from jaxem.testing._layout import layouts
from jaxem.testing._problem import Report, cast, take
from jaxem.testing._quadrature import points
from jaxem.testing.family import family_laws
from jaxem.testing.latent import latent_laws

_NUMBERS = 8  # of a row, the most that its density is integrated over


class ModelProblem(NamedTuple):
    """A model, parameters and data: what the laws are asked of."""

    model: AbstractModel
    params: PyTree
    data: PyTree
    key: PRNGKeyArray
    skip: Sequence[str]

    @property
    def dtype(self) -> Any:
        return jax.tree.leaves(self.params)[0].dtype

    @property
    def tol(self) -> float:
        return 1e-6 if self.dtype == np.float64 else 2e-3

    def near(self, model: AbstractBound, params: PyTree) -> PyTree:
        here, at = vector(model, params)
        return at(here + jnp.asarray(0.1, here.dtype) * jax.random.normal(self.key, here.shape, here.dtype))

    def kernels(self) -> list[tuple[Any, PyTree]]:
        """The model bound to the data, and its accurate kernel, with parameters in their coordinates."""
        bound = self.model.bind(self.data, jnp.ones(num_rows(self.data), self.dtype), unreduced)
        found = [bound, bound.accurate()]
        return [(kernel, kernel.encode(self.params)) for kernel in found if kernel is not None]


def coordinates(problem: ModelProblem, report: Report) -> None:
    """`constrain` undoes `unconstrain`."""
    model = problem.model
    again = jax.jit(lambda p: model.constrain(model.unconstrain(p)))(problem.params)
    see = "`constrain`, `unconstrain`"
    report.agree("constrain(unconstrain(params)) differs from params", again, problem.params, see=see)


def statistics(problem: ModelProblem, report: Report) -> None:
    """Linearity, additivity, Fisher's identity, maximisation: on both kernels, at two sets of parameters."""
    measured, tol, scale = eqx.filter_jit(_measure), problem.tol, float(num_rows(problem.data))
    for model, params in problem.kernels():
        near = problem.near(model, params)
        for point in (params, near):
            found = measured(model, point, near, problem.data)
            if model.linear:
                # Parts of them may be 0 but for rounding.
                leaves = map(np.asarray, jax.tree.leaves(found["linear"]))
                largest = max(float(np.abs(leaf[np.isfinite(leaf)]).max(initial=0)) for leaf in leaves)
                told = "linearity: potentials are not linear in natural(params)"
                report.agree(told, *found["linear"], scale=largest, see="`potentials`, `prepare`")
            see = "`potentials`, `log_base`, `latent.weigh`"
            told = "additivity: statistics of all rows differ from the sum over two halves"
            report.agree(told, *found["halves"], scale=scale, see=see)
            told = "additivity: weights 0 and 2 differ from dropping and repeating rows"
            report.agree(told, *found["repeated"], scale=scale, see=see)
            told = "Fisher's identity: the gradients of Q and of the log-likelihood differ"
            report.agree(told, *found["gradients"], scale=scale, see="`latent`, whose moments must be a gradient")
            if model.linear:
                before, after, gradient = (np.asarray(value) for value in found["maximum"])
                allowed = tol * (abs(float(before)) + 1)
                told = "maximisation: maximize(stats) lowers Q"
                report.require(after >= before - allowed, told, before - after, allowed, "`maximize`")
                told = "maximisation: Q is not stationary at maximize(stats)"
                report.agree(told, gradient, np.zeros_like(gradient), scale, "`maximize`")


def _measure(model, params, other, data):
    model = model.about(params)
    n = num_rows(data)
    ones = jnp.ones(n, jax.tree.leaves(params)[0].dtype)
    half, counts = n // 2, np.arange(n) % 3
    rows = np.repeat(np.arange(n), counts)

    def expect(data, weights):
        stats, value = collect(model, model.natural(params), data, weights, model.latent.expectation)
        value = value + model.log_base(data).astype(value.dtype)
        return stats, weighted_sum(weights, value)

    moments = model.latent.expectation(model.potentials(model.natural(params), data))[0]
    stats: Any
    stats, value = expect(data, ones)
    first = expect(take(data, slice(half)), ones[:half])
    second = expect(take(data, slice(half, None)), ones[half:])

    def q(params):
        natural, prior = model.natural(params), model.log_prior(params).astype(ones.dtype)
        if model.linear:
            return inner(natural, stats) + prior
        return jnp.sum(model.latent.pair(model.potentials(natural, data), moments)) + prior

    def log_likelihood(params):
        value = model.latent.expectation(model.potentials(model.natural(params), data))[1]
        return jnp.sum(value) + model.log_prior(params).astype(value.dtype)

    here, at = vector(model, params)
    found = {
        "halves": (jax.tree.map(jnp.add, first, second), (stats, value)),
        "repeated": (
            expect(data, jnp.asarray(counts, ones.dtype)),
            expect(take(data, rows), jnp.ones(len(rows), ones.dtype)),
        ),
        "gradients": (jax.grad(lambda u: q(at(u)))(here), jax.grad(lambda u: log_likelihood(at(u)))(here)),
    }
    if model.linear:
        a, b = model.natural(params), model.natural(other)
        mix = jax.tree.map(lambda a, b: 0.7 * a - 0.4 * b, a, b)
        separate = jax.tree.map(
            lambda p, q: jnp.where(jnp.isfinite(p) & jnp.isfinite(q), 0.7 * p - 0.4 * q, -jnp.inf),
            model.potentials(a, data),
            model.potentials(b, data),
        )
        best = model.maximize(stats, params)
        there, at_best = vector(model, best)
        found["linear"] = (model.potentials(mix, data), separate)
        found["maximum"] = (q(params), q(best), jax.grad(lambda u: q(at_best(u)))(there))
    return found


class _Unjudged(AbstractMStep):
    """A rule whose falls are kept in the history."""

    inner: AbstractMStep
    ascends = False

    def init(self, model, params):
        return self.inner.init(model, params)

    def __call__(self, surrogate, params, state, key):
        return self.inner(surrogate, params, state, key)


def ascent(problem: ModelProblem, report: Report) -> None:
    """The objective does not fall in five iterations of EM, or of EM gradient."""
    model, rule = problem.model, Maximize() if problem.model.linear else Newton()
    run = eqx.filter_jit(
        lambda params, data: solve(
            model, params, data, algorithm=Algorithm(m_step=_Unjudged(rule)), termination=FixedSteps(), max_steps=5
        )
    )
    values = np.asarray(run(problem.params, problem.data).history)[:6]
    report.require(np.isfinite(values).all(), f"the objective is not finite: {values.tolist()}", np.nan)
    fall, allowed = -np.diff(values).min(), 1e-3 * problem.tol * (float(np.abs(values).max()) + 1)
    report.require(fall <= allowed, "the objective falls within five iterations", fall, allowed, "`maximize`")


def frozen(problem: ModelProblem, report: Report) -> None:
    """Parameters that `freeze` names stay put, to the bit."""
    if not problem.model.linear or getattr(problem.model, "frozen", None) is None:
        return
    model, names = problem.model.bound(), parameter_names(problem.params)
    for name in filter(partial(_can_freeze, model), names):
        fixed = model.freeze((name,))

        def run(params, data, fixed=fixed):
            ones = jnp.ones(num_rows(data), problem.dtype)
            stats = collect(fixed, fixed.natural(params), data, ones, fixed.latent.expectation)[0]
            return fixed.maximize(stats, params)

        moved = jax.jit(run)(problem.params, problem.data)
        at = names.index(name)
        new, old = (np.asarray(jax.tree.leaves(tree)[at]) for tree in (moved, problem.params))
        by = float(np.abs(new - old).max())
        report.require(by == 0, f"maximize moves {name or 'the parameter'}, which is frozen", by, 0, "`maximize`")


def _can_freeze(model: Any, name: str) -> bool:
    try:
        model.freeze((name,))
    except (ValueError, MissingCapabilityError):
        return False
    return True


def parameters(problem: ModelProblem, report: Report) -> None:
    """`num_parameters` is the rank of the derivatives of the log densities of many draws."""
    model, told = problem.model, problem.model.num_parameters(problem.params)
    try:
        drawn = model.sample(jax.random.fold_in(problem.key, 1), problem.params, 8 * told + 20)[0]
    except MissingCapabilityError:
        return
    with precision_of("float64"):
        own, params, rows = cast((model, problem.params, drawn), jnp.float64)
        here, at = vector(own, params)
        slopes = np.asarray(jax.jit(jax.jacfwd(lambda u: own.log_prob(at(u), rows)))(here))
    rank, _ = rank_of(slopes)
    what = f"num_parameters is {told}, but the likelihood tells {rank} directions apart"
    report.require(rank == told, what, see="`unconstrain`, `num_parameters`")


def precision(problem: ModelProblem, report: Report) -> None:
    """`log_prob` in float32 is that in float64 to 1e-3."""
    single = cast(problem[:3], jnp.float32)
    with precision_of("float32"):
        coarse = np.asarray(single[0].log_prob(*single[1:]))
    with precision_of("float64"):
        double = cast(single, jnp.float64)
        fine = np.asarray(double[0].log_prob(*double[1:]))
    report.agree(
        "log_prob in float32 differs from float64", coarse, fine, 1.0, "differences of large numbers", tol=1e-3
    )


def sampling(problem: ModelProblem, report: Report) -> None:
    """What `sample` draws is like the data and possible, and follows the density, which integrates to one."""
    model, params, n = problem.model, problem.params, 7
    try:
        drawn, _ = model.sample(problem.key, params, n)
    except MissingCapabilityError:
        return
    rows = getattr(problem.data, "rows", problem.data)
    shapes, found = jax.tree.map(lambda a: (n, *a.shape[1:]), rows), jax.tree.map(jnp.shape, drawn)
    if found != shapes:
        report.fail(f"{n} draws have shape {found}, while rows of the data have {shapes}; look at `sample`")
        return
    possible = np.isfinite(np.asarray(model.log_prob(params, drawn)))
    report.require(possible.all(), "draws that the model holds impossible", n - possible.sum(), see="`sample`")
    for layout in layouts(rows)[:1]:
        numbers = layout.read(rows)
        numbers = numbers[np.isfinite(numbers).all(1)]
        if numbers.shape[1] > _NUMBERS or not possible.all() or len(numbers) < 4:
            return
        many = layout.read(model.sample(problem.key, params, DRAWS)[0])
        at = points(many, numbers, 0)
        # Under a trace, where values outside of the support have no density rather than being refused.
        log_prob = jax.jit(lambda params, rows: model.log_prob(params, rows))
        value = np.asarray(log_prob(params, layout.write(at.values.reshape(-1, many.shape[1]))), float)
        held = value.reshape(at.log_measure.shape) + at.log_measure
        sums = Sums(at, np.exp(np.where(np.isnan(held), -np.inf, held)), many)
        if "integral" not in problem.skip:
            judge_integral("the density of the model", sums, problem.dtype, report)
        judge_sampling("sample", sums, report)


def family(problem: ModelProblem, report: Report) -> None:
    """The family that the rows come from passes `check_family`."""
    model: Any = problem.model
    if isinstance(model, AbstractJoined):
        rows = model.rows(problem.data)
        family_laws(
            model.distribution, rows, model.structure.split(problem.params)[1], None, problem.key, report, problem.skip
        )


def latent(problem: ModelProblem, report: Report) -> None:
    """The structure of what is hidden passes `check_latent`."""
    model, params = problem.kernels()[-1]
    model = model.about(params)
    here, there = (model.potentials(model.natural(p), problem.data) for p in (params, problem.near(model, params)))
    latent_laws(model.latent, here, there if model.linear else None, problem.key, report, problem.skip)
