from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem.families import AbstractFamily
from jaxem.testing import _coordinates, _density, _m_step, _map, _marginal, _posterior, _starts
from jaxem.testing._problem import Problem, Report, cast, density, known, take
from jaxem.testing.latent import latent_laws

FAMILY_LAWS: dict[str, Callable[..., None]] = {
    "kernels": _map.kernels,
    "linearity": _map.linearity,
    "constant": _map.constant,
    "statistics": _map.statistics,
    "gradients": _map.gradients,
    "coordinates": _coordinates.coordinates_law,
    "parameters": _coordinates.parameters,
    "precision": _coordinates.precision,
    "maximum": _m_step.maximum,
    "frozen": _m_step.frozen,
    "empty": _m_step.empty,
    "expanded": _m_step.expanded,
    "integral": _density.integral,
    "sampling": _density.sampling,
    "support": _density.support,
    "posterior": _posterior.posterior,
    "draws": _posterior.draws,
    "starts": _starts.starts,
    "answers": _starts.answers,
    "imputation": _starts.imputation,
    "marginal": _marginal.marginal,
}


def check_family(
    family: AbstractFamily,
    rows: PyTree,
    *,
    params: PyTree = None,
    support: tuple[PyTree, Any] | None = None,
    skip: Sequence[str] = (),
    key: PRNGKeyArray | None = None,
) -> None:
    """Raise one `AssertionError` that lists every law the family breaks: of which method, by how much, where to look.

    Each is asked on the family as it comes, bound to the rows, about an anchor, and on its `accurate` kernel.

    - `kernels`: `bind`, `encode`, `decode`, `about`, `accurate` leave the log density as it is.
    - `linearity`: potentials are linear in `natural(params)`; `prepare`, `coefficients` do not change them.
    - `constant`: `add_constant` adds the constant.
    - `statistics`: they are sums over rows; weight 0 drops a row, weight 2 repeats it; `translate` moves them.
    - `gradients`: Q and the log-likelihood have the same gradient (Fisher's identity); derivatives are finite.
    - `coordinates`: `constrain` undoes `unconstrain`; `blocks` have no derivatives of Q across.
    - `parameters`: coordinates less `redundant` are the rank of the derivatives of the log densities.
    - `precision`: log densities and estimates in float32 are those in float64 to 1e-3.
    - `maximum`: Q is stationary at `maximize`, and no lower than before or near by.
    - `frozen`: what `frozen` names stays, to the bit, and the others are the maximum given it.
    - `empty`: a member without weight keeps its parameters (with a prior: has finite ones).
    - `expanded`: `maximize_expanded` does not lower the likelihood.
    - `integral`: the density of each member sums or integrates to 1, to a percent.
    - `sampling`: `sample` draws from that density, rows like those of the data that `check_rows` takes.
    - `support`: `check_rows` takes no row without a density, and the density is minus infinity for those it refuses.
    - `posterior`: with a conjugate prior, its `posterior` maximises `<expected_natural, stats> - kl`, and `kl` is 0
      without rows.
    - `draws`: `draw` has the density of `log_prior` and likelihood, and `expected_natural` for a mean.
    - `starts`: `from_points`, `pool`, `refine`, `embed` keep shapes; rows of weight 0 have no say there, nor in `bind`.
    - `answers`: `degenerate`, `rounding_error`, `floats_per_row` give what the engine takes.
    - `imputation`: `impute` fills what is missing, and that alone.
    - `marginal`: the distributions of columns have tails and densities that belong together, and the draws of `sample`.
    - `latent`: what is hidden of a row passes `check_latent`.

    What a family lacks (a prior, `sample`, a closed-form M-step) is not asked about. `integral` and `sampling` know
    tables, dictionaries of tables, `Interval` (exact values) and `Responses` (given the covariates of two rows): small
    tables of whole numbers are summed over a grid, other columns over 32,768 quasi-random points from a heavy-tailed
    distribution about draws of `sample` and about the rows; columns of whole numbers alone count as discrete. Give
    `support` for others. Draws are compared by the means of some bounded functions, which shows errors of a tenth of a
    standard deviation.

    **Arguments:**

    - `family`: the family, not bound to data.
    - `rows`: a few dozen rows, in general position, in the precision of `params`.
    - `params`: of at least two members if the family has so many, in the interior of their domain; by default about
      the first rows.
    - `support`: `(rows, log_measure)`, points and the logarithm of the measure of each, over which the density of each
      member sums to 1.
    - `skip`: names of laws not to ask about.
    - `key`: for random points and draws; the same by default, so that what passes once passes again.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> from jaxem.testing import check_family
    >>> counts = jnp.array([[0.0], [1.0], [3.0], [0.0], [5.0], [3.0], [7.0], [2.0], [1.0], [4.0], [6.0], [2.0]])
    >>> check_family(jaxem.Poisson(), counts, params=jaxem.families.PoissonParams(jnp.array([[1.0], [4.0]])))
    """
    key = jax.random.key(0) if key is None else key
    rows = jax.tree.map(jnp.asarray, rows)
    if params is None:
        params = _about_first(family, rows, key)
    report = Report(type(family).__name__)
    known(skip, FAMILY_LAWS)
    family_laws(family, rows, jax.tree.map(jnp.asarray, params), support, key, report, skip)
    report.close()


def family_laws(
    family: AbstractFamily, rows: PyTree, params: PyTree, support: Any, key: Any, report: Report, skip: Sequence[str]
) -> None:
    """Ask all laws of a family."""
    leaves = jax.tree.leaves((params, rows))
    dtype = next((leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)), jnp.result_type(float))
    k, n = jax.eval_shape(lambda p, x: density(family, p, x), params, rows).shape
    share = np.random.default_rng(5).dirichlet(np.full(k, 1.5), size=n).T * np.random.default_rng(6).uniform(0.5, 2, n)
    report.run(FAMILY_LAWS, skip, Problem(family, params, rows, jnp.asarray(share, dtype), key, support))


def _latent(problem: Problem, report: Report) -> None:
    """The laws of `check_latent`, for what is hidden of a row under each member."""
    kernel, params = list(problem.kernels().values())[-1]
    if kernel.latent is None:
        return
    away = problem.near(kernel, params, 61)
    potentials = [kernel.potentials(kernel.natural(p), problem.rows) for p in (params, away)]
    other = potentials[1] if kernel.family.linear else None
    latent_laws(kernel.latent, potentials[0], other, problem.key, report)


def _about_first(family: AbstractFamily, rows: PyTree, key: PRNGKeyArray) -> PyTree:
    """Parameters of two members about the first rows."""
    n = jax.tree.leaves(rows)[0].shape[0]
    weights = jnp.ones(n, jax.tree.leaves(cast(rows, jnp.result_type(float)))[0].dtype)
    params = family.kernel().for_starts(key).from_points(take(rows, np.array([0, n // 2])), rows, weights)
    return Problem(family, params, rows, weights[None], key, None).near(family, params, 71)


FAMILY_LAWS["latent"] = _latent
