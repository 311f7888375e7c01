"""The table of a fit: what it holds, that its numbers are those of the information, and what is safe to show."""

import dataclasses
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxem
from jaxem.information import observed
from jaxem.information._summary._entries import constants
from tests.helpers import problems, product, published
from tests.helpers.published_regression_errors import affairs

slow = pytest.mark.slow


def fit_at(params, model=None, x=None, weights=None):
    """A fit that converged to these parameters, whatever they are."""
    value = jnp.zeros(()) if model is None else model.log_likelihood(params, x, weights)
    return jaxem.Fit(params, value, value, jaxem.Status.converged, jnp.array(3), jnp.zeros(4))


@pytest.fixture(scope="module")
def london():
    """Hasselblad (1969), at the maximum: model, fit, data and weights."""
    problem, share = problems.london_times(), published.LONDON_TIMES_WEIGHT
    x, w = np.asarray(problem.x, float), np.asarray(problem.weights, float)
    rates = jnp.array(published.LONDON_TIMES_RATES)[:, None]
    params = jaxem.models.MixtureParams(jnp.array([share, 1 - share]), jaxem.families.PoissonParams(rates))
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    fit = fit_at(params, model, x, w)
    return model, fit, x, w, jaxem.summary(model, fit, x, columns=["deaths"], weights=w)


def test_a_published_table(london):
    """Estimates and standard errors of turboEM's vignette, to the digits that direct differentiation confirms."""
    *_, summary = london
    frame = summary.to_dataframe().set_index(["member", "parameter"])
    share, *rates = published.LONDON_TIMES_ERRORS
    assert frame.loc[(0, "weights"), "standard_error"] == pytest.approx(share, rel=1e-8)
    for member, error, rate in zip((0, 1), rates, published.LONDON_TIMES_RATES, strict=True):
        assert frame.loc[(member, "rate"), "estimate"] == rate
        assert frame.loc[(member, "rate"), "standard_error"] == pytest.approx(error, rel=1e-8)
    assert frame.column.tolist() == ["", "deaths"] * 2
    assert summary.facts["bic"] == pytest.approx(2 * 1989.94585988 + 3 * np.log(1096))


def test_members_come_by_size(london):
    model, fit, x, w, summary = london
    sizes = w @ np.asarray(model.posterior(fit.params, x))
    assert [*summary.sizes] == [1, 0]
    np.testing.assert_allclose([summary.sizes[0], summary.sizes[1]], sizes, rtol=1e-10)
    assert [row["member"] for row in summary.table] == [1, 1, 0, 0]
    text = str(summary)
    assert text.index("Component 1") < text.index("Component 0")
    assert "0.6401" in text.partition("Component")[0]


def test_its_numbers_are_those_of_the_information(london):
    model, fit, x, w, summary = london
    info = observed(model, fit.params, x, weights=w)
    interval = info.interval(0.95)
    for row in summary.table:
        trees = (fit.params, info.standard_errors, interval.lower, interval.upper)
        own = [tree.weights if row["parameter"] == "weights" else tree.components.rate[:, 0] for tree in trees]
        names = ("estimate", "standard_error", "lower", "upper")
        np.testing.assert_allclose([row[name] for name in names], [leaf[row["member"]] for leaf in own], rtol=1e-12)
    robust = observed(model, fit.params, x, weights=w, method="sandwich")
    other = jaxem.summary(model, fit, x, weights=w, standard_errors=robust, level=0.5)
    rate = next(row for row in other.table if row["parameter"] == "rate" and row["member"] == 0)
    assert rate["standard_error"] == pytest.approx(float(robust.standard_errors.components.rate[0, 0]))
    assert rate["lower"] == pytest.approx(float(robust.interval(0.5).lower.components.rate[0, 0]))
    assert "50% Wald intervals" in str(other)
    assert "'sandwich'" in other.why


def test_what_it_says_of_the_whole(london):
    *_, summary = london
    lines = str(summary).splitlines()
    assert lines[:5] == [
        "Mixture of Poisson, 2 components",
        "10 rows of total weight 1,096",
        "converged after 3 steps",
        f"log-likelihood -1989.9459, 3 parameters, AIC 3985.89, BIC 4000.89, ICL {summary.facts['icl']:.2f}",
        "standard errors from the observed information; 95% Wald intervals",
    ]
    assert repr(summary) == "Summary(Mixture of Poisson, 2 components, 4 estimates)"


