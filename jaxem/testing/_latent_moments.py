"""Laws of the log-normalizer of a structure and of its gradient."""

from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxem._errors import MissingCapabilityError
from jaxem._precision import precision_of
from jaxem.latent import AbstractChoice, Nested
from jaxem.testing._latent_problem import LatentProblem, directions, times, total
from jaxem.testing._problem import Report, cast

_SEE = "`expectation`, whose moments must be the gradient of the log-normalizer"


def moments(problem: LatentProblem, report: Report) -> None:
    """Moments are the gradient of the log-normalizer, and both methods give the same one."""
    if not problem.closed:
        return

    def run(potentials):
        found, value = problem.latent.expectation(potentials)
        alone = problem.latent.log_normalizer(potentials)
        factors = problem.factors(value)
        return (
            found,
            value,
            alone,
            jax.grad(total(problem, factors), allow_int=True)(potentials),
            _weighed(problem, found, factors),
        )

    found, value, alone, slope, weighed = jax.jit(run)(problem.potentials)
    report.alike("moments", found, problem.potentials, "`expectation`")
    report.agree("log_normalizer differs from what expectation gives", alone, value, 1.0, "`log_normalizer`")
    report.require(not np.isnan(value).any(), "the log-normalizer is NaN", see="`expectation`")
    report.finite("moments", found, "`expectation`")
    slope, weighed = _comparable(slope, weighed, problem.potentials)
    report.finite("the gradient of the log-normalizer", slope, "`jnp.where` with unsafe inputs")
    report.agree("the gradient of the log-normalizer is not the moments", slope, weighed, 1.0, _SEE)


def differences(problem: LatentProblem, report: Report) -> None:
    """Automatic derivatives agree with finite differences, taken in double precision."""
    with precision_of("float64"):
        latent, potentials, other = cast((problem.latent, problem.potentials, problem.other), jnp.float64)
        problem = problem._replace(latent=latent, potentials=potentials, other=other)
        for name, move in directions(problem).items():

            def run(step, move=move):
                value = latent.log_normalizer(move(potentials, step))
                return jnp.where(jnp.isfinite(value), value, 0)

            run = jax.jit(run)
            step, zero = 1e-4, jnp.zeros(())
            here, up, down = run(zero), run(zero + step), run(zero - step)
            first, second = (up - down) / (2 * step), (up + down - 2 * here) / step**2
            slope = jax.jit(jax.jacfwd(run))
            report.finite(f"the derivative of the log-normalizer {name}", slope(zero), "`jnp.where` with unsafe inputs")
            report.agree(
                f"the derivative of the log-normalizer {name} differs from finite differences",
                slope(zero),
                first,
                1.0,
                "its rule for derivatives",
                tol=1e-4 if problem.closed else 1e-2,
            )
            if not problem.closed:  # an estimate, of potentials that need not be linear
                continue
            bend = (slope(zero + step) - slope(zero - step)) / (2 * step)
            report.agree(
                f"the second derivative of the log-normalizer {name} differs from finite differences",
                jax.jit(jax.jacfwd(jax.jacfwd(run)))(zero),
                bend,
                1.0,
                "the derivative of the moments",
                tol=1e-3,
            )
            allowed = -1e-2 * (1 + float(np.abs(second).max(initial=0)))
            worst = float(np.min(second, initial=0))
            report.require(worst >= allowed, f"the log-normalizer is not convex {name}", -worst, -allowed, _SEE)


