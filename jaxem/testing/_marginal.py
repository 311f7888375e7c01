"""The law of `marginal`: the distribution of a column has tails, a density and draws that belong together."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families.responses import Responses
from jaxem.families.univariate import Stacked
from jaxem.testing._problem import Problem, Report, density

_DRAWS = 4096
_VALUES = 8


def marginal(problem: Problem, report: Report) -> None:
    """`marginal`, where there is one, names the distribution of each column."""
    family: Any = problem.family
    if not hasattr(family, "marginal"):
        return
    for column in _columns(problem):
        try:
            found = family.marginal(problem.params, column, problem.rows)
        except (DataError, MissingCapabilityError):
            return  # of an observation with several responses, or of a family whose parts have none
        values = found.values
        known = np.flatnonzero(np.asarray(values.lower == values.upper))[:_VALUES]
        if not len(known):
            continue
        _tails(problem, found.distribution, values.lower, known, column, report)
        _draws(problem, found.distribution, column, report)
        _own(problem, found.distribution, values.lower, known, column, report)


def _columns(problem: Problem) -> list[Any]:
    rows = problem.rows
    if isinstance(rows, Responses):
        return [0]
    if isinstance(rows, dict):
        return list(rows)
    first = jax.tree.leaves(rows)[0]
    return list(range(min(first.shape[1], 3))) if first.ndim == 2 else [0]


def _tails(problem: Problem, law: Any, x: Any, known: np.ndarray, column: Any, report: Report) -> None:
    """Both tails add up to 1, and the lower one rises as the density says."""
    x = jnp.where(jnp.isnan(x), 1, x)
    below, above = (jnp.exp(tail) for tail in law.log_tails(x))
    total = (below + above)[:, known]
    report.agree(f"both tails of column {column} do not add up to 1", total, jnp.ones_like(total))
    value = jnp.exp(law.log_density(x))
    kinds = law.parts if isinstance(law, Stacked) else (law,)
    if all(part.discrete for part in kinds):
        rise = below - jnp.exp(law.log_tails_below(x)[0])
    elif any(part.discrete for part in kinds):
        return
    else:
        rise = jax.jvp(lambda x: jnp.exp(law.log_tails(x)[0]), (x,), (jnp.ones_like(x),))[1]
    told = f"the rise of the tail of column {column} differs from the density"
    see = "`marginal`: `log_density` and `log_tails` of its distribution"
    report.agree(told, rise[:, known], value[:, known], see=see, tol=10 * problem.tol)


def _draws(problem: Problem, law: Any, column: Any, report: Report) -> None:
    """Probabilities below draws of each member have mean 1/2; those of a jump count half."""
    family: Any = problem.family
    k = problem.share.shape[0]
    for member in range(k):
        try:
            rows = family.sample(problem.key, problem.params, jnp.full(_DRAWS, member, jnp.int32))
        except MissingCapabilityError:
            return
        found = family.marginal(problem.params, column, rows)
        x = found.values.lower
        x = jnp.where(jnp.isnan(x), 1, x)
        at, upto = (
            jnp.exp(tails[0])[member]
            for tails in (found.distribution.log_tails_below(x), found.distribution.log_tails(x))
        )
        off = abs(float(jnp.mean(at + upto)) / 2 - 0.5)
        told = f"column {column} of draws of member {member} lies elsewhere than its distribution"
        report.require(off <= 0.025, told, off, 0.025, "`marginal` and `sample`")


def _own(problem: Problem, law: Any, x: Any, known: np.ndarray, column: Any, report: Report) -> None:
    """Of rows of a single number the density is that of the family."""
    rows = problem.rows
    numbers = jax.tree.leaves(rows.y if isinstance(rows, Responses) else rows)
    if isinstance(rows, dict) or any(leaf.ndim > 1 and leaf.shape[1] > 1 for leaf in numbers):
        return
    wanted = density(problem.family, problem.params, rows)
    told = "the log density of the distribution of the column is not that of the row"
    report.agree(told, law.log_density(x)[:, known], wanted[:, known], 1.0, "`marginal`", tol=10 * problem.tol)
