import json

import jax
import numpy as np
import polars
import pytest

import jaxem
from jaxem import datasets
from jaxem.cli import load_fit
from jaxem.cli._precision import precision
from tests.helpers.compiling import compilations

KEYS = {
    "model", "num_components", "covariance", "log_likelihood", "objective", "bic", "aic", "icl", "status", "num_steps",
    "restarts", "columns", "params",
}  # fmt: skip
QUICK = ("--restarts", "4", "--quiet")


def document(folder):
    return json.loads((folder / "fit.json").read_text())


def test_writes_the_three_files_and_the_keys(fitted):
    assert sorted(path.name for path in fitted.iterdir()) == ["assignments.csv", "fit.json", "fit.png"]
    assert (fitted / "fit.png").read_bytes().startswith(b"\x89PNG")
    stored = document(fitted)
    assert stored.keys() >= KEYS
    assert set(stored["params"]) == {"weights", "components"}
    assert set(stored["params"]["components"]) == {"mean", "covariance"}


def test_finds_the_published_optimum_of_old_faithful(fitted):
    # mclust's VVV,2 (Scrucca et al. 2016), run to convergence.
    stored = document(fitted)
    assert stored["num_components"] == 2
    assert stored["status"] == "converged"
    assert stored["log_likelihood"] == pytest.approx(-1130.263960, abs=1e-6)
    assert stored["bic"] == pytest.approx(2322.19174, abs=1e-4)
    np.testing.assert_allclose(sorted(stored["params"]["weights"]), [0.35587286, 0.64412714], atol=1e-5)


def test_the_criteria_follow_from_the_log_likelihood(fitted):
    stored = document(fitted)
    for row in stored["criteria"]:
        p, ll = row["num_parameters"], row["log_likelihood"]
        assert row["num_parameters"] == 6 * row["num_components"] - 1
        assert row["aic"] == pytest.approx(2 * p - 2 * ll, rel=1e-9)
        assert row["bic"] == pytest.approx(np.log(272) * p - 2 * ll, rel=1e-9)
        assert row["icl"] >= row["bic"] - 1e-9
    assert [row["num_components"] for row in stored["criteria"]] == [1, 2]