def pairing(problem: LatentProblem, report: Report) -> None:
    """`pair` is the inner product, observation by observation, and `weigh` and `scale` weigh these."""
    if not problem.closed:
        return
    latent = problem.latent

    def run(potentials):
        found, value = latent.expectation(potentials)
        factors = problem.factors(value)
        paired = latent.pair(potentials, found)
        slope = jax.grad(lambda p: jnp.sum(factors * latent.pair(p, found)))(potentials)
        weighed = _weighed(problem, found, factors)
        nothing = _weighed(problem, found, jnp.zeros_like(factors))
        return value, paired, slope, weighed, _products(potentials, found), nothing

    value, paired, slope, weighed, product, nothing = jax.jit(run)(problem.potentials)
    report.require(
        paired.shape == value.shape, f"pair has shape {paired.shape}, the log-normalizer {value.shape}", see="`pair`"
    )
    report.agree("pair does not add up all products", jnp.sum(paired), product, 1.0, "`pair`")
    what = "weigh (or scale) does not give each observation its weight as pair has it"
    report.agree(what, *_comparable(slope, weighed, problem.potentials), scale=1.0, see="`weigh`, `scale`, `pair`")
    report.agree(
        "moments of weight 0 are not 0", nothing, jax.tree.map(jnp.zeros_like, nothing), see="`weigh`, `scale`", tol=0.0
    )


def observations(problem: LatentProblem, report: Report) -> None:
    """Each observation is treated by itself, and so is each of a batch under `vmap`."""
    latent, p = problem.latent, problem.potentials
    if not problem.closed:
        return
    value = latent.log_normalizer(p)
    flat = np.asarray(value).reshape(-1)
    moved = times(p, 1.1)
    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), p, moved)
    both = jax.jit(jax.vmap(latent.log_normalizer))(stacked)
    each = jnp.stack([value, latent.log_normalizer(moved)])
    report.agree("under vmap the log-normalizer is another", both, each, 1.0, "axes counted from the front")
    if value.ndim > 1 or isinstance(latent, AbstractChoice | Nested):
        return
    order = np.arange(len(flat))[::-1]
    rolled = latent.log_normalizer(jax.tree.map(lambda a, axis: jnp.take(a, order, axis), p, _row_axes(problem, False)))
    report.agree("observations in another order have other log-normalizers", rolled, value[order], 1.0, "axes")


def axes(problem: LatentProblem, report: Report) -> None:
    """Leading axes `[k, n]` in the place of `[n]`, and rows along the axis that `map_rows` says."""
    latent, p = problem.latent, problem.potentials
    if isinstance(latent, AbstractChoice | Nested) or not problem.closed:
        return
    value = latent.log_normalizer(p)
    if value.ndim == 1:
        pair = jax.tree.map(lambda a, b, axis: jnp.stack([a, b], axis), p, times(p, 1.1), _row_axes(problem, False))
        found = latent.log_normalizer(pair)
        each = jnp.stack([value, latent.log_normalizer(times(p, 1.1))])
        see = "axes that must be counted from the end"
        report.agree(
            "potentials with leading axes [k, n] are not those of k times n observations", found, each, 1.0, see
        )
    elif value.ndim == 2:
        order = np.arange(value.shape[1])[::-1]
        rolled = latent.log_normalizer(latent.map_rows(lambda leaf, axis: jnp.take(leaf, order, axis), p))
        report.agree("map_rows does not find the axis of the rows", rolled, value[:, order], 1.0, "`map_rows`")


def choice(problem: LatentProblem, report: Report) -> None:
    """`attach` adds to the local potentials, and what is impossible is not chosen."""
    latent: Any = problem.latent
    if not isinstance(latent, AbstractChoice):
        return
    p = problem.potentials
    found, _ = latent.expectation(p)
    local = latent.local(found)
    k = local.shape[0]
    zero = jnp.zeros_like(local)
    report.agree("attach of 0 changes the potentials", latent.attach(p, zero), p, see="`attach`", tol=0.0)
    slope = jax.grad(lambda v: jnp.sum(latent.log_normalizer(latent.attach(p, v))))(zero)
    report.agree("local is not the gradient in what attach adds", slope, local, 1.0, "`attach`, `local`")
    with suppress(MissingCapabilityError):
        given = latent.given(p, local)
        report.agree("given(local(moments)) is not the moments", given, found, 1.0, "`given`")
    first = (slice(None), 0) + (0,) * (local.ndim - 2)
    for states in ([0], list(range(k))):
        ban = zero.at[first].set(
            jnp.where(jnp.isin(jnp.arange(k), jnp.asarray(states)), -jnp.inf, 0).astype(local.dtype)
        )

        def run(p, ban=ban):
            attached = latent.attach(p, ban)
            value = latent.log_normalizer(attached)
            slope = jax.grad(lambda a: jnp.sum(jnp.where(jnp.isfinite(value), latent.log_normalizer(a), 0)))(attached)
            return latent.expectation(attached)[0], value, slope

        found, value, slope = run(p)
        who = "one state is" if len(states) == 1 and k > 1 else "all states are"
        at_ban = np.asarray(latent.local(found))[(np.asarray(states), *first[1:])]
        report.finite(f"moments where {who} impossible", found, "`expectation`, guarded where all is minus infinity")
        report.finite(
            f"the gradient where {who} impossible", slope, "`expectation`, guarded where all is minus infinity"
        )
        report.require(
            (at_ban == 0).all(), f"moments of a state of potential minus infinity where {who}", at_ban.max(), 0
        )
        if len(states) == k:
            report.require(
                value[0] == -jnp.inf, f"the log-normalizer where all states are impossible is {float(value[0])}"
            )


