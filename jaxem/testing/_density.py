"""Laws of the density: it integrates to one, `sample` draws from it, and `check` knows where it is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.testing._layout import Layout, layouts
from jaxem.testing._problem import Problem, Report, density, joined
from jaxem.testing._quadrature import Points, points

DRAWS = 4096
_SEE = "`log_base`, and the constants in `natural`; if the rows are right in another measure, pass `support`"


class Sums(NamedTuple):
    """Points, what each holds of the density `[r, m]`, and draws of the same member, `[s, q]`, if there are any."""

    points: Points
    held: np.ndarray
    draws: np.ndarray | None


def integral(problem: Problem, report: Report) -> None:
    """The density of each member sums or integrates to one."""
    if problem.support is not None:
        rows, log_measure = problem.support
        value = np.asarray(jax.jit(lambda x: density(problem.family, problem.params, x))(rows), float)
        for j, total in enumerate(np.exp(value + np.asarray(log_measure, float)).sum(1)):
            told = f"the density of member {j} sums to {total:.6g} over `support`, not to 1"
            report.require(abs(total - 1) <= 0.01, told, abs(total - 1), 0.01, "`log_base` and `natural`")
        return
    for what, sums in _sums(problem, report):
        judge_integral(f"the density of {what}", sums, problem.dtype, report)


def sampling(problem: Problem, report: Report) -> None:
    """`sample` draws rows like the data, the same for the same key, distributed as the density says."""
    family, k = problem.family, problem.share.shape[0]
    labels = jnp.arange(7, dtype=jnp.int32) % k
    try:
        drawn = family.sample(problem.key, problem.params, labels)
    except MissingCapabilityError:
        return
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((7, *leaf.shape[1:]), leaf.dtype), problem.rows)
    if jax.tree.structure(drawn) == jax.tree.structure(shapes):
        # Rows may come as vectors of a single column, of which `sample` does not know.
        shapes = jax.tree.map(
            lambda leaf, found: found if found.shape == (*leaf.shape, 1) and found.dtype == leaf.dtype else leaf,
            shapes,
            drawn,
        )
    report.alike("what sample draws", drawn, shapes, "`sample`, whose rows must be like those of the data")
    again = family.sample(problem.key, problem.params, labels)
    report.agree(
        "sample draws other rows from the same key", again, drawn, see="`sample`: no randomness but `key`", tol=0.0
    )
    try:
        family.check_rows(jax.tree.map(np.asarray, drawn))
    except DataError as error:
        report.fail(f"check_rows refuses what sample draws: {error}")
    value = density(family, problem.params, drawn)[labels, jnp.arange(7)]
    report.require(np.isfinite(value).all(), "sample draws rows that its own member holds impossible", see="`sample`")
    for what, sums in _sums(problem, report):
        judge_sampling(f"sample of {what}", sums, report)


def support(problem: Problem, report: Report) -> None:
    """Rows that `check_rows` takes have a density under some member; those that have none it refuses."""
    family = problem.family
    try:
        family.check_rows(jax.tree.map(np.asarray, problem.rows))
    except DataError as error:
        report.fail(f"check_rows refuses the rows that were given: {error}")
        return
    for layout in layouts(problem.rows, 1)[:1]:
        numbers = layout.read(problem.rows)
        numbers = numbers[np.isfinite(numbers).all(1)][:1]
        for j in range(numbers.shape[1] if len(numbers) else 0):
            for bad in (np.nan, np.inf, -np.inf, -1.0, numbers[0, j] + 0.5, numbers[0, j] + 1, 0.0):
                other = numbers.copy()
                other[0, j] = bad
                _judge_row(problem, layout, other, report)


def _judge_row(problem: Problem, layout: Layout, numbers: np.ndarray, report: Report) -> None:
    row = layout.write(numbers)
    try:
        problem.family.check_rows(jax.tree.map(np.asarray, joined(problem.rows, row)))
        taken = True
    except DataError:
        taken = False
    value = np.asarray(density(problem.family, problem.params, row))[:, 0]
    told = f"the row {numbers[0].tolist()}"
    if taken:
        report.require(
            np.isfinite(value).any() and not np.isnan(value).any(),
            f"check_rows takes {told}, whose log density is {value.tolist()}",
            see="`check_rows`, or the density",
        )
    elif np.isfinite(numbers).all():
        report.require(
            not np.isfinite(value).any(),
            f"check_rows refuses {told}, whose log density is {value.tolist()} and not minus infinity",
            see="`log_base`, which must be minus infinity off the support",
        )


def _sums(problem: Problem, report: Report) -> list[tuple[str, Sums]]:
    """For every member (and some covariates), its density at points that span it, and draws."""
    if "sums" not in report.memo:
        report.memo["sums"] = _summed(problem, report)
    return report.memo["sums"]


def _summed(problem: Problem, report: Report) -> list[tuple[str, Sums]]:
    family, found, k = problem.family, [], problem.share.shape[0]
    labels = jnp.arange(k * DRAWS, dtype=jnp.int32) % k
    compiled = jax.jit(lambda params, x: density(family, params, x))
    for number, layout in enumerate(layouts(problem.rows)):
        try:
            drawn = jax.jit(lambda key, p: family.sample(key, p, labels))(
                jax.random.fold_in(problem.key, 41), problem.params
            )
        except MissingCapabilityError:
            drawn = None
        for j in range(k):
            rows = layout.read(problem.rows)
            rows = rows[np.isfinite(rows).all(1)]
            own = rows if drawn is None else layout.read(drawn)[j::k]
            own = own[np.isfinite(own).all(1)]
            if len(own) < 4:
                report.fail("fewer than four rows are complete: nothing tells where the density is")
                continue
            at = points(own, rows if len(rows) > 3 else own, 1000 * number + j)
            flat = layout.write(at.values.reshape(-1, own.shape[1]))
            value = compiled(problem.params, flat)[j]
            held = np.asarray(value, float).reshape(at.log_measure.shape) + at.log_measure
            where = f"member {j}" + f" given the covariates of one row ({number})" * (len(layouts(problem.rows)) > 1)
            found.append(
                (where, Sums(at, np.exp(np.where(np.isnan(held), -np.inf, held)), None if drawn is None else own))
            )
    return found


def judge_integral(what: str, sums: Sums, dtype: Any, report: Report) -> None:
    """Note a failure if the sum over the points is not 1, or cannot be told."""
    each = sums.held.sum(1)
    total, error = each.mean(), each.std() / np.sqrt(max(len(each) - 1, 1))
    allowed = 6 * error + (0.003 if sums.points.exact or dtype == np.float64 else 0.01)
    if not np.isfinite(total) or allowed > 0.25 * max(total, 1):
        report.fail(f"{what} could not be integrated ({total:.3g} +- {error:.2g}); pass `support` or skip this law")
        return
    told = f"{what} integrates to {total:.6g}, not to 1"
    report.require(abs(total - 1) <= allowed, told, abs(total - 1), allowed, _SEE)


def judge_sampling(what: str, sums: Sums, report: Report) -> None:
    """Note a failure if smooth functions of a row have other means under the draws than under the density."""
    if sums.draws is None or not sums.held.sum() > 0:
        return
    centre = np.median(sums.draws, 0)
    width = np.subtract(*np.quantile(sums.draws, (0.9, 0.1), 0))
    width = np.where(width > 0, width, 1) / 2
    rng, q = np.random.default_rng(0), sums.draws.shape[1]
    single = np.concatenate([np.eye(q) * f for f in (0.7, 1.5, 3.0)])
    directions = np.concatenate([single, rng.standard_normal((12, q))]) / width

    def features(x):
        with np.errstate(over="ignore", invalid="ignore"):
            angle = np.nan_to_num((x - centre) @ directions.T)
        return np.concatenate([np.cos(angle), np.sin(angle)], -1)

    drawn = features(sums.draws)
    held = sums.held / sums.held.sum(1, keepdims=True)
    expected = np.einsum("rm,rmf->rf", held, features(sums.points.values))
    error = np.sqrt(drawn.var(0) / len(drawn) + 4 * expected.var(0) / max(len(expected) - 1, 1)) + 1e-9
    gap = np.abs(drawn.mean(0) - expected.mean(0))
    if not (error < 0.1).all():
        report.fail(f"{what}: the means under the density could not be told; skip this law")
        return
    worst = int(np.argmax(gap / error))
    told = f"{what} does not draw from the density: the mean of a bounded function of a row differs"
    report.require((gap <= 5 * error).all(), told, gap[worst], 5 * error[worst], "`sample`, or the density")
