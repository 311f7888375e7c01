"""QQ and rootogram data, and their pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

import jaxem
from jaxem import families, goodness, plot
from jaxem.plot._style import MAX_POINTS


def rendered(ax):
    """The picture as an array; drawing is where wrong artists fail."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def axes():
    return Figure(figsize=(4, 4), layout="constrained").subplots()


# Data


@pytest.mark.parametrize("m", [1, 7, 40])
def test_sorted_values_and_quantiles(m):
    x = np.random.default_rng(0).normal(size=m)
    found = goodness.qq(np.append(x, np.nan))
    np.testing.assert_array_equal(found.sample, np.sort(x))
    a = 0.375 if m <= 10 else 0.5
    np.testing.assert_allclose(found.theoretical, stats.norm.ppf((np.arange(m) + 1 - a) / (m + 1 - 2 * a)), atol=1e-12)
    # Of the first of m uniform draws the distribution is known in closed form.
    np.testing.assert_allclose(found.lower[0], stats.norm.ppf(1 - 0.975 ** (1 / m)))
    np.testing.assert_allclose(found.upper[0], stats.norm.ppf(1 - 0.025 ** (1 / m)))


@pytest.mark.slow
def test_quantiles_of_a_model():
    model = jaxem.GaussianMixture(2)
    params = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]), families.GaussianParams(jnp.array([[-3.0], [3.0]]), jnp.ones((2, 1, 1)))
    )
    x, _ = model.sample(jax.random.key(0), params, 300)
    found = goodness.qq(x[:, 0], lambda p: goodness.quantile(model, params, p), level=0.99)
    inside = (found.sample >= found.lower) & (found.sample <= found.upper)
    assert inside.mean() > 0.95
    np.testing.assert_allclose(goodness.cdf(model, params, found.theoretical), (np.arange(300) + 0.5) / 300)


def test_values_that_are_none():
    with pytest.raises(jaxem.DataError, match="values has none that is a number"):
        goodness.qq([np.nan])
    with pytest.raises(jaxem.DataError, match="level must lie between 0 and 1"):
        goodness.qq([1.0], level=95)


def counts():
    params = jaxem.models.MixtureParams(
        jnp.array([0.4, 0.6]), families.PoissonParams(jnp.array([[1.0, 4.0], [5.0, 4.0]]))
    )
    x = np.array([[0, 1], [0, 2], [3, 4], [7, 4], [2, 9]], float)
    return jaxem.Mixture(jaxem.Poisson(), 2), params, x


def test_frequencies_of_counts():
    model, params, x = counts()
    weights = np.array([2.0, 1.0, 0.0, 1.0, 3.0])
    found = goodness.rootogram(model, params, x, weights, most=9)
    np.testing.assert_array_equal(found.observed, [3, 0, 3, 0, 0, 0, 0, 1, 0, 0])
    c = np.arange(10)
    wanted = 7 * (0.4 * stats.poisson.pmf(c, 1) + 0.6 * stats.poisson.pmf(c, 5))
    np.testing.assert_allclose(found.expected, wanted)
    assert len(goodness.rootogram(model, params, x, weights).counts) == 8
    assert goodness.rootogram(model, params, x, column=1).observed[4] == 2


@pytest.mark.slow
def test_frequencies_of_responses_are_sums_over_rows():
    rows = jaxem.Responses(np.stack([np.ones(4), np.arange(4.0)], 1), np.array([0.0, 2.0, 1.0, 5.0]))
    model = jaxem.Single(families.PoissonRegression())
    found = goodness.rootogram(model, families.GLMParams(jnp.array([0.1, 0.5])), rows)
    mean = np.exp(rows.x @ [0.1, 0.5])
    np.testing.assert_allclose(found.expected, stats.poisson.pmf(np.arange(6)[:, None], mean[None]).sum(1))


def test_bars_of_every_style():
    found = goodness.Rootogram(np.arange(2.0), np.array([9.0, 4.0]), np.array([4.0, 16.0]))
    for style, start, height in (
        ("standing", [0, 0], [3, 2]),
        ("hanging", [-1, 2], [3, 2]),
        ("suspended", [0, 0], [-1, 2]),
    ):
        np.testing.assert_array_equal(found.bars(style), [start, height])
    with pytest.raises(jaxem.DataError, match="style must be one of 'hanging', 'standing', 'suspended'"):
        found.bars("other")


def test_values_with_a_density_have_no_frequencies():
    params = families.GaussianParams(jnp.zeros(1), jnp.ones((1, 1)))
    with pytest.raises(jaxem.DataError, match="has a density and no counts"):
        goodness.rootogram(jaxem.Single(jaxem.Gaussian()), params, np.zeros((2, 1)))


# Pictures


def test_a_picture_of_sorted_values():
    found = goodness.qq(np.random.default_rng(0).normal(size=50))
    ax = plot.qq(axes(), found, column="residual")
    (points,) = (one for one in ax.collections if len(one.get_offsets()) == 50)
    np.testing.assert_array_equal(points.get_offsets(), np.stack([found.theoretical, found.sample], 1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("quantile", "residual")
    assert rendered(ax).std() > 0
    worm = plot.qq(axes(), found, detrended=True)
    (points,) = (one for one in worm.collections if len(one.get_offsets()) == 50)
    np.testing.assert_allclose(points.get_offsets()[:, 1], found.sample - found.theoretical)
    assert worm.get_ylabel() == "value less quantile"


@pytest.mark.parametrize("values", [[0.3], [1.0, 1.0, np.inf]])
def test_any_values_can_be_drawn(values):
    assert rendered(plot.qq(axes(), goodness.qq(values))).std() > 0


def test_of_many_values_a_part_is_drawn_and_it_says_so():
    ax = plot.qq(axes(), goodness.qq(np.arange(2.0 * MAX_POINTS)))
    assert len(ax.collections[-1].get_offsets()) == MAX_POINTS
    assert "rows drawn" in ax.get_title(loc="left")


@pytest.mark.parametrize("style", ["hanging", "standing", "suspended"])
def test_a_picture_of_frequencies(style):
    found = goodness.rootogram(*counts())
    ax = plot.rootogram(axes(), found, style=style, column="deaths")
    start, height = found.bars(style)
    np.testing.assert_allclose([bar.get_y() for bar in ax.patches], start)
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], height)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.sqrt(found.expected))
    assert ax.get_xlabel() == "deaths"
    assert rendered(ax).std() > 0