def entropy(problem: LatentProblem, report: Report) -> None:
    """The entropy of the moments, for structures that have one."""
    latent, p = problem.latent, problem.potentials
    if isinstance(latent, Nested):
        p = latent.outer.attach(p.outer, latent.inner.log_normalizer(p.inner))
        latent = latent.outer
    if not problem.closed:
        return
    found, value = latent.expectation(p)
    try:
        told = problem.latent.entropy(
            found if latent is problem.latent else problem.latent.expectation(problem.potentials)[0]
        )
    except MissingCapabilityError:
        return
    report.agree(
        "entropy differs from log_normalizer - <potentials, moments>",
        told,
        value - latent.pair(p, found),
        1.0,
        "`entropy`",
    )


def precision(problem: LatentProblem, report: Report) -> None:
    """Single precision agrees with double to 1e-3."""

    def run(latent, p):
        return latent.expectation(p) if problem.closed else latent.log_normalizer(p)

    single = cast((problem.latent, problem.potentials), jnp.float32)
    with precision_of("float32"):
        coarse = jax.tree.map(np.asarray, jax.jit(lambda: run(*single))())
    with precision_of("float64"):
        double = cast(single, jnp.float64)
        fine = jax.tree.map(np.asarray, jax.jit(lambda: run(*double))())
    report.agree(
        "float32 differs from float64", coarse, fine, 1.0, "differences of large numbers in `expectation`", tol=1e-3
    )


def _weighed(problem: LatentProblem, found: Any, factors: Any) -> Any:
    """Moments times the weight of each observation, `[n]`, or `[k, n]` for what is hidden given the member."""
    if factors.ndim == 1:
        return problem.latent.weigh(found, factors)
    return problem.latent.scale(found, factors)


def _comparable(slope: Any, weighed: Any, potentials: Any) -> tuple[Any, Any]:
    """Two gradients, 0 where the potentials are not finite or not real numbers."""

    def one(leaf, p):
        if not jnp.issubdtype(p.dtype, jnp.floating):
            return np.zeros(p.shape)
        return jnp.where(jnp.isfinite(p), leaf, 0)

    return jax.tree.map(one, slope, potentials), jax.tree.map(one, weighed, potentials)


def _products(potentials: Any, found: Any) -> Any:
    terms = jax.tree.map(lambda p, m: jnp.sum(jnp.where(m == 0, 0, m * jnp.where(m == 0, 0, p))), potentials, found)
    return sum(jax.tree.leaves(terms))


def _row_axes(problem: LatentProblem, members: bool) -> Any:
    """Which axis of each leaf is that of the observations, of potentials with leading axes `[n]`."""
    found = []

    def note(leaf, axis):
        found.append(axis - (0 if members else 1))
        return leaf

    lifted = jax.tree.map(lambda leaf: leaf[None], problem.potentials)
    problem.latent.map_rows(note, lifted)
    return jax.tree.unflatten(jax.tree.structure(problem.potentials), found)