def test_the_assignments_are_the_posterior(fitted):
    table = polars.read_csv(fitted / "assignments.csv")
    assert table.columns == ["label", "responsibility_0", "responsibility_1"]
    responsibilities = table[:, 1:].to_numpy()
    np.testing.assert_allclose(responsibilities.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(table["label"].to_numpy(), responsibilities.argmax(1))
    stored = load_fit(fitted)
    with precision("float64"):
        expected = stored.model.posterior(stored.fit.params, datasets.old_faithful().data)
    np.testing.assert_allclose(responsibilities, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_loading_gives_the_same_fit_to_the_last_bit(run, tmp_path, dtype):
    run("fit", "--components", 2, "--dtype", dtype, *QUICK, "--out", "x")
    with precision(dtype):
        direct = jaxem.fit(
            jaxem.GaussianMixture(2),
            datasets.old_faithful().data.astype(dtype),
            key=jax.random.key(0),
            restarts=4,
            tol=1e-9 if dtype == "float64" else 1e-6,
            max_steps=5000,
            algorithm=jaxem.squarem(tail=True),
            termination=jaxem.termination.Aitken(),
        )
    stored = load_fit(tmp_path / "x")
    assert jax.tree.structure(stored.fit) == jax.tree.structure(direct)
    assert stored.fit.params.components.mean.dtype == dtype
    for read, computed in zip(jax.tree.leaves(stored.fit), jax.tree.leaves(direct), strict=True):
        np.testing.assert_array_equal(read, computed)
        assert read.dtype == computed.dtype


def test_tells_what_it_did(run):
    code, out, err = run("fit", "--components", "1:2", "--restarts", 4)
    assert (code, err) == (0, "")
    assert "Old Faithful" in out
    assert "embedded" in out
    assert "Gaussian mixture, 2 components, full covariance" in out
    assert "of 4 starts" in out
    assert "Chosen by BIC" in out
    assert "jaxem-fit" in out


def test_standard_errors_are_printed_and_kept(run, tmp_path):
    code, out, err = run("fit", "--components", 2, "--restarts", 4, "--standard-errors", "--out", "e")
    assert (code, err) == (0, "")
    assert "95% Wald intervals" in out
    assert "eruptions, waiting" in out
    stored = load_fit(tmp_path / "e")
    kept = stored.document["standard_errors"]
    with jax.enable_x64(True):
        x = datasets.old_faithful().data
        params = jax.tree.map(np.asarray, stored.fit.params)
        errors = jaxem.information.observed(stored.model, params, x).standard_errors
    rows = {(row["member"], row["parameter"], row["column"]): row for row in kept["table"]}
    assert len(rows) == 2 * (1 + 2 + 3)
    for member in (0, 1):
        own = rows[member, "covariance", "eruptions, waiting"]
        assert own["standard_error"] == pytest.approx(float(errors.components.covariance[member, 0, 1]), rel=1e-6)
        assert own["estimate"] == float(stored.fit.params.components.covariance[member, 0, 1])
    assert kept["level"] == 0.95


def test_communalities_have_errors_where_loadings_have_none(run, tmp_path):
    rng = np.random.default_rng(0)
    loading = np.array([[1, 0.2], [0.8, -0.3], [0.5, 0.9], [-0.4, 0.8], [0.3, 0.3], [0.6, -0.7]])
    x = rng.standard_normal((200, 2)) @ loading.T + 0.6 * rng.standard_normal((200, 6))
    np.savetxt(tmp_path / "f.csv", x, delimiter=",", header="a,b,c,d,e,f", comments="")
    given = ("--model", "factor-analysis", "--components", 2, "--restarts", 2)
    code, out, _ = run("fit", "f.csv", *given, "--standard-errors", "--out", "f")
    assert code == 0
    assert "Correlation\n  not determined" in out
    assert "Communality\n  a " in out
    stored = load_fit(tmp_path / "f")
    rows = stored.document["standard_errors"]["derived"]
    assert all(row["standard_error"] is None for row in rows["correlation"])
    with jax.enable_x64(True):
        params = jax.tree.map(np.asarray, stored.fit.params)
        info = jaxem.information.observed(stored.model, params, x)
        expected = info.delta(lambda p: (p.loading**2).sum(1) / ((p.loading**2).sum(1) + p.noise_variance))
    found = [(row["estimate"], row["standard_error"]) for row in rows["communality"]]
    np.testing.assert_allclose(found, np.stack([expected.value, expected.standard_error], 1), rtol=1e-6)
    assert all(0 < row["lower"] < row["estimate"] < row["upper"] < 1 for row in rows["communality"])


def test_without_standard_errors_there_are_none(fitted):
    assert document(fitted)["standard_errors"] is None


def test_quiet_prints_nothing(run):
    assert run("fit", "--components", 1, *QUICK) == (0, "", "")


def test_another_table_compiles_nothing(run, fitted, tmp_path):
    """Of another length."""
    for number, columns in enumerate(([0, 1], [1, 0])):
        x = np.resize(datasets.old_faithful().data[:, columns], (300, 2)) + np.arange(600).reshape(300, 2) % 7 / 100
        polars.DataFrame(x).write_csv(tmp_path / "other.csv")
        options = ("--components", "1:2", *QUICK, "--out", tmp_path / str(number))
        (code, _, _), count = compilations(lambda options=options: run("fit", tmp_path / "other.csv", *options))
        assert (code, count) == (0, 0)


def test_the_same_seed_gives_the_same_files(run, tmp_path):
    for out in ("a", "b"):
        run("fit", "--components", 2, *QUICK, "--seed", 3, "--out", out)
    for name in ("fit.json", "assignments.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_integers_give_the_same_answer_as_floats(run, tmp_path):
    x = datasets.old_faithful().data.round().astype(int)
    np.save("ints.npy", x)
    np.save("floats.npy", x.astype(float))
    for name in ("ints", "floats"):
        assert run("fit", f"{name}.npy", "--components", 2, *QUICK, "--out", name)[0] == 0
    assert document(tmp_path / "ints")["params"] == document(tmp_path / "floats")["params"]


@pytest.mark.slow
def test_what_was_decided_of_a_table_is_said_and_kept(run, tmp_path):
    x = datasets.old_faithful().data[:60]
    lines = "\n".join(f"{i};{a:.3f};{b}".replace(".", ",") for i, (a, b) in enumerate(x))
    (tmp_path / "x.csv").write_text("\n" + lines + "\n\n")
    options = ("--components", 1, "--restarts", 1)
    code, out, err = run("fit", "x.csv", *options)
    assert code == 0
    assert "60 rows, 3 columns" in out
    assert sorted(err.splitlines()) == [
        "jaxem: note: x.csv: its columns are separated by semicolons",
        "jaxem: note: x.csv: its decimal marks are commas",
        "jaxem: note: x.csv: line 2 is data, so the columns are called x0 to x2 (--header if it holds names)",
        "jaxem: warning: x.csv: the first column has no name and holds 0, 1, 2 ...: it looks like an index, and is "
        "fitted like any other; leave it out with --columns x1,x2",
    ]
    stored = document(tmp_path / "jaxem-fit")
    assert stored["table"] == {"header": False, "separator": ";", "decimal": ",", "encoding": "utf-8"}
    code, out, err = run("fit", "x.csv", *options, "--columns", "x1,x2", "--no-header", "--quiet")
    assert (code, out, err) == (0, "", "")
    stored = document(tmp_path / "jaxem-fit")
    np.testing.assert_allclose(stored["params"]["components"]["mean"], [x.mean(0)], rtol=1e-3)


def test_columns_are_chosen_and_kept_in_order(run, tmp_path):
    assert run("fit", "--columns", "waiting,eruptions", "--components", 1, *QUICK)[0] == 0
    stored = document(tmp_path / "jaxem-fit")
    assert stored["columns"] == ["waiting", "eruptions"]
    np.testing.assert_allclose(stored["params"]["components"]["mean"], [[70.897059, 3.487783]], atol=1e-6)


def test_standardizing_full_covariances_finds_the_same_fit_in_other_units(run, fitted, tmp_path):
    assert run("fit", "--components", 2, "--standardize", *QUICK, "--out", "z")[0] == 0
    plain, stored = document(fitted), document(tmp_path / "z")
    shift, scale = (np.array(stored["standardize"][name]) for name in ("shift", "scale"))
    assert stored["coordinates"].startswith("standardized")
    jacobian = 272 * np.log(scale).sum()
    assert stored["log_likelihood"] - jacobian == pytest.approx(plain["log_likelihood"], abs=1e-5)
    means = np.array(stored["params"]["components"]["mean"]) * scale + shift
    order, plain_means = np.argsort(means[:, 0]), np.array(plain["params"]["components"]["mean"])
    np.testing.assert_allclose(means[order], plain_means[np.argsort(plain_means[:, 0])], rtol=1e-4)


@pytest.mark.parametrize(
    "covariance",
    [pytest.param("spherical", marks=pytest.mark.slow), "tied", pytest.param("VEV", marks=pytest.mark.slow)],
)
def test_covariance_structures(run, tmp_path, covariance):
    assert run("fit", "--components", 2, "--covariance", covariance, *QUICK)[0] == 0
    shape = {"spherical": (2,), "tied": (2, 2), "VEV": (2, 2, 2)}[covariance]
    stored = document(tmp_path / "jaxem-fit")
    assert stored["covariance"] == covariance
    assert np.shape(stored["params"]["components"]["covariance"]) == shape
    read = load_fit(tmp_path / "jaxem-fit")
    assert read.model.family.covariance == covariance
    np.testing.assert_array_equal(read.fit.params.components.covariance, stored["params"]["components"]["covariance"])


@pytest.mark.parametrize(
    ("model", "high", "fields"),
    [
        ("poisson-mixture", 9, {"rate": (2, 3)}),
        pytest.param("negative-binomial-mixture", 9, {"mean": (2, 3), "theta": (2, 3)}, marks=pytest.mark.slow),
        pytest.param("bernoulli-mixture", 2, {"probability": (2, 3)}, marks=pytest.mark.slow),
        pytest.param("categorical-mixture", 3, {"probabilities": (2, 3, 3)}, marks=pytest.mark.slow),
    ],
)
def test_discrete_models(run, tmp_path, model, high, fields):
    rng = np.random.default_rng(1)
    x = np.where(rng.random((80, 1)) < 0.5, rng.integers(0, high, (80, 3)), high - 1)
    np.save("x.npy", x)
    assert run("fit", "x.npy", "--model", model, "--components", 2, *QUICK)[0] == 0
    stored = document(tmp_path / "jaxem-fit")
    assert stored["covariance"] is None
    assert {name: np.shape(value) for name, value in stored["params"]["components"].items()} == fields
    assert (tmp_path / "jaxem-fit" / "fit.png").stat().st_size > 10_000
    assert run("predict", "jaxem-fit", "x.npy")[0] == 0
    assert run("sample", "jaxem-fit", "-n", 5)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("hmm", ["label", "probability_0", "probability_1"]),
        ("factor-analysis", ["score_0", "score_1"]),
        ("ppca", ["score_0", "score_1"]),
        ("student-t-mixture", ["label", "responsibility_0", "responsibility_1"]),
    ],
)
def test_models_with_other_things_hidden(run, tmp_path, model, names):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 1)) * np.array([1.0, 0.8, -0.6, 0.5]) + 0.6 * rng.standard_normal((90, 4))
    x += 4 * (np.arange(90) // 30 == 1)[:, None]
    np.save("x.npy", x)
    assert run("fit", "x.npy", "--model", model, "--components", 2, *QUICK)[0] == 0
    assert document(tmp_path / "jaxem-fit")["icl"] is None or "label" in names
    assert polars.read_csv(tmp_path / "jaxem-fit" / "assignments.csv").columns == names
    assert run("predict", "jaxem-fit", "x.npy", "--out", "again.csv")[0] == 0
    again = (tmp_path / "again.csv").read_bytes()
    assert again == (tmp_path / "jaxem-fit" / "assignments.csv").read_bytes()
    assert run("sample", "jaxem-fit", "-n", 7, "--out", "drawn.csv")[0] == 0
    assert polars.read_csv(tmp_path / "drawn.csv").shape == (7, 4 + ("label" in names))


@pytest.mark.slow
def test_empty_cells_are_missing(run, tmp_path):
    x = datasets.old_faithful().data.copy()
    x[::9, 0] = np.nan
    np.save("x.npy", x)
    assert run("fit", "x.npy", "--components", 2, *QUICK)[0] == 0
    stored = document(tmp_path / "jaxem-fit")
    assert stored["options"]["missing"] is True
    assert stored["status"] == "converged"


@pytest.mark.slow
def test_a_time_limit_and_going_on(run, tmp_path):
    options = ("fit", "--components", "2:3", "--restarts", 40, "--checkpoint", "c", "--out")
    code, told, err = run(*options, "part", "--time-limit", 1e-6)
    assert (code, err) == (0, "")
    assert "stopped" in told
    stored = load_fit(tmp_path / "part")
    assert jaxem.status_name(stored.fit.status) == "stopped"
    assert (tmp_path / "c").exists()
    code, _, err = run(*options, "rest", "--quiet")
    assert code == 2
    assert "--resume" in err
    assert run(*options, "rest", "--quiet", "--resume") == (0, "", "")
    assert not (tmp_path / "c").exists()
    run("fit", "--components", "2:3", "--restarts", 40, "--quiet", "--out", "whole")
    for name in ("fit.json", "assignments.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "rest" / name).read_bytes()
