import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from jaxem import plot
from jaxem.plot._density import component_density, num_bins
from jaxem.plot._style import MAX_POINTS


def mixture(k, d, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, d, d)) + 2 * np.eye(d)
    components = plot.Gaussians(rng.dirichlet(np.ones(k)), 5 * rng.normal(size=(k, d)), root @ root.transpose(0, 2, 1))
    labels = rng.choice(k, p=components.weights, size=200)
    noise = rng.normal(size=(200, d))
    return components.means[labels] + np.einsum("nij,nj->ni", root[labels], noise), labels, components


def figure():
    return Figure(figsize=(5, 5), layout="constrained")


def rendered(fig):
    """The picture as an array; drawing is where wrong artists fail."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_the_density_integrates_to_one_and_to_the_weights():
    _, _, components = mixture(3, 1)
    grid = np.linspace(-60, 60, 20_001)
    np.testing.assert_allclose(np.trapezoid(component_density(components, grid), grid), components.weights, atol=1e-6)


def test_a_narrow_component_does_not_flatten_the_bars():
    x = np.linspace(0, 1, 100)
    components = plot.Gaussians(np.array([0.5, 0.5]), np.array([[0.5], [0.2]]), np.array([[[0.1]], [[1e-12]]]))
    ax = plot.histogram(figure().subplots(), x, components)
    tallest = max(bar.get_height() for bar in ax.patches)
    assert ax.get_ylim()[1] < 3 * tallest
    peak = max(line.get_ydata().max() for line in ax.lines)
    assert peak == pytest.approx(0.5 / (1e-6 * np.sqrt(2 * np.pi)), rel=1e-2)


def test_the_bars_hold_every_value():
    x, _, components = mixture(2, 1)
    ax = plot.histogram(figure().subplots(), x[:, 0], components, column="minutes")
    bars = [bar for bar in ax.patches if bar.get_width() > 0]
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    assert ax.get_xlabel() == "minutes"
    turned = plot.histogram(figure().subplots(), x[:, 0], components, column="minutes", horizontal=True)
    assert turned.get_ylabel() == "minutes"


@pytest.mark.parametrize("x", [np.zeros(10), np.array([3.0]), np.r_[np.zeros(99), 1e9], np.arange(1e5)])
def test_any_values_can_be_binned(x):
    assert 8 <= num_bins(x) <= 60
    one = plot.Gaussians(np.ones(1), np.array([[x.mean()]]), np.array([[[max(x.var(), 1e-9)]]]))
    low, high = plot.histogram(figure().subplots(), x, one).get_xlim()
    assert low < x.min() <= x.max() < high


def test_a_scatter_shows_every_row_and_two_outlines_a_component():
    x, labels, components = mixture(3, 2)
    ax = plot.scatter(figure().subplots(), x, components, labels=labels, columns=("a", "b"))
    (points,) = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), x)
    assert len({tuple(color) for color in points.get_facecolors()}) == 3
    assert len(ax.patches) == 6
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert sorted(text.get_text() for text in ax.texts) == ["0", "1", "2"]


def test_of_many_rows_a_part_is_drawn_and_it_says_so():
    n = 3 * MAX_POINTS
    x = np.random.default_rng(0).normal(size=(n, 2))
    one = plot.Gaussians(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    draw, _ = plot.gaussian_panel(x, one, labels=np.zeros(n, int), columns=("a", "b"))
    left = figure()
    draw(left)
    main = left.axes[0]
    assert len(main.collections[0].get_offsets()) == MAX_POINTS
    assert "20,000 of 60,000" in main.get_xlabel()


def test_margins_share_the_axes_of_the_scatter():
    x, labels, components = mixture(2, 2)
    fig = figure()
    main = plot.scatter_with_marginals(fig, x, components, labels=labels)
    rendered(fig)
    assert len(fig.axes) == 3
    assert sum(ax.get_xlim() == main.get_xlim() for ax in fig.axes) == 2
    assert sum(ax.get_ylim() == main.get_ylim() for ax in fig.axes) == 2


@pytest.mark.parametrize(("d", "shown"), [(3, 3), (5, 4)])
def test_pairs_are_a_triangle_of_at_most_so_many_columns(d, shown):
    x, labels, components = mixture(9, d)
    fig = figure()
    axes = plot.pairs(fig, x, components, labels=labels, columns=[f"c{i}" for i in range(d)], max_columns=4)
    rendered(fig)
    assert axes.shape == (shown, shown)
    assert all((axes[i, j] is None) == (j > i) for i in range(shown) for j in range(shown))
    assert [axes[-1, j].get_xlabel() for j in range(shown)] == [f"c{j}" for j in range(shown)]
    title = fig.get_suptitle()
    assert title == ("" if d == shown else "the first 4 of 5 columns")


def test_starts_marks_the_best_and_counts_the_failed():
    ax = plot.starts(figure().subplots(), np.array([-5.0, np.nan, -3.0, -3.0005, -4.0]), tolerance=1e-2)
    assert ax.get_title(loc="left") == "best: -3, 2 of 5 starts (1 failed)"
    other, best = ax.collections
    np.testing.assert_array_equal(best.get_offsets(), [[1, -3.0], [2, -3.0005]])
    np.testing.assert_array_equal(other.get_offsets(), [[3, -4.0], [4, -5.0]])


def test_starts_that_agree_to_rounding_look_alike():
    ax = plot.starts(figure().subplots(), np.array([-1000.0, -1000.0 - 1e-9]), tolerance=1e-6)
    low, high = ax.get_ylim()
    assert high - low > 1e-3
    rendered(ax.figure)


def test_starts_may_all_have_failed():
    ax = plot.starts(figure().subplots(), np.full(3, np.nan))
    assert "all 3 starts failed" in ax.get_title(loc="left")


def test_history_leaves_out_what_was_not_computed():
    ax = plot.history(figure().subplots(), np.array([-9.0, -4.0, -3.5, np.nan, np.nan]))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [-9, -4, -3.5])
    assert "2 steps" in ax.get_title(loc="left")


def test_criterion_marks_the_chosen_number():
    ax = plot.criterion(figure().subplots(), {3: 11.0, 1: 12.0, 2: 10.0}, chosen=2, name="ICL")
    curve, chosen = ax.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[1, 12], [2, 10], [3, 11]])
    np.testing.assert_array_equal(chosen.get_xydata(), [[2, 10]])
    assert ax.get_ylabel() == "ICL"


def test_counts_are_frequencies_under_probabilities():
    from scipy.stats import poisson

    x = np.array([0, 0, 1, 2, 2, 2, 7])
    ax = plot.counts(figure().subplots(), x, np.array([0.3, 0.7]), np.array([0.5, 3.0]), column="deaths")
    assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1)
    total = ax.lines[-1]
    expected = 0.3 * poisson.pmf(np.arange(8), 0.5) + 0.7 * poisson.pmf(np.arange(8), 3)
    np.testing.assert_allclose(total.get_ydata(), expected)


def test_counts_that_vary_more():
    from scipy.stats import nbinom

    x, theta, mean = np.array([0, 0, 1, 2, 2, 2, 7]), np.array([2.0, 0.4]), np.array([0.5, 3.0])
    ax = plot.counts(figure().subplots(), x, np.array([0.3, 0.7]), mean, theta, column="visits")
    parts = nbinom.pmf(np.arange(8), theta[:, None], (theta / (theta + mean))[:, None])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.array([0.3, 0.7]) @ parts)


def test_profiles_write_their_values():
    values = np.array([[0.25, 0.5], [0.125, 1.0]])
    ax = plot.profiles(figure().subplots(), values, np.array([0.4, 0.6]), columns=["a", "b"], name="probability")
    assert [text.get_text() for text in ax.texts] == ["0.25", "0.50", "0.12", "1.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0  (0.400)", "1  (0.600)"]


def test_many_profiles_have_a_scale_in_the_place_of_values():
    fig = figure()
    values = np.random.default_rng(0).gamma(2, 5, size=(3, 40))
    columns = [f"c{i}" for i in range(40)]
    ax = plot.profiles(fig.subplots(), values, np.ones(3) / 3, columns=columns, name="rate")
    rendered(fig)
    assert not ax.texts
    assert len(fig.axes) == 2
    assert "share" in fig.axes[1].get_ylabel()
    assert [label.get_text() for label in ax.get_xticklabels()] == columns[::2]


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("choices", [None, {1: 3.0, 2: 2.0}])
def test_the_summary_draws_in_every_dimension(d, choices):
    x, labels, components = mixture(2, d)
    draw, size = plot.gaussian_panel(x, components, labels=labels, columns=[f"c{i}" for i in range(d)])
    fig = plot.summary(
        draw, size=size, title="a title", objective=np.array([-2.0, -1.0]), steps=np.array([-5.0, -1.0]),
        criteria=choices, chosen=2,
    )  # fmt: skip
    pixels = rendered(fig)
    assert pixels.std() > 5
    assert len(fig.subfigs[1].axes) == (2 if choices is None else 3)
    assert fig.get_suptitle() == "a title"


def test_nothing_touches_the_global_state_of_matplotlib():
    from matplotlib import rcParams

    before = dict(rcParams)
    x, labels, components = mixture(2, 2)
    rendered(plot.scatter_with_marginals(figure(), x, components, labels=labels).figure)
    assert dict(rcParams) == before


def test_replicates_show_the_fit_and_the_interval():
    values = np.r_[np.random.default_rng(0).normal(2, 0.5, 99), np.nan]
    fig = figure()
    ax = plot.replicates(fig.subplots(), values, 2.1, interval=(1.0, 3.0), name="rate")
    assert ax.get_title(loc="left") == "fit: 2.1, interval 1 to 3, 100 replicates (1 not finite)"
    assert sum(bar.get_height() for bar in ax.patches if bar.get_width() < 1) == 99
    assert ax.lines[0].get_xdata()[0] == 2.1
    empty = plot.replicates(figure().subplots(), np.full(3, np.nan), 0.0)
    assert empty.get_title(loc="left") == "fit: 0, 3 replicates (3 not finite)"
    assert (rendered(fig) < 255).any()


def bars(ax):
    """Lower and upper ends of the error bars, by direction."""
    from matplotlib.collections import LineCollection

    lines = [
        np.asarray(line)
        for found in ax.collections
        if isinstance(found, LineCollection)
        for line in found.get_segments()
    ]
    return np.array(lines)


def test_bounds_of_means_are_error_bars():
    x, labels, components = mixture(2, 2)
    lower, upper = components.means - np.array([[1.0, 2.0]]), components.means + np.array([[0.5, 0.25]])
    fig = figure()
    ax = plot.scatter(fig.subplots(), x, components._replace(bounds=(lower, upper)), labels=labels)
    found = bars(ax)
    for j, mean in enumerate(components.means):
        np.testing.assert_allclose(found[2 * j], [[lower[j, 0], mean[1]], [upper[j, 0], mean[1]]])
        np.testing.assert_allclose(found[2 * j + 1], [[mean[0], lower[j, 1]], [mean[0], upper[j, 1]]])
    rendered(fig)
    one = figure()
    marginal = components._replace(bounds=(lower, upper)).select([1])
    found = bars(plot.histogram(one.subplots(), x[:, 1], marginal))
    np.testing.assert_allclose(found[:, :, 0], np.stack([lower[:, 1], upper[:, 1]], 1))
    unknown = components._replace(bounds=(np.full((2, 2), np.nan), upper))
    rendered(plot.scatter(figure().subplots(), x, unknown).figure)


def test_bounds_of_rates_and_profiles():
    x, shares, rates = np.array([0, 1, 1, 2, 5, 7]), np.array([0.5, 0.5]), np.array([1.0, 4.0])
    fig = figure()
    found = bars(plot.counts(fig.subplots(), x, shares, rates, bounds=(rates - 0.5, rates + 1)))
    np.testing.assert_allclose(found[:, :, 0], [[0.5, 2.0], [3.5, 5.0]])
    chance = np.array([[0.9, 0.1], [0.2, 0.7]])
    ax = plot.profiles(
        figure().subplots(), chance, shares, columns=["a", "b"], name="p", bounds=(chance - 0.1, chance + 0.1)
    )
    assert ax.texts[0].get_text() == "0.90\n0.80 to 1.00"


def test_bounds_of_states_are_bands():
    path, means = np.array([0, 0, 1]), np.array([[1.0], [5.0]])
    chance = np.eye(2)[path]
    axes = plot.sequence(figure(), means[path], path, chance, means, columns=["x"], bounds=(means - 1, means + 2))
    heights = [band.get_paths()[0].vertices[:, 1] for band in axes[0].collections if len(band.get_paths()) == 1]
    spans = sorted((min(height), max(height)) for height in heights if max(height) > min(height))
    assert spans[-1] == (4.0, 7.0)


def test_loadings_have_errors_or_say_that_they_turn():
    values, shares = np.array([[0.9, 0.1], [-0.5, 0.3]]), np.array([0.82, 0.34])
    known = values - 0.05, values + 0.05
    left, right = plot.loadings(
        Figure(), values, shares, columns=["a", "b"], bounds=known, communality_bounds=(shares - 0.1, shares + 0.1)
    )
    assert [text.get_text() for text in left.texts][:2] == ["0.90\n0.85 to 0.95", "0.10\n0.05 to 0.15"]
    assert left.get_xlabel() == "factor"
    bars = [c for c in right.containers if isinstance(c, ErrorbarContainer)]
    np.testing.assert_allclose(
        next(line.tolist() for line in bars[0].lines[2][0].get_segments()), [[0.72, 0], [0.92, 0]]
    )
    lost = np.full((2, 2), np.nan)
    left, right = plot.loadings(Figure(), values, shares, columns=["a", "b"], bounds=(lost, lost))
    assert "no errors" in left.get_xlabel()
    assert next(text.get_text() for text in left.texts) == "0.90"
    assert not [c for c in right.containers if isinstance(c, ErrorbarContainer)]
