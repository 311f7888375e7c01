"""Laws of the mode and the draws of a structure."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxem._errors import MissingCapabilityError
from jaxem.testing._latent_moments import _comparable
from jaxem.testing._latent_problem import LatentProblem, directions, times, total
from jaxem.testing._problem import Report

_DRAWS, _COLD = 2000, 2048.0


def mode(problem: LatentProblem, report: Report) -> None:
    """The mode has the largest potential: of all draws, and of the moments at every temperature."""
    latent, p = problem.latent, problem.potentials
    if "mode" in latent.lacks:
        return
    found, value = latent.mode(p)
    report.alike("the statistics of mode", found, p, "`mode`")
    see = "`mode`"
    report.agree("the potential of mode is not pair(potentials, mode)", value, latent.pair(p, found), 1.0, see)
    size = problem.tol * (1 + float(np.abs(np.where(np.isfinite(value), value, 0)).max()))
    if problem.closed:
        at = jax.jit(lambda p, factor: latent.pair(p, latent.expectation(times(p, factor))[0]))
        warm, cold = (np.asarray(value - at(p, jnp.asarray(b, problem.dtype))) for b in (1.0, _COLD))
        warm, cold = (np.where(np.isfinite(gap), gap, 0) for gap in (warm, cold))
        report.require(cold.min() >= -size, "moments at a low temperature lie above mode", -cold.min(), size, see)
        # At an inverse temperature `b` each real number costs no more than `1 / b`.
        numbers = sum(leaf.size for leaf in jax.tree.leaves(p)) / max(value.size, 1)
        allowed = 0.03 * np.abs(warm) + numbers / _COLD + 2 * size
        worst = float((cold - allowed).max())
        report.require(worst <= 0, "mode lies above what moments come to at low temperatures", worst, 0, see)
    if "sample" not in latent.lacks:
        drawn, most = np.asarray(_potentials_of_draws(problem, 200)), np.asarray(value)
        over = float(np.max(np.subtract(drawn, most, out=np.zeros_like(drawn), where=~(drawn <= most))))
        report.require(over <= size, "a draw has a larger potential than mode", over, size, see)


def sampling(problem: LatentProblem, report: Report) -> None:
    """Draws have the moments for a mean, and the spread that the log-normalizer says."""
    latent, p = problem.latent, problem.potentials
    if "sample" in latent.lacks:
        return
    first = latent.sample(problem.key, p)
    again = latent.sample(problem.key, p)
    report.agree("the same key gives other draws", again, first, see="`sample`: no randomness but `key`", tol=0.0)
    if not problem.closed:
        _by_draws(problem, report)
        return
    report.alike("the statistics of sample", first, p, "`sample`")
    drawn = jax.jit(jax.vmap(lambda key: latent.sample(key, p)))(jax.random.split(problem.key, _DRAWS))
    means = latent.expectation(p)[0]
    for path, sample in jax.tree_util.tree_leaves_with_path(drawn):
        mean = dict(jax.tree_util.tree_leaves_with_path(means))[path]
        unbiased(f"draws of the statistics{jax.tree_util.keystr(path)}", sample, mean, "`sample`", report)
    here = latent.log_normalizer(p)
    for name, move in directions(problem).items():
        size = 0.1
        moved = move(p, size)
        change = jnp.where(jnp.isfinite(here), latent.log_normalizer(moved) - here, 0)
        step = jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(a) & jnp.isfinite(b), a - b, 0), moved, p)
        value = jax.vmap(lambda stats, step=step: latent.pair(step, stats))(drawn)
        unbiased(f"exp of the potentials of draws {name}", jnp.exp(value - change[None]), 1.0, "`sample`", report)


def average(problem: LatentProblem, report: Report) -> None:
    """`average` is a mean of draws, and of as many as it is asked for."""
    latent, p = problem.latent, problem.potentials
    if "sample" in latent.lacks or not problem.closed:
        return
    keys = jax.random.split(problem.key, 300)
    few = jax.jit(jax.vmap(lambda key: latent.average(key, p, 4, 6)))(keys)
    traced = jax.jit(lambda draws: jax.vmap(lambda key: latent.average(key, p, draws, 6))(keys[:3]))(4)
    report.agree(
        "average of a traced number of draws is another",
        traced,
        jax.tree.map(lambda leaf: leaf[:3], few),
        see="`average`",
    )
    means = latent.expectation(p)[0]
    for path, sample in jax.tree_util.tree_leaves_with_path(few):
        mean = dict(jax.tree_util.tree_leaves_with_path(means))[path]
        unbiased(f"averages of draws{jax.tree_util.keystr(path)}", sample, mean, "`average`", report)


def lacks(problem: LatentProblem, report: Report) -> None:
    """Methods that `lacks` names raise `MissingCapabilityError`, and the others do not."""
    latent, p = problem.latent, problem.potentials
    calls: dict[str, Any] = {
        "expectation": lambda: latent.expectation(p),
        "mode": lambda: latent.mode(p),
        "sample": lambda: latent.sample(problem.key, p),
    }
    for name, call in calls.items():
        try:
            jax.eval_shape(call)
            missing = False
        except MissingCapabilityError:
            missing = True
        told = (
            f"`lacks` {'names' if name in latent.lacks else 'does not name'} {name}, which is {'not ' * missing}there"
        )
        report.require(missing == (name in latent.lacks), told, see="`lacks`")


def unbiased(what: str, sample: Any, mean: Any, see: str, report: Report) -> None:
    """Note a failure if the mean of the leading axis is not `mean`, as far as chance goes."""
    sample, mean = np.asarray(sample, float), np.asarray(mean, float)
    error = sample.std(0) / np.sqrt(len(sample))
    # A value that one draw in many takes shows in no spread.
    allowed = 5.5 * error + (5 / len(sample)) * np.abs(sample).max(initial=0) + 1e-5 * (1 + np.abs(mean))
    gap = np.abs(sample.mean(0) - mean)
    if not gap.size:
        return
    worst = np.unravel_index(int(np.argmax(gap - allowed)), gap.shape)
    told = f"{what} have another mean than they should"
    report.require((gap <= allowed).all(), told, gap[worst], float(allowed[worst]), see)


def _by_draws(problem: LatentProblem, report: Report) -> None:
    """Without moments: the gradient of the log-normalizer is the mean of that of the draws (Fisher's identity)."""
    latent, p = problem.latent, problem.potentials
    factors = problem.factors(latent.log_normalizer(p))
    slope = jax.grad(total(problem, factors), allow_int=True)(p)

    def one(key):
        return _comparable(slope, latent.weigh(latent.sample(key, p), factors), p)[1]

    drawn = jax.jit(jax.vmap(one))(jax.random.split(problem.key, 200))
    for path, sample in jax.tree_util.tree_leaves_with_path(drawn):
        if np.any(np.asarray(sample)):
            mean = dict(jax.tree_util.tree_leaves_with_path(slope))[path]
            told = f"gradients at draws{jax.tree_util.keystr(path)}"
            unbiased(told, sample, mean, "`sample`, `weigh`, `log_normalizer`", report)


def _potentials_of_draws(problem: LatentProblem, draws: int) -> Any:
    latent, p = problem.latent, problem.potentials
    keys = jax.random.split(problem.key, draws)
    return jax.jit(jax.vmap(lambda key: latent.pair(p, latent.sample(key, p))))(keys)
