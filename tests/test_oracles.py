"""The oracles against closed forms, each other and published figures: the rest of the suite rests on them."""

import numpy as np
import pytest
from scipy import optimize

from tests.helpers import direct, oracles, problems, published
from tests.helpers.oracles import NIW, Bernoulli, Categorical, Gaussian, Mixture, Product

MIXTURES = {
    **{kind: lambda kind=kind: problems.overlapping_gaussians(kind) for kind in problems.COVARIANCES},
    "poisson": problems.poisson_counts,
    "bernoulli": problems.bernoulli_bits,
    "categorical": problems.categorical_answers,
    "product": problems.mixed_columns,
    "weighted": problems.london_times,
}


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for name in sorted(tree) for leaf in leaves(tree[name])]
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple) else [np.asarray(tree)]


def assert_close(a, b, rtol=1e-9, atol=1e-12):
    for left, right in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol)


@pytest.fixture(params=MIXTURES)
def problem(request):
    return MIXTURES[request.param]()


def test_gaussian_density_is_the_closed_form():
    _, x, start, _ = problems.overlapping_gaussians()
    expected = np.empty((len(x), 3))
    for j, (mean, covariance) in enumerate(zip(*start.components, strict=True)):
        residual = x - mean
        distance = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
        expected[:, j] = -0.5 * (distance + 2 * np.log(2 * np.pi) + np.log(np.linalg.det(covariance)))
    np.testing.assert_allclose(Gaussian().log_density(start.components, x), expected, rtol=1e-10)


def test_restricted_covariances_are_special_cases_of_full():
    _, x, start, _ = problems.overlapping_gaussians()
    mean = start.components[0]
    variance = np.array([[0.5, 2.0], [1.0, 3.0], [4.0, 0.3]])
    shared = np.array([[2.0, 0.7], [0.7, 1.0]])
    cases = {
        "diagonal": (variance, np.stack([np.diag(v) for v in variance])),
        "spherical": (variance[:, 0], np.stack([v * np.eye(2) for v in variance[:, 0]])),
        "tied": (shared, np.stack([shared] * 3)),
    }
    for kind, (own, full) in cases.items():
        restricted = Gaussian(kind).log_density((mean, own), x)
        np.testing.assert_allclose(restricted, Gaussian().log_density((mean, full), x), rtol=1e-12)


def test_two_categories_are_bernoulli_and_a_product_of_columns_is_a_diagonal_gaussian():
    _, bits, start, _ = problems.bernoulli_bits()
    (p,) = start.components
    categorical = Categorical(2).log_density((np.stack([1 - p, p], axis=-1),), bits)
    np.testing.assert_allclose(categorical, Bernoulli().log_density((p,), bits), rtol=1e-12)

    family, x, start, _ = problems.overlapping_gaussians("diagonal")
    mean, variance = start.components
    product = Product({"a": Gaussian("diagonal"), "b": Gaussian("diagonal")})
    parts = {"a": (mean[:, :1], variance[:, :1]), "b": (mean[:, 1:], variance[:, 1:])}
    columns = {"a": x[:, :1], "b": x[:, 1:]}
    np.testing.assert_allclose(product.log_density(parts, columns), family.log_density(start.components, x), rtol=1e-12)
    one_step = oracles.em_step(product, Mixture(start.weights, parts), columns)
    whole = oracles.em_step(family, start, x)
    np.testing.assert_allclose(one_step.components["b"][1], whole.components[1][:, 1:], rtol=1e-12)


def test_posterior_is_bayes_rule_row_by_row(problem):
    family, x, start, _ = problem
    joint = oracles.log_joint(family, start, x)
    r = oracles.posterior(family, start, x)
    for n in range(0, len(joint), 97):
        p = np.exp(joint[n] - joint[n].max())
        np.testing.assert_allclose(r[n], p / p.sum(), rtol=1e-10)
        expected = joint[n].max() + np.log(p.sum())
        np.testing.assert_allclose(oracles.log_prob(family, start, x)[n], expected, rtol=1e-10)


def test_gradient_is_that_of_finite_differences(problem):
    family, x, start, weights = problem
    pack, unpack, value, gradient = direct.unconstrained(family, start, x, weights)
    point = pack(start)
    assert_close(unpack(point), start)
    point = point + 0.1 * np.sin(np.arange(point.size))
    numeric = optimize.approx_fprime(point, value, 1e-6)
    np.testing.assert_allclose(gradient(point), numeric, atol=2e-6 * abs(value(point)))


