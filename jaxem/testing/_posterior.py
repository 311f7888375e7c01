"""Laws of a conjugate prior: posterior, expected natural parameters, divergence, draws and prior density agree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from jaxem.kernels.sums import inner
from jaxem.testing._problem import Problem, Report, collect, coordinates

_DRAWS = 1000


def posterior(problem: Problem, report: Report) -> None:
    """The posterior is the maximum of the evidence bound, on every kernel, and the prior itself without rows."""
    if problem.family.conjugate() is None:
        return
    for name, (kernel, params) in problem.kernels().items():

        def run(params, x, share, kernel=kernel):
            stats = collect(kernel, params, x, share)
            own = kernel.conjugate()
            found = own.posterior(stats)
            free = own.unconstrain(found)
            flat, unravel = ravel_pytree(free)

            def bound(u):
                q = own.constrain(unravel(u))
                return inner(own.expected_natural(q), stats) - own.kl(q)

            around = jax.vmap(
                lambda key: bound(flat + jnp.asarray(0.05, flat.dtype) * jax.random.normal(key, flat.shape, flat.dtype))
            )(jax.random.split(problem.key, 6))
            nothing = own.posterior(jax.tree.map(jnp.zeros_like, stats))
            return {
                "decoded": own.decode(found),
                "there and back": own.decode(own.constrain(free)),
                "coded": own.decode(own.encode(own.decode(found))),
                "slope": jax.grad(bound)(flat),
                "rise": jnp.max(around) - bound(flat),
                "bound": bound(flat) + jnp.sum(share * kernel.log_base(x)[None]) + _entropy(kernel, params, x, share),
                "kl": own.kl(found),
                "kl of prior": own.kl(nothing),
                "mean": own.mean(found),
            }

        out = jax.jit(run)(params, problem.rows, problem.share)
        first = report.memo.setdefault("posterior", out)
        tol, n = problem.tol, float(problem.share.shape[1])
        see = "`posterior`, `expected_natural`, `kl`"
        slope = np.abs(np.asarray(out["slope"])).max(initial=0)
        report.require(
            slope <= 10 * tol * n,
            f"the evidence bound is not stationary at posterior(stats) {name}",
            slope,
            10 * tol * n,
            see,
        )
        allowed = tol * (abs(float(out["bound"])) + 1)
        told = f"the evidence bound is higher near posterior(stats) {name} than there"
        report.require(out["rise"] <= allowed, told, out["rise"], allowed, see)
        least = -tol * (abs(float(out["kl"])) + 1)
        report.require(out["kl"] >= least, f"kl {name} is negative", -float(out["kl"]), -least, "`kl`")
        told = f"kl {name} of the posterior given nothing, which is the prior, is not 0"
        report.require(
            abs(out["kl of prior"]) <= 100 * tol, told, abs(out["kl of prior"]), 100 * tol, "`kl`, `posterior`"
        )
        for what in ("there and back", "coded"):
            see = "`unconstrain`, `constrain`, `encode`, `decode`"
            report.agree(f"the posterior {name}, {what}, is another", out[what], out["decoded"], see=see)
        report.agree(
            f"the posterior {name} is another than as it comes", out["decoded"], first["decoded"], tol=10 * tol
        )
        report.agree(
            f"the evidence bound {name} is another than as it comes", out["bound"], first["bound"], 1.0, tol=10 * tol
        )
        report.alike("mean", out["mean"], params, "`mean`")
        report.finite("mean", out["mean"], "`mean`")


def _entropy(kernel: Any, params: Any, x: Any, share: Array) -> Any:
    """That of what is hidden in the rows under each member: a density has another one in other coordinates."""
    if kernel.latent is None:
        return 0
    potentials = kernel.potentials(kernel.prepare(kernel.natural(params)), x)
    moments, log_normalizer = kernel.latent.expectation(potentials)
    return jnp.sum(share * log_normalizer) - inner(potentials, kernel.latent.scale(moments, share))


def draws(problem: Problem, report: Report) -> None:
    """Draws from the posterior have the density of prior times likelihood, and the expected natural parameters."""
    family, own = problem.family, problem.family.conjugate()
    if own is None:
        return

    def run(params, x, share):
        stats = collect(family, params, x, share)
        found = own.posterior(stats)
        keys = jax.random.split(jax.random.fold_in(problem.key, 51), _DRAWS)
        drawn = jax.vmap(lambda key: own.draw(key, found))(keys)
        natural = jax.vmap(family.natural)(drawn)
        step = jax.tree.map(lambda leaf: jnp.asarray(0.05, leaf.dtype) * leaf, stats)

        def evidence(stats):
            q = own.posterior(stats)
            return inner(own.expected_natural(q), stats) - own.kl(q)

        log_ratio = evidence(jax.tree.map(jnp.add, stats, step)) - evidence(stats)
        ratios = jnp.exp(jax.vmap(lambda eta: inner(eta, step))(natural) - log_ratio)

        def score(one):
            here, at = coordinates(family, one)

            def log_density(u):
                jacobian = jax.jacfwd(lambda u: ravel_pytree(at(u))[0])(u)
                volume = jnp.linalg.slogdet(jnp.matmul(jacobian.T, jacobian, precision="highest"))[1] / 2
                prior = family.log_prior(at(u)).astype(u.dtype)
                return inner(family.natural(at(u)), stats) + prior + volume

            return here, jax.grad(log_density)(here)

        return drawn, natural, own.expected_natural(found), ratios, *jax.vmap(score)(drawn)

    drawn, natural, expected, ratios, free, slopes = jax.jit(run)(problem.params, problem.rows, problem.share)
    report.alike("draw", jax.tree.map(lambda leaf: leaf[0], drawn), problem.params, "`draw`")
    see = "`draw` and `expected_natural`"
    for path, sample in jax.tree_util.tree_leaves_with_path(natural):
        mean = dict(jax.tree_util.tree_leaves_with_path(expected))[path]
        _no_bias(f"natural parameters{jax.tree_util.keystr(path)} of draws", sample, mean, see, report)
    see = "`draw`, `kl` and `expected_natural`"
    _no_bias("the ratio of evidences by draws from the posterior, over that of the bounds,", ratios, 1.0, see, report)
    see = "`log_prior`, `posterior` and `draw`"
    _no_bias("the slope of prior times likelihood at draws from the posterior", slopes, 0.0, see, report)
    centred = (free - free.mean(0, keepdims=True)) * slopes
    _no_bias("coordinates of draws times that slope", centred, -1.0, see, report)


def _no_bias(what: str, sample: Any, mean: Any, see: str, report: Report) -> None:
    sample, mean = np.asarray(sample, float), np.asarray(mean, float)
    error = sample.std(0) / np.sqrt(len(sample))
    allowed = 5.5 * error + 1e-5 * (1 + np.abs(mean))
    gap = np.abs(sample.mean(0) - mean)
    worst = np.unravel_index(np.argmax(gap / allowed), gap.shape) if gap.ndim else ()
    told = f"{what} have another mean than they should"
    report.require((gap <= allowed).all(), told, gap[worst], float(allowed[worst]), see)