def test_a_fit_too_far_from_the_maximum_has_a_table_without_errors(london):
    model, fit, x, w, _ = london
    away = fit_at(jax.tree.map(lambda leaf: leaf, fit.params)._replace(weights=jnp.array([0.5, 0.5])))
    summary = jaxem.summary(model, away, x, weights=w)
    assert re.search(r"no standard errors: params are .* standard errors away from the maximum", str(summary))
    assert {row["standard_error"] for row in summary.table} == {None}
    assert "std. error" not in str(summary)
    assert "not asked for" in str(jaxem.summary(model, away, x, weights=w, standard_errors=False))


def test_means_of_a_posterior_have_none(london):
    model, fit, x, w, _ = london
    summary = jaxem.summary(model, dataclasses.replace(fit, posterior=fit.params), x, weights=w)
    assert summary.why.startswith("the parameters are means of a posterior")
    assert {row["standard_error"] for row in summary.table} == {None}


def test_names_of_strangers_are_spelled_out_and_escaped(london):
    model, fit, x, w, _ = london
    names = {"column": ["<script>alert(1)</script>\x1b[31m"], "component": ["busy & loud", "calm"]}
    summary = jaxem.summary(model, fit, x, names, standard_errors=False, weights=w)
    html, text = summary._repr_html_(), str(summary)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m" in html
    assert "busy &amp; loud" in html
    assert "\x1b" not in text + html
    assert html.count("<table>") == html.count("</table>") == 3
    assert summary.table[0]["member"] == "calm"


def test_a_data_frame_names_its_columns_and_wrong_names_are_refused(london):
    model, fit, x, w, _ = london
    frame = pd.DataFrame(x, columns=["deaths"])
    summary = jaxem.summary(model, fit, frame, standard_errors=False, weights=w)
    assert {row["column"] for row in summary.table} == {"", "deaths"}

    def refused(words, columns, given=fit, **options):
        with pytest.raises(jaxem.DataError, match=words):
            jaxem.summary(model, given, x, columns, **{"weights": w, "standard_errors": False, **options})

    refused("columns: 2 names for the axis 'column' of length 1", ["a", "b"])
    refused("columns: the names of the axis 'component' must differ", {"component": ["a", "a"]})
    refused("columns: the parameters have no axis 'state'; .* 'component' \\(2\\), 'column' \\(1\\)", {"state": ["a"]})
    refused("columns is 'deaths': pass a list of names", "deaths")
    refused("columns must be names", 3)
    refused("fit must be what jaxem.fit or jaxem.solve returns, got MixtureParams", None, given=fit.params)
    refused("fit holds 2 fits", None, given=jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), fit))
    refused("standard_errors must be True, False or", None, standard_errors="yes")
    with pytest.raises(ValueError, match="level must be a number between 0 and 1"):
        jaxem.summary(model, fit, x, weights=w, level=95)


