"""Cross-validation by `select`: a hand loop of fits, folds of any kind, and what becomes of folds that fail."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.selection._folds import folds_of, of_folds
from jaxem.selection._selection import chosen
from tests.helpers.compiling import compilations

KEY = jax.random.key(7)
RNG = np.random.default_rng(3)
COUNTS = np.r_[RNG.poisson(2, size=(20, 2)), RNG.poisson(9, size=(31, 2))].astype(float)
COUNTS[0] = np.nan  # of no weight
WEIGHTS = np.r_[0.0, np.tile([1.0, 2.0], 25)]
slow = pytest.mark.slow


def by_hand(model, data, weights, folds, **options):
    """Log density of what each fit without a fold says of that fold, and how many observations it has."""
    sums = []
    for i in range(folds.max() + 1):
        left_in = np.where(folds == i, 0, weights)
        fit = jaxem.fit(model, data, key=jax.random.fold_in(KEY, i), weights=left_in, **options)
        rows = folds == i
        observed = np.asarray(model.observed(jax.tree.map(np.nan_to_num, data)))
        density = np.asarray(model.log_prob(fit.params, jax.tree.map(np.nan_to_num, data)))
        sums.append((np.sum((weights * density)[rows]), np.sum((weights * observed)[rows])))
    return np.array(sums).T


@pytest.fixture(scope="module")
def selection():
    models = [jaxem.Mixture(jaxem.Poisson(), k) for k in (1, 2)]
    with jax.enable_x64(True):
        return jaxem.select(models, COUNTS, key=KEY, criterion="cv", folds=3, restarts=2, weights=WEIGHTS)


def test_it_is_a_loop_of_fits(selection, double):
    assert sorted(np.unique(selection.folds, return_counts=True)[1]) == [1, 16, 17, 17]
    assert selection.folds[0] == -1  # weight 0
    for model, row in zip(selection.models, selection.table, strict=True):
        density, count = by_hand(model, COUNTS, WEIGHTS, selection.folds, restarts=2)
        assert row["cv"] == pytest.approx(density.sum() / count.sum(), rel=1e-8)
        assert row["criterion"] == -row["cv"]
        residual = density - row["cv"] * count
        error = np.sqrt(3 / 2 * np.sum(residual**2)) / count.sum()
        assert row["cv_standard_error"] == pytest.approx(error, rel=1e-6)
        assert row["failed_folds"] == {}
    assert selection.best.num_components == 2
    assert selection.criterion == "cv"


def test_fits_are_those_to_all_rows(selection, double):
    other = jaxem.select(selection.models, COUNTS, key=KEY, restarts=2, weights=WEIGHTS)
    assert [row["bic"] for row in other.table] == [row["bic"] for row in selection.table]
    np.testing.assert_allclose(selection.fit.log_likelihood, _taken(other.fits[1]).log_likelihood, rtol=1e-12)


def test_other_folds_compile_nothing(selection, double):
    """Nor does their log density: all folds are asked for that of all rows."""
    options = {"restarts": 2, "weights": WEIGHTS, "criterion": "cv", "folds": 3}
    _, count = compilations(lambda: jaxem.select(selection.models, COUNTS, key=jax.random.key(8), **options))
    assert count == 0


def test_a_data_frame_has_a_row_for_each_model(selection):
    frame = selection.to_dataframe()
    assert frame["cv"].tolist() == [row["cv"] for row in selection.table]
    assert {"model", "bic", "cv_standard_error", "status"} < set(frame.columns)


@slow
def test_sequences_are_left_out_as_a_whole(double):
    model = jaxem.HMM(jaxem.Poisson(), 2)
    data = jaxem.Sequences.of([RNG.poisson(3.0, size=(n, 1)).astype(float) for n in (9, 5, 7, 8, 6, 9)])
    labels = np.array(["b", "a", "c", "b", "a", "c"])
    options = {"max_steps": 20, "algorithm": jaxem.em()}
    found = jaxem.select([model], data, key=KEY, criterion="cv", folds=labels, **options)
    assert _taken(found.folds).tolist() == [1, 0, 2, 1, 0, 2]
    density, count = by_hand(model, data, np.ones(6), found.folds, **options)
    assert count.tolist() == [11, 17, 16]
    assert found.table[0]["cv"] == pytest.approx(density.sum() / 44, rel=1e-8)


@slow
def test_a_fold_that_fails_is_listed_and_its_model_not_chosen_in_silence(double):
    """Without fold 0 the second component has equal rows alone."""
    far = np.array([[50.0, 50.0]] * 4 + [[49.0, 52.0], [52.0, 49.0], [50.0, 47.0], [48.0, 50.0]])
    x = np.r_[RNG.normal(size=(24, 2)), far]
    labels = np.r_[np.arange(24) % 2, 1, 1, 1, 1, 0, 0, 0, 0]
    one, two = (jaxem.GaussianMixture(k) for k in (1, 2))
    options = {"key": KEY, "criterion": "cv", "folds": labels, "max_steps": 200}
    found = jaxem.select([one, two], x, **options)
    assert found.table[1]["failed_folds"] == {0: "degenerate_component"}
    assert found.table[1]["status"] == "converged"
    assert found.index == 0
    with pytest.warns(RuntimeWarning, match=r"models\[0\] is chosen although fold 0 ended degenerate_component"):
        jaxem.select([two], x, **options)


def row(model, criterion, size, error=0.0, failed=None):
    status = {"status": "converged", "failed_folds": failed or {}}
    return {"model": model, "criterion": criterion, "num_parameters": size, "cv_standard_error": error, **status}


def test_the_smallest_within_a_standard_error():
    rows = [row(0, 5.0, 3), row(1, 2.4, 5), row(2, 2.0, 9, 0.5), row(3, 2.45, 5)]
    assert chosen(rows, False) == 2
    assert chosen(rows, True) == 1
    rows[2]["cv_standard_error"] = 0.3
    assert chosen(rows, True) == 2
    rows[1]["failed_folds"] = {0: "not_finite"}
    rows[2]["cv_standard_error"] = 0.5
    assert chosen(rows, True) == 3


def test_what_has_failed_folds_is_chosen_where_there_is_no_other_and_said():
    failed = {1: "degenerate_component"}
    assert chosen([row(0, 1.0, 3, failed=failed), row(1, 2.0, 3)], False) == 1
    with pytest.warns(RuntimeWarning, match=r"models\[0\] is chosen although fold 1 ended degenerate_component"):
        assert chosen([row(0, 1.0, 3, failed=failed)], False) == 0


def test_folds_that_all_fail_are_an_error():
    with pytest.raises(jaxem.FitError, match=r"folds of every model failed: models\[0\]: fold 2 ended not_finite"):
        chosen([row(0, np.nan, 3, np.nan, {2: "not_finite"})], False)


def test_the_standard_error_of_folds_of_one_size_is_that_of_their_means():
    each = RNG.normal(-3, 1, size=6)
    value, error = of_folds(7 * each, np.full(6, 7.0))
    assert value == pytest.approx(each.mean())
    assert error == pytest.approx(each.std(ddof=1) / np.sqrt(6))
    assert of_folds(np.array([-np.inf, 1.0]), np.ones(2))[0] == -np.inf


def test_folds_are_even_and_other_keys_have_others():
    labels = folds_of(4, KEY, 22, None)
    assert sorted(np.bincount(labels)) == [5, 5, 6, 6]
    assert (labels == folds_of(4, KEY, 22, None)).all()
    assert (labels != folds_of(4, jax.random.key(8), 22, None)).any()


def test_what_cannot_be_meant_is_refused():
    models = [jaxem.Mixture(jaxem.Poisson(), 1)]

    def select(**options):
        return jaxem.select(models, np.nan_to_num(COUNTS), key=KEY, **{"criterion": "cv", **options})

    with pytest.raises(jaxem.DataError, match="folds is 60, but there are 51 observations"):
        select(folds=60)
    with pytest.raises(jaxem.DataError, match="folds must be at least 2, got 1"):
        select(folds=1)
    with pytest.raises(jaxem.DataError, match="folds must be a number, or 51 labels"):
        select(folds=[0, 1])
    with pytest.raises(jaxem.DataError, match="folds has one label, 0"):
        select(folds=np.zeros(51, int))
    with pytest.raises(jaxem.DataError, match='one_standard_error is for criterion="cv"'):
        select(criterion="bic", one_standard_error=True)
    with pytest.raises(jaxem.DataError, match="weights_are must be one of 'frequencies', 'survey', got 'sample'"):
        select(criterion="bic", weights_are="sample")


# What weights are


def test_survey_weights_have_no_unit_and_equal_ones_count_as_one(double):
    models = [jaxem.Mixture(jaxem.Poisson(), k) for k in (1, 2)]
    x, w = np.nan_to_num(COUNTS), RNG.uniform(1, 4, size=51)

    def table(weights, weights_are="survey"):
        return jaxem.select(models, x, key=KEY, weights=weights, weights_are=weights_are, tol=1e-9).table

    plain, equal, own, large = table(None), table(np.full(51, 37.0)), table(w), table(1e4 * w)
    for name in ("aic", "bic", "icl"):
        np.testing.assert_allclose([row[name] for row in equal], [row[name] for row in plain], rtol=1e-6)
        np.testing.assert_allclose([row[name] for row in own], [row[name] for row in large], rtol=1e-6)
    size = w.sum() ** 2 / np.sum(w**2)
    first = own[0]  # one Poisson: the maximum is known
    rate = w @ x / w.sum()
    log_likelihood = size / w.sum() * float(w @ np.asarray(models[0].log_prob(_params(rate), x)))
    assert first["bic"] == pytest.approx(-2 * log_likelihood + 2 * np.log(size), rel=1e-7)
    assert first["aic"] == pytest.approx(-2 * log_likelihood + 4, rel=1e-7)
    repeated = table(w, "frequencies")[0]
    assert repeated["bic"] == pytest.approx(-2 * log_likelihood * w.sum() / size + 2 * np.log(w.sum()), rel=1e-7)


def _params(rate):
    return jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.PoissonParams(jnp.asarray(rate[None])))


def _taken(value) -> Any:
    assert value is not None
    return value
