"""The parts of a Markov chain as arguments of a model, and by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._conjugate import require_conjugate
from jaxem._model import rung
from jaxem.priors import Dirichlet, Gamma
from jaxem.structures import (
    AbstractTransitions,
    FreeInitial,
    FreeTransitions,
    SoftmaxTransitions,
    StationaryInitial,
)
from tests.helpers import chains, engine

NAN = np.nan
POISSON = jaxem.Poisson()
START = jaxem.models.HMMParams(
    jnp.array([0.6, 0.4]),
    jnp.array([[0.8, 0.2], [0.3, 0.7]]),
    jaxem.families.PoissonParams(jnp.array([[3.0, 5.0], [6.0, 4.0]])),
)


@pytest.mark.parametrize(
    ("words", "objects"),
    [
        pytest.param({}, {"initial": FreeInitial(), "transitions": FreeTransitions()}, marks=pytest.mark.slow),
        pytest.param({"initial": "stationary"}, {"initial": StationaryInitial()}, marks=pytest.mark.slow),
        pytest.param(
            {"initial_prior": Dirichlet(2.0), "transition_prior": Dirichlet(3.0)},
            {
                "initial": FreeInitial(Dirichlet(2.0)),
                "transitions": FreeTransitions(Dirichlet(3.0)),
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"initial_pattern": [1.0, 0.0], "transition_pattern": [[NAN, 0.3], [0.0, 1.0]]},
            {
                "initial": FreeInitial(pattern=[1.0, 0.0]),
                "transitions": FreeTransitions(pattern=[[NAN, 0.3], [0.0, 1.0]]),
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_objects_are_what_words_build(words, objects):
    one, other = jaxem.HMM(POISSON, 2, **words), jaxem.HMM(POISSON, 2, **objects)
    assert one.structure == other.structure
    x = jnp.asarray(chains.counts()[0])
    a, b = (engine.solve(model, START, x, tol=-np.inf, max_steps=2) for model in (one, other))
    engine.assert_same(a.params, b.params, rtol=1e-14)
    np.testing.assert_array_equal(one.log_prior(START), other.log_prior(START))
    assert one.num_parameters(a.params) == other.num_parameters(a.params)
    assert one.domains == other.domains


def test_words_stay_words():
    model = jaxem.HMM(POISSON, 2, "stationary")
    assert model.initial == "stationary"
    assert repr(model.initial) == "'stationary'"
    assert not any(isinstance(leaf, str) for leaf in jax.tree.leaves(model))
    assert model == jaxem.HMM(POISSON, 2, initial="stationary")
    assert hash(model.initial) == hash("stationary")


def test_conflicts_and_misfits_are_refused():
    prior, pattern = Dirichlet(2.0), [[NAN, NAN], [0.0, 1.0]]
    for words, arguments in (
        ("initial_prior is in conflict.*FreeInitial", {"initial": FreeInitial(), "initial_prior": prior}),
        ("initial_pattern is in conflict", {"initial": StationaryInitial(), "initial_pattern": [1.0, 0.0]}),
        ("transition_prior is in conflict.*prior=", {"transitions": FreeTransitions(), "transition_prior": prior}),
        ("transition_pattern is in conf", {"transitions": SoftmaxTransitions(), "transition_pattern": pattern}),
        ("no stationary distribution", {"initial": "stationary", "transitions": SoftmaxTransitions()}),
        ("no stationary distribution", {"initial": StationaryInitial(), "transitions": SoftmaxTransitions()}),
        ("transitions is the class SoftmaxTransitions", {"transitions": SoftmaxTransitions}),
        ("transitions must be such as", {"transitions": "free"}),
        ("initial must be 'free' or 'stationary'", {"initial": FreeTransitions()}),
        ("pattern of transition is for 2 states, but num_states=3", {"transitions": FreeTransitions(pattern=pattern)}),
        ("pattern of initial is for 2 states", {"initial": FreeInitial(pattern=[1.0, 0.0])}),
    ):
        k = 3 if "states" in words else 2
        with pytest.raises(ValueError, match=words):
            jaxem.HMM(POISSON, k, **arguments)
    for words, build in (
        ("prior must be a Dirichlet", lambda: FreeTransitions(Gamma(1.0, 1.0))),
        ("prior must be a Dirichlet", lambda: FreeInitial(2.0)),
        ("pattern, row 1: all entries are fixed", lambda: FreeTransitions(pattern=[[NAN] * 2, [0.5, 0.4]])),
        (r"pattern must have shape \[states, states\], got \(2,\)", lambda: FreeTransitions(pattern=[0.5, 0.5])),
        ("deviation must be positive", lambda: SoftmaxTransitions(0.0)),
        ("deviation must be positive", lambda: SoftmaxTransitions("wide")),
        ("deviation must be positive", lambda: SoftmaxTransitions(True)),
    ):
        with pytest.raises(ValueError, match=words):
            build()


def test_a_posterior_needs_a_conjugate_prior_of_each_part():
    prior = Dirichlet(2.0)
    for words, arguments in (
        ("initial_prior=", {"transitions": FreeTransitions(prior)}),
        ("StationaryInitial", {"initial": "stationary", "transitions": FreeTransitions(prior)}),
        ("transition_prior=", {"initial": FreeInitial(prior)}),
        ("no\n? ?pattern", {"initial": FreeInitial(prior, pattern=[1.0, 0.0]), "transition_prior": prior}),
    ):
        with pytest.raises(jaxem.MissingCapabilityError, match=words):
            require_conjugate(jaxem.HMM(jaxem.Poisson(Gamma(1.0, 1.0)), 2, **arguments), "variational Bayes")
    model = jaxem.HMM(jaxem.Poisson(Gamma(1.0, 1.0)), 2, initial=FreeInitial(prior), transitions=FreeTransitions(prior))
    assert rung(model) == 3


class Lazy(AbstractTransitions):
    """A part of one's own: every state is left with the same probability `params.transition` `[k, 1]`."""

    domain = "unit"

    def natural(self, transition):
        k = transition.shape[0]
        rest = transition[:, 0] / (k - 1)
        return jnp.log(jnp.where(jnp.eye(k, dtype=bool), 1 - transition, rest[:, None]))

    def log_probabilities(self, natural, covariates):
        return natural

    def of_probabilities(self, p, covariates, weights):
        return 1 - jnp.diagonal(p)[:, None]

    def maximize(self, counts, transition):
        total = jnp.sum(counts, 1)
        return jnp.where(total > 0, (total - jnp.diagonal(counts)) / jnp.where(total > 0, total, 1), transition[:, 0])[
            :, None
        ]

    def unconstrain(self, transition):
        return jnp.log(transition) - jnp.log1p(-transition)

    def constrain(self, free):
        return jax.nn.sigmoid(free)


@pytest.mark.slow
def test_a_part_of_ones_own():
    x = jnp.asarray(chains.counts()[0])
    model = jaxem.HMM(POISSON, 2, transitions=Lazy())
    # Of two states, this is a free matrix.
    lazy = START._replace(transition=1 - jnp.diagonal(START.transition)[:, None])
    a = engine.solve(model, lazy, x, tol=-np.inf, max_steps=3)
    b = engine.solve(jaxem.HMM(POISSON, 2), START, x, tol=-np.inf, max_steps=3)
    np.testing.assert_allclose(1 - a.params.transition[:, 0], jnp.diagonal(b.params.transition), rtol=1e-10)
    engine.assert_same(a.params.emission, b.params.emission, rtol=1e-10)
    np.testing.assert_allclose(model.forecast(lazy, x, 3), jaxem.HMM(POISSON, 2).forecast(START, x, 3), rtol=1e-12)
    states = np.asarray(model.sample(jax.random.key(0), lazy, 2000, 2)[1])
    np.testing.assert_allclose((states[:, 1] == 1)[states[:, 0] == 0].mean(), 0.2, atol=0.05)
    fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=2)
    assert engine.name(fit) == "converged"
