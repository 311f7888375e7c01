"""Distribution functions and quantiles against SciPy's, for every family that has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import families, goodness
from tests.goodness.laws import LAWS, WEIGHTS, each, mixture, values, wanted


@each()
def test_density_and_both_tails(law):
    model, params = mixture(law)
    x = values(law)
    np.testing.assert_allclose(goodness.density(model, params, x), wanted(law, "pdf", x), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(goodness.cdf(model, params, x), wanted(law, "cdf", x), rtol=1e-8, atol=1e-300)
    np.testing.assert_allclose(goodness.cdf(model, params, x, upper=True), wanted(law, "sf", x), rtol=1e-8, atol=1e-300)
    logs = goodness.cdf(model, params, x, log=True)
    np.testing.assert_allclose(np.exp(logs), goodness.cdf(model, params, x))


@each(quick=())
def test_single_precision(law):
    model, params = mixture(law, "float32")
    x = values(law).astype("float32")
    found = goodness.cdf(model, params, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted(law, "cdf", x.astype(float)), rtol=2e-4, atol=1e-30)
    np.testing.assert_allclose(goodness.density(model, params, x), wanted(law, "pdf", x.astype(float)), rtol=2e-4)
    p = np.array([0.01, 0.3, 0.7, 0.99], "float32")
    x = goodness.quantile(model, params, p)
    if law.discrete:
        np.testing.assert_array_equal(x, goodness.quantile(*mixture(law), p.astype(float)))
    else:
        np.testing.assert_allclose(goodness.cdf(model, params, x), p, rtol=1e-4)


@each()
def test_the_quantile_is_the_inverse(law):
    model, params = mixture(law)
    p = np.array([1e-12, 1e-4, 0.2, 0.35, 0.5, 0.77, 0.999])
    x = np.asarray(goodness.quantile(model, params, p))
    if law.discrete:
        assert (x == np.floor(x)).all()
        assert (wanted(law, "cdf", x) >= p - 1e-12).all()
        assert (wanted(law, "cdf", x - 1) < p).all()
        np.testing.assert_array_equal(goodness.quantile(model, params, 1 - p[2:-1], upper=True), x[2:-1])
        counts = np.array([own for own in range(3) if wanted(law, "cdf", own) < 1], float)
        np.testing.assert_array_equal(goodness.quantile(model, params, goodness.cdf(model, params, counts)), counts)
    else:
        np.testing.assert_allclose(wanted(law, "cdf", x), p, rtol=1e-10)
        far = np.asarray(goodness.quantile(model, params, p, upper=True))
        np.testing.assert_allclose(wanted(law, "sf", far), p, rtol=1e-10)


@each()
def test_the_ends_and_what_is_missing(law):
    model, params = mixture(law)
    x = np.array([-np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(goodness.cdf(model, params, x), [0, 1, np.nan])
    np.testing.assert_array_equal(goodness.cdf(model, params, x, upper=True), [1, 0, np.nan])
    assert np.isnan(goodness.density(model, params, x)[2])
    np.testing.assert_array_equal(goodness.density(model, params, x[:2]), [0, 0])
    low, high, unknown = np.asarray(goodness.quantile(model, params, np.array([0.0, 1.0, np.nan])))
    assert low == (0 if law.discrete else min(own.support()[0] for own in law.components))
    assert high == max(own.support()[1] for own in law.components)
    assert np.isnan(unknown)


@each([law for law in LAWS if not law.discrete], quick=("gaussian",))
def test_derivatives_of_quantiles(law):
    model, params = mixture(law)
    p = jnp.array([0.05, 0.6, 0.95])

    def quantile(params, p):
        return goodness.quantile(model, params, p)

    x = quantile(params, p)
    slope = jax.jit(jax.grad(lambda p: jnp.sum(quantile(params, p))))(p)
    np.testing.assert_allclose(slope, 1 / wanted(law, "pdf", np.asarray(x)), rtol=1e-7)
    free = model.unconstrain(params)
    flat, back = jax.flatten_util.ravel_pytree(free)
    run = jax.jit(lambda flat: quantile(model.constrain(back(flat)), p))
    found = jax.jit(jax.jacrev(run))(flat)
    for i in range(flat.size):
        step = np.zeros(flat.size)
        step[i] = 1e-5
        up, down = (run(flat + sign * step) for sign in (1, -1))
        np.testing.assert_allclose(found[:, i], (up - down) / 2e-5, rtol=2e-4, atol=1e-7)


@each(quick=())
def test_derivatives_of_the_log_tails(law):
    model, params = mixture(law)
    x = jnp.asarray(values(law)[1:-1])
    flat, back = jax.flatten_util.ravel_pytree(model.unconstrain(params))

    def logs(flat):
        params = model.constrain(back(flat))
        return goodness.cdf(model, params, x, log=True), goodness.cdf(model, params, x, upper=True, log=True)

    found = jax.jacrev(logs)(flat)
    step = 1e-5 * np.random.default_rng(0).normal(size=flat.size)
    for slope, up, down in zip(found, logs(flat + step), logs(flat - step), strict=True):
        some = np.isfinite(up)
        np.testing.assert_allclose(slope[some] @ (2 * step), (up - down)[some], rtol=1e-4, atol=1e-10)


@pytest.mark.slow
def test_far_tails_have_logarithms():
    law = LAWS[0]
    model, params = mixture(law, "float32")
    found = goodness.cdf(model, params, jnp.array([200.0], "float32"), upper=True, log=True)
    assert float(found[0]) == pytest.approx(np.log(0.65) + stats.norm.logsf(99), rel=1e-5)


def test_a_column_of_several():
    covariance = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 3.0]]])
    mean = np.array([[0.0, 1.0], [2.0, -1.0]])
    params = jaxem.models.MixtureParams(
        jnp.array(WEIGHTS), families.GaussianParams(jnp.asarray(mean), jnp.asarray(covariance))
    )
    model, x = jaxem.GaussianMixture(2), np.linspace(-3, 3, 6).reshape(2, 3)
    found = goodness.cdf(model, params, x, column=1)
    law = [stats.norm(mean[j, 1], np.sqrt(covariance[j, 1, 1])) for j in range(2)]
    np.testing.assert_allclose(found, sum(w * own.cdf(x) for w, own in zip(WEIGHTS, law, strict=True)))
    assert goodness.quantile(model, params, 0.5, column=0).shape == ()
    for column in (2, -1):
        with pytest.raises(jaxem.DataError, match="column must be one of 0 to 1"):
            goodness.cdf(model, params, x, column=column)
    with pytest.raises(jaxem.DataError, match="column must be an integer"):
        goodness.cdf(model, params, x, column="a")


@pytest.mark.parametrize("name", ["tied", pytest.param("spherical", marks=pytest.mark.slow), "VEV"])
def test_every_structure_has_variances(name):
    covariance = {
        "tied": jnp.array([[2.0, 0.5], [0.5, 1.0]]),
        "spherical": jnp.array([2.0, 3.0]),
        "VEV": jnp.array([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]]]),
    }[name]
    variance = {"tied": (1, 1), "spherical": (2, 3), "VEV": (1, 2)}[name]
    params = jaxem.models.MixtureParams(jnp.array(WEIGHTS), families.GaussianParams(jnp.zeros((2, 2)), covariance))
    found = goodness.cdf(jaxem.GaussianMixture(2, name), params, 1.2, column=1)
    each = stats.norm.cdf(1.2, scale=np.sqrt(variance))
    assert float(found) == pytest.approx(np.dot(WEIGHTS, each))


@pytest.mark.slow
def test_columns_of_a_product():
    family = jaxem.Product({"a": jaxem.Gaussian("diagonal"), "b": jaxem.Poisson()}, columns={"a": [0, 2], "b": [1]})
    params = {
        "a": families.GaussianParams(jnp.array([0.0, 5.0]), jnp.array([1.0, 4.0])),
        "b": families.PoissonParams(jnp.array([3.0])),
    }
    model = jaxem.Single(family)
    assert float(goodness.cdf(model, params, 6.0, column=2)) == pytest.approx(stats.norm.cdf(6, 5, 2))
    assert float(goodness.density(model, params, 2.0, column=1)) == pytest.approx(stats.poisson.pmf(2, 3))
    apart = jaxem.Single(jaxem.Product({"a": jaxem.Gaussian("diagonal"), "b": jaxem.Poisson()}))
    assert float(goodness.cdf(apart, params, 6.0, column=("a", 1))) == pytest.approx(stats.norm.cdf(6, 5, 2))
    assert float(goodness.cdf(apart, params, 2.0, column="b")) == pytest.approx(stats.poisson.cdf(2, 3))
    for other, column in ((model, 3), (apart, "c"), (apart, 0)):
        with pytest.raises(jaxem.DataError, match="column must"):
            goodness.cdf(other, params, 1.0, column=column)


@pytest.mark.slow
def test_a_value_with_a_probability_among_others():
    family = families.OneOf(zero=families.PointMass(0.0), other=jaxem.Gaussian("diagonal"))
    params = jaxem.models.MixtureParams(
        jnp.array([0.3, 0.7]), {"zero": (), "other": families.GaussianParams(jnp.ones((1, 1)), jnp.ones((1, 1)))}
    )
    model = jaxem.Mixture(family, 2)
    found = goodness.cdf(model, params, np.array([-0.5, 0.0, 0.5]))
    np.testing.assert_allclose(found, 0.7 * stats.norm.cdf([-0.5, 0, 0.5], 1) + [0, 0.3, 0.3])
    assert float(goodness.quantile(model, params, 0.3)) == pytest.approx(0, abs=1e-7)  # within the jump
    with pytest.raises(jaxem.DataError, match="there is no one density"):
        goodness.density(model, params, 1.0)


# What is refused


def test_what_has_no_distribution_of_a_column():
    family = families.FunctionFamily(lambda p, x: -((x[0] - p) ** 2) / 2, lambda key, point, x, w: point[0])
    with pytest.raises(jaxem.MissingCapabilityError, match=r"FunctionFamily does not say how .* define `marginal"):
        goodness.cdf(jaxem.Single(family), jnp.zeros(()), 0.0)
    hmm = jaxem.HMM(jaxem.Poisson(), 1)
    params = jaxem.models.HMMParams(jnp.ones(1), jnp.ones((1, 1)), families.PoissonParams(jnp.ones((1, 1))))
    with pytest.raises(jaxem.MissingCapabilityError, match="pseudo_residuals"):
        goodness.cdf(hmm, params, 0.0)
    space = jaxem.LinearGaussianStateSpace(1)
    with pytest.raises(jaxem.MissingCapabilityError, match="LinearGaussianStateSpace does not say"):
        goodness.cdf(space, None, 0.0)


def test_values_that_are_none():
    model, params = mixture(LAWS[0])
    with pytest.raises(jaxem.DataError, match="x must be an array of values of one column, got Interval"):
        goodness.cdf(model, params, jaxem.Interval.exact([1.0]))
    with pytest.raises(jaxem.DataError, match="x"):
        goodness.cdf(model, params, np.array([1j]))
    with pytest.raises(jaxem.DataError, match="weights"):
        goodness.cdf(model, params._replace(weights=jnp.array([0.5, 0.7])), 1.0)
    np.testing.assert_allclose(goodness.cdf(model, params, [0, 1]), goodness.cdf(model, params, np.array([0.0, 1.0])))


@pytest.mark.slow
def test_rates_probabilities_and_weights_of_exactly_0():
    nothing = jaxem.Single(jaxem.Poisson()), families.PoissonParams(jnp.zeros(1))
    np.testing.assert_array_equal(goodness.cdf(*nothing, np.array([-1.0, 0.0, 3.0])), [0, 1, 1])
    np.testing.assert_array_equal(goodness.density(*nothing, np.array([0.0, 3.0])), [1, 0])
    assert float(goodness.quantile(*nothing, 0.5)) == 0
    model, params = mixture(LAWS[0])
    empty = params._replace(weights=jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(goodness.cdf(model, empty, -0.5), stats.norm.cdf(1), rtol=1e-12)
    np.testing.assert_allclose(goodness.quantile(model, empty, 0.9), -1 + 0.5 * stats.norm.ppf(0.9), rtol=1e-12)
    assert float(goodness.quantile(model, empty, 1.0)) == np.inf


@pytest.mark.slow
def test_quantiles_beyond_the_precision_are_infinite():
    model = jaxem.Single(jaxem.StudentT())
    params = families.StudentTParams(jnp.zeros(1), jnp.ones((1, 1)), jnp.array(0.01))
    far = jnp.array([1e5, 1e9, 1e100, 1e200])
    tails = goodness.cdf(model, params, far, upper=True, log=True)
    np.testing.assert_allclose(tails[:2], stats.t.logsf(far[:2], 0.01), rtol=1e-9)
    np.testing.assert_allclose(np.diff(tails)[1:], -0.01 * np.log(10) * np.array([91, 100]), rtol=1e-9)
    found = goodness.quantile(model, params, np.array([1e-6, 0.5, 1 - 1e-6]))
    assert found.tolist() == [-np.inf, pytest.approx(0, abs=1e-12), np.inf]


def test_what_is_no_probability():
    model, params = mixture(LAWS[0])
    for p in (1.5, -0.1):
        with pytest.raises(jaxem.DataError, match=r"p must lie in \[0, 1\]"):
            goodness.quantile(model, params, np.array([0.5, p]))


@pytest.mark.slow
def test_a_family_of_ones_own_names_its_distribution():
    class Shifted(jaxem.families.AbstractFamily):
        parameters = ("shift",)

        def natural(self, params):
            return params

        def unconstrain(self, params):
            return params

        def constrain(self, free):
            return free

        def from_points(self, points, x, weights):
            return points

        def sample(self, key, params, labels):
            return params[labels]

        def check(self, x, name="data"):
            pass

        def marginal(self, params, column, rows=None):
            distribution = families.univariate.Gamma(*(jnp.array([[value]]) for value in (2.5, 0.5)))
            return families.univariate.Marginal(distribution, families.univariate.entries(rows, column))

    model, law = jaxem.Single(Shifted()), stats.gamma(2.5, scale=2)
    assert float(goodness.cdf(model, jnp.zeros(1), 3.0)) == pytest.approx(law.cdf(3))
    assert float(goodness.density(model, jnp.zeros(1), 3.0)) == pytest.approx(law.pdf(3))
    assert float(goodness.quantile(model, jnp.zeros(1), 0.2)) == pytest.approx(law.ppf(0.2))
