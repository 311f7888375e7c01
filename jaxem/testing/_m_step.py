"""Laws of the M-step of a family."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem.families.kernels.kept import kept
from jaxem.testing._problem import Problem, Report, collect, coordinates, count, named, scored, surrogate, with_prior

_DIRECTIONS = 6


def maximum(problem: Problem, report: Report) -> None:
    """`maximize` is where Q is stationary, no lower than before, and lower all around."""
    if not has_m_step(problem, report):
        return
    for name, (kernel, params) in problem.kernels().items():
        found = _measured(problem, kernel, params, ())
        _judge(found, f"maximize(stats, params) {name}", problem, report)


def frozen(problem: Problem, report: Report) -> None:
    """Parameters named in `frozen` stay put, and the others are the maximum given these."""
    if not has_m_step(problem, report):
        return
    names = problem.family.parameters
    kernels = problem.kernels()
    last = list(kernels)[-1]
    asked = [("as it comes", tuple(names))] * (len(names) > 1)
    for which, held in [*asked, *((last, (name,)) for name in names)]:
        kernel, params = kernels[which]
        found = _measured(problem, kernel, params, held)
        listed = ", ".join(map(repr, held))
        call = f"maximize(..., frozen=({listed},)) {which}"
        _held(found["best"], params, held, call, report)
        _judge(found, call, problem, report)
        if "expanded" in found:
            _held(found["expanded"], params, held, call.replace("maximize", "maximize_expanded"), report)


def empty(problem: Problem, report: Report) -> None:
    """A member without weight keeps its parameters (with a prior it has finite ones); so do all without any rows."""
    if not has_m_step(problem, report):
        return
    prior = with_prior(problem.family)
    for name, (kernel, params) in problem.kernels().items():
        shared, k = kernel.family.shared, problem.share.shape[0]
        coupled = all(len(block) < k for block in kernel.blocks(kernel.family.unconstrain(params))[0])

        def run(params, share, kernel=kernel):
            stats = collect(kernel, params, problem.rows, share)
            counts = jnp.sum(share, 1)
            out = {"maximize": kept(kernel, kernel.maximize(stats, params), params, (), counts)}
            if kernel.expands and not prior:
                found = kernel.maximize_expanded(stats, params)
                out["maximize_expanded"] = kept(kernel, found, params, (), counts)
            return out

        run = jax.jit(run)
        nothing = jnp.zeros_like(problem.share)
        for member in range(-1, k):
            share = nothing if member < 0 else problem.share.at[member].set(0)
            who = "no member has weight" if member < 0 else f"member {member} has no weight"
            for method, found in run(params, share).items():
                report.finite(f"{method} {name} where {who}", found, "the division by the count of the member")
                if prior:
                    continue
                for path, new in jax.tree_util.tree_leaves_with_path(found):
                    common = named(path, shared)
                    if member >= 0 and (common or (coupled and not shared) or k == 1):
                        continue
                    old = _leaf(params, path)
                    new, old = (
                        (new, old) if member < 0 or common else (new[_of(new, member, k)], old[_of(old, member, k)])
                    )
                    report.agree(
                        f"{method} {name} moves {jax.tree_util.keystr(path)} of a member that is empty ({who})",
                        new,
                        old,
                        see=f"`{method}`, in which a member without weight must not move the others",
                    )


def expanded(problem: Problem, report: Report) -> None:
    """`maximize_expanded` does not lower the likelihood."""
    if not problem.family.kernel().expands or not has_m_step(problem, report) or with_prior(problem.family):
        return
    for name, (kernel, params) in problem.kernels().items():

        def run(params, x, share, kernel=kernel):
            best = kernel.maximize_expanded(collect(kernel, params, x, share), params)
            return [jnp.sum(share * scored(kernel, p, x)) for p in (params, best)]

        before, after = (float(value) for value in jax.jit(run)(params, problem.rows, problem.share))
        allowed = problem.tol * (abs(before) + 1)
        report.require(
            after >= before - allowed,
            f"maximize_expanded {name} lowers the log-likelihood",
            before - after,
            allowed,
            "`maximize_expanded`, which must leave the distribution of the rows as its larger model has it",
        )


def has_m_step(problem: Problem, report: Report) -> bool:
    """Whether there is a closed-form M-step; a linear family without one is told."""
    family: Any = problem.family
    if not family.linear:
        return False
    try:
        family.maximize(family.natural(problem.params), problem.params)
    except MissingCapabilityError:
        report.fail("the family is linear but has no maximize; define it, or set `linear = False`")
        return False
    return True


def _measured(problem: Problem, kernel: Any, params: PyTree, held: tuple[str, ...]) -> dict[str, Any]:
    """Q before and after, its slope there, and Q a few small steps away."""
    seeds = jax.random.split(jax.random.fold_in(problem.key, 21), _DIRECTIONS)

    def run(params, x, share):
        stats = collect(kernel, params, x, share)
        q: Callable[[PyTree], Array] = surrogate(kernel, stats)
        counts = jnp.sum(share, 1)
        best = kept(kernel, kernel.maximize(stats, params, held), params, held, counts)
        there, at = coordinates(kernel, best, held)

        def around(key):
            return q(at(there + jnp.asarray(0.05, there.dtype) * jax.random.normal(key, there.shape, there.dtype)))

        out = {
            "best": best,
            "before": q(params),
            "after": q(best),
            "slope": jax.grad(lambda u: q(at(u)))(there),
            "around": jax.vmap(around)(seeds),
        }
        if kernel.expands and not with_prior(kernel.family):
            found = kernel.maximize_expanded(stats, params, held)
            out["expanded"] = kept(kernel, found, params, held, counts)
        return out

    return jax.jit(run)(params, problem.rows, problem.share)


def _judge(found: dict[str, Any], call: str, problem: Problem, report: Report) -> None:
    before, after = float(found["before"]), float(found["after"])
    allowed, n = problem.tol * (abs(before) + 1), float(count(problem.rows))
    report.alike(f"{call}", found["best"], problem.params, "`maximize`")
    report.require(after >= before - allowed, f"{call} lowers Q", before - after, allowed, "`maximize`")
    slope = np.abs(np.asarray(found["slope"])).max(initial=0)
    see = "the closed form in `maximize`, and the prior in it"
    report.require(
        slope <= problem.tol * n, f"Q is not stationary at {call}: its gradient", slope, problem.tol * n, see
    )
    better = float(np.max(found["around"])) - after
    report.require(better <= allowed, f"Q is higher near {call} than there", better, allowed, see)


def _held(found: PyTree, params: PyTree, held: tuple[str, ...], call: str, report: Report) -> None:
    for path, new in jax.tree_util.tree_leaves_with_path(found):
        if named(path, held):
            old = _leaf(params, path)
            by = float(np.abs(np.asarray(new) - np.asarray(old)).max())
            what = f"{call} moves {jax.tree_util.keystr(path)}, which is frozen"
            report.require(by == 0, what, by, 0, "`maximize`, which must return such parameters as they were")


def _leaf(tree: PyTree, path: Any) -> Any:
    return dict(jax.tree_util.tree_leaves_with_path(tree))[path]


def _of(leaf: Any, member: int, k: int) -> Any:
    """Where the member is in a leaf; all of it in a leaf of that member alone."""
    return member if leaf.shape[0] == k else slice(None)
