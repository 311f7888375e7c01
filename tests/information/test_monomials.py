"""Second moments of scores from sums of monomials: the same numbers as from the scores themselves."""

import sys
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.information import _monomials
from jaxem.information._matrices import matrices
from jaxem.kernels.linalg import products
from tests.helpers import engine
from tests.helpers.hessian import by_hessian
from tests.helpers.product import Cell

K, D = 3, 2
MODELS = {
    "full": jaxem.GaussianMixture(K),
    "tied": jaxem.GaussianMixture(K, "tied"),
    "equal shape": jaxem.GaussianMixture(K, "VEV"),
    "frozen means": jaxem.GaussianMixture(K, frozen=("components.mean",)),
    "prior": jaxem.Mixture(
        jaxem.Gaussian(prior=jaxem.priors.NormalInverseWishart(jnp.zeros(D), 0.1, jnp.eye(D), 5.0)), K
    ),
}


def rows(k=K, d=D, n=200, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(2 * rng.normal(size=(k, d))[np.arange(n) % k] + rng.normal(size=(n, d)))


def begun(model, x):
    return jax.jit(model.bound().init)(jax.random.key(0), x)


def somewhere(model, x):
    """Parameters after some iterations: no maximum."""
    return engine.solve(model, begun(model, x), x, max_steps=3).params


def alike(found, expected, rtol=1e-9):
    for one, other in zip(jax.tree.leaves(found[1:]), jax.tree.leaves(expected[1:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.parametrize("d", [1, 3])
def test_products_of_four(d):
    x = np.random.default_rng(0).normal(size=(d, 5))
    padded = np.concatenate([np.ones((1, 5)), x])
    terms = np.asarray(products(jnp.asarray(padded)))
    first, second, position = _monomials.factors(d)
    found = terms[first] * terms[second]
    expected = {np.prod(padded[list(four)], 0)[0].round(12) for four in combinations_with_replacement(range(d + 1), 4)}
    assert len(found) == len(expected)
    assert {value.round(12) for value in found[:, 0]} == expected
    np.testing.assert_allclose(terms[:, None] * terms[None], found[position], rtol=1e-12)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "full" else pytest.mark.slow) for n in MODELS])
def test_they_give_minus_the_hessian_of_the_objective(name):
    model, x, w = MODELS[name], rows(), jnp.asarray(np.arange(200) % 3, float)
    params = somewhere(model, x)
    found = matrices(model, params, x, weights=w, monomials=True)
    expected = by_hessian(Cell(model, params, x, w))
    np.testing.assert_allclose(found.observed, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


def test_they_give_the_outer_products_of_scores():
    model, x = MODELS["full"], rows()
    params = somewhere(model, x)
    for method in ("sandwich", "scores"):
        ask = {"weights": jnp.asarray(np.arange(200) % 3, float), "method": method}
        alike(matrices(model, params, x, monomials=True, **ask), matrices(model, params, x, **ask))


def test_labelled_rows_and_members_without_weight():
    model, x = MODELS["full"], rows()
    labelled = jaxem.Labelled(x, jnp.asarray(np.where(np.arange(200) % 4 == 0, np.arange(200) % K, -1)))
    params = somewhere(model, labelled)
    alike(matrices(model, params, labelled, monomials=True), matrices(model, params, labelled))
    empty = params._replace(weights=jnp.array([0.4, 0.6, 0.0]))
    found = matrices(model, empty, x, monomials=True)
    assert np.isfinite(found.observed).all()
    alike(found, matrices(model, empty, x))


def test_they_are_taken_where_they_pay_and_rounding_lets_them():
    x, model = rows(6, 8, 900), jaxem.GaussianMixture(6)
    params = begun(model, x)
    assert _monomials.pay(model, params, x, None)
    assert _monomials.pay(jaxem.GaussianMixture(6, "tied"), begun(jaxem.GaussianMixture(6, "tied"), x), x, None)
    for other in (jaxem.GaussianMixture(6, "diagonal"), jaxem.StudentTMixture(6)):
        assert not _monomials.pay(other, begun(other, x), x, None)
    small = MODELS["full"]
    assert not _monomials.pay(small, begun(small, rows()), rows(), None)
    narrow = params._replace(
        components=params.components._replace(covariance=params.components.covariance.at[0].multiply(1e-6))
    )
    assert not _monomials.pay(model, narrow, x, None)
    assert not jax.jit(lambda x: jnp.asarray(_monomials.pay(model, params, x, None)))(x)


def test_observed_takes_them(monkeypatch):
    x, model = rows(6, 8, 900), jaxem.GaussianMixture(6)
    params = begun(model, x)
    asked = []

    class Seen(Exception):
        pass

    def record(*args, monomials, **kwargs):
        asked.append(monomials)
        raise Seen

    monkeypatch.setattr(sys.modules["jaxem.information.observed"], "matrices", record)
    for method in ("oakes", "hessian"):
        with pytest.raises(Seen):
            jaxem.information.observed(model, params, x, method=method)
    assert asked == [True, False]