def test_em_climbs_and_ends_where_direct_maximisation_does(problem):
    family, x, start, weights = problem
    first = oracles.log_likelihood(family, start, x, weights)
    second = oracles.log_likelihood(family, oracles.em_step(family, start, x, weights), x, weights)
    assert second > first
    tol = 1e-13 if weights is not None else 1e-11
    params, value = oracles.run_em(family, start, x, weights, tol=tol)
    expected, best = direct.maximize(family, start, x, weights)
    np.testing.assert_allclose(value, best, rtol=0, atol=2e-6)
    assert_close(params, expected, rtol=2e-2, atol=2e-3)
    assert_close(oracles.em_step(family, expected, x, weights), expected, rtol=1e-4, atol=1e-5)


def test_weights_count_rows():
    weighted, repeated = problems.london_times(), problems.london_times(repeated=True)
    assert len(repeated.x) == weighted.weights.sum() == 1096
    args = weighted.family, weighted.start
    np.testing.assert_allclose(
        oracles.log_likelihood(*args, weighted.x, weighted.weights), oracles.log_likelihood(*args, repeated.x)
    )
    assert_close(oracles.em_step(*args, weighted.x, weighted.weights), oracles.em_step(*args, repeated.x))


@pytest.mark.parametrize("kind", problems.COVARIANCES)
def test_em_step_follows_a_shift(kind):
    family, x, start, _ = problems.overlapping_gaussians(kind)
    here = oracles.em_step(family, start, x)
    moved = Mixture(start.weights, (start.components[0] + 2.0**20, start.components[1]))
    there = oracles.em_step(family, moved, x + 2.0**20)
    np.testing.assert_allclose(there.components[1], here.components[1], rtol=1e-7)
    np.testing.assert_allclose(there.components[0] - 2.0**20, here.components[0], atol=1e-8)


@pytest.mark.parametrize("kind", problems.COVARIANCES)
def test_map_em_ends_where_direct_maximisation_of_the_posterior_does(kind):
    family, x, start, _ = problems.overlapping_gaussians(kind, k=2, n=60)
    scale = np.array([[2.0, 0.4], [0.4, 1.5]])
    scale = {"diagonal": np.diag(scale), "spherical": 1.7}.get(kind, scale)
    prior = NIW(x.mean(axis=0), 0.5, 6.0, scale)
    concentration = np.array([2.0, 4.0])
    args = family, start, x, None, prior, concentration
    params, value = oracles.run_em(*args, tol=1e-11)
    nearby, _ = oracles.run_em(*args, max_steps=25)
    expected, best = direct.maximize(family, nearby, *args[2:], tol=1e-6)
    np.testing.assert_allclose(value, best, rtol=0, atol=1e-6)
    assert_close(params, expected, rtol=1e-2, atol=1e-3)
    plain = oracles.log_likelihood(family, params, x)
    assert plain < oracles.run_em(family, params, x)[1]


@pytest.mark.parametrize("case", published.MAXIMA, ids=lambda case: case.name)
def test_published_maxima(case):
    family, x, params, weights = case.problem()
    for _ in range(50):  # into the basin that EM from this start belongs to
        params = oracles.em_step(family, params, x, weights)
    params, value = direct.maximize(family, params, x, weights)
    np.testing.assert_allclose(value, case.log_likelihood, rtol=0, atol=case.accuracy)
    step = oracles.em_step(family, params, x, weights)
    np.testing.assert_allclose(oracles.log_likelihood(family, step, x, weights), value, rtol=0, atol=1e-7)


def test_published_optimum_and_path_of_london_times():
    family, x, start, weights = problems.london_times()
    params, _ = direct.maximize(family, start, x, weights, tol=1e-9)
    np.testing.assert_allclose(params.weights[0], published.LONDON_TIMES_WEIGHT, rtol=1e-5)
    np.testing.assert_allclose(params.components[0][:, 0], published.LONDON_TIMES_RATES, rtol=1e-5)
    params = start
    for _ in range(1500):
        params = oracles.em_step(family, params, x, weights)
    found = (oracles.log_likelihood(family, params, x, weights), params.weights[0], *params.components[0][:, 0])
    np.testing.assert_allclose(found, published.LONDON_TIMES_AFTER_1500, rtol=1e-11)
