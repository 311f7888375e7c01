"""Printed standard errors of hidden Markov models."""

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats
from jax.scipy.special import logsumexp

import jaxem
from tests.helpers.published_errors import Table, fit, rows

STATA = "Stata 14, [TS] mswitch, as `statsmodels` 0.15 has it in tests/test_markov_regression.py"
BACRI = "Bacri, Berentsen, Bulla and Hoelleland (2022), supplement to their tutorial on `TMB`, section 6"

# Movements of a foetal lamb in 240 spells of five seconds; Leroux and Puterman (1992).
LAMB = (
    "000001010000001010000220000100110011100100000000000000000020100000000000000000100000732324000010000000102000010000"
    "100000000000000100000210010001011000100100012000101101002012112101100110001110400200000000000000000000000000000000"
    "000000000000"
)
# How loud a patient found his tinnitus on 87 days; Bacri et al. (2022).
TINNITUS = "653643566646646666646567655576565666567767666657616021676665566250111231313011141412220"


# Hidden Markov models of one sequence, in two states, which begins in the stationary distribution


def chain(theta, log_density):
    """The log-likelihood with `theta[0] = P(1 -> 2)`, `theta[1] = P(2 -> 1)`; `log_density` is `[T, 2]`."""
    leave = theta[:2]
    moves = jnp.log(jnp.stack([jnp.stack([1 - leave[0], leave[0]]), jnp.stack([leave[1], 1 - leave[1]])]))

    def step(alpha, local):
        return logsumexp(alpha[:, None] + moves, axis=0) + local, None

    first = jnp.log(leave[::-1] / jnp.sum(leave)) + log_density[0]
    return logsumexp(jax.lax.scan(step, first, log_density[1:])[0])


def leaving(p):
    return jnp.stack([p.transition[0, 1], p.transition[1, 0]])


def loudness(text):
    return np.array([float(c) for c in text])


def states(text, rates):
    start = jaxem.models.HMMParams(
        jnp.full(2, 0.5), jnp.array([[0.9, 0.1], [0.1, 0.9]]), jaxem.families.PoissonParams(jnp.array(rates)[:, None])
    )
    model = jaxem.HMM(jaxem.Poisson(), 2, "stationary")
    return fit(model, loudness(text)[None, :, None], init=start, tol=1e-15)


def counts_in_states(text, rates):
    y = loudness(text)

    def quantities(theta):
        leave = theta[:2]
        stay, share = 1 - leave, leave[::-1] / jnp.sum(leave)
        return jnp.stack([theta[2], theta[3], stay[0], leave[1], leave[0], stay[1], share[0], share[1]])

    return {
        "model": "Poisson HMM, 2 states, stationary",
        "source": BACRI,
        "fitted": lambda: states(text, rates),
        "theta": lambda p: jnp.concatenate([leaving(p), p.emission.rate[:, 0]]),
        "log_likelihood": lambda theta: chain(theta, stats.poisson.logpmf(y[:, None], theta[2:])),
        "quantities": quantities,
    }


@lru_cache
def series(name: str) -> Any:
    """A series of Stata's manual that the tests of `statsmodels` have; these are read, for their marks are others."""
    spec = importlib.util.find_spec("statsmodels.tsa.regime_switching.tests.test_markov_regression")
    assert spec is not None
    assert spec.origin is not None
    for line in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == name:
            return np.asarray(ast.literal_eval(line.value), float)
    raise LookupError(name)


def funds():
    return series("fedfunds")


def funds_fitted():
    start = jaxem.models.HMMParams(
        jnp.full(2, 0.5),
        jnp.array([[0.95, 0.05], [0.05, 0.95]]),
        jaxem.families.GaussianParams(jnp.array([[3.0], [9.0]]), jnp.array([[4.0]])),
    )
    return fit(jaxem.HMM(jaxem.Gaussian("tied"), 2, "stationary"), funds()[None, :, None], init=start, tol=1e-14)


def returns():
    y = series("areturns")
    return jaxem.Responses(np.stack([np.ones(len(y) - 1), y[:-1]], 1), y[1:])


def returns_fitted():
    start = jaxem.models.HMMParams(
        jnp.full(2, 0.5),
        jnp.array([[0.8, 0.2], [0.3, 0.7]]),
        jaxem.families.RegressionParams(jnp.array([[0.8, 0.1], [2.0, 0.5]]), jnp.array([0.4, 2.5])),
    )
    data = jax.tree.map(lambda a: a[None], returns())
    return fit(jaxem.HMM(jaxem.LinearRegression(), 2, "stationary"), data, init=start, tol=1e-14)


def returns_log_likelihood(theta):
    x, y, _ = returns()
    b, scale = theta[2:6].reshape(2, 2), jnp.exp(theta[6:])
    return chain(theta, stats.norm.logpdf(y[:, None], x @ b.T, scale))


TABLES = (
    Table(
        "tinnitus",
        rows=rows("""
            rate1 1.63641100 0.27758296
            rate2 5.53309576 0.31876147
            stay1 0.94980209 0.04374676
            2->1 0.02592204 0.02088688
            1->2 0.05019791 0.04374676
            stay2 0.97407796 0.02088688
            stationary1 0.34054200 0.23056437
            stationary2 0.65945800 0.23056437
        """),
        slack=100.0,  # of eight digits, here and below
        **counts_in_states(TINNITUS, [1.6, 5.5]),
    ),
    Table(
        "foetal lamb",
        rows=rows("""
            rate1 0.25636541 0.04016445
            rate2 3.11475432 1.02131182
            stay1 0.98872128 0.01063571
            2->1 0.31033853 0.18468648
            1->2 0.01127872 0.01063571
            stay2 0.68966147 0.18468648
            stationary1 0.96493123 0.03181445
            stationary2 0.03506877 0.03181445
        """),
        slack=100.0,
        **counts_in_states(LAMB, [0.25, 3.1]),
    ),
    Table(
        "federal funds rate",
        "Gaussian HMM, 2 states, one variance, stationary",
        STATA,
        rows=rows("""
            stay1 0.9820939 0.0104002
            2->1 0.0503587 0.0268434
            mean1 3.70877 0.1767083
            mean2 9.556793 0.2999889
        """),
        slack=1.1,  # of seven digits, here and below
        fitted=funds_fitted,
        theta=lambda p: jnp.concatenate([leaving(p), p.emission.mean[:, 0], jnp.log(p.emission.covariance[0]) / 2]),
        quantities=lambda theta: jnp.stack([1 - theta[0], *theta[1:4]]),
        log_likelihood=lambda theta: chain(theta, stats.norm.logpdf(funds()[:, None], theta[2:4], jnp.exp(theta[4]))),
    ),
    Table(
        "returns",
        "Markov switching autoregression, 2 states, stationary",
        STATA,
        rows=rows("""
            stay1 0.7530865 0.0634387
            2->1 0.6825357 0.0662574
            intercept1 0.7641424 0.0782852
            intercept2 1.972771 0.2784204
            lag1 0.0790744 0.0301862
            lag2 0.527953 0.0857841
        """),
        slack=1.1,
        fitted=returns_fitted,
        theta=lambda p: jnp.concatenate(
            [leaving(p), p.emission.coefficients.reshape(-1), jnp.log(p.emission.variance) / 2]
        ),
        quantities=lambda theta: jnp.stack([1 - theta[0], theta[1], theta[2], theta[4], theta[3], theta[5]]),
        log_likelihood=returns_log_likelihood,
    ),
)