def test_what_is_missing_is_said_by_packages_that_are_not_there(london, monkeypatch):
    *_, summary = london
    for package, method, words in (
        ("pandas", "to_dataframe", "Summary.to_dataframe needs pandas: pip install pandas"),
        ("xarray", "to_datatree", r"Summary.to_datatree needs xarray: pip install 'jaxem\[xarray\]'"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ModuleNotFoundError, match=words):
            getattr(summary, method)()


def test_a_tree_has_named_axes(london):
    pytest.importorskip("xarray")
    *_, summary = london
    tree = summary.to_datatree()
    rate = tree["estimate"]["rate"]
    assert rate.dims == ("component", "column")
    assert float(rate.sel(component=1, column="deaths")) == published.LONDON_TIMES_RATES[1]
    error = tree["standard_error"]["weights"].sel(component=0)
    assert float(error) == pytest.approx(published.LONDON_TIMES_ERRORS[0], rel=1e-8)
    assert float(tree["sizes"]["share"].sum()) == pytest.approx(1)
    assert tree.attrs["status"] == "converged"


@slow
def test_the_published_table_of_a_tobit_model():
    """Fair (1978), as Kleiber and Zeileis (2008) print it, with the error of the logarithm of the scale."""
    names = ["(Intercept)", "age", "yearsmarried", "religiousness", "occupation", "rating"]
    model, data = jaxem.models.Tobit(), affairs()
    fit = jaxem.fit(model, data, key=jax.random.key(0), algorithm=jaxem.squarem(), tol=0.0)
    summary = jaxem.summary(model, fit, data, columns=names)
    rows = {row["column"]: row for row in summary.table}
    assert [*rows] == [*names, ""]
    estimates = [rows[name]["estimate"] for name in names]
    np.testing.assert_allclose(estimates, [8.1742, -0.1793, 0.5541, -1.6862, 0.3261, -2.2850], atol=6e-5)
    errors = [rows[name]["standard_error"] for name in names]
    np.testing.assert_allclose(errors, [2.7414, 0.0791, 0.1345, 0.4038, 0.2544, 0.4078], atol=6e-5)
    variance = rows[""]
    assert np.sqrt(variance["estimate"]) == pytest.approx(8.247, abs=5e-4)
    assert variance["standard_error"] / (2 * variance["estimate"]) == pytest.approx(0.0671, abs=6e-5)


# What has no standard error


def test_notes_in_the_place_of_numbers():
    rng = np.random.default_rng(1)
    x = np.concatenate([(rng.random((60, 2)) < 0.4).astype(float), np.zeros((60, 1))], 1)
    empty = jaxem.families.BernoulliParams(jnp.asarray(np.stack([x.mean(0), np.full(3, 0.5)])))
    model = jaxem.Mixture(jaxem.Bernoulli(), 2, frozen=("weights",))
    fit = fit_at(jaxem.models.MixtureParams(jnp.array([1.0, 0.0]), empty), model, x)
    summary = jaxem.summary(model, fit, x, columns=["a", "b", "c"])
    notes = {(row["member"], row["parameter"], row["column"]): row["note"] for row in summary.table}
    assert [notes[0, "probability", name] for name in "abc"] == ["", "", "at a bound"]
    assert {notes[1, "probability", name] for name in "abc"} == {"not determined"}
    assert notes[0, "weights", ""] == notes[1, "weights", ""] == "fixed"
    for row in summary.table:
        assert (row["standard_error"] is None) == (row["lower"] is None) == bool(row["note"])
    assert str(summary).count("at a bound") == 2  # the entry, and what it means
    assert summary.to_dataframe().standard_error.isna().sum() == 6


def test_categories_that_a_column_does_not_have_are_left_out():
    p = jnp.array([[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]])
    params = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.CategoricalParams(p))
    model, x = jaxem.Mixture(jaxem.Categorical((2, 3)), 1), np.array([[0.0, 2.0], [1.0, 1.0]])
    summary = jaxem.summary(model, fit_at(params), x, columns=["sex", "grade"], standard_errors=False)
    places = [row["column"] for row in summary.table if row["parameter"] == "probabilities"]
    assert places == [f"{name}, category {i}" for name, count in (("sex", 2), ("grade", 3)) for i in range(count)]


# Every model

_FAST = ("mixed columns", "zero-inflated")
CELLS = [pytest.param(n, marks=() if n in _FAST else slow) for n in product.models()]


def wanted(model, params):
    """How many entries a table has: symmetric matrices count once."""
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = ".".join(str(getattr(entry, "name", getattr(entry, "key", ""))) for entry in path)
        d = leaf.shape[-1] if leaf.ndim else 1
        total += leaf.size * (d + 1) // (2 * d) if model.domains.get(name) == "definite" else leaf.size
    return total


def require_whole(summary, model, params):
    """Each entry is in the table, the data frame, the text and the HTML once, and no free parameter is left out."""
    keys = [(row["member"], row["parameter"], row["column"]) for row in summary.table]
    assert len(keys) == len(set(keys)) == wanted(model, params)
    assert len(keys) >= model.num_parameters(params)
    found = sorted(row["estimate"] for row in summary.table)
    leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    # A covariance may be symmetric to rounding alone.
    assert {f"{value:.12g}" for value in found} == {f"{value:.12g}" for value in leaves}
    assert len(summary.to_dataframe()) == len(keys)
    cells = []
    for block in summary._blocks:
        at = block.header.index("estimate") if "estimate" in block.header else None
        for row in block.rows:
            cells += [row[at]] if at is not None else [c.split(" ")[0] for c in row[1:]] * ("to " in block.header[1])
    assert sorted(cells) == sorted(f"{value:.5g}" for value in found)
    for cell in cells:
        assert cell in str(summary)
        assert cell in summary._repr_html_()


@pytest.mark.parametrize("name", CELLS)
def test_every_parameter_is_in_the_table_once(name):
    cell = product.models()[name]
    summary = jaxem.summary(cell.model, fit_at(cell.start), cell.x, weights=cell.weights, standard_errors=False)
    require_whole(summary, cell.model, cell.start)
    if summary.sizes:
        assert [*summary.sizes.values()] == sorted(summary.sizes.values(), reverse=True)
    if summary.sizes and not name.startswith("topics"):
        assert sum(summary.sizes.values()) == pytest.approx(summary.facts["num_observations"])


