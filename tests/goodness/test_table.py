"""Tables of patterns against published statistics, and against every cell worked out one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import goodness
from tests.helpers import published_regressions

KEY = jax.random.key(0)


def carcinoma(k):
    patterns, counts = published_regressions.carcinoma()
    model = jaxem.Mixture(jaxem.Bernoulli(), k)
    fit = jaxem.fit(model, patterns, weights=counts, key=KEY, restarts=16, tol=1e-13, max_steps=20_000)
    return model, fit.params, patterns, counts


# Linzer and Lewis (2011), Journal of Statistical Software 42(10), and the manual of poLCA, to the digits printed there.
@pytest.mark.parametrize(
    ("k", "g2", "x2", "freedom"),
    [pytest.param(2, 62.36543, 92.64814, 112, marks=pytest.mark.slow), (3, 15.26171, 20.50336, 104)],
)
def test_carcinoma_as_polca_prints_it(k, g2, x2, freedom):
    found = goodness.table_fit(*carcinoma(k))
    np.testing.assert_allclose([found.g2, found.x2], [g2, x2], atol=2e-5)
    assert (found.num_cells, found.degrees_of_freedom, found.num_observations) == (128, freedom, 118)
    assert found.g2_p_value == pytest.approx(stats.chi2.sf(g2, freedom), rel=1e-5)
    assert len(found.patterns) == 20 == len(found.observed)
    assert any("expect fewer than 5" in note for note in found.notes)


def latent_classes(seed=0, levels=(2, 3, 2), k=2, n=300):
    rng = np.random.default_rng(seed)
    most = max(levels)
    p = np.zeros((k, len(levels), most))
    for j, c in enumerate(levels):
        p[:, j, :c] = rng.dirichlet(np.ones(c), size=k)
    params = jaxem.models.MixtureParams(jnp.array([0.3, 0.7]), jaxem.families.CategoricalParams(jnp.asarray(p)))
    x = np.stack([rng.integers(0, c, n) for c in levels], 1).astype(float)
    return jaxem.Mixture(jaxem.Categorical(levels), k), params, x, p


def cells(levels, p, weights=(0.3, 0.7)):
    """Every pattern and its probability, by the sum over classes."""
    patterns = np.array(list(np.ndindex(*levels)))
    each = np.prod([p[:, j, patterns[:, j]] for j in range(len(levels))], 0)
    return patterns, np.asarray(weights) @ each


def test_every_statistic_is_that_of_all_cells():
    levels = (2, 3, 2)
    model, params, x, p = latent_classes(levels=levels)
    weights = np.random.default_rng(1).integers(0, 4, len(x)).astype(float)
    found = goodness.table_fit(model, params, x, weights)
    patterns, probability = cells(levels, p)
    expected = weights.sum() * probability
    observed = np.array([weights[(x == pattern).all(1)].sum() for pattern in patterns])
    some = observed > 0
    for name, power in (("x2", 1.0), ("cressie_read", 2 / 3), ("g2", 0.0)):
        wanted = stats.power_divergence(observed, expected, lambda_=power).statistic
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-10), name
    freedom = 12 - 1 - (1 + 2 * (1 + 2 + 1))
    assert (found.num_cells, found.degrees_of_freedom) == (12, freedom)
    assert found.x2_p_value == pytest.approx(stats.chi2.sf(found.x2, freedom))
    assert found.num_sparse == np.sum(expected < 5)
    assert found.dissimilarity == pytest.approx(np.abs(observed - expected).sum() / 2 / weights.sum())
    np.testing.assert_array_equal(found.patterns, patterns[some])
    np.testing.assert_allclose(found.expected, expected[some])
    np.testing.assert_allclose(found.residuals, ((observed - expected) / np.sqrt(expected))[some])


@pytest.mark.slow
def test_single_precision_agrees():
    model, params, x, _ = latent_classes()
    low = jax.tree.map(lambda leaf: leaf.astype("float32"), params)
    found, wanted = goodness.table_fit(model, low, x.astype("float32")), goodness.table_fit(model, params, x)
    np.testing.assert_allclose([found.g2, found.x2], [wanted.g2, wanted.x2], rtol=1e-5)


def test_a_saturated_table_fits_and_has_no_test():
    x = np.array([[0.0], [1.0], [2.0]])
    model = jaxem.Single(jaxem.Categorical(3))
    params = jaxem.families.CategoricalParams(jnp.array([[0.5, 0.3, 0.2]]))
    found = goodness.table_fit(model, params, x, np.array([5.0, 3.0, 2.0]))
    assert found.g2 == pytest.approx(0, abs=1e-12)
    assert found.degrees_of_freedom == 0
    assert np.isnan(found.g2_p_value)
    assert any("there is no test" in note for note in found.notes)


def test_one_row_and_what_the_model_rules_out():
    model = jaxem.Single(jaxem.Bernoulli())
    found = goodness.table_fit(model, jaxem.families.BernoulliParams(jnp.array([0.5, 0.25])), np.array([[0.0, 1.0]]))
    assert found.g2 == pytest.approx(-2 * np.log(0.125))
    assert found.x2 == pytest.approx((1 - 0.125) ** 2 / 0.125 + 0.875)
    ruled = goodness.table_fit(model, jaxem.families.BernoulliParams(jnp.array([0.5, 0.0])), np.array([[0.0, 1.0]]))
    assert ruled.g2 == ruled.x2 == np.inf
    assert any("rules out" in note for note in ruled.notes)


def test_categories_that_never_occur_are_no_cells():
    p = jnp.array([[[0.5, 0.0, 0.5]], [[0.2, 0.0, 0.8]]])
    params = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), jaxem.families.CategoricalParams(p))
    model = jaxem.Mixture(jaxem.Categorical(3), 2)
    found = goodness.table_fit(model, params, np.array([[0.0], [2.0]]))
    assert (found.num_cells, found.num_parameters) == (2, 3)


def test_patterns_of_sequences_are_those_of_all_steps():
    params = jaxem.models.HMMParams(
        jnp.array([0.4, 0.6]),
        jnp.array([[0.9, 0.1], [0.3, 0.7]]),
        jaxem.families.BernoulliParams(jnp.array([[0.2], [0.7]])),
    )
    model = jaxem.HMM(jaxem.Bernoulli(), 2)
    x = np.random.default_rng(0).integers(0, 2, (60, 4, 1)).astype(float)
    found = goodness.table_fit(model, params, x)
    patterns = np.array(list(np.ndindex(2, 2, 2, 2)), float)[..., None]
    expected = 60 * np.exp(model.log_prob(params, patterns))
    observed = np.array([(x == pattern).all((1, 2)).sum() for pattern in patterns])
    assert found.x2 == pytest.approx(stats.power_divergence(observed, expected).statistic)
    assert (found.num_cells, found.degrees_of_freedom) == (16, 10)
    assert found.patterns.shape[1:] == (4, 1)


# Bock and Aitkin (1981), Psychometrika 46, 443-459: section 7 of the Law School Admission Test, patterns in the order
# of binary numbers. Slopes and intercepts at the maximum, whose log-likelihood is -2658.805114, by direct maximisation.
LSAT7 = "12 19 1 7 3 19 3 17 10 5 3 7 7 23 8 28 7 39 11 34 14 51 15 90 6 25 7 35 18 136 32 308"
SLOPE, INTERCEPT = (0.98755, 1.08084, 1.70748, 0.76499, 0.73567), (1.85586, 0.80797, 1.80521, 0.48600, 1.85446)


def test_items_of_the_law_school_admission_test_with_given_levels():
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    share = jnp.asarray(np.log(weights / weights.sum()))

    def log_joint(params, x, z):
        score = params["slope"] * nodes_[z] + params["intercept"]
        return share[z] + jnp.sum(jnp.where(x == 1, jax.nn.log_sigmoid(score), jax.nn.log_sigmoid(-score)))

    nodes_ = jnp.asarray(nodes)
    params = {"slope": jnp.array(SLOPE), "intercept": jnp.array(INTERCEPT)}
    model = jaxem.FunctionModel(log_joint, num_values=61, start=params)
    x, count = np.array(list(np.ndindex(2, 2, 2, 2, 2)), float), np.array(LSAT7.split(), float)
    found = goodness.table_fit(model, params, x, count, levels=[2] * 5)
    assert found.g2 == pytest.approx(2 * (np.sum(count * np.log(count / 1000)) + 2658.805114), abs=1e-4)
    assert (found.num_cells, found.degrees_of_freedom) == (32, 21)
    assert found.x2 == pytest.approx(stats.power_divergence(count, found.expected).statistic, rel=1e-8)
    with pytest.raises(jaxem.MissingCapabilityError, match="FunctionModel does not say how many categories"):
        goodness.table_fit(model, params, x, count)


def test_what_is_no_table_is_refused():
    model, params, x, _ = latent_classes()
    gap = np.where(np.arange(len(x))[:, None] == 3, np.nan, x)
    incomplete = jaxem.Mixture(jaxem.families.IncompleteColumns(jaxem.Categorical((2, 3, 2))), 2)
    with pytest.raises(jaxem.DataError, match="row 3 has a missing entry"):
        goodness.table_fit(incomplete, params, gap)
    with pytest.raises(jaxem.DataError, match="levels must have a positive number for each of 3 columns"):
        goodness.table_fit(model, params, x, levels=(2, 3))
    with pytest.raises(jaxem.DataError, match="row 0, column 1 has value"):
        goodness.table_fit(model, params, np.array([[0.0, 2.0, 0.0]]), levels=(2, 2, 2))
    normal = jaxem.families.GaussianParams(jnp.zeros(1), jnp.ones((1, 1)))
    with pytest.raises(jaxem.MissingCapabilityError, match="Gaussian does not say how many categories"):
        goodness.table_fit(jaxem.Single(jaxem.Gaussian()), normal, np.zeros((3, 1)))
    with pytest.raises(jaxem.DataError, match="weights sum to zero"):
        goodness.table_fit(model, params, x, np.zeros(len(x)))


# Pairs


def test_residuals_of_pairs_are_those_of_all_two_way_tables():
    levels = (2, 3, 2)
    model, params, x, p = latent_classes(levels=levels)
    weights = np.random.default_rng(2).integers(0, 3, len(x)).astype(float)
    found = goodness.bivariate_residuals(model, params, x, weights)
    patterns, probability = cells(levels, p)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        total = 0.0
        for r, s in np.ndindex(levels[i], levels[j]):
            expected = weights.sum() * probability[(patterns[:, i] == r) & (patterns[:, j] == s)].sum()
            observed = weights[(x[:, i] == r) & (x[:, j] == s)].sum()
            total += (observed - expected) ** 2 / expected
        wanted = total / ((levels[i] - 1) * (levels[j] - 1))
        assert found[i, j] == found[j, i] == pytest.approx(wanted)
    assert np.isnan(np.diagonal(found)).all()


def test_residuals_of_a_product_have_the_columns_of_the_table():
    family = jaxem.Product({"a": jaxem.Bernoulli(), "b": jaxem.Categorical(3)}, columns={"a": [0, 2], "b": [1]})
    params = {
        "a": jaxem.families.BernoulliParams(jnp.array([0.3, 0.6])),
        "b": jaxem.families.CategoricalParams(jnp.array([[0.2, 0.3, 0.5]])),
    }
    x = np.random.default_rng(0).integers(0, 2, (50, 3)).astype(float)
    found = goodness.bivariate_residuals(jaxem.Single(family), params, x)
    expected = 50 * np.outer([0.7, 0.3], [0.2, 0.3, 0.5])
    observed = np.histogram2d(x[:, 0], x[:, 1], bins=[np.arange(-0.5, 2), np.arange(-0.5, 3)])[0]
    assert found[0, 1] == pytest.approx(np.sum((observed - expected) ** 2 / expected) / 2)
    table = goodness.table_fit(jaxem.Single(family), params, x)
    assert (table.num_cells, table.num_parameters) == (12, 4)


def test_residuals_of_a_single_category_and_of_other_models():
    params = jaxem.families.CategoricalParams(jnp.array([[1.0, 0.0], [0.4, 0.6]]))
    found = goodness.bivariate_residuals(jaxem.Single(jaxem.Categorical(2)), params, np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert np.isnan(found).all()
    hmm = jaxem.HMM(jaxem.Bernoulli(), 1)
    of_chain = jaxem.models.HMMParams(
        jnp.ones(1), jnp.ones((1, 1)), jaxem.families.BernoulliParams(jnp.full((1, 2), 0.5))
    )
    with pytest.raises(jaxem.MissingCapabilityError, match="take a Mixture or a Single"):
        goodness.bivariate_residuals(hmm, of_chain, np.zeros((2, 3, 2)))
