"""Laws of what a family gives the starts, and of small answers that the engine asks for."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxem.testing._problem import Problem, Report, density, take


def starts(problem: Problem, report: Report) -> None:
    """`from_points`, `pool`, `refine`, `embed` keep shapes, and rows of weight 0 have no say in them or in `bind`."""
    k, n = problem.share.shape
    which = np.arange(k) * (n // k)
    kept = np.arange(n) % 3 != 1
    kept[which] = True
    weights = problem.weights
    zeroed = jnp.where(jnp.asarray(kept), weights, 0)

    made = jax.eval_shape(lambda: problem.family.from_points(take(problem.rows, which), problem.rows, weights))
    before = len(report.failures)
    report.alike("from_points", made, problem.params, "`from_points`")
    if len(report.failures) > before:
        return

    def run(x, w, points):
        family = problem.family.bind(x, w, lambda tree: tree)
        pooled = family.from_points(points, x, w)
        out = {
            "from_points": pooled,
            "pool": family.pool(pooled, pooled, jnp.arange(k, dtype=w.dtype)),
            "encode": family.encode(problem.params),
        }
        inside = density(family, pooled, x)
        return (
            out,
            inside,
            family.embed(x, w),
            family.decode(pooled),
            family.refine(pooled, x, jnp.broadcast_to(w, (k, *w.shape))),
        )

    x, points = problem.rows, take(problem.rows, which)
    out, inside, embedded, decoded, refined = jax.jit(run)(x, weights, points)
    report.alike("pool", out["pool"], problem.params, "`pool`")
    for name in ("from_points", "pool"):
        report.finite(name, out[name], f"`{name}`")
    report.alike("refine", refined, problem.params, "`refine`")
    report.finite("decode(from_points)", decoded)
    report.require(
        not np.isnan(inside).any() and np.isfinite(inside).any(0).all(),
        "the start of from_points holds some rows of the data impossible",
        see="`from_points`, which must spread each member over all of the data",
    )
    report.require(
        embedded.ndim == 2 and embedded.shape[0] == n, f"embed has shape {embedded.shape}, not [{n}, q]", see="`embed`"
    )
    report.finite("embed", embedded, "`embed`")
    index = np.flatnonzero(kept)
    gone, short = jax.jit(run)(x, zeroed, points), jax.jit(run)(take(x, index), weights[index], points)
    for name in out:
        told = {"encode": "bind"}.get(name, name)
        what = f"{told} sees rows of weight 0"
        report.agree(
            what, gone[0][name], short[0][name], see=f"`{told}`, where every row must be weighted", tol=10 * problem.tol
        )


def answers(problem: Problem, report: Report) -> None:
    """`degenerate`, `rounding_error`, `floats_per_row` are of the kinds that the engine takes."""
    for name, (kernel, params) in problem.kernels().items():
        at_fault, error = jax.jit(lambda p, kernel=kernel: (kernel.degenerate(p), kernel.rounding_error(p)))(params)
        report.require(at_fault.shape == () and at_fault.dtype == bool, f"degenerate {name} is no single boolean")
        report.require(error.shape == () and bool(error >= 0), f"rounding_error {name} is no single number from 0 on")
        floats = kernel.floats_per_row(params)
        report.require(
            len(floats) == 2 and all(isinstance(v, int | np.integer) and v >= 0 for v in floats),
            f"floats_per_row {name} gives {floats}, not two whole numbers",
        )


def imputation(problem: Problem, report: Report) -> None:
    """`impute` leaves entries that are there, and nothing missing."""
    family = problem.family
    if not family.kernel().imputes:
        return
    for key in (None, problem.key):
        try:
            filled = family.kernel().impute(problem.params, problem.rows, key)
        except TypeError:  # no means, as of categories
            continue
        for new, old in zip(jax.tree.leaves(filled), jax.tree.leaves(problem.rows), strict=True):
            k = problem.share.shape[0]
            report.require(new.shape == (k, *old.shape), f"impute has shape {new.shape}, not {(k, *old.shape)}")
            there = ~np.isnan(np.asarray(old))
            same = (np.asarray(new) == np.asarray(old)[None]) | ~there[None]
            report.require(same.all(), "impute changes entries that are there", see="`impute`")
        report.finite("impute", filled, "`impute`")