@slow
@pytest.mark.parametrize("name", list(product.models()))
def test_every_free_parameter_has_an_error_or_a_note(name):
    cell = product.models()[name]
    if "expectation" in cell.model.latent.lacks:
        pytest.skip("its latent is drawn")
    fit = jaxem.fit(cell.model, cell.x, weights=cell.weights, init=cell.start, key=jax.random.key(0), max_steps=5000)
    near = jaxem.fit(
        cell.model, cell.x, weights=cell.weights, init=fit.params, key=jax.random.key(0), tol=1e-13, max_steps=5000
    )
    summary = jaxem.summary(cell.model, near, cell.x, weights=cell.weights)
    require_whole(summary, cell.model, near.params)
    if any(row["standard_error"] is not None for row in summary.table):
        assert all((row["standard_error"] is None) == bool(row["note"]) for row in summary.table)
    else:
        assert summary.why
    if "xarray" in sys.modules:
        estimate = summary.to_datatree()["estimate"]
        assert sum(int(np.isfinite(variable).sum()) for variable in estimate.values()) >= len(summary.table)


@slow
def test_what_is_drawn_has_no_errors_and_says_why():
    cell = product.models()["continuous function"]
    summary = jaxem.summary(cell.model, fit_at(cell.start), cell.x, weights=cell.weights)
    assert "no standard errors: " in str(summary)
    assert len(summary.why) > 20


def test_numbers_that_no_coordinates_move_are_constant():
    model = jaxem.Mixture(jaxem.Categorical((2, 3)), 2, frozen=("weights",))
    p = jnp.array([[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]] * 2)
    params = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), jaxem.families.CategoricalParams(p))
    found = constants(model, params)
    assert found.tolist() == [True, True, *[False, False, True, False, False, False] * 2]


def test_columns_of_blocks_go_by_their_names():
    family = jaxem.Product(
        {"size_cm": jaxem.Gaussian("diagonal"), "visits": jaxem.Poisson()}, {"size_cm": [2, 0], "visits": [1]}
    )
    blocks = {
        "size_cm": jaxem.families.GaussianParams(jnp.array([[1.0, 2.0]]), jnp.ones((1, 2))),
        "visits": jaxem.families.PoissonParams(jnp.array([[3.0]])),
    }
    params, x = jaxem.models.MixtureParams(jnp.ones(1), blocks), np.ones((4, 3))
    summary = jaxem.summary(jaxem.Mixture(family, 1), fit_at(params), x, ["a", "b", "c"], standard_errors=False)
    names = {(row["parameter"], row["column"]): row["estimate"] for row in summary.table if row["column"]}
    assert names["size_cm.mean", "c"] == 1.0
    assert names["size_cm.mean", "a"] == 2.0
    assert names["visits.rate", "b"] == 3.0


def test_a_bootstrap_stands_beside_the_information():
    model = jaxem.Single(jaxem.Poisson())
    x = jnp.array([0.0, 1, 1, 2, 3, 3, 5, 9])[:, None]
    fit = fit_at(jaxem.families.PoissonParams(x.mean(0)), model, x)
    drawn = jaxem.bootstrap(model, fit.params, x, key=jax.random.key(1), replicates=50)
    table = jaxem.summary(model, fit, x, bootstrap=drawn, level=0.9)
    (row,) = table.table
    interval = drawn.interval(0.9)
    assert row["bootstrap_error"] == float(drawn.standard_errors.rate[0])
    assert (row["bootstrap_lower"], row["bootstrap_upper"]) == (interval.lower.rate[0], interval.upper.rate[0])
    np.testing.assert_allclose(row["standard_error"], np.sqrt(3 / 8), rtol=1e-6)
    assert "90% percentile intervals" in str(table)
    assert "bootstrap error" in str(table)
    frame = table.to_dataframe()
    assert frame["bootstrap_error"][0] == row["bootstrap_error"]
    assert list(jaxem.summary(model, fit, x).to_dataframe())[-1] == "note"
    with pytest.raises(jaxem.DataError, match=r"must be what jaxem\.bootstrap returned"):
        jaxem.summary(model, fit, x, bootstrap=3)
    other = jax.tree.map(lambda leaf: leaf + 1, fit.params)
    with pytest.raises(jaxem.DataError, match="of another fit"):
        jaxem.summary(model, fit, x, bootstrap=jaxem.bootstrap(model, other, x, key=jax.random.key(1), replicates=3))
