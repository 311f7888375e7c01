"""Data drawn from a model are like those that it was fitted to: lengths, missing entries, covariates, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.families import GaussianParams, PoissonParams
from jaxem.models import Driven, HMMParams, Labelled, MixtureParams, Sequences
from jaxem.resampling import _draws
from jaxem.resampling._draws import repeated, simulated

KEY = jax.random.key(2)
RNG = np.random.default_rng(3)
GAPS = np.where(RNG.uniform(size=(30, 2)) < 0.3, np.nan, RNG.normal(size=(30, 2)))
TABLE = GaussianParams(jnp.array([[5.0, -5.0]]), jnp.eye(2)[None])
RATES = PoissonParams(jnp.array([[1.0], [50.0]]))
CHAIN = HMMParams(jnp.array([0.5, 0.5]), jnp.array([[0.9, 0.1], [0.2, 0.8]]), RATES)


def tables(model, params, data, count=3, weights=None):
    parts = [sample["data"] for _, sample in simulated(model, params, data, weights, KEY, count, "kind='parametric'")]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def test_missing_entries_stay_missing(monkeypatch):
    model = jaxem.GaussianMixture(1, missing=True)
    drawn = tables(model, MixtureParams(jnp.ones(1), TABLE), GAPS)
    assert drawn.shape == (3, 30, 2)
    np.testing.assert_array_equal(np.isnan(drawn), np.broadcast_to(np.isnan(GAPS), drawn.shape))
    assert np.nanmin(drawn[..., 0]) > 0 > np.nanmax(drawn[..., 1])
    assert len(np.unique(drawn[:, ~np.isnan(GAPS)][:, 0])) == 3
    monkeypatch.setattr(_draws, "MOST_NUMBERS", 60)
    np.testing.assert_array_equal(tables(model, MixtureParams(jnp.ones(1), TABLE), GAPS), drawn)


def test_sequences_keep_their_lengths():
    model = jaxem.HMM(jaxem.Poisson(), 2)
    values = RNG.poisson(3.0, (4, 6, 1)).astype(float)
    values[1, 2] = np.nan
    lengths = np.array([6, 5, 3, 1], np.int32)
    drawn = tables(model, CHAIN, Sequences(values, lengths))
    np.testing.assert_array_equal(drawn.lengths, np.tile(lengths, (3, 1)))
    np.testing.assert_array_equal(np.isnan(drawn.values), np.tile(np.isnan(values), (3, 1, 1, 1)))
    assert tables(model, CHAIN, RNG.poisson(3.0, (4, 6, 1)).astype(float)).shape == (3, 4, 6, 1)


def test_transitions_keep_their_covariates():
    model = jaxem.HMM(jaxem.Poisson(), 2, transitions=jaxem.structures.SoftmaxTransitions())
    covariates = np.stack([np.ones((40, 5)), np.where(np.arange(40) < 20, -1.0, 1.0)[:, None] * np.ones((40, 5))], 2)
    # With the second covariate 1 nobody stays; with -1 nobody moves.
    params = CHAIN._replace(transition=jnp.array([[[0.0, 30.0]], [[0.0, 30.0]]]))
    drawn = tables(model, params, Driven(np.ones((40, 5, 1)), covariates), count=1)
    np.testing.assert_array_equal(drawn.covariates[0], covariates)
    high = drawn.rows[0, :, :, 0] > 20
    assert (high[:20] == high[:20, :1]).all()
    assert (high[20:, 1:] != high[20:, :-1]).all()


def test_labels_are_those_of_the_same_rows():
    model, rows = jaxem.Mixture(jaxem.Poisson(), 2), np.ones((50, 1))
    labels = np.where(np.arange(50) < 20, 1, -1).astype(np.int32)
    drawn = tables(model, MixtureParams(jnp.array([0.5, 0.5]), RATES), Labelled(rows, labels))
    assert (drawn.labels[:, 20:] == -1).all()
    np.testing.assert_array_equal(drawn.labels[:, :20], drawn.rows[:, :20, 0] > 20)
    assert {0, 1} == set(np.unique(drawn.labels[:, :20]).tolist())


def test_a_weight_is_so_many_rows():
    np.testing.assert_array_equal(repeated(np.array([[1.0], [2.0], [3.0]]), [2, 0, 1]), [[1], [1], [3]])
    drawn = tables(jaxem.Single(jaxem.Poisson()), PoissonParams(jnp.ones(1)), np.ones((3, 1)), weights=[4.0, 0.0, 5.0])
    assert drawn.shape == (3, 9, 1)


def refused():
    responses = jaxem.Responses(np.ones((5, 1)), np.arange(5.0))
    line = jaxem.families.RegressionParams(jnp.ones((1,)), jnp.ones(()))
    yield "covariates", jaxem.Single(jaxem.LinearRegression()), line, responses, "LinearRegression says how responses"
    times = jaxem.Interval.right(np.array([[1.0], [2.0]]), censored=np.array([[False], [True]]))
    lifetimes = jaxem.Single(jaxem.families.CensoredExponential())
    rate = jaxem.families.ExponentialParams(jnp.ones(1))
    yield "censored", lifetimes, rate, times, "does not say what is censored"
    family = jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson())
    members = MixtureParams(jnp.array([0.5, 0.5]), {"zero": (), "count": PoissonParams(jnp.ones((1, 1)))})
    yield "unlike", jaxem.Mixture(family, 2), members, np.ones((4, 1)), "OneOf does not say how to draw"
    words = jaxem.Documents(np.zeros((3, 2), np.int32), np.ones((3, 2)))
    topics = jaxem.models.LDAParams(jnp.asarray(0.5), jnp.full((2, 4), 0.25))
    yield "words", jaxem.LDA(2, 4, document_length=7), topics, words, "another kind or shape"


@pytest.mark.parametrize(("model", "params", "data", "message"), [pytest.param(*c[1:], id=c[0]) for c in refused()])
def test_what_a_model_cannot_draw(model, params, data, message):
    with pytest.raises(jaxem.MissingCapabilityError, match=message):
        tables(model, params, data)


def test_exact_times_are_drawn_exact():
    model, rate = jaxem.Single(jaxem.families.CensoredExponential()), jaxem.families.ExponentialParams(jnp.ones(1))
    times = RNG.exponential(size=(20, 1))
    drawn = tables(model, rate, jaxem.Interval(times, times))
    np.testing.assert_array_equal(drawn.lower, drawn.upper)
    assert drawn.lower.min() > 0
