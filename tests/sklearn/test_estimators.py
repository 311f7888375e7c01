"""The estimators against scikit-learn's own, and its checks of what an estimator is."""

import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("sklearn")

import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Reference
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxem
from jaxem.sklearn import GaussianMixture, Mixture
from tests.helpers.compiling import compilations
from tests.helpers.problems import old_faithful

TYPES = ("full", "tied", "diag", "spherical")


@pytest.fixture(scope="module")
def x():
    return old_faithful().x


@pytest.fixture(scope="module")
def fitted(x):
    return cache(lambda kind: GaussianMixture(2, covariance_type=kind, tol=1e-10, random_state=0).fit(x))


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_it_agrees_with_scikit_learn(kind, x, fitted):
    mine = fitted(kind)
    start = {"weights_init": mine.weights_, "means_init": mine.means_, "precisions_init": mine.precisions_}
    theirs = Reference(2, covariance_type=kind, tol=1e-12, max_iter=5000, reg_covar=0.0, **start).fit(x)
    assert mine.converged_
    assert mine.status_ == "converged"
    for name in ("weights_", "means_", "covariances_", "precisions_"):
        assert getattr(mine, name).shape == getattr(theirs, name).shape
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(mine.lower_bound_, theirs.score(x), rtol=1e-8)
    np.testing.assert_allclose(mine.lower_bounds_[-1], mine.lower_bound_, rtol=1e-9)
    assert len(mine.lower_bounds_) == mine.n_iter_
    # At the same parameters the two are one function.
    theirs.weights_, theirs.means_, theirs.covariances_ = mine.weights_, mine.means_, mine.covariances_
    factors = np.linalg.cholesky(mine.precisions_) if kind in ("full", "tied") else np.sqrt(mine.precisions_)
    if kind in ("full", "tied"):
        covariances = np.linalg.cholesky(mine.covariances_)
        factors = np.swapaxes(np.linalg.inv(covariances), -1, -2)
    theirs.precisions_cholesky_ = factors
    np.testing.assert_array_equal(mine.predict(x), theirs.predict(x))
    np.testing.assert_allclose(mine.predict_proba(x), theirs.predict_proba(x), atol=1e-9)
    np.testing.assert_allclose(mine.score_samples(x), theirs.score_samples(x), rtol=1e-9)
    for name in ("score", "bic", "aic"):
        np.testing.assert_allclose(getattr(mine, name)(x), getattr(theirs, name)(x), rtol=1e-10, err_msg=name)


@pytest.mark.slow
def test_equal_shapes_which_scikit_learn_does_not_have(x):
    mixture = GaussianMixture(2, covariance_type="VEV", tol=1e-10, random_state=0).fit(x)
    assert mixture.converged_
    values = np.linalg.eigvalsh(mixture.covariances_)
    np.testing.assert_allclose(values[0, 0] / values[0, 1], values[1, 0] / values[1, 1], rtol=1e-9)
    np.testing.assert_allclose(mixture.precisions_ @ mixture.covariances_, np.stack([np.eye(2)] * 2), atol=1e-9)
    start = {"means_init": mixture.means_, "precisions_init": mixture.precisions_, "weights_init": mixture.weights_}
    again = GaussianMixture(2, covariance_type="VEV", max_iter=3, **start).fit(x)
    np.testing.assert_allclose(again.lower_bound_, mixture.lower_bound_, rtol=1e-9)


@pytest.mark.slow
def test_weights_are_copies(x):
    counts = np.random.default_rng(0).integers(0, 3, len(x))
    start = {"means_init": x[[0, 1]], "tol": 1e-10}
    a = GaussianMixture(2, **start).fit(x, sample_weight=counts)
    b = GaussianMixture(2, **start, weights_init=[0.5, 0.5]).fit(np.repeat(x, counts, 0))
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-4)
    np.testing.assert_allclose(a.lower_bound_, b.lower_bound_, rtol=1e-8)
    np.testing.assert_allclose(a.score(x, sample_weight=counts), a.lower_bound_, rtol=1e-9)
    np.testing.assert_allclose(a.bic(x, counts), a.bic(np.repeat(x, counts, 0)), rtol=1e-9)


@pytest.mark.parametrize("enabled", [False, True])
def test_the_precision_is_that_of_the_data(x, fitted, enabled):
    """Whatever the flag is, which stays as it is."""
    from jaxem._precision import precision_of

    plain = fitted("full")
    with precision_of("float64" if enabled else "float32"):
        double = GaussianMixture(2, tol=1e-10, random_state=0).fit(x)
        single = GaussianMixture(2, random_state=0).fit(x.astype(np.float32))
        assert jax.config.jax_enable_x64 is enabled
        assert {a.dtype for a in (double.means_, double.covariances_, double.precisions_)} == {np.dtype(np.float64)}
        assert double.predict_proba(x).dtype == np.float64
        assert double.sample(3)[0].dtype == np.float64
        np.testing.assert_array_equal(double.means_, plain.means_)
        assert single.means_.dtype == single.predict_proba(x).dtype == np.float32
    np.testing.assert_allclose(np.sort(single.means_, 0), np.sort(double.means_, 0), rtol=1e-3)


