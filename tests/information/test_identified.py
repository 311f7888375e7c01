"""What the data do not determine, and what a bound holds, is found, named and not inverted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.information import observed
from jaxem.information._identified import moves, spectrum
from jaxem.information._names import names_of


def two_factors():
    rng = np.random.default_rng(0)
    loading = np.array([[1, 0.2], [0.8, -0.3], [0.5, 0.9], [-0.4, 0.8], [0.3, 0.3], [0.6, -0.7]])
    return jnp.asarray(rng.standard_normal((200, 2)) @ loading.T + 0.6 * rng.standard_normal((200, 6)))


def test_loadings_turn_and_what_does_not_has_errors():
    model, x = jaxem.FactorAnalysis(2), two_factors()
    fit = jaxem.fit(model, x, key=jax.random.key(0))  # as far as by default
    found = observed(model, fit.params, x)
    assert found.unidentified == ("loading",)
    assert found.spectrum.num_flat == 1
    assert "not determined by the data (1 directions): loading" in repr(found)
    assert np.isnan(found.standard_errors.loading).all()
    assert np.isfinite(found.standard_errors.noise_variance).all()
    assert np.isnan(np.diagonal(found.covariance)[6:18]).all()
    assert np.isnan(found.interval().lower.loading).all()
    with pytest.raises(ValueError, match="do not determine: loading"):
        found.wald(lambda p: p.loading[0])
    # The covariance of the rows has errors, and the same however the loadings are turned.
    turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])
    turned = observed(model, fit.params._replace(loading=jnp.matmul(fit.params.loading, turn)), x)

    def variance(params):
        return jnp.matmul(params.loading, params.loading.T) + jnp.diag(params.noise_variance)

    errors = found.delta(variance).standard_error
    np.testing.assert_allclose(turned.delta(variance).standard_error, errors, rtol=1e-3)
    # Variances are those of normal columns, of which the sample's are sufficient by themselves.
    diagonal = np.diagonal(variance(fit.params))
    np.testing.assert_allclose(np.diagonal(errors), diagonal * np.sqrt(2 / 200), rtol=0.02)


def bits():
    rng = np.random.default_rng(1)
    x = (rng.random((300, 4)) < np.where(np.arange(300)[:, None] % 2, 0.2, 0.75)).astype(float)
    return np.concatenate([x, np.zeros((300, 1))], 1)


def test_probabilities_of_zero_are_on_their_bound_and_an_empty_member_is_undetermined():
    x = jnp.asarray(bits())
    one = jaxem.families.BernoulliParams(x.mean(0)[None])
    alone = observed(jaxem.Mixture(jaxem.Bernoulli(), 1), jaxem.models.MixtureParams(jnp.ones(1), one), x)
    assert alone.boundary == ("components.probability[0, 4]",)
    assert alone.unidentified == ()
    assert "on a bound" in repr(alone)
    p = np.asarray(x.mean(0))[:4]
    np.testing.assert_allclose(alone.standard_errors.components.probability[0, :4], np.sqrt(p * (1 - p) / 300))
    assert np.isnan(alone.standard_errors.components.probability[0, 4])
    np.testing.assert_array_equal(alone.standard_errors.weights, [0])
    both = jaxem.families.BernoulliParams(jnp.concatenate([one.probability, jnp.full((1, 5), 0.5)]))
    for share in ([1.0, 0.0], [0.0, 1.0]):
        order = np.argsort(share)[::-1]
        params = jaxem.models.MixtureParams(
            jnp.asarray(share), jaxem.families.BernoulliParams(both.probability[np.argsort(order)])
        )
        found = observed(jaxem.Mixture(jaxem.Bernoulli(), 2), params, x)
        empty = int(order[1])
        assert found.unidentified == (f"components.probability[{empty}]",)
        assert set(found.boundary) == {"weights", f"components.probability[{1 - empty}, 4]"}
        np.testing.assert_allclose(
            found.standard_errors.components.probability[1 - empty, :4],
            alone.standard_errors.components.probability[0, :4],
        )


@pytest.mark.parametrize("share", [0.0, 1e-300, 1e-49, 1e-20, 1e-9])
def test_however_small_a_probability_of_zero_is_it_is_on_its_bound(share):
    """EM leaves what it left after so many steps: that is no direction that the data do not determine."""
    x = jnp.asarray(bits())
    params = jaxem.families.BernoulliParams(x.mean(0).at[4].set(share))
    found = observed(jaxem.Single(jaxem.Bernoulli()), params, x)
    assert (found.boundary, found.unidentified) == (("probability[4]",), ())


def test_a_variance_at_its_floor_is_held():
    """A Heywood case: the objective rises beyond the floor, and the others have errors as if that were known."""
    rng = np.random.default_rng(2)
    noise = np.array([0.05, 0.7, 0.7, 0.5]) * rng.standard_normal((300, 4))
    x = rng.standard_normal((300, 1)) * np.array([1.0, 1.0, 0.5, 0.5]) + noise
    model = jaxem.Single(jaxem.Factor(1, floor=0.1))
    fit = jaxem.fit(model, x, key=jax.random.key(0), tol=1e-10, max_steps=2000)
    assert jaxem.status_name(fit.status) == "degenerate_component"
    found = observed(model, fit.params, x)
    assert found.boundary == ("noise_variance[0]",)
    assert found.unidentified == ()
    assert found.decrement < 0.01
    assert np.isnan(found.standard_errors.noise_variance).tolist() == [True, False, False, False]
    # Nearly those with all variances known, and larger.
    known = observed(jaxem.FactorAnalysis(1, frozen=("noise_variance",)), fit.params, x).standard_errors.loading
    assert np.all(known <= found.standard_errors.loading)
    np.testing.assert_allclose(found.standard_errors.loading, known, rtol=0.03)


def test_a_saddle_is_refused():
    x = jnp.asarray(np.concatenate([np.arange(4.0), np.arange(20.0, 24.0)])[:, None])
    params = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]),
        jaxem.families.PoissonParams(jnp.full((2, 1), float(x.mean()))),
    )
    with pytest.raises(jaxem.FitError, match="no maximum"):
        observed(jaxem.Mixture(jaxem.Poisson(), 2), params, x)


def test_a_spectrum_tells_what_is_determined():
    complete = np.diag([4.0, 9.0, 1.0, 0.0])
    observed = np.diag([1.0, 9.0, 0.0, 0.0])
    found = spectrum(observed, complete, np.array([0.1, 0.0, 0.0, 0.0]), 100.0, 1e-16)
    np.testing.assert_allclose(found.root @ found.root.T, np.diag([1, 1 / 9, 0, 0]), atol=1e-12)
    assert (found.flat.shape[1], found.void.shape[1], found.num_flat) == (1, 1, 2)
    assert abs(found.decrement - 0.1) < 1e-12
    assert found.saddle == 0
    assert spectrum(-observed, complete, np.zeros(4), 100.0, 1e-16).saddle == 1
    assert moves(np.eye(4), found, 1e-16).tolist() == [False, False, True, True]
    assert moves(np.array([[1.0, 2, 0, 0]]), found, 1e-16).tolist() == [False]


def test_names_are_as_short_as_they_can_be():
    params = {"a": np.zeros(2), "b": np.zeros((2, 2))}
    assert names_of(params, np.array([1, 1, 0, 0, 0, 0], bool)) == ("a",)
    assert names_of(params, np.array([0, 1, 1, 1, 0, 1], bool)) == ("a[1]", "b[0]", "b[1, 1]")
    assert names_of(np.zeros(1), np.ones(1, bool)) == ("params",)
