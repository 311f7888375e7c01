"""What the report and the picture show of each kind of model, from parameters: nothing is fitted."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

import jaxem
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS

N, K = 12, 2
LABELS = np.arange(N) % K
SHARES = np.array([0.25, 0.75])
BITS = np.random.default_rng(0).integers(0, 2, (N, 2)).astype(float)


def view(params, x=BITS, shift=(0.0, 0.0), scale=(1.0, 1.0), **options):
    columns = ["a", "b"][: x.shape[1]]
    return View(x, columns, LABELS, SHARES, np.eye(K)[LABELS], params, options, np.array(shift), np.array(scale))


def mixture(components, **more):
    return view(jaxem.models.MixtureParams(SHARES, components), **more)


def drawn(kind, seen):
    """The figure that the panel of a kind fills, rendered."""
    draw, size = KINDS[kind].panel(seen)
    assert size > 0
    figure = Figure()
    draw(figure)
    figure.savefig(io.BytesIO())
    return figure


def written(figure):
    """What stands in the cells of the first axes, row by row, and below them."""
    axes = figure.axes[0]
    return [text.get_text() for text in axes.texts], [tick.get_text() for tick in axes.get_xticklabels()]


@pytest.mark.parametrize(("name", "noise", "sd"), [("factor-analysis", [16.0, 4.0], "0.2"), ("ppca", 16.0, "0.4")])
def test_factors_are_described_in_the_units_of_the_data(name, noise, sd):
    params = jaxem.families.FactorParams(np.array([0.5, 1.0]), np.array([[3.0], [0.0]]), np.asarray(noise))
    heading, rows = KINDS[name].describe(view(params, shift=(1.0, -2.0), scale=(10.0, 0.1)))
    assert heading.startswith("loadings")
    assert rows == {
        "mean": ["6", "-1.9"],
        "factor 0": ["30", "0"],
        "noise sd": ["40", sd],
        "communality": ["0.360", "0.000"],  # 9 / (9 + 16)
    }


def test_the_picture_of_factors_shows_correlations_and_what_they_explain():
    params = jaxem.families.FactorParams(np.zeros(2), np.array([[3.0, 0.0], [0.0, -1.0]]), np.array([16.0, 3.0]))
    figure = drawn("factor-analysis", view(params))
    assert written(figure)[0] == ["0.60", "0.00", "0.00", "-0.50"]
    np.testing.assert_allclose([bar.get_width() for bar in figure.axes[1].patches], [0.36, 0.25])


def test_scores_are_the_posterior_means_of_the_factors():
    loading, noise = np.array([[3.0], [1.0]]), np.array([2.0, 0.5])
    found = KINDS["factor-analysis"].assign(None, jaxem.families.FactorParams(np.zeros(2), loading, noise), BITS)
    precision = 1 + (loading[:, 0] ** 2 / noise).sum()
    np.testing.assert_allclose(found.values[:, 0], BITS @ (loading[:, 0] / noise) / precision, rtol=1e-6)
    assert found.names == ["score_0"]
    assert len(found.labels) == 0


def test_probabilities_of_a_bernoulli_mixture_stand_in_its_cells():
    components = jaxem.families.BernoulliParams(np.array([[0.1, 0.2], [0.3, 0.95]]))
    assert written(drawn("bernoulli-mixture", mixture(components))) == (["0.10", "0.20", "0.30", "0.95"], ["a", "b"])
    rows = {"0": ["0.100", "0.200"], "1": ["0.300", "0.950"]}
    assert KINDS["bernoulli-mixture"].describe(mixture(components)) == ("probability of 1", rows)


def test_a_column_has_cells_for_its_own_categories_alone():
    components = jaxem.families.CategoricalParams(np.array([[[0.1, 0.9, 0.0], [0.2, 0.3, 0.5]]] * 2))
    seen = mixture(components, num_categories=[2, 3])
    texts, ticks = written(drawn("categorical-mixture", seen))
    assert texts[:5] == ["0.10", "0.90", "0.20", "0.30", "0.50"]
    assert ticks == ["a=0", "a=1", "b=0", "b=1", "b=2"]
    assert KINDS["categorical-mixture"].describe(seen)[1]["0"] == ["0.10/0.90", "0.20/0.30/0.50"]


def test_counts_of_several_columns_are_means_in_cells_and_of_one_column_a_curve():
    components = jaxem.families.NegativeBinomialParams(
        np.array([[1.0, 20.0], [4.0, 10.0]]), np.array([[2.0, 5.0], [4.0, 5.0]])
    )
    assert written(drawn("negative-binomial-mixture", mixture(components)))[0] == ["1", "20", "4", "10"]
    cells = KINDS["negative-binomial-mixture"].describe(mixture(components))[1]
    assert cells["1"] == ["4 ± 2.83", "10 ± 5.48"]  # variances of 4 + 16 / 4 and 10 + 100 / 5
    one = jaxem.families.NegativeBinomialParams(components.mean[:, :1], components.theta[:, :1])
    lines = drawn("negative-binomial-mixture", mixture(one, x=BITS[:, :1])).axes[0].lines
    chance = stats.nbinom.pmf([0, 1], 4, 4 / (4 + 4.0))
    np.testing.assert_allclose(lines[1].get_ydata(), 0.75 * chance)


def test_student_components_have_scales_and_degrees_of_freedom():
    components = jaxem.families.StudentTParams(
        np.zeros((2, 2)), np.array([np.eye(2), 4 * np.eye(2)]), np.array([3.0, 12.5])
    )
    heading, rows = KINDS["student-t-mixture"].describe(mixture(components, covariance="full"))
    assert heading == "mean ± scale"
    assert rows == {"0 (dof 3)": ["0 ± 1", "0 ± 1"], "1 (dof 12.5)": ["0 ± 2", "0 ± 2"]}


def chain(emission):
    return jaxem.models.HMMParams(SHARES, np.array([[0.9, 0.1], [0.4, 0.6]]), emission)


def test_states_are_described_with_how_long_they_stay():
    seen = view(chain(jaxem.families.PoissonParams(np.array([[1.0, 2.0], [3.0, 4.0]]))))
    assert KINDS["poisson-hmm"].describe(seen) == (
        "rate",
        {"0 (stays 0.900)": ["1", "2"], "1 (stays 0.600)": ["3", "4"]},
    )


def test_the_steps_of_a_chain_lie_about_the_means_of_their_states_in_the_units_of_the_data():
    emission = jaxem.families.GaussianParams(np.array([[0.0, 1.0], [2.0, 3.0]]), np.ones((2, 2)))
    figure = drawn("hmm", view(chain(emission), shift=(1.0, 0.0), scale=(10.0, 1.0), covariance="diagonal"))
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if len(line.get_ydata()) == 2]
    assert levels[:2] == [1.0, 21.0]


def test_paths_and_draws_of_a_chain_are_those_of_one_sequence():
    import jax

    kind = KINDS["poisson-hmm"]
    model = kind.build(2, **kind.options("", BITS))
    params = chain(jaxem.families.PoissonParams(np.array([[1.0, 2.0], [30.0, 40.0]])))
    rows, states = kind.sample(model, params, jax.random.key(0), 9)
    assert rows.shape == (9, 2)
    found = kind.assign(model, params, np.asarray(rows, float))
    np.testing.assert_array_equal(found.labels, states)  # rates so far apart leave no doubt
    np.testing.assert_allclose(found.values.sum(1), 1)
    np.testing.assert_allclose(found.weights, found.values.mean(0))
