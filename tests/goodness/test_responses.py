"""Distribution functions of responses, which depend on the covariates of a row, against SciPy's."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import families, goodness
from tests.goodness.laws import WEIGHTS


def regression_rows(y, size=None):
    n = len(y)
    return jaxem.Responses(np.stack([np.ones(n), np.linspace(-1, 1, n)], 1), np.asarray(y, float), size)


B = np.array([[0.3, 1.0], [1.2, -0.4]])


def responses():
    size = np.array([5.0, 3.0, 8.0, 6.0, 10.0])
    eta = B @ regression_rows(size).x.T
    yield (
        jaxem.LinearRegression(),
        families.RegressionParams(jnp.asarray(B), jnp.array([0.5, 2.0])),
        regression_rows([0.1, -2.0, 3.0, 1.0, 0.0]),
        [stats.norm(eta[j], np.sqrt((0.5, 2.0)[j])) for j in range(2)],
    )
    yield (
        families.TRegression(),
        families.TRegressionParams(jnp.asarray(B), jnp.array([0.5, 2.0]), jnp.array([3.0, 7.0])),
        regression_rows([0.1, -2.0, 3.0, 1.0, 0.0]),
        [stats.t((3, 7)[j], eta[j], np.sqrt((0.5, 2.0)[j])) for j in range(2)],
    )
    yield (
        families.PoissonRegression(),
        families.GLMParams(jnp.asarray(B)),
        regression_rows([0, 3, 2, 9, 30], size),
        [stats.poisson(size * np.exp(eta[j])) for j in range(2)],
    )
    mean = np.exp(eta)
    yield (
        families.NegativeBinomialRegression(),
        families.NegativeBinomialRegressionParams(jnp.asarray(B), jnp.array([0.7, 4.0])),
        regression_rows([0, 3, 2, 9, 30]),
        [stats.nbinom(t, t / (t + mean[j])) for j, t in enumerate((0.7, 4.0))],
    )
    yield (
        families.BinomialRegression(),
        families.GLMParams(jnp.asarray(B)),
        regression_rows([0, 3, 2, 6, 7], size),
        [stats.binom(size, 1 / (1 + np.exp(-eta[j]))) for j in range(2)],
    )


@pytest.mark.parametrize(
    ("family", "members", "rows", "laws"),
    [
        pytest.param(*case, id=type(case[0]).__name__, marks=pytest.mark.slow if i else [])
        for i, case in enumerate(responses())
    ],
)
def test_responses_have_a_distribution_in_each_row(family, members, rows, laws):
    model = jaxem.Mixture(family, 2)
    params = jaxem.models.MixtureParams(jnp.array(WEIGHTS), members)

    def of(name, x):
        return sum(w * getattr(law, name)(x) for w, law in zip(WEIGHTS, laws, strict=True))

    np.testing.assert_allclose(goodness.cdf(model, params, rows), of("cdf", rows.y), rtol=1e-9)
    density = "pmf" if hasattr(laws[0].dist, "pmf") else "pdf"
    found = goodness.density(model, params, rows)
    np.testing.assert_allclose(found, of(density, rows.y), rtol=1e-9)
    np.testing.assert_allclose(np.log(found), model.log_prob(params, rows), rtol=1e-9)
    x = np.asarray(goodness.quantile(model, params, 0.4, data=rows))
    assert (of("cdf", x) >= 0.4 - 1e-12).all()
    assert (of("cdf", x - (1 if density == "pmf" else 1e-6)) < 0.4).all()
    with pytest.raises(jaxem.DataError, match=r"pass jaxem\.Responses"):
        goodness.cdf(model, params, 1.0)


def test_experts_have_weights_in_each_row():
    gate = jnp.array([[0.2, -1.0]])
    params = jaxem.models.MixtureOfExpertsParams(gate, families.RegressionParams(jnp.asarray(B), jnp.array([0.5, 2.0])))
    model, rows = jaxem.MixtureOfExperts(jaxem.LinearRegression(), 2), regression_rows([0.1, -2.0, 3.0, 1.0, 0.0])
    share = 1 / (1 + np.exp(-rows.x @ np.asarray(gate[0])))
    law = [stats.norm(rows.x @ B[j], np.sqrt((0.5, 2.0)[j])) for j in range(2)]
    wanted = share * law[0].cdf(rows.y) + (1 - share) * law[1].cdf(rows.y)
    np.testing.assert_allclose(goodness.cdf(model, params, rows), wanted)


@pytest.mark.slow
def test_counts_with_more_zeros():
    model = jaxem.models.ZeroInflatedPoisson()
    params = jaxem.models.MixtureOfExpertsParams(
        jnp.array([[0.2, -1.0]]), {"zero": (), "count": families.GLMParams(jnp.asarray(B[:1]))}
    )
    rows = regression_rows([0, 1, 0, 3, 2])
    share = 1 / (1 + np.exp(-rows.x @ np.array([0.2, -1.0])))
    law = stats.poisson(np.exp(rows.x @ B[0]))
    np.testing.assert_allclose(goodness.cdf(model, params, rows), share + (1 - share) * law.cdf(rows.y))
    np.testing.assert_allclose(np.log(goodness.density(model, params, rows)), model.log_prob(params, rows))


def test_covariates_that_are_not_known_are_refused():
    family, members, rows, _ = next(responses())
    params = jaxem.models.MixtureParams(jnp.array(WEIGHTS), members)
    wrong = rows._replace(x=np.where(np.arange(5)[:, None] == 2, np.nan, rows.x))
    with pytest.raises(jaxem.DataError, match="row 2"):
        goodness.cdf(jaxem.Mixture(family, 2), params, wrong)


@pytest.mark.slow
def test_probabilities_of_exactly_0_and_1():
    x = jnp.array([[1.0, 50.0], [1.0, -50.0]])
    rows = jaxem.Responses(jnp.concatenate([x, 40 * x]), jnp.array([0.0, 2.0, 3.0, 0.0]), jnp.full(4, 3.0))
    sure = jaxem.Single(families.BinomialRegression()), families.GLMParams(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(goodness.cdf(*sure, rows), [0, 1, 1, 1], atol=1e-15)
