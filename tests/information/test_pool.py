"""Rubin's rules against their formulas, and against what incomplete data tell directly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem.information import draw_parameters, observed, pool

VALUES, VARIANCES = [1.0, 1.2, 0.8, 1.1], [0.04, 0.05, 0.04, 0.03]


def rubin(values, variances, complete=np.inf):
    """The rules for one number, as they are printed: Rubin (1987, section 3.3), Barnard and Rubin (1999)."""
    m = len(values)
    within, between = np.mean(variances), np.var(values, ddof=1)
    total = within + (1 + 1 / m) * between
    r = (1 + 1 / m) * between / within
    share = (1 + 1 / m) * between / total
    freedom = (m - 1) * (1 + 1 / r) ** 2
    if np.isfinite(complete):
        seen = (complete + 1) / (complete + 3) * complete * (1 - share)
        freedom = freedom * seen / (freedom + seen)
    return np.mean(values), np.sqrt(total), r, freedom, (r + 2 / (freedom + 3)) / (r + 1)


@pytest.mark.parametrize("rows", [None, 50])
def test_a_number(rows):
    found = pool(VALUES, VARIANCES, num_rows=rows)
    mean, error, r, freedom, missing = rubin(VALUES, VARIANCES, np.inf if rows is None else rows - 1)
    answers = found.estimate, found.standard_errors, found.relative_increase, found.degrees_of_freedom
    np.testing.assert_allclose(answers, (mean, error, r, freedom), rtol=1e-12)
    np.testing.assert_allclose(found.missing_fraction, missing, rtol=1e-12)
    for level in (0.95, 0.5):
        half = stats.t.ppf((1 + level) / 2, freedom) * error
        np.testing.assert_allclose(found.interval(level)[:2], (mean - half, mean + half), rtol=1e-12)
    assert found.interval().lower == found.interval(0.95).lower
    assert repr(found) == "Pooled(4 imputations, 1 numbers)"


def test_a_tree_each_number_by_itself():
    rng = np.random.default_rng(0)
    trees = [{"a": rng.normal(size=2), "b": rng.normal()} for _ in range(5)]
    spread = [{"a": rng.random(2), "b": rng.random()} for _ in range(5)]
    found = pool(trees, spread)
    wanted = rubin([tree["a"][1] for tree in trees], [tree["a"][1] for tree in spread])
    got = [tree["a"][1] for tree in (found.estimate, found.standard_errors, found.relative_increase)]
    np.testing.assert_allclose(got, wanted[:3], rtol=1e-12)
    np.testing.assert_allclose(found.degrees_of_freedom["a"][1], wanted[3], rtol=1e-12)
    # As matrices they are the same.
    matrices = [np.diag([*tree["a"], tree["b"]]) for tree in spread]
    np.testing.assert_allclose(pool(trees, matrices).covariance, found.covariance, rtol=1e-12)


def test_estimates_that_agree_have_no_more_variance():
    found = pool([2.0, 2.0, 2.0], [0.25, 0.25, 0.25])
    assert (float(found.standard_errors), float(found.relative_increase), float(found.missing_fraction)) == (0.5, 0, 0)
    assert np.isinf(found.degrees_of_freedom)
    np.testing.assert_allclose(found.interval().upper, 2 + 0.5 * stats.norm.ppf(0.975), rtol=1e-9)
    np.testing.assert_allclose(found.wald(1.0).statistic, 4.0, rtol=1e-9)


def test_what_is_the_same_in_all_does_not_vary():
    """The mean of so many numbers, taken at once, is another one: 0.1 and a digit."""
    same = np.full(7, 0.1)
    assert same.mean() != 0.1
    found = jaxem.pool(same, np.zeros(7))
    assert found.estimate == 0.1
    assert found.standard_errors == 0


def test_a_test_of_one_number_is_that_of_its_t_statistic_in_large_samples():
    rng = np.random.default_rng(1)
    values = 1 + 0.1 * rng.normal(size=4000)
    found = pool(list(values), [0.04] * 4000)
    statistic = float(found.estimate / found.standard_errors)
    np.testing.assert_allclose(found.wald().p_value, 2 * stats.norm.sf(statistic), rtol=0.02)
    assert found.wald().degrees_of_freedom == 1


def incomplete(n=400):
    """Two correlated columns, of which the second is missing more often where the first is large."""
    rng = np.random.default_rng(3)
    x = rng.multivariate_normal([1.0, 2.0], [[1.0, 0.7], [0.7, 1.5]], n)
    x[rng.random(n) < 1 / (1 + np.exp(-(x[:, 0] - 1.2) * 1.5)), 1] = np.nan
    return jaxem.models.MultivariateNormal(missing=True), jnp.asarray(x)


@pytest.mark.slow
def test_proper_imputations_tell_what_the_incomplete_data_tell():
    """Estimates and errors are those of maximum likelihood on the incomplete data, up to simulation."""
    model, x = incomplete()
    params = jaxem.fit(model, x, key=jax.random.key(0), tol=1e-13, max_steps=5000).params
    info = observed(model, params, x)
    m = 60
    drawn = draw_parameters(info, jax.random.key(1), m)
    assert drawn.mean.shape == (m, 2)
    keys = jax.random.split(jax.random.key(2), m)
    filled = jnp.stack(
        [model.impute(jax.tree.map(lambda leaf: leaf[i], drawn), x, key=keys[i])[0] for i in range(m)]  # noqa: B023
    )
    fits = jaxem.fit_many(model, filled, key=jax.random.key(3), tol=1e-12)
    found = pool(fits, model=model, data=filled, num_rows=len(x))
    direct = info.standard_errors
    np.testing.assert_allclose(found.estimate.mean, params.mean, atol=0.25 * float(direct.mean[1]))
    np.testing.assert_allclose(found.standard_errors.mean, direct.mean, rtol=0.15)
    np.testing.assert_allclose(found.standard_errors.covariance, direct.covariance, rtol=0.25)
    # The first column has no gaps.
    np.testing.assert_allclose(found.missing_fraction.mean[0], 0, atol=0.01)
    np.testing.assert_allclose(found.missing_fraction.mean[1], info.missing_fraction.mean[1], atol=0.12)
    interval = found.interval()
    assert interval.scales == info.interval().scales
    assert np.all(np.diagonal(interval.lower.covariance) > 0)
    # By hand, of one number.
    each = [float(fit) for fit in fits.params.mean[:, 1]]
    errors = [
        observed(model, jax.tree.map(lambda leaf: leaf[i], fits.params), filled[i]).standard_errors.mean[1]  # noqa: B023
        for i in range(m)
    ]
    np.testing.assert_allclose(found.standard_errors.mean[1], rubin(each, np.square(errors))[1], rtol=1e-6)


def test_members_are_put_in_one_order():
    x = jnp.asarray(jaxem.datasets.old_faithful().data)
    model = jaxem.GaussianMixture(2, "diagonal")
    params = jaxem.fit(model, x, key=jax.random.key(0), restarts=2, tol=1e-12).params
    other = model.permuted(params, jnp.array([1, 0], jnp.int32))
    infos = [observed(model, one, x) for one in (params, other, params)]
    found = pool(infos, data=[x, x, x])
    for got, wanted in zip(jax.tree.leaves(found.estimate), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    np.testing.assert_allclose(found.between, 0, atol=1e-9)
    np.testing.assert_allclose(
        found.standard_errors.components.mean, infos[0].standard_errors.components.mean, rtol=1e-6
    )
    with pytest.raises(jaxem.DataError, match="come in any order"):
        pool(infos)
    # A function of the parameters that does not depend on the order needs none.
    gap = pool([info.delta(lambda p: jnp.abs(p.components.mean[1] - p.components.mean[0])) for info in infos])
    np.testing.assert_allclose(gap.between, 0, atol=1e-9)


def test_draws_have_the_covariance_of_the_information():
    model, x = jaxem.Single(jaxem.Gaussian("diagonal")), jnp.array([[1.0], [2.0], [4.0], [5.0]])
    params = jaxem.families.GaussianParams(jnp.array([3.0]), jnp.array([2.5]))
    info = observed(model, params, x)
    drawn = draw_parameters(info, jax.random.key(0), 40_000)
    np.testing.assert_allclose(np.std(drawn.mean), np.sqrt(2.5 / 4), rtol=0.02)
    np.testing.assert_allclose(np.std(np.log(drawn.covariance)), np.sqrt(2 / 4), rtol=0.02)
    robust = observed(model, params, x, method="sandwich")
    wide = draw_parameters(robust, jax.random.key(0), 40_000)
    np.testing.assert_allclose(np.std(wide.mean), float(robust.standard_errors.mean[0]), rtol=0.02)


def test_what_is_frozen_is_not_drawn():
    model = jaxem.Mixture(jaxem.Poisson(), 2, frozen=("weights",))
    x, w = jnp.arange(6.0)[:, None], jnp.array([9.0, 12, 8, 5, 4, 2])
    params = jaxem.fit(model, x, weights=w, key=jax.random.key(0), tol=1e-14, max_steps=20000).params
    info = observed(model, params, x, weights=w)
    drawn = draw_parameters(info, jax.random.key(0), 3)
    np.testing.assert_array_equal(drawn.weights, np.tile(params.weights, (3, 1)))


@pytest.mark.parametrize(
    ("words", "estimates", "given"),
    [
        ("at least 2", [1.0], {"covariances": [1.0]}),
        ("one for each estimate, got none", [1.0, 2.0], {}),
        ("one for each estimate, got 1", [1.0, 2.0], {"covariances": [1.0]}),
        (r"it must be \[2, 2\]", [np.ones(2), np.ones(2)], {"covariances": [np.ones(3), np.ones(3)]}),
        ("negative variance", [1.0, 2.0], {"covariances": [1.0, -1.0]}),
        ("level must be", [1.0, 2.0], {"covariances": [1.0, 1.0], "level": 2}),
        ("num_rows is 1", [1.0, 2.0], {"covariances": [1.0, 1.0], "num_rows": 1}),
        ("other shapes", [np.ones(2), np.ones(3)], {"covariances": [np.ones(2), np.ones(3)]}),
        ("estimates must be a list", {"a": 1.0}, {}),
        ("3 imputed data sets", [1.0, 2.0, 3.0], {"covariances": [1.0] * 3, "data": [1]}),
    ],
)
def test_wrong_arguments(words, estimates, given):
    with pytest.raises(jaxem.DataError, match=words):
        pool(estimates, **given)


def test_fits_need_their_model_and_data():
    model, x = jaxem.Single(jaxem.Poisson()), jnp.array([[1.0], [2.0], [4.0]])
    fit = jaxem.fit(model, x, key=jax.random.key(0))
    with pytest.raises(jaxem.DataError, match="pass their model"):
        pool([fit, fit])
    with pytest.raises(jaxem.DataError, match="one fit"):
        pool(fit, model=model, data=[x])
    info = observed(model, fit.params, x)
    with pytest.raises(jaxem.DataError, match="without their own"):
        pool([info, info], [1.0, 1.0])
    with pytest.raises(jaxem.DataError, match="all of one kind"):
        pool([info, 1.0])
    with pytest.raises(jaxem.DataError, match=r"information is 3"):
        draw_parameters(3, jax.random.key(0), 2)
