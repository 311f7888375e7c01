"""Laws of the map from parameters and rows to potentials, and of its transpose, the statistics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxem.testing._problem import Problem, Report, collect, coordinates, count, density, moments_of, surrogate, take


def kernels(problem: Problem, report: Report) -> None:
    """`bind`, `encode`, `decode`, `about`, `accurate` change neither the log density nor the parameters."""
    plain, other = None, None
    for name, (kernel, encoded) in problem.kernels().items():
        value, decoded = jax.jit(lambda p, x, kernel=kernel: (density(kernel, p, x), kernel.decode(p)))(
            encoded, problem.rows
        )
        if plain is None:
            plain, other = value, problem.params
            k, n = problem.share.shape
            report.require(value.shape == (k, n), f"the log density has shape {value.shape}, not {(k, n)}")
            report.require(
                value.dtype == problem.dtype,
                f"log densities are {value.dtype} where parameters and rows are {problem.dtype}",
                see="`log_base` and constants in `natural`, whose type must be that of the rows",
            )
            report.require(not np.isnan(value).any(), "the log density of a row is NaN", see="`potentials`, `log_base`")
            continue
        see = "`encode`, the frame and the Jacobian in `log_base`" if "about" not in name else "`about` and `natural`"
        report.agree(f"the log density {name} is another", value, plain, 1.0, see)
        report.agree(f"decode(encode(params)) {name} differs from params", decoded, other, see="`encode`")


def linearity(problem: Problem, report: Report) -> None:
    """Potentials are linear in natural parameters, and `prepare` and `coefficients` leave them alone."""
    for name, (kernel, params) in problem.kernels().items():
        away = problem.near(kernel, params, 12)

        def run(params, away, x, kernel=kernel):
            a, b = kernel.natural(params), kernel.natural(away)
            mix = jax.tree.map(lambda p, q: 0.7 * p - 0.4 * q, a, b)
            out = {"plain": kernel.potentials(a, x), "prepared": kernel.potentials(kernel.prepare(a), x)}
            if kernel.family.linear:
                separate = jax.tree.map(
                    lambda p, q: jnp.where(jnp.isfinite(p) & jnp.isfinite(q), 0.7 * p - 0.4 * q, -jnp.inf),
                    out["plain"],
                    kernel.potentials(b, x),
                )
                out["mixed"] = kernel.potentials(mix, x), separate
                out["mixed prepared"] = kernel.potentials(kernel.prepare(mix), x), separate
            if kernel.product_form:
                out["product"] = jnp.matmul(kernel.coefficients(a), kernel.statistics(x), precision="highest")
            return out

        out = jax.jit(run)(params, away, problem.rows)
        size = _size(out["plain"])
        see = "`prepare`, which must be linear"
        report.agree(f"prepare changes the potentials {name}", out["prepared"], out["plain"], size, see)
        if kernel.family.linear:
            see = "`potentials`: nothing may be added that has no coefficient; or set `linear = False`"
            found = out["mixed"]
            report.agree(f"potentials {name} are not linear in natural(params)", *found, scale=size, see=see)
            see = "`prepare`"
            found = out["mixed prepared"]
            report.agree(f"potentials of prepare(natural) {name} are not linear", *found, scale=size, see=see)
        if "product" in out:
            report.agree(
                f"coefficients @ statistics differs from the potentials {name}",
                out["product"],
                out["plain"],
                size,
                "`coefficients`, `statistics`, or let `product_form` be false",
            )


def constant(problem: Problem, report: Report) -> None:
    """`add_constant` raises every potential of a member by exactly that constant."""
    for name, (kernel, params) in problem.kernels().items():
        if kernel.latent is not None:
            continue
        natural = kernel.natural(params)
        step = jnp.arange(1, problem.share.shape[0] + 1, dtype=problem.dtype)
        taken = kernel.add_constant(natural, step)
        if taken is None:
            continue
        report.alike(f"add_constant {name}", taken, natural, "`add_constant`")
        plain = kernel.potentials(natural, problem.rows)
        for prepared in (False, True):
            moved = kernel.potentials(kernel.prepare(taken) if prepared else taken, problem.rows)
            expected = jnp.where(jnp.isfinite(plain), plain + step[:, None], plain)
            what = f"add_constant {name} adds another constant than it is given"
            report.agree(what, moved, expected, _size(plain), "the coefficient of 1 that it adds to")


def statistics(problem: Problem, report: Report) -> None:
    """Rows do not see each other; a weight is so many copies; statistics move from anchor to anchor."""
    n = problem.share.shape[1]
    half, copies = n // 2, np.arange(n) % 3
    index = np.repeat(np.arange(n), copies)
    for name, (kernel, params) in problem.kernels().items():
        source, target = (kernel.about(problem.near(kernel, params, seed)) for seed in (13, 14))

        def run(params, x, share, kernel=kernel, source=source, target=target):
            stats = lambda kernel, x, share: collect(kernel, params, x, share)  # noqa: E731
            times = jnp.asarray(copies, share.dtype)[None]
            out = {
                "alone": (density(kernel, params, take(x, slice(half))), density(kernel, params, x)[:, :half]),
                "halves": (
                    jax.tree.map(
                        jnp.add,
                        stats(kernel, take(x, slice(half)), share[:, :half]),
                        stats(kernel, take(x, slice(half, None)), share[:, half:]),
                    ),
                    stats(kernel, x, share),
                ),
                "copies": (stats(kernel, x, share * times), stats(kernel, take(x, index), share[:, index])),
            }
            if kernel.family.linear:
                out["moved"] = (target.translate(stats(source, x, share), source), stats(target, x, share))
            return out

        out = jax.jit(run)(params, problem.rows, problem.share)
        see = "`potentials` and `log_base`, which must treat each row alone"
        report.agree(f"the log density of a row {name} depends on the others", *out["alone"], scale=1.0, see=see)
        scale = float(n)
        report.agree(
            f"statistics of all rows {name} differ from the sum over two halves", *out["halves"], scale=scale, see=see
        )
        see = "`latent.scale` and `potentials`"
        report.agree(
            f"weights 0 and 2 {name} differ from dropping and repeating rows", *out["copies"], scale=scale, see=see
        )
        if "moved" in out:
            report.agree(
                f"translate {name} gives other statistics than those about the new anchor",
                *out["moved"],
                scale=max(scale, _size(out["moved"][1])),
                see="`translate` and `about`",
            )


def gradients(problem: Problem, report: Report) -> None:
    """Q and the log-likelihood have the same gradient; first and second derivatives are finite."""
    for name, (kernel, params) in problem.kernels().items():

        def run(params, x, share, kernel=kernel):
            here, at = coordinates(kernel, params)
            potentials = kernel.potentials(kernel.natural(params), x)

            def log_likelihood(u):
                value = jnp.sum(share * _guarded(density(kernel, at(u), x)))
                return value + kernel.log_prior(at(u)).astype(value.dtype)

            moments = jax.lax.stop_gradient(moments_of(kernel, potentials, share))
            if kernel.family.linear:
                stats = collect(kernel, params, x, share)
                q = lambda u: surrogate(kernel, stats)(at(u))  # noqa: E731
            else:

                def q(u):
                    own = kernel.potentials(kernel.natural(at(u)), x)
                    paired = share * _guarded(own) if kernel.latent is None else kernel.latent.pair(own, moments)
                    return jnp.sum(paired) + kernel.log_prior(at(u)).astype(share.dtype)

            slope = jax.grad(log_likelihood)
            bend = jax.jvp(slope, (here,), (jnp.ones_like(here),))[1]
            return jax.grad(q)(here), slope(here), bend

        of_q, of_value, bend = jax.jit(run)(params, problem.rows, problem.share)
        see = "`latent`, whose moments must be the gradient of its log-normalizer, and `potentials`"
        n = float(count(problem.rows))
        report.agree(
            f"Fisher's identity: the gradients of Q and of the log-likelihood {name} differ", of_q, of_value, n, see
        )
        see = "`jnp.where` with an argument that is not finite on the side that is not taken"
        report.finite(f"the gradient of the log-likelihood {name}", of_value, see)
        report.finite(f"the second derivative of the log-likelihood {name}", bend, see)


def _guarded(value):
    return jnp.where(jnp.isfinite(value), value, 0)


def _size(tree: Any) -> float:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return max((float(np.abs(leaf[np.isfinite(leaf)]).max(initial=0)) for leaf in leaves), default=0.0)