@pytest.mark.slow
def test_it_is_an_estimator(x):
    frame = pd.DataFrame(x, columns=["eruption", "waiting"])
    search = GridSearchCV(GaussianMixture(random_state=0, n_init=2), {"n_components": [1, 2]}, cv=3).fit(frame)
    assert search.best_params_ == {"n_components": 2}
    best = search.best_estimator_
    assert best.feature_names_in_.tolist() == ["eruption", "waiting"]
    with pytest.raises(ValueError, match="feature names"):
        best.predict(frame.rename(columns={"waiting": "other"}))
    copy = clone(best)
    assert copy.get_params() == best.get_params()
    assert not hasattr(copy, "means_")
    np.testing.assert_array_equal(copy.fit_predict(frame), best.predict(frame))


def test_samples_come_from_the_mixture(fitted):
    rows, labels = fitted("full").sample(4000)
    assert (rows.shape, labels.shape) == ((4000, 2), (4000,))
    assert np.all(np.diff(labels) >= 0)
    np.testing.assert_allclose(np.bincount(labels) / 4000, fitted("full").weights_, atol=0.03)
    np.testing.assert_allclose(rows[labels == 0].mean(0), fitted("full").means_[0], rtol=0.02)


def test_what_does_not_converge_says_so(x):
    with pytest.warns(ConvergenceWarning, match="GaussianMixture did not converge: reached max_steps"):
        few = GaussianMixture(2, max_iter=2, random_state=0).fit(x)
    assert not few.converged_
    assert (few.status_, few.n_iter_) == ("max_steps_reached", 2)


@pytest.mark.slow
def test_other_families():
    rng = np.random.default_rng(2)
    counts = rng.poisson(np.where(rng.random(400) < 0.4, 2.0, 20.0))[:, None]
    mixture = Mixture("poisson", 2, random_state=1).fit(counts)
    order = mixture.params_.components.rate[:, 0].argsort()
    np.testing.assert_allclose(mixture.params_.components.rate[order, 0], [2.0, 20.0], rtol=0.1)
    assert mixture.predict_proba(counts).shape == (400, 2)
    family = jaxem.Categorical(3)
    digits = Mixture(family, 2, random_state=1, n_init=2, max_iter=2000).fit(rng.integers(0, 3, (200, 4)))
    assert clone(digits).family is not None
    assert digits.bic(rng.integers(0, 3, (50, 4))) > 0


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (GaussianMixture(covariance_type="diagonal"), "covariance_type must be one of full, tied, diag, spherical"),
        (GaussianMixture(init_params="magic"), "init_params must be one of k-means"),
        (GaussianMixture(n_components=0), "num_components must be a positive integer"),
        (GaussianMixture(means_init=np.zeros((3, 2))), "init"),
        (Mixture("gamma"), "family must be a jaxem family or one of gaussian"),
        (Mixture("poisson"), "data: row 0, column 0 has value"),
    ],
)
def test_what_is_refused(estimator, message, x):
    with pytest.raises(ValueError, match=message):
        estimator.fit(x)


def test_without_scikit_learn_it_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import jaxem.sklearn"
    environment = {**os.environ, "PYTHONPATH": str(Path(jaxem.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "ImportError: jaxem.sklearn needs scikit-learn: pip install 'jaxem[sklearn]'" in done.stderr


CHECKED = [GaussianMixture(n_init=2, max_iter=50), Mixture(n_init=2, max_iter=50)]


@pytest.mark.slow
@parametrize_with_checks(CHECKED)
def test_checks_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def test_a_row_of_weight_zero_that_cannot_be_costs_no_score():
    mixture = Mixture("bernoulli", 1, random_state=0).fit(np.array([[0, 1], [0, 1], [0, 0]]))
    rows, weights = np.array([[1, 1], [0, 1]]), [0, 1]
    assert mixture.score_samples(rows)[0] == -np.inf
    assert mixture.score(rows, sample_weight=weights) == mixture.score(rows[1:])
    assert mixture.bic(rows, weights) == mixture.bic(rows[1:])


def test_tiny_weights_of_rows_in_single_precision_are_held_in_another_unit():
    x = np.random.default_rng(0).normal(size=(20, 1)).astype(np.float32)
    plain, tiny = (GaussianMixture(1, random_state=0).fit(x, sample_weight=np.full(20, w)) for w in (1.0, 1e-50))
    np.testing.assert_allclose(tiny.means_, plain.means_, rtol=1e-5)
    np.testing.assert_allclose(tiny.lower_bound_, plain.lower_bound_, rtol=1e-5)
    np.testing.assert_allclose(tiny.score(x, sample_weight=np.full(20, 1e-50)), plain.score(x), rtol=1e-5)


def test_another_number_of_components_compiles_nothing():
    """Nor another fold; so that a search over both takes seconds."""
    x = np.random.default_rng(8).normal(size=(150, 2))

    def fit(k, rows):
        return GaussianMixture(k, n_init=5, random_state=0, tol=1e-2).fit(rows)

    fit(3, x[:120])
    found, count = compilations(lambda: [fit(k, x[i:][:120]) for k in (1, 2, 4) for i in (0, 30)])
    assert count == 0
    assert [len(each.weights_) for each in found] == [1, 1, 2, 2, 4, 4]
    assert [each.means_.shape for each in found[::2]] == [(1, 2), (2, 2), (4, 2)]


@pytest.mark.parametrize(("name", "value"), [("n_init", 0), ("n_init", 2.5), ("max_iter", -1)])
def test_counts_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=r"restarts|max_steps"):
        GaussianMixture(2, **{name: value}).fit(np.eye(4))
