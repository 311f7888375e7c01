"""What layers find, in batches and alone, at the limits of temperature, and where rows or members are bad."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem import layers
from jaxem.adjoint import Implicit, Unroll
from jaxem.families import GaussianParams
from jaxem.layers import Fitting
from jaxem.models import MixtureParams
from tests.layers.cases import INPUTS, MODULES, call, inputs, number

slow = pytest.mark.slow
EACH = ["clusters", *(pytest.param(name, marks=slow) for name in INPUTS if name != "clusters")]


def stacked(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def lane(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def assert_same(found, expected, rtol=1e-7, atol=1e-9):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", EACH)
def test_a_batch_is_each_set_by_itself(name):
    """Values and derivatives; sets with NaN, and of one row many times, harm no other."""
    good = [inputs(name, seed) for seed in range(3)]
    nan = {**inputs(name, 3), "x": inputs(name, 3)["x"].at[0, 0].set(jnp.nan)}
    same = {**inputs(name, 4), "x": jnp.ones_like(inputs(name, 4)["x"])}
    fitting = Fitting(adjoint=Implicit(), pseudo_count=None)
    run = jax.value_and_grad(lambda given: number(call(name, given, fitting)), has_aux=True)
    (values, trusted), slopes = jax.jit(jax.vmap(run))(stacked(*good, nan, same))
    assert np.all(np.isfinite(values))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    assert not bool(trusted[3])
    assert np.all(np.asarray(slopes["x"])[3] == 0)
    alone = jax.jit(run)
    for i, given in enumerate(good):
        (value, own), slope = alone(given)
        assert bool(own) == bool(trusted[i])
        assert_same((values[i], lane(slopes, i)), (value, slope), 1e-6, 1e-8)


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_single_precision_agrees_with_double(name):
    fitting = Fitting(steps=20)
    run = jax.jit(jax.value_and_grad(lambda given: number(call(name, given, fitting)), has_aux=True))
    (value, trusted), slope = run(inputs(name))
    (single, own), single_slope = run(inputs(name, dtype=np.float32))
    assert single.dtype == jnp.float32
    assert bool(own) == bool(trusted)
    np.testing.assert_allclose(single, value, rtol=1e-3)
    size = max(np.abs(leaf).max() for leaf in jax.tree.leaves(slope))
    assert_same(single_slope, slope, 1e-2, 1e-3 * size)


def lloyd(x, codes):
    for _ in range(50):
        chosen = np.argmin(((x[:, None] - codes[None]) ** 2).sum(-1), 1)
        codes = np.stack([x[chosen == j].mean(0) if np.any(chosen == j) else codes[j] for j in range(len(codes))])
    return codes, chosen


def test_towards_temperature_zero_it_is_k_means_and_without_end_all_codes_are_one():
    given = inputs("clusters", 2)
    run = jax.jit(lambda t: call("clusters", {**given, "temperature": t}, Fitting(pseudo_count=None, steps=60)))
    cold = run(jnp.asarray(1e-9))
    codes, chosen = lloyd(np.asarray(given["x"]), np.asarray(given["start"]))
    np.testing.assert_allclose(cold.codes, codes, rtol=1e-9)
    np.testing.assert_array_equal(cold.responsibilities, np.eye(3)[chosen])
    hot = run(jnp.asarray(1e9))
    np.testing.assert_allclose(hot.responsibilities, 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(hot.codes, np.tile(np.mean(given["x"], 0), (3, 1)), rtol=1e-6, atol=1e-7)


@slow
@pytest.mark.parametrize("name", ["density", "smoothed"])
def test_at_temperature_one_and_without_a_prior_it_is_em(name):
    given = {key: leaf for key, leaf in inputs(name).items() if key != "temperature"}
    answer = call(name, given, Fitting(pseudo_count=None))
    model = jaxem.GaussianMixture(3, "diagonal") if name == "density" else jaxem.HMM(jaxem.Gaussian("diagonal"), 2)
    fit = jaxem.solve(model, given["start"], given["x"])
    assert_same(answer.params, fit.params, 1e-5, 1e-7)
    posterior = model.posterior(fit.params, given["x"])
    if name == "density":
        np.testing.assert_allclose(answer.responsibilities, posterior, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(answer.log_density, model.log_prob(fit.params, given["at"]), rtol=1e-5)
    else:
        np.testing.assert_allclose(answer.states, posterior, rtol=1e-4, atol=1e-6)


@slow
@pytest.mark.parametrize("covariance", ["diagonal", "full", "spherical", "tied"])
def test_a_member_without_rows_stays_where_it_starts(covariance):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((30, 2)))
    shape = {"diagonal": (2, 2), "full": (2, 2, 2), "spherical": (2,), "tied": (2, 2)}[covariance]
    spread = np.broadcast_to(np.eye(2), shape) if covariance in ("full", "tied") else np.ones(shape)
    mean = jnp.asarray([[0.1, 0.2], [400.0, -300.0]])
    start = MixtureParams(jnp.asarray([0.5, 0.5]), GaussianParams(mean, 1.7 * jnp.asarray(spread)))
    found = layers.mixture_density(x, start, covariance=covariance)
    np.testing.assert_allclose(found.params.components.mean[1], mean[1], rtol=1e-9)
    np.testing.assert_allclose(found.params.weights, np.array([31.0, 1.0]) / 32, rtol=1e-9)
    if covariance != "tied":
        np.testing.assert_allclose(found.params.components.covariance[1], start.components.covariance[1], rtol=1e-6)
    assert bool(found.trusted)
    without = layers.mixture_density(x, start, covariance=covariance, fitting=Fitting(pseudo_count=None))
    assert not bool(without.trusted)
    assert np.all(np.isfinite(without.log_density))


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_a_dead_member_is_revived(name):
    given = inputs(name)

    def far(leaf):
        return leaf.at[0].set(80.0)

    start = given["start"]
    if name in ("clusters", "slots"):
        given["start"] = far(start)
    else:
        members = start[-1]._replace(mean=far(start[-1].mean))
        given["start"] = start._replace(**{start._fields[-1]: members})
    run = jax.jit(
        lambda given, revivals: call(name, given, Fitting(pseudo_count=None, revivals=revivals)), static_argnums=1
    )
    lost, found = run(given, 0), run(given, 1)
    assert not bool(lost.trusted)
    share = {"density": lambda a: a.responsibilities, "smoothed": lambda a: a.states.reshape(-1, 2)}.get(
        name, lambda a: a[0]
    )
    rows = np.asarray(share(found)).shape[0]
    assert np.asarray(share(lost)).sum(0).min() < 1e-6
    assert np.asarray(share(found)).sum(0).min() > 0.02 * rows
    if name == "clusters":
        assert bool(found.trusted)
    slope = jax.jit(jax.grad(lambda g: number(call(name, g, Fitting(pseudo_count=None, revivals=1)))[0]))(given)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("name", [pytest.param(name, marks=slow if name != "clusters" else ()) for name in MODULES])
def test_a_module_carries_its_state(name):
    layer = MODULES[name](key=jax.random.key(0))
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 15, 2)) + 2 * (np.arange(15) % 3)[:, None])
    x = x[:, None] if name == "smoothed" else x
    x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1) if name == "slots" else x
    x = x.at[1, 0, 0].set(jnp.nan)
    cold, state = jax.jit(jax.vmap(layer))(x)
    again = (lambda x, s: layer(x, state=s)) if name == "density" else layer
    warm, _ = jax.jit(jax.vmap(again))(x, state)
    assert np.asarray(cold.trusted).tolist() == [True, False]
    assert_same(lane(warm, 0)[:-1], lane(cold, 0)[:-1], 1e-3, 1e-3)
    start = {"clusters": lambda: layer.codes, "slots": lambda: layer.queries}.get(name, lambda: layer.start)()
    assert_same(lane(state, 1), start)
    given = jax.tree.map(lambda leaf: jnp.full_like(leaf[0], jnp.nan), state)
    assert_same(eqx.filter_jit(again)(x[0], given)[0][:-1], lane(cold, 0)[:-1], 1e-6, 1e-8)


@slow
def test_a_temperature_that_is_not_learned_has_no_derivative():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((9, 2)))
    for learned in (True, False):
        layer = layers.SoftClustering(2, 2, key=jax.random.key(0), learn_temperature=learned, fitting=Fitting(steps=2))
        slope = eqx.filter_grad(lambda layer: jnp.sum(layer(x)[0].codes ** 2))(layer)
        assert (float(slope.log_temperature) != 0) is learned
        assert np.abs(slope.codes).max() > 0


@slow
def test_rows_of_weight_zero_are_no_rows():
    given = inputs("clusters")
    x = jnp.concatenate([given["x"], 100 * jnp.ones((3, 2))])
    weights = jnp.concatenate([jnp.ones(16), jnp.zeros(3)])
    fitting = Fitting(steps=5)
    padded = call("clusters", {**given, "x": x}, fitting, weights=weights)
    plain = call("clusters", given, fitting)
    assert_same((padded.codes, padded.responsibilities[:16]), (plain.codes, plain.responsibilities))
    assert bool(padded.trusted)
    assert not bool(call("clusters", given, fitting, weights=jnp.zeros(16)).trusted)
    slots = call("slots", inputs("slots"), fitting, weights=jnp.ones(12).at[3].set(0))
    expected = slots.attention.at[3].set(0).T @ inputs("slots")["values"] / slots.attention.at[3].set(0).sum(0)[:, None]
    np.testing.assert_allclose(slots.readout, expected, rtol=1e-9)


@slow
def test_sequences_of_different_lengths():
    given = inputs("smoothed")
    values = jnp.concatenate([given["x"], jnp.zeros((2, 3, 2))], 1)
    padded = {**given, "x": jaxem.Sequences(values, jnp.asarray([10, 10]))}
    plain, found = (call("smoothed", each, Fitting(steps=5)) for each in (given, padded))
    assert_same(found.params, plain.params)
    np.testing.assert_allclose(found.states[:, :10], plain.states, rtol=1e-9)
    assert np.all(np.asarray(found.states[:, 10:]) == 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 5, "adjoint": Implicit()}, "Implicit is the derivative of a fixed point"),
        ({"steps": 5, "adjoint": Unroll(3)}, r"Unroll\(steps=3\) is too short"),
        ({"pseudo_count": 0.0}, "pseudo_count must be a positive number"),
        ({"adjoint": Unroll}, "adjoint is Unroll itself; call it"),
        ({"revivals": -1}, "revivals must be at least 0"),
    ],
)
def test_fitting_says_what_is_wrong(options, words):
    with pytest.raises(jaxem.DataError, match=words):
        Fitting(**options)


def test_a_layer_says_what_is_wrong():
    x, codes = jnp.zeros((4, 2)), jnp.zeros((3, 2))
    with pytest.raises(jaxem.DataError, match="codes must be numbers with 2 axes"):
        layers.soft_clustering(x, jnp.zeros(3))
    with pytest.raises(jaxem.DataError, match="but the initial parameters are float32"):
        layers.soft_clustering(x, codes.astype(jnp.float32))
    with pytest.raises(ValueError, match="temperature must be positive"):
        layers.soft_clustering(x, codes, temperature=0.0)
    with pytest.raises(jaxem.DataError, match="start must be MixtureParams"):
        layers.mixture_density(x, codes)
    with pytest.raises(jaxem.DataError, match=r"x must be sequences \[n, T, d\]"):
        layers.hmm_smoothing(x, inputs("smoothed")["start"])
    with pytest.raises(jaxem.DataError, match=r"keys and values must be \[n, d\] and \[n, v\]"):
        layers.slot_competition(x, jnp.zeros((5, 2)), codes)
    with pytest.raises(jaxem.DataError, match="columns"):
        layers.soft_clustering(jnp.zeros((4, 3)), codes)
    with pytest.raises(jaxem.DataError, match="num_codes must be at least 1"):
        layers.SoftClustering(0, 2, key=jax.random.key(0))
    with pytest.raises(jaxem.DataError, match="stay must lie between 0 and 1"):
        layers.HMMSmoothing(2, 2, key=jax.random.key(0), stay=1.0)
