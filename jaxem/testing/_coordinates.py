"""Laws of the coordinates of a family, the number of its parameters, and its precision."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxem._errors import MissingCapabilityError
from jaxem._precision import precision_of
from jaxem.testing._m_step import has_m_step
from jaxem.testing._problem import Problem, Report, cast, collect, coordinates, named, scored, surrogate


def coordinates_law(problem: Problem, report: Report) -> None:
    """`constrain` undoes `unconstrain`, from the parameters and from other points; shapes and names are as declared."""
    k = problem.share.shape[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(problem.params):
        shared = named(path, problem.family.shared)
        lone = shared or leaf.shape[:1] in ((k,), (1,))
        what = f"params{jax.tree_util.keystr(path)} has shape {leaf.shape}, without the leading axis of {k} members"
        report.require(lone, what, see="`shared`, which names parameters that members have in common")
    if not jax.tree.leaves(problem.params):
        return
    for name, (kernel, params) in problem.kernels().items():

        def run(params, kernel=kernel):
            free = kernel.family.unconstrain(params)
            flat, unravel = ravel_pytree(free)
            away = kernel.family.constrain(
                unravel(flat + jnp.asarray(0.3, flat.dtype) * jnp.cos(jnp.arange(flat.size, dtype=flat.dtype)))
            )
            return free, kernel.family.constrain(free), away, kernel.family.constrain(kernel.family.unconstrain(away))

        free, again, away, back = jax.jit(run)(params)
        see = "`constrain`, `unconstrain`"
        report.agree(f"constrain(unconstrain(params)) {name} differs from params", again, params, see=see)
        report.alike(f"constrain(free) {name}", away, params, see)
        report.agree(f"constrain, unconstrain, constrain {name} differs from one", back, away, see=see)
        arrays, undo = kernel.blocks(free)
        report.require(all(a.ndim == 2 for a in arrays), f"blocks {name} are not matrices", see="`blocks`")
        report.agree(f"undoing blocks {name} changes the coordinates", undo(arrays), free, see="`blocks`")
    _separate(problem, report)


def _separate(problem: Problem, report: Report) -> None:
    """Coordinates in different blocks have no second derivative of Q together."""
    if not problem.family.linear:
        return
    kernel, params = list(problem.kernels().values())[-1]
    free = kernel.family.unconstrain(params)
    arrays, undo = kernel.blocks(free)
    flat, unravel = ravel_pytree(arrays)
    if flat.size == 0:
        return
    owner = np.concatenate([np.repeat(np.arange(len(a)), a.shape[1]) + 1000 * i for i, a in enumerate(arrays)])

    def run(params, x, share):
        q = surrogate(kernel, collect(kernel, params, x, share))
        return jax.hessian(lambda u: q(kernel.family.constrain(undo(unravel(u)))))(flat)

    hessian = np.asarray(jax.jit(run)(params, problem.rows, problem.share))
    across = np.abs(np.where(owner[:, None] == owner[None], 0, hessian)).max(initial=0)
    allowed = problem.tol * max(np.abs(hessian).max(), 1)
    report.require(
        across <= allowed,
        "the Hessian of Q has entries between blocks",
        across,
        allowed,
        "`blocks`, or `shared` and `coupled` if members have parameters in common",
    )


def parameters(problem: Problem, report: Report) -> None:
    """Coordinates less `redundant` directions are as many as the likelihood can tell apart.

    The rank of the derivatives of the log densities of many draws; or of the rows, where the family draws none.
    """
    family = problem.family
    dims = ravel_pytree(family.unconstrain(problem.params))[0].size - family.redundant(problem.params)
    k = problem.share.shape[0]
    try:
        labels = jnp.tile(jnp.arange(k, dtype=jnp.int32), 6 * math.ceil(dims / k) + 10)
        rows = family.sample(jax.random.fold_in(problem.key, 31), problem.params, labels)
    except MissingCapabilityError:
        rows = problem.rows
    with precision_of("float64"):
        own = problem.cast(jnp.float64)
        rows = cast(rows, jnp.float64)
        here, at = coordinates(own.family, own.params)
        if here.size == 0:
            return
        slopes = np.asarray(jax.jit(jax.jacfwd(lambda u: scored(own.family, at(u), rows).reshape(-1)))(here))
    rank, silent = rank_of(slopes)
    told = f"the likelihood tells {rank} directions apart, but the coordinates less `redundant` are {dims}"
    told += f" ({silent} of them have no effect)" * (silent > 0)
    report.require(rank == dims, told, see="`unconstrain` (a coordinate too many?) and `redundant`")


def rank_of(slopes: np.ndarray) -> tuple[int, int]:
    """The rank of derivatives `[rows, coordinates]`, and how many coordinates have none."""
    slopes = slopes[np.isfinite(slopes).all(1)]
    size = np.sqrt((slopes**2).sum(0))
    return int(np.linalg.matrix_rank(slopes / np.where(size > 0, size, 1), tol=1e-7)), int((size == 0).sum())


def precision(problem: Problem, report: Report) -> None:
    """Single precision agrees with double to 1e-3: log densities of fitted models, and the M-step."""
    closed = has_m_step(problem, report)

    def run(problem):
        bound = problem.family.bind(problem.rows, problem.weights, lambda tree: tree)
        encoded = bound.encode(problem.params)
        out = {"log densities": scored(bound, encoded, problem.rows)}
        if closed:
            kernel = (bound.accurate() or bound).about(encoded)
            stats = collect(kernel, encoded, problem.rows, problem.share)
            out["estimates"] = bound.decode(kernel.maximize(stats, encoded))
        return out

    single = problem.cast(jnp.float32)
    with precision_of("float32"):
        coarse = jax.tree.map(np.asarray, jax.jit(lambda: run(single))())
    with precision_of("float64"):
        double = single.cast(jnp.float64)
        fine = jax.tree.map(np.asarray, jax.jit(lambda: run(double))())
    see = "constants of another type, differences of large numbers, and `bind`"
    report.agree(
        "log densities in float32 differ from float64",
        coarse["log densities"],
        fine["log densities"],
        1.0,
        see,
        tol=1e-3,
    )
    if closed:
        report.agree(
            "estimates in float32 differ from float64", coarse["estimates"], fine["estimates"], see=see, tol=1e-3
        )
    for leaf in jax.tree.leaves(coarse):
        report.require(leaf.dtype == np.float32, f"float32 parameters and rows give {leaf.dtype}", see=see)
