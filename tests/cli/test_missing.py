"""Tables with missing cells."""

import contextlib
import io
import json
from types import SimpleNamespace

import jax
import numpy as np
import polars
import pytest
from matplotlib.figure import Figure
from scipy import stats

import jaxem
from jaxem import cli
from jaxem._paths import parameter_names
from jaxem.cli import load_fit
from jaxem.cli._information import missing_information
from jaxem.cli._precision import precision
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS

K = 2


def gaps(x, share=0.15):
    """With a share of missing cells, and row 5 missing throughout."""
    x = np.array(x, float)
    x[np.random.default_rng(3).random(x.shape) < share] = np.nan
    x[5] = np.nan
    return x


def at_bounds(stored):
    """Whether a probability is 0 or 1, but for rounding."""
    domains = stored.model.domains
    leaves = zip(parameter_names(stored.fit.params), jax.tree.leaves(stored.fit.params), strict=True)
    free = [np.asarray(leaf) for name, leaf in leaves if domains.get(name) in ("unit", "simplex")]
    return any(((leaf < 1e-12) | (leaf > 1 - 1e-12)).any() for leaf in free)


def counts(n=60):
    rng = np.random.default_rng(1)
    return rng.poisson(np.array([[1.0, 6.0], [7.0, 3.0]])[np.arange(n) // 15 % K])


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """A table of counts, the folder of its fit, and what was printed."""
    folder, x = tmp_path_factory.mktemp("missing"), gaps(counts())
    np.save(folder / "x.npy", x)
    arguments = [
        "--model",
        "poisson-mixture",
        "--components",
        K,
        "--restarts",
        4,
        "--tol",
        1e-12,
        "--out",
        folder / "f",
    ]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main([str(argument) for argument in ("fit", folder / "x.npy", *arguments)]) == 0
    return x, folder / "f", " ".join(printed.getvalue().split())


def em_map(theta, x):
    """One iteration for `[weight of the first component, rates]`, and the responsibilities that it uses."""
    weights, rates = np.array([theta[0], 1 - theta[0]]), theta[1:].reshape(K, -1)
    seen = ~np.isnan(x)
    each = np.where(seen, stats.poisson.logpmf(np.where(seen, x, 0), rates[:, None]), 0).sum(-1)
    share = weights[:, None] * np.exp(each)
    share /= share.sum(0)
    rates = (share[..., None] * np.where(seen, x, 0)).sum(1) / (share[..., None] * seen).sum(1)
    return np.array([share[0].mean(), *rates.ravel()]), share.T


def test_counts_are_fitted_to_the_cells_that_are_there(lacking):
    x, folder, _ = lacking
    document = json.loads((folder / "fit.json").read_text())
    assert document["status"] == "converged"
    assert document["missing_cells"] == np.isnan(x).sum()
    theta = np.array([document["params"]["weights"][0], *np.ravel(document["params"]["components"]["rate"])])
    moved, share = em_map(theta, x)
    np.testing.assert_allclose(moved, theta, rtol=1e-5)
    table = polars.read_csv(folder / "assignments.csv")
    np.testing.assert_allclose(table[:, 1:].to_numpy(), share, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(table["label"].to_numpy(), share.argmax(1))
    assert (folder / "fit.png").stat().st_size > 10_000


def test_the_worst_fraction_of_missing_information_is_the_rate_of_em(lacking):
    x, folder, printed = lacking
    stored = load_fit(folder)
    theta = np.array([stored.fit.params.weights[0], *np.ravel(stored.fit.params.components.rate)])
    steps = 1e-5 * np.eye(len(theta))
    jacobian = np.stack([(em_map(theta + h, x)[0] - em_map(theta - h, x)[0]) / 2e-5 for h in steps], 1)
    expected = np.abs(np.linalg.eigvals(jacobian)).max()
    assert stored.document["missing_information"] == pytest.approx(expected, abs=1e-5)
    assert f", {np.isnan(x).sum()} missing cells" in printed
    assert f"Worst fraction of missing information: {expected:.4f} (hidden: components, while" in printed


def test_loading_gives_the_same_fit_to_the_last_bit(lacking):
    x, folder, _ = lacking
    stored = load_fit(folder)
    assert isinstance(stored.model.family, jaxem.families.IncompleteColumns)
    algorithm, termination = jaxem.squarem(tail=True), jaxem.termination.Aitken()
    options = {"restarts": 4, "tol": 1e-12, "max_steps": 5000, "algorithm": algorithm, "termination": termination}
    with precision("float64"):
        direct = jaxem.fit(stored.model, x, key=jax.random.key(0), **options)
    assert jax.tree.structure(stored.fit) == jax.tree.structure(direct)
    for read, computed in zip(jax.tree.leaves(stored.fit), jax.tree.leaves(direct), strict=True):
        np.testing.assert_array_equal(read, computed)
        assert read.dtype == computed.dtype


def test_predict_takes_missing_cells_whatever_the_table_of_the_fit(lacking, run, tmp_path):
    _, folder, _ = lacking
    expected = (folder / "assignments.csv").read_text()
    assert run("predict", folder, folder.parent / "x.npy") == (0, expected, "")
    document = json.loads((folder / "fit.json").read_text())
    assert document["options"].pop("missing") is True
    (tmp_path / "complete.json").write_text(json.dumps(document))
    assert isinstance(load_fit(tmp_path / "complete.json").model.family, jaxem.Poisson)
    assert run("predict", "complete.json", folder.parent / "x.npy") == (0, expected, "")


def test_every_kind_has_the_family_that_its_cells_need():
    x = np.array([[1.0, 0.0], [np.nan, 1.0], [np.nan, np.nan], [0.0, 1.0]])
    steps = x[[0, 2, 3]]  # nothing is seen of a step, or all is
    wrapped = {}
    for name, kind in KINDS.items():
        for cells in (x, steps, x[[0, 3]]) if kind.missing is not None else ():
            options = kind.options_for(cells, kind.options("diagonal", cells))
            family = kind.build(1, **json.loads(json.dumps(options))).distribution
            wrapped.setdefault(name, []).append(type(family).__name__)
    columns = [["IncompleteColumns"] * 2 + [name] for name in ("Poisson", "Bernoulli", "Categorical")]
    assert wrapped == {
        "gaussian-mixture": ["Incomplete", "Incomplete", "Gaussian"],
        **dict(zip(("poisson-mixture", "bernoulli-mixture", "categorical-mixture"), columns, strict=True)),
        "hmm": ["Incomplete", "Gaussian", "Gaussian"],
        "poisson-hmm": ["IncompleteColumns", "Poisson", "Poisson"],
        "factor-analysis": ["Factor"] * 3,
        "ppca": ["Factor"] * 3,
    }


def test_pictures_do_without_the_missing_cells():
    x = gaps(counts())
    components = jaxem.families.PoissonParams(np.array([[1.0, 6.0], [7.0, 3.0]]))
    params = jaxem.models.MixtureParams(np.full(K, 0.5), components)
    labels = (np.arange(len(x)) // 15) % K
    view = View(x[:, :1], ["a"], labels, params.weights, np.eye(K)[labels], params, {}, np.zeros(1), np.ones(1))
    left = Figure()
    KINDS["poisson-mixture"].panel(view)[0](left)
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in left.axes[0].patches}
    seen = x[~np.isnan(x[:, 0]), 0]
    assert bars == pytest.approx({value: np.mean(seen == value) for value in bars})
    steps = Figure()
    view = view._replace(x=x, columns=["a", "b"], params=jaxem.models.HMMParams(0, 0, components))
    KINDS["poisson-hmm"].panel(view)[0](steps)
    points = steps.axes[1].collections[0].get_offsets()
    np.testing.assert_array_equal(np.ma.filled(points[:, 1], np.nan), x[:, 1])
    steps.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("changes", "fraction", "note"),
    [
        ({}, 0.4, "hidden: states, while missing cells are left out; 2 flat directions of the likelihood left out"),
        ({"size": 4}, 0.4, "hidden: states, while missing cells are left out; 1 flat direction of the"),
        ({"size": 3}, 0.4, "hidden: states, while missing cells are left out"),
        ({"eigenvalues": [1 - 1e-9, 1.0], "size": 2}, None, "none: the likelihood is flat in all directions"),
        ({"status": "max_steps_reached"}, None, "not computed: the fit ended with status max_steps_reached"),
        ({"size": 101}, None, "not computed: too costly for 101 parameters (more than 100)"),
        ({"size": 101, "steps": 101}, 0.4, "hidden"),
        ({"size": 1001, "steps": 10**6}, None, "not computed: too costly for 1001 parameters (more than 1000)"),
        ({"eigenvalues": None}, None, "not computed: its rate matrix is not finite"),
    ],
)
def test_the_fraction_is_given_with_what_it_counts_or_why_there_is_none(monkeypatch, changes, fraction, note):
    case = {"status": "converged", "size": 5, "steps": 30, "eigenvalues": [1.0, 1.0, 0.4, 0.2, -1e-9]} | changes

    def rate_eigenvalues(*_):
        if case["eigenvalues"] is None:
            raise np.linalg.LinAlgError("Array must not contain infs or NaNs")
        padding = max(case["size"] - len(case["eigenvalues"]), 0)
        return np.array([*case["eigenvalues"], *[0.0] * padding])

    monkeypatch.setattr(jaxem.information, "rate_eigenvalues", rate_eigenvalues)
    model = SimpleNamespace(num_parameters=lambda params: case["size"], distribution=None)
    status = getattr(jaxem.Status, case["status"])
    restarts = SimpleNamespace(num_steps=np.array([case["steps"] - 10, 10]))
    fit = SimpleNamespace(params=None, status=status, restarts=restarts, objective=np.float64(0))
    found = missing_information(model, fit, None, "state")
    assert found.fraction == fraction
    assert found.note is not None
    assert found.note.startswith(note)


def test_a_column_without_cells_is_refused(refused, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,\n0,\n1,NA\n")
    for options in (["--model", "categorical-mixture"], ["--model", "hmm"], ["--standardize"]):
        assert "column 1 has no entry that is not missing" in refused("fit", "x.csv", "--components", 1, *options)
    (tmp_path / "y.csv").write_text("a,b\n1,\n0,1\n-1,0\n")
    line = refused("fit", "y.csv", "--components", 1, "--model", "poisson-hmm")
    assert "row 2, column 0" in line


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bernoulli-mixture", "categorical-mixture", "poisson-hmm", "hmm", "ppca"])
def test_the_other_kinds(run, tmp_path, model):
    rng = np.random.default_rng(2)
    x = np.minimum(counts(90), 3)
    x = np.column_stack([x // 2 if model == "bernoulli-mixture" else x, rng.integers(0, 2, len(x))])
    x = gaps(x + rng.standard_normal(x.shape) if KINDS[model].continuous else x)
    np.save("x.npy", x)
    code, out, err = run("fit", "x.npy", "--model", model, "--components", K, "--restarts", 4)
    assert (code, err) == (0, "")
    assert "Worst fraction of missing information: 0." in out
    document = json.loads((tmp_path / "jaxem-fit" / "fit.json").read_text())
    assert 0 < document["missing_information"] < 1
    hidden = "missing cells and states" if model == "hmm" else f"{KINDS[model].unit}s, while missing cells are left out"
    assert document["missing_information_note"].startswith(f"hidden: {hidden}")
    assert run("predict", "jaxem-fit", "x.npy")[1] == (tmp_path / "jaxem-fit" / "assignments.csv").read_text()
    stored = load_fit(tmp_path / "jaxem-fit")
    # A probability of 0 or 1, such as that of the first state of a single sequence, has no slope.
    assert ("flat direction" in document["missing_information_note"]) == at_bounds(stored)
    with precision("float64"):
        value = stored.model.log_likelihood(stored.fit.params, stored.kind.data(x))
    assert float(value) == pytest.approx(document["log_likelihood"], rel=1e-12)
