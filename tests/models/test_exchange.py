"""Members change places, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.families import GaussianParams, PoissonParams
from jaxem.models import Driven, Labelled, MixtureParams
from jaxem.models._exchange import aligned, alike
from jaxem.priors import Dirichlet
from jaxem.structures._pattern import stationary
from jaxem.structures.up_to import UpTo

RNG = np.random.default_rng(7)
COUNTS = RNG.poisson(RNG.choice([1.0, 6.0, 15.0], (24, 1))).astype(float)
STEPS = RNG.poisson(4.0, (3, 8, 1)).astype(float)
ORDER = np.array([2, 0, 1], np.int32)
POISSON = PoissonParams(jnp.array([[1.0], [6.0], [15.0]]))
WEIGHTS = jnp.array([0.5, 0.2, 0.3])
INITIAL = jnp.array([0.6, 0.3, 0.1])
TRANSITION = jnp.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.1, 0.1, 0.8]])
NAN = float("nan")


def mixture():
    return jaxem.Mixture(jaxem.Poisson(), 3), MixtureParams(WEIGHTS, POISSON), COUNTS


def tied():
    params = GaussianParams(jnp.array([[0.0, 1.0], [3.0, 5.0], [9.0, 2.0]]), jnp.array([[2.0, 0.3], [0.3, 1.0]]))
    return jaxem.GaussianMixture(3, "tied"), MixtureParams(WEIGHTS, params), RNG.normal(4, 3, (10, 2))


def chain():
    return jaxem.HMM(jaxem.Poisson(), 3), jaxem.models.HMMParams(INITIAL, TRANSITION, POISSON), STEPS


def driven():
    model = jaxem.HMM(jaxem.Poisson(), 3, transitions=jaxem.structures.SoftmaxTransitions())
    params = jaxem.models.HMMParams(INITIAL, jnp.asarray(RNG.normal(size=(3, 2, 2))), POISSON)
    return model, params, Driven(STEPS, RNG.normal(size=(3, 8, 2)))


def experts():
    model = jaxem.MixtureOfExperts(jaxem.families.PoissonRegression(), 3)
    x, y = RNG.normal(size=(12, 2)), RNG.poisson(3.0, 12).astype(float)
    coefficients = jaxem.families.GLMParams(jnp.asarray(RNG.normal(size=(3, 2))))
    params = jaxem.models.MixtureOfExpertsParams(jnp.asarray(RNG.normal(size=(2, 2))), coefficients)
    return model, params, jaxem.Responses(x, y)


def topics():
    model = jaxem.LDA(3, 4, concentration=jnp.ones(3), learn_concentration=True, document_length=5)
    params = jaxem.models.LDAParams(jnp.array([0.5, 1.0, 2.0]), jnp.asarray(RNG.dirichlet(np.ones(4), 3)))
    return (
        model,
        params,
        jaxem.Documents(np.array([[0, 1, 3], [2, 3, 0]], np.int32), np.array([[2.0, 1, 1], [1, 3, 0]])),
    )


CASES = (mixture, chain, *(pytest.param(case, marks=pytest.mark.slow) for case in (tied, driven, experts, topics)))


@pytest.mark.parametrize("case", CASES)
def test_the_density_stays(case):
    model, params, data = case()
    moved = model.permuted(params, ORDER)
    assert any(not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (moved, params)), strict=True))
    np.testing.assert_allclose(model.log_prob(moved, data), model.log_prob(params, data), rtol=1e-9)
    back = model.permuted(moved, np.argsort(ORDER).astype(np.int32))
    for a, b in zip(*map(jax.tree.leaves, (back, params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    if not isinstance(model, jaxem.LDA):
        shares = model.posterior(params, data)
        np.testing.assert_allclose(model.posterior(moved, data), shares[..., ORDER], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("case", [mixture, *(pytest.param(case, marks=pytest.mark.slow) for case in (chain, topics))])
def test_members_find_their_places(case):
    model, params, data = case()
    orders = np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]], np.int32)
    stack = jax.vmap(model.permuted, (None, 0))(params, jnp.asarray(orders))
    found, inverse = aligned(model, params, stack, data)
    np.testing.assert_array_equal(np.take_along_axis(orders, inverse, 1), np.tile(np.arange(3), (4, 1)))
    for a, b in zip(*map(jax.tree.leaves, (found, params)), strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=1e-12)


def test_rows_without_weight_have_no_say():
    model, params, _ = mixture()
    data = np.concatenate([COUNTS, np.full((500, 1), 1.0)])
    weights = (np.arange(len(data)) < len(COUNTS)).astype(float)
    other = MixtureParams(WEIGHTS, PoissonParams(jnp.array([[6.0], [1.0], [15.0]])))
    stack = jax.tree.map(lambda leaf: leaf[None], other)
    np.testing.assert_array_equal(aligned(model, params, stack, data, weights)[1], [[1, 0, 2]])


def pattern():
    model = jaxem.HMM(jaxem.Poisson(), 3, transition_pattern=[[NAN, NAN, NAN], [NAN, NAN, NAN], [0, 0, 1]])
    transition = TRANSITION.at[2].set(jnp.array([0.0, 0.0, 1.0]))
    return model, jaxem.models.HMMParams(INITIAL, transition, POISSON), STEPS


def frozen():
    return jaxem.Mixture(jaxem.Poisson(), 3, frozen=("weights",)), MixtureParams(WEIGHTS, POISSON), COUNTS


def frozen_alike():
    weights = jnp.array([0.3, 0.4, 0.3])
    return jaxem.Mixture(jaxem.Poisson(), 3, frozen=("weights",)), MixtureParams(weights, POISSON), COUNTS


def uneven_prior():
    model = jaxem.Mixture(jaxem.Poisson(), 3, weights_prior=Dirichlet(jnp.array([3.0, 1.0, 1.0])))
    return model, MixtureParams(WEIGHTS, POISSON), COUNTS


def labelled():
    labels = np.full(len(COUNTS), -1, np.int32)
    labels[np.argmax(COUNTS)] = 2
    return jaxem.Mixture(jaxem.Poisson(), 3), MixtureParams(WEIGHTS, POISSON), Labelled(COUNTS, labels)


def unlike():
    family = jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson())
    model = jaxem.Mixture(family, 2)
    members = {"zero": (), "count": PoissonParams(jnp.array([[3.0]]))}
    return model, MixtureParams(jnp.array([0.3, 0.7]), members), COUNTS


def alone():
    return jaxem.Single(jaxem.Poisson()), PoissonParams(jnp.array([3.0])), COUNTS


@pytest.mark.parametrize(
    ("case", "groups"),
    [
        (mixture, [[0, 1, 2]]),
        (labelled, [[0, 1]]),
        *(pytest.param(case, [[0, 1, 2]], marks=pytest.mark.slow) for case in (tied, chain, driven, experts, topics)),
        pytest.param(pattern, [[0, 1]], marks=pytest.mark.slow),
        (uneven_prior, [[1, 2]]),
        (frozen_alike, [[0, 2]]),
        *((case, None) for case in (frozen, unlike, alone)),
    ],
)
def test_who_can_change_places(case, groups):
    assert alike(*case()) == groups


def test_a_structure_of_ones_own_keeps_its_places():
    model = jaxem.HMM(jaxem.Poisson(), 3)
    own = jaxem.structures.AbstractStructure.permuted(model.structure, (INITIAL, TRANSITION), ORDER)
    assert own is None


def test_weights_of_a_range_of_numbers_take_along_who_is_alive():
    weights, alive = jnp.array([0.4, 0.6, 0.0]), jnp.array([1.0, 1.0, 0.0])
    moved = UpTo(3).permuted((weights, alive), ORDER)
    np.testing.assert_array_equal(moved, [[0.0, 0.4, 0.6], [0.0, 1.0, 1.0]])


@pytest.mark.slow
def test_states_that_begin_in_their_stationary_distribution():
    model = jaxem.HMM(jaxem.Poisson(), 3, initial="stationary")
    params = jaxem.models.HMMParams(stationary(TRANSITION), TRANSITION, POISSON)
    moved = model.permuted(params, ORDER)
    np.testing.assert_allclose(stationary(moved.transition), moved.initial, rtol=1e-9)
    assert alike(model, params, STEPS) == [[0, 1, 2]]
