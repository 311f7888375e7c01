"""The information of rows that come in batches is that of the table."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.information import observed

RNG = np.random.default_rng(8)
X = np.r_[RNG.normal(size=(120, 2)), RNG.normal(4, 1.5, size=(83, 2))]
WEIGHTS = RNG.integers(0, 3, len(X)).astype(float)
PRIOR = jaxem.priors.NormalInverseWishart(np.zeros(2), 1.0, np.eye(2), 4.0)
CHAINS = RNG.poisson(np.repeat([[1.0], [6.0], [1.5]], 9, 1), size=(40, 3, 9)).reshape(40, 27, 1).astype(float)
KEY = jax.random.key(0)
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("method", "prior"),
    [
        pytest.param("oakes", True, id="oakes, posterior"),
        pytest.param("sandwich", False, id="sandwich"),
        *(pytest.param(method, True, id=method, marks=slow) for method in ("hessian", "louis", "scores", "sandwich")),
    ],
)
def test_sums_over_batches_are_those_over_rows(method, prior):
    model = (
        jaxem.GaussianMixture(2, prior=PRIOR, weights_prior=jaxem.priors.Dirichlet(2.0))
        if prior
        else (jaxem.GaussianMixture(2))
    )
    fit = jaxem.fit(model, X, weights=WEIGHTS, key=KEY, tol=1e-12, max_steps=3000)
    table = observed(model, fit.params, X, weights=WEIGHTS, method=method)
    found = observed(model, fit.params, jaxem.batches(X, rows=60, weights=WEIGHTS), method=method)
    for name in ("matrix", "covariance", "missing_fraction"):
        a, b = (getattr(info, name) for info in (table, found))
        for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9 * np.abs(np.asarray(one)).max())


def test_sequences_and_files(tmp_path):
    model = jaxem.HMM(jaxem.Poisson(), 2)
    fit = jaxem.fit(model, CHAINS, key=KEY, restarts=4, tol=1e-12, max_steps=3000)
    np.save(tmp_path / "chains.npy", CHAINS)
    table = observed(model, fit.params, CHAINS)
    for batches in (jaxem.batches(tmp_path / "chains.npy", rows=16), lambda: iter([CHAINS[:25], CHAINS[25:]])):
        found = observed(model, fit.params, batches)
        for one, other in zip(*(jax.tree.leaves(info.standard_errors) for info in (table, found)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-7)


def test_what_needs_all_rows_is_refused():
    model, batches = jaxem.GaussianMixture(1), jaxem.batches(X, rows=60)
    normal = jaxem.families.GaussianParams(jnp.asarray(X.mean(0)[None]), jnp.asarray(np.cov(X.T, bias=True)[None]))
    params = jaxem.models.MixtureParams(jnp.ones(1), normal)
    for options, words in (
        ({"weights": WEIGHTS}, "weights: batches bring their own"),
        ({"method": "sem"}, 'method="sem" takes all rows at once'),
        ({"method": "sandwich", "groups": np.arange(len(X))}, "groups takes all rows at once"),
    ):
        with pytest.raises(jaxem.DataError, match=re.escape(words)):
            observed(model, params, batches, **options)
    with pytest.raises(jaxem.DataError, match="no batch came"):
        observed(model, params, lambda: iter([]))
    elsewhere = params._replace(components=params.components._replace(mean=jnp.ones((1, 2))))
    with pytest.raises(jaxem.FitError):
        observed(model, elsewhere, batches)
