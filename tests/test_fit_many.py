"""Many fits at once are what each is alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.families import PoissonParams
from jaxem.models import MixtureParams
from jaxem.priors import Dirichlet
from tests.helpers import engine
from tests.helpers.compiling import compilations

KEY = jax.random.key(3)
RNG = np.random.default_rng(5)
COUNTS = RNG.poisson(RNG.choice([1.0, 6.0], (4, 40, 1))).astype(float)
MODEL = jaxem.Mixture(jaxem.Poisson(), 2)
WEIGHTS = RNG.multinomial(40, np.full(40, 1 / 40), size=5).astype(float)


def assert_alone(many, i, one):
    assert engine.name(jax.tree.map(lambda leaf: leaf[i], many)) == engine.name(one)
    assert int(many.num_steps[i]) == int(one.num_steps)
    np.testing.assert_allclose(many.objective[i], one.objective, rtol=1e-12)
    np.testing.assert_allclose(many.log_likelihood[i], one.log_likelihood, rtol=1e-12)
    engine.assert_same(jax.tree.map(lambda leaf: leaf[i], many.params), one.params, rtol=1e-7)
    np.testing.assert_allclose(many.restarts.objective[i], one.restarts.objective, rtol=1e-10)
    steps = len(one.history)
    np.testing.assert_allclose(many.history[i, :steps], one.history, rtol=1e-12)
    assert np.isnan(many.history[i, steps:]).all()


def test_many_weights():
    many = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, weights=WEIGHTS, restarts=2)
    assert many.params.weights.shape == (5, 2)
    assert many.restarts.objective.shape == (5, 2)
    for i in range(5):
        key = jax.random.fold_in(KEY, i)
        assert_alone(many, i, jaxem.fit(MODEL, COUNTS[0], key=key, weights=WEIGHTS[i], restarts=2))


def test_starts_that_are_given_and_others_that_are_drawn():
    start = MixtureParams(jnp.array([0.5, 0.5]), PoissonParams(jnp.array([[1.0], [5.0]])))
    given = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, weights=WEIGHTS, init=start)
    drawn = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, weights=WEIGHTS, restarts=3)
    both = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, weights=WEIGHTS, init=start, restarts=3)
    np.testing.assert_allclose(both.restarts.objective[:, :1], given.restarts.objective, rtol=1e-12)
    np.testing.assert_allclose(both.restarts.objective[:, 1:], drawn.restarts.objective[:, 1:], rtol=1e-12)
    np.testing.assert_allclose(both.objective, both.restarts.objective.max(1), rtol=1e-12)


@pytest.mark.slow
def test_a_start_for_each_fit_and_others_that_are_drawn():
    stack = MixtureParams(jnp.full((5, 2), 0.5), PoissonParams(jnp.array([[[0.5], [5.0 + i]] for i in range(5)])))
    options = {"key": KEY, "weights": WEIGHTS, "over": ("weights", "init"), "init": stack}
    given = jaxem.fit_many(MODEL, COUNTS[0], **options)
    both = jaxem.fit_many(MODEL, COUNTS[0], restarts=2, **options)
    np.testing.assert_allclose(both.restarts.objective[:, :1], given.restarts.objective, rtol=1e-12)
    np.testing.assert_array_equal(both.restarts.num_steps[:, :1], given.restarts.num_steps)
    drawn = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, weights=WEIGHTS, restarts=2)
    np.testing.assert_allclose(both.restarts.objective[:, 1:], drawn.restarts.objective[:, 1:], rtol=1e-12)


def test_more_starts_are_given_than_wanted():
    starts = MixtureParams(jnp.full((3, 2), 0.5), PoissonParams(jnp.array([[[1.0], [5.0]]] * 3)))
    with pytest.raises(jaxem.DataError, match="restarts=2, but init holds 3"):
        jaxem.fit_many(MODEL, COUNTS[0], key=KEY, weights=WEIGHTS, init=starts, restarts=2)


def test_long_runs_have_long_rounds(tmp_path):
    """Their histories are whole, the host looks at them less often, and a run that goes on has the same rounds."""
    close = RNG.poisson(RNG.choice([3.0, 4.5], (40, 1))).astype(float)
    weights = RNG.multinomial(40, np.full(40, 1 / 40), size=12).astype(float)
    options = {"key": KEY, "weights": weights, "termination": jaxem.termination.FixedSteps(), "max_steps": 900}
    rounds = []
    many = jaxem.fit_many(MODEL, close, progress=lambda told: rounds.append(told.steps), **options)
    assert (many.num_steps == 900).all()
    assert len(rounds) < 100  # 113, for each of one group or two, by rounds of 8 steps
    alone = jaxem.fit(MODEL, close, **{**options, "weights": weights[7], "key": jax.random.fold_in(KEY, 7)})
    np.testing.assert_allclose(many.history[7], alone.history, rtol=1e-12)
    path = tmp_path / "many"
    stopped = jaxem.fit_many(MODEL, close, checkpoint=path, progress=lambda told: told.steps > 4000, **options)
    assert "stopped" in engine.name(stopped)
    again = jaxem.fit_many(MODEL, close, checkpoint=path, **options)
    for one, two in zip(jax.tree.leaves(again), jax.tree.leaves(many), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_many_tables_of_different_lengths():
    lengths = [40, 31, 12, 25]
    weights = (np.arange(40)[None] < np.array(lengths)[:, None]).astype(float)
    ragged = np.where(weights[..., None] > 0, COUNTS, np.nan)  # what is in rows of weight 0 does not matter
    many = jaxem.fit_many(MODEL, ragged, key=KEY, weights=weights)
    start = MixtureParams(jnp.full((4, 2), 0.5), PoissonParams(jnp.array([[[1.0], [5.0]]] * 4)))
    given = jaxem.fit_many(MODEL, ragged, key=KEY, weights=weights, init=start, over=("data", "weights", "init"))
    one = jax.tree.map(lambda leaf: leaf[0], start)
    for i, n in enumerate(lengths):
        alone = jaxem.fit(MODEL, COUNTS[i, :n], key=KEY, init=one)
        assert_alone(given, i, alone)
        assert float(many.objective[i]) <= float(alone.objective) + 1e-6


def test_many_priors():
    strengths = jnp.array([1.5, 3.0, 10.0])
    models = eqx.filter_vmap(lambda a: jaxem.Mixture(jaxem.Poisson(), 2, weights_prior=Dirichlet(a)))(strengths)
    many = jaxem.fit_many(models, COUNTS[0], key=KEY, over="model")
    for i in range(3):
        model = jaxem.Mixture(jaxem.Poisson(), 2, weights_prior=Dirichlet(strengths[i]))
        assert_alone(many, i, jaxem.fit(model, COUNTS[0], key=jax.random.fold_in(KEY, i)))


def test_many_starts_alone():
    rates = jnp.array([[[1.0], [5.0]], [[0.1], [3.0]], [[2.0], [2.0]]])
    start = MixtureParams(jnp.full((3, 2), 0.5), PoissonParams(rates))
    many = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, init=start, over="init")
    every = jaxem.fit(MODEL, COUNTS[0], key=KEY, init=start)
    np.testing.assert_allclose(many.objective, every.restarts.objective, rtol=1e-12)
    np.testing.assert_array_equal(many.num_steps, every.restarts.num_steps)


def test_common_starts_are_each_fits_own():
    rates = jnp.array([[[1.0], [5.0]], [[2.0], [2.1]]])
    start = MixtureParams(jnp.full((2, 2), 0.5), PoissonParams(rates))
    many = jaxem.fit_many(MODEL, COUNTS[0], key=KEY, init=start, weights=WEIGHTS)
    assert many.restarts.objective.shape == (5, 2)
    one = jaxem.fit(MODEL, COUNTS[0], key=KEY, init=start, weights=WEIGHTS[3])
    assert_alone(many, 3, one)


def test_the_starts_of_each_fit_race_among_themselves():
    racing = jaxem.termination.Racing(steps=4, keep=0.5, growth=2, finalists=2)
    options = {"restarts": 9, "racing": racing, "tol": 1e-9}
    many = jaxem.fit_many(MODEL, COUNTS, key=KEY, **options)
    eliminated = np.asarray(jaxem.status_name(many.restarts.status)) == "eliminated"
    assert eliminated.any(1).all()
    for i in range(4):
        one = jaxem.fit(MODEL, COUNTS[i], key=jax.random.fold_in(KEY, i), **options)
        assert_alone(many, i, one)
        np.testing.assert_array_equal(eliminated[i], np.asarray(jaxem.status_name(one.restarts.status)) == "eliminated")
    with pytest.raises(jaxem.DataError, match="racing is True, which is no Racing"):
        jaxem.fit_many(MODEL, COUNTS, key=KEY, restarts=9, racing=True)


def test_a_fit_that_fails_touches_no_other():
    x = RNG.normal(size=(3, 30, 1))
    x[1] = 7.0  # has no variance
    model = jaxem.GaussianMixture(2, "diagonal")
    many = jaxem.fit_many(model, x, key=KEY)
    assert engine.name(jax.tree.map(lambda leaf: leaf[1], many)) == "degenerate_component"
    assert_alone(many, 2, jaxem.fit(model, x[2], key=jax.random.fold_in(KEY, 2)))


def test_a_fit_that_lacks_digits_goes_on_on_the_accurate_kernel():
    far = np.where(RNG.random((3, 60, 1)) < 0.5, 0.0, 1.0) + 1e-4 * RNG.normal(size=(3, 60, 1))
    far[0] = RNG.normal(size=(60, 1))
    model, x = jaxem.GaussianMixture(2, "diagonal"), far.astype(np.float32)
    many = jaxem.fit_many(model, x, key=KEY, restarts=2)
    for i in range(3):
        one = jaxem.fit(model, x[i], key=jax.random.fold_in(KEY, i), restarts=2)
        np.testing.assert_allclose(many.objective[i], one.objective, rtol=1e-5)
        np.testing.assert_allclose(many.params.components.covariance[i], one.params.components.covariance, rtol=1e-2)


def test_another_number_of_fits_or_rows_compiles_nothing():
    jaxem.fit_many(MODEL, COUNTS, key=KEY)
    for x in (COUNTS[:3], COUNTS[1:, 1:], np.concatenate([COUNTS, COUNTS[:2]])):
        many, count = compilations(lambda x=x: jaxem.fit_many(MODEL, x, key=KEY))
        assert count == 0
        assert many.objective.shape == x.shape[:1]


def test_a_unit_for_weights_that_single_precision_cannot_hold():
    x = COUNTS[0].astype(np.float32)
    start = MixtureParams(jnp.full(2, 0.5, "float32"), PoissonParams(jnp.array([[1.0], [5.0]], "float32")))
    options = {"termination": jaxem.termination.FixedSteps(), "max_steps": 5, "init": start}
    many = jaxem.fit_many(MODEL, x, key=KEY, weights=WEIGHTS * 1e-30, **options)
    for i in range(2):
        one = jaxem.fit(MODEL, x, key=jax.random.fold_in(KEY, i), weights=WEIGHTS[i] * 1e-30, **options)
        np.testing.assert_allclose(many.params.components.rate[i], one.params.components.rate, rtol=1e-5)
        np.testing.assert_allclose(many.objective[i], one.objective, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": COUNTS, "weights": WEIGHTS}, "weights of shape"),
        ({"data": COUNTS[:2], "weights": WEIGHTS, "over": ("data", "weights")}, "different numbers of fits"),
        ({"data": COUNTS, "weights": np.zeros((4, 40))}, "sum to zero"),
        ({"data": COUNTS, "weights": np.eye(4, 40, -1)}, "weights of fit 0 sum to zero"),
        ({"data": np.where(COUNTS > 9, np.nan, COUNTS) - 1}, "fit r // 40"),
        ({"data": COUNTS, "over": "rows"}, "no argument 'rows'"),
        ({"data": COUNTS, "over": ()}, "over is empty"),
        ({"data": COUNTS, "over": "model"}, "no leading axis"),
        ({"data": COUNTS[:, 0, 0]}, "leading axes"),
        ({"data": COUNTS[:0]}, "0 fits"),
        ({"data": COUNTS[:, :1].repeat(4, 1), "weights": np.ones((4, 4))}, "two things"),
        ({"data": COUNTS, "restarts": 0}, "restarts"),
        ({"data": COUNTS, "key": 0}, "key must be"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.fit_many(MODEL, **{"key": KEY, **arguments})


def test_not_under_a_trace():
    with pytest.raises(Exception, match="vmap of"):
        jax.jit(lambda x: jaxem.fit_many(MODEL, x, key=KEY).objective)(COUNTS)


SLOW = {
    "sequences": (jaxem.HMM(jaxem.Poisson(), 2), None),
    "posteriors": (jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(1.0, 1.0)), 2, Dirichlet(1.0)), jaxem.vbem()),
    "draws": (MODEL, jaxem.stochastic_em()),
    "accelerated": (MODEL, jaxem.squarem()),
    "neural": (MODEL, jaxem.em_gradient()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("over", ["data", "weights"])
def test_models_and_algorithms(name, over):
    model, algorithm = SLOW[name]
    data = COUNTS.reshape(4, 8, 5, 1) if name == "sequences" else COUNTS
    weights = RNG.integers(0, 3, data.shape[:2]).astype(float)
    options = {"algorithm": algorithm, "restarts": 2, "max_steps": 30}
    if over == "data":
        many = jaxem.fit_many(model, data, key=KEY, weights=weights, over=("data", "weights"), **options)
    else:
        many = jaxem.fit_many(model, data[0], key=KEY, weights=weights, over="weights", **options)
    for i in range(4):
        rows = data[i] if over == "data" else data[0]
        one = jaxem.fit(model, rows, key=jax.random.fold_in(KEY, i), weights=weights[i], throw=False, **options)
        assert engine.name(jax.tree.map(lambda leaf: leaf[i], many)) == engine.name(one)  # noqa: B023
        np.testing.assert_allclose(many.objective[i], one.objective, rtol=1e-8)
