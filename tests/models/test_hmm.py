"""Hidden Markov models against published fits, enumeration, and another implementation."""

from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem.structures._pattern import Rows, stationary
from jaxem.testing import check_model
from tests.helpers import chains, engine

QUAKES = np.array(chains.EARTHQUAKES, float)[None, :, None]
# Zucchini and MacDonald (2009): minus log-likelihood, AIC and BIC, to the digits that direct maximisation confirms.
PUBLISHED = {
    (2, "stationary"): (342.318267, 692.6365, 703.3278),
    (2, "free"): (341.878701, 693.7574, 707.1215),
    (3, "stationary"): (329.460276, 676.9206, 700.9760),
    (3, "free"): (328.527483, 679.0550, None),
    (4, "stationary"): (327.831585, None, None),
}
INDEPENDENT = {2: 360.369044, 3: 356.848939, 4: 356.733701}
NAN = np.nan


def poisson(initial, transition, rate):
    leaves = (jnp.asarray(np.asarray(a, float)) for a in (initial, transition, rate))
    first, moves, rate = leaves
    return jaxem.models.HMMParams(first, moves, jaxem.families.PoissonParams(rate))


@lru_cache
def cell():
    """A model, a start, data and weights."""
    x, _, _ = chains.counts()
    start = poisson([0.5, 0.5], [[0.8, 0.2], [0.3, 0.7]], [[3.0, 5.0], [6.0, 4.0]])
    lengths = np.array([40, 30, 40, 7, 1, 23], np.int32)
    data = jaxem.Sequences(jnp.asarray(x), jnp.asarray(lengths))
    return jaxem.HMM(jaxem.Poisson(), 2), start, data, jnp.ones(6)


@lru_cache
def conjugate_cell():
    """The same with priors on all parameters."""
    _, start, data, weights = cell()
    prior = jaxem.priors.Dirichlet(1.5)
    return jaxem.HMM(jaxem.Poisson(jaxem.priors.Gamma(2.0, 0.5)), 2, "free", prior, prior), start, data, weights


def pieces():
    """The sequences of `cell` one by one."""
    data = cell()[2]
    return [np.asarray(x)[:length] for x, length in zip(data.values, data.lengths, strict=True)]


def density(start, sequence):
    """All paths of a short sequence, and the log joint density of each."""
    rate = np.asarray(start.emission.rate)
    local = stats.poisson.logpmf(sequence[:, None], rate[None]).sum(-1)
    return chains.enumerate_paths(np.log(start.initial), np.log(start.transition), local, len(sequence))


# Published fits


def fitted(k, initial, restarts, seed=1):
    model = jaxem.HMM(jaxem.Poisson(), k, initial)
    return model, jaxem.fit(model, QUAKES, key=jax.random.key(seed), restarts=restarts, tol=1e-9, max_steps=3000)


def assert_published(model, fit, expected):
    value, aic, bic = expected
    np.testing.assert_allclose(-fit.log_likelihood, value, atol=1.1e-6)
    p = model.num_parameters(fit.params)
    assert jaxem.status_name(fit.status) == "converged"
    if aic is not None:
        np.testing.assert_allclose(-2 * fit.log_likelihood + 2 * p, aic, atol=1.1e-4)
    if bic is not None:
        np.testing.assert_allclose(-2 * fit.log_likelihood + p * np.log(107), bic, atol=1.1e-4)


@pytest.mark.slow
def test_two_states_of_earthquakes_from_random_starts():
    model, fit = fitted(2, "free", 4)
    assert_published(model, fit, PUBLISHED[2, "free"])
    # One maximum: every start finds it.
    np.testing.assert_allclose(fit.restarts.objective, fit.objective, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "initial"), [key for key in PUBLISHED if key != (2, "free")])
def test_states_of_earthquakes(k, initial):
    model, fit = fitted(k, initial, 16 if k == 4 else 6)
    assert_published(model, fit, PUBLISHED[k, initial])
    if k < 4:
        np.testing.assert_allclose(fit.restarts.objective, fit.objective, atol=1e-5)
    if initial == "stationary":
        np.testing.assert_allclose(fit.params.initial @ fit.params.transition, fit.params.initial, atol=1e-12)
    if (k, initial) == (3, "free"):
        np.testing.assert_allclose(np.sort(fit.params.initial), [0, 0, 1], atol=1e-8)
    if (k, initial) == (2, "stationary"):
        order = np.argsort(fit.params.emission.rate[:, 0])
        np.testing.assert_allclose(fit.params.emission.rate[order, 0], [15.4723, 26.1254], atol=1e-3)
        moves = fit.params.transition[np.ix_(order, order)]
        np.testing.assert_allclose(moves, [[0.9340, 0.0660], [0.1285, 0.8715]], atol=1e-4)
    if (k, initial) == (3, "stationary"):
        order = np.argsort(fit.params.emission.rate[:, 0])
        np.testing.assert_allclose(fit.params.emission.rate[order, 0], [13.1457, 19.7211, 29.7144], atol=1e-3)
        np.testing.assert_allclose(fit.params.initial[order], [0.4436420, 0.4044983, 0.1518597], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4])
def test_independent_mixtures_of_earthquakes(k):
    model = jaxem.Mixture(jaxem.Poisson(), k)
    fit = jaxem.fit(
        model, QUAKES[0], key=jax.random.key(0), restarts=8, algorithm=jaxem.squarem(), tol=1e-12, max_steps=20000
    )
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(-fit.log_likelihood, INDEPENDENT[k], atol=1e-6)


# The model


def test_densities_and_states_are_enumeration():
    model, start, *_ = cell()
    x = pieces()[0][:8]
    short = jaxem.Sequences.of([x, x[:1], x[2:7]])
    posterior, filtered, path = (np.asarray(f(start, short)) for f in (model.posterior, model.filter, model.predict))
    steps = model.log_predictive(start, short)
    for s, sequence in enumerate((x, x[:1], x[2:7])):
        paths, log = density(start, sequence)
        total = np.logaddexp.reduce(log)
        np.testing.assert_allclose(model.log_prob(start, short)[s], total, rtol=1e-12)
        np.testing.assert_allclose(steps[s].sum(), total, rtol=1e-12)
        p = np.exp(log - total)
        for t in range(len(sequence)):
            np.testing.assert_allclose(posterior[s, t, 1], p @ paths[:, t], atol=1e-12)
            before, so_far = density(start, sequence[: t + 1])
            q = np.exp(so_far - np.logaddexp.reduce(so_far))
            np.testing.assert_allclose(filtered[s, t, 1], q @ before[:, t], atol=1e-12)
        np.testing.assert_array_equal(path[s, : len(sequence)], paths[log.argmax()])
        assert (path[s, len(sequence) :] == -1).all()
        assert not posterior[s, len(sequence) :].any()
        ahead = np.asarray(model.forecast(start, short, 2))[s]
        np.testing.assert_allclose(ahead[0], filtered[s, len(sequence) - 1] @ np.asarray(start.transition), atol=1e-12)
        np.testing.assert_allclose(ahead[1], ahead[0] @ np.asarray(start.transition), atol=1e-12)


@pytest.mark.slow
def test_the_contract_is_kept():
    model, start, data, _ = cell()
    check_model(model, start, data)


@pytest.mark.slow
def test_the_contract_is_kept_by_every_variety():
    _, start, data, _ = cell()
    check_model(*conjugate_cell()[:3])
    pinned = start._replace(initial=stationary(start.transition))
    check_model(jaxem.HMM(jaxem.Poisson(), 2, "stationary", transition_prior=jaxem.priors.Dirichlet(2.0)), pinned, data)
    pattern = [[NAN, NAN, 0.0], [0.0, NAN, NAN], [0.25, NAN, NAN]]
    three = poisson(
        [1.0, 0.0, 0.0], [[0.8, 0.2, 0], [0, 0.6, 0.4], [0.25, 0.25, 0.5]], [[1.0, 5.0], [3.0, 3.0], [6.0, 2.0]]
    )
    model = jaxem.HMM(jaxem.Poisson(), 3, initial_pattern=[1.0, 0.0, 0.0], transition_pattern=pattern)
    check_model(model, three, jax.tree.map(lambda a: a[jnp.array([0, 1, 2, 5])], data))


def solved(model, start, data, weights=None, max_steps=3, **options):
    return engine.solve(model, start, data, weights, tol=-np.inf, max_steps=max_steps, **options)


def test_masked_steps_are_nan_rows_and_padding_does_not_matter():
    model, start, data, _ = cell()
    hidden = np.zeros((6, 40), bool)
    hidden[0, 3:9] = hidden[2, 39] = hidden[5, 0] = hidden[4, 0] = True
    rubbish = np.where(hidden[..., None], 1e9, np.asarray(data.values))
    for i, length in enumerate(data.lengths):
        rubbish[i, int(length) :] = NAN
    masked = jaxem.Sequences(jnp.asarray(rubbish), data.lengths, jnp.asarray(~hidden))
    missing = jaxem.Sequences(jnp.where(hidden[..., None], NAN, data.values), data.lengths, jnp.ones((6, 40), bool))
    a, b = (solved(model, start, d) for d in (masked, missing))
    engine.assert_same(a.params, b.params, rtol=1e-12)
    np.testing.assert_allclose(a.history[:4], b.history[:4], rtol=1e-12)
    # Nothing seen of sequence 4: its density is 1.
    np.testing.assert_allclose(model.log_prob(start, masked)[4], 0, atol=1e-14)
    # A step that is hidden is summed over.
    sequence = pieces()[3]
    table = [np.concatenate([sequence[:2], [row], sequence[3:]]) for row in np.ndindex(40, 40)]
    values = np.asarray(model.log_prob(start, jnp.asarray(np.stack(table))))
    gap = np.where(np.arange(7)[:, None] == 2, NAN, sequence)
    np.testing.assert_allclose(np.logaddexp.reduce(values), model.log_prob(start, jnp.asarray(gap)[None])[0], rtol=1e-9)


@pytest.mark.slow
def test_weights_are_copies_and_sequences_add_up():
    model, start, data, _ = cell()
    weights = jnp.array([2.0, 0.0, 1.0, 3.0, 1.0, 0.0])
    rows = np.repeat(np.arange(6), np.asarray(weights).astype(int))
    copied = jax.tree.map(lambda a: a[rows], data)
    a, b = solved(model, start, data, weights), solved(model, start, copied)
    engine.assert_same(a.params, b.params, rtol=1e-10)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-12)
    chunked = solved(model, start, data, chunk_rows=4)
    engine.assert_same(chunked.params, solved(model, start, data).params, rtol=1e-10)
    alone = [model.log_prob(start, jnp.asarray(piece)[None])[0] for piece in pieces()[3:5]]
    np.testing.assert_allclose(model.log_prob(start, data)[3:5], alone, rtol=1e-12)


def test_iterates_are_those_of_hmmlearn():
    hmm = pytest.importorskip("hmmlearn.hmm")
    model, start, data, _ = cell()
    other = hmm.PoissonHMM(2, n_iter=1, init_params="", tol=-np.inf)
    other.startprob_, other.transmat_, other.lambdas_ = (np.asarray(leaf) for leaf in jax.tree.leaves(start))
    x, lengths = np.concatenate(pieces()).astype(int), np.asarray(data.lengths)
    params = start
    for _ in range(4):
        other.fit(x, lengths)
        params = solved(model, params, data, max_steps=1).params
        np.testing.assert_allclose(params.initial, other.startprob_, rtol=1e-8)
        np.testing.assert_allclose(params.transition, other.transmat_, rtol=1e-8)
        np.testing.assert_allclose(params.emission.rate, other.lambdas_, rtol=1e-8)
    np.testing.assert_allclose(model.log_likelihood(params, data), other.score(x, lengths), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical"])
def test_gaussian_iterates_are_those_of_hmmlearn(covariance):
    hmm = pytest.importorskip("hmmlearn.hmm")
    rng = np.random.default_rng(42)
    _, states, (initial, transition, _) = chains.counts()
    x = np.where(states[..., None] == 0, 0.0, [2.0, -1.0]) + rng.standard_normal((6, 40, 2)) @ [[1.0, 0.4], [0.0, 0.7]]
    spread = {
        "full": np.stack([np.eye(2)] * 2),
        "tied": np.eye(2),
        "diagonal": np.ones((2, 2)),
        "spherical": np.ones(2),
    }[covariance]
    mean = np.array([[0.5, 0.0], [1.5, 0.0]])
    kind = {"diagonal": "diag"}.get(covariance, covariance)
    options = {"covars_prior": 0, "covars_weight": 0, "means_prior": 0, "means_weight": 0, "min_covar": 0}
    other = hmm.GaussianHMM(2, kind, n_iter=3, init_params="", tol=-np.inf, **options)
    other.startprob_, other.transmat_, other.means_ = initial, transition, mean
    other.covars_ = spread
    other.fit(x.reshape(-1, 2), [40] * 6)
    emission = jaxem.families.GaussianParams(jnp.asarray(mean), jnp.asarray(spread))
    start = jaxem.models.HMMParams(jnp.asarray(initial), jnp.asarray(transition), emission)
    fit = solved(jaxem.HMM(jaxem.Gaussian(covariance), 2), start, jnp.asarray(x))
    np.testing.assert_allclose(fit.params.transition, other.transmat_, rtol=1e-6)
    np.testing.assert_allclose(fit.params.emission.mean, other.means_, rtol=1e-6)
    full = other.covars_ if covariance != "tied" else other.covars_[:1]
    full = full[:: len(full) // 2] if covariance == "spherical" else full  # hmmlearn 0.3 repeats them
    mine = np.asarray(fit.params.emission.covariance)
    dense = {"diagonal": lambda c: c[:, :, None] * np.eye(2), "spherical": lambda c: c[:, None, None] * np.eye(2)}
    mine = dense.get(covariance, lambda c: c.reshape(-1, 2, 2))(mine)
    np.testing.assert_allclose(mine, full, rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_fixed_entries_stay_and_the_others_are_maximised_given_them():
    _, start, data, _ = cell()
    pattern = [[NAN, 0.3], [0.0, 1.0]]
    model = jaxem.HMM(jaxem.Poisson(), 2, initial_pattern=[1.0, 0.0], transition_pattern=pattern)
    fit = solved(model, start, data, max_steps=5)
    np.testing.assert_allclose(fit.params.transition, [[0.7, 0.3], [0, 1]], rtol=1e-12)
    np.testing.assert_array_equal(fit.params.initial, [1, 0])
    assert (np.diff(engine.history(fit)) >= -1e-9).all()
    assert model.num_parameters(fit.params) == 4
    path = np.asarray(model.predict(fit.params, data))
    for row, length in zip(path, data.lengths, strict=True):
        assert (np.diff(row[: int(length)]) >= 0).all()
    three = jaxem.HMM(jaxem.Poisson(), 3, transition_pattern=[[NAN, NAN, 0.2], [0, NAN, NAN], [NAN] * 3])
    rows = Rows(three.transition_pattern, (3, 3)).estimate(
        jnp.array([[3.0, 1.0, 9.0], [5.0, 2.0, 6.0], [0.0, 0.0, 0.0]]), jnp.full((3, 3), 1 / 3)
    )
    np.testing.assert_allclose(rows, [[0.6, 0.2, 0.2], [0, 0.25, 0.75], [1 / 3] * 3])


@pytest.mark.slow
def test_frozen_parameters_stay():
    _, start, data, _ = cell()
    fit = solved(jaxem.HMM(jaxem.Poisson(), 2, frozen=("transition", "emission.rate")), start, data)
    engine.assert_same(fit.params._replace(initial=start.initial), start, rtol=1e-15)
    assert np.abs(fit.params.initial - start.initial).max() > 0.01


@lru_cache
def stationary_fit():
    _, start, data, _ = cell()
    model = jaxem.HMM(jaxem.Poisson(), 2, "stationary")
    return model, solved(model, start, data, max_steps=12)


@pytest.mark.slow
def test_a_stationary_start_is_kept_and_its_likelihood_never_falls():
    model, fit = stationary_fit()
    np.testing.assert_allclose(fit.params.initial @ fit.params.transition, fit.params.initial, atol=1e-14)
    assert (np.diff(engine.history(fit)) >= -1e-10).all()
    assert model.num_parameters(fit.params) == 2 + 4
    matrix = np.random.default_rng(0).dirichlet(np.ones(6), 6)
    np.testing.assert_allclose(stationary(jnp.asarray(matrix)) @ matrix, stationary(jnp.asarray(matrix)), rtol=1e-12)
    np.testing.assert_allclose(stationary(jnp.array([[0.5, 0.5], [0.0, 1.0]])), [0, 1], atol=1e-12)


@pytest.mark.slow
def test_the_stationary_maximisation_is_exact():
    model, fit = stationary_fit()
    data = cell()[2]
    bound = model.bind(data, jnp.ones(6))
    best = engine.solve(model, fit.params, data, tol=1e-13).params

    @eqx.filter_jit
    def gradient(params):
        free = bound.unconstrain(bound.encode(params))
        return jax.grad(lambda u: jnp.sum(engine.log_prob(bound, bound.constrain(u), data)))(free)

    for leaf in jax.tree.leaves(gradient(best)):
        np.testing.assert_allclose(leaf, 0, atol=1e-4)


@pytest.mark.slow
def test_priors_pull_towards_their_modes():
    _, start, data, _ = cell()
    strong = jaxem.HMM(
        jaxem.Poisson(), 2, "free", jaxem.priors.Dirichlet(1e6), jaxem.priors.Dirichlet(jnp.array([1.0, 1e7]))
    )
    fit = solved(strong, start, data)
    np.testing.assert_allclose(fit.params.initial, 0.5, atol=1e-4)
    np.testing.assert_allclose(fit.params.transition[:, 1], 1, atol=1e-4)
    assert (np.diff(engine.history(fit)) >= -1e-6).all()


@pytest.mark.slow
def test_variational_bayes_and_gibbs_find_the_states():
    model, start, data, _ = conjugate_cell()
    fit = engine.solve(model, start, data, algorithm=jaxem.vbem())
    assert engine.name(fit) == "converged"
    assert (np.diff(engine.history(fit)) >= -1e-8).all()
    em = engine.solve(cell()[0], start, data)
    engine.assert_same(fit.params.emission, em.params.emission, rtol=0.15)
    chain = engine.solve(model, start, data, algorithm=jaxem.gibbs(300, burn_in=50))
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, 0), chain.draws.emission)
    engine.assert_same(mean, em.params.emission, rtol=0.15)


def test_draws_have_the_frequencies_of_the_chain():
    model, start, *_ = cell()
    x, states = model.sample(jax.random.key(2), start, 3000, 4)
    x, states = np.asarray(x), np.asarray(states)
    assert x.shape == (3000, 4, 2)
    for t in range(4):
        share = np.asarray(start.initial) @ np.linalg.matrix_power(np.asarray(start.transition), t)
        np.testing.assert_allclose((states[:, t] == 0).mean(), share[0], atol=5 * 0.5 / np.sqrt(3000))
    moved = (states[:, 1:] == 1)[states[:, :-1] == 0].mean()
    np.testing.assert_allclose(moved, 0.2, atol=0.03)
    np.testing.assert_allclose(x[states == 1].mean(0), [6, 4], atol=0.2)
    with pytest.raises(jaxem.MissingCapabilityError, match="how long a sequence is"):
        model.sample(jax.random.key(2), start, 3)


@pytest.mark.slow
def test_drawn_paths_have_the_smoothed_probabilities():
    model, start, data, _ = cell()
    paths = jax.vmap(lambda key: model.sample_states(key, start, data))(jax.random.split(jax.random.key(0), 400))
    assert (np.asarray(paths)[:, 3, 7:] == -1).all()
    np.testing.assert_allclose((paths == 1).mean(0), model.posterior(start, data)[..., 1], atol=5 * 0.5 / 20)


@pytest.mark.slow
def test_emissions_with_missing_entries():
    rng = np.random.default_rng(43)
    x = rng.standard_normal((3, 12, 2)) + np.where(np.arange(12) < 6, 0.0, 3.0)[None, :, None]
    x[0, 2, 0] = x[0, 3, 1] = x[1, 5, 0] = NAN
    x[0, 4] = NAN
    data = jaxem.Sequences(jnp.asarray(x), jnp.array([12, 5, 9], jnp.int32))
    mean, covariance = (
        np.array([[0.0, 0.2], [2.5, 3.0]]),
        np.array([[[1.0, 0.3], [0.3, 1.0]], [[0.8, 0.0], [0.0, 1.5]]]),
    )
    initial, transition = np.array([0.7, 0.3]), np.array([[0.8, 0.2], [0.1, 0.9]])
    emission = jaxem.families.GaussianParams(jnp.asarray(mean), jnp.asarray(covariance))
    start = jaxem.models.HMMParams(jnp.asarray(initial), jnp.asarray(transition), emission)
    model = jaxem.HMM(jaxem.Incomplete(jaxem.Gaussian()), 2)
    local = np.zeros((5, 2))
    for t in range(5):
        there = ~np.isnan(x[0, t])
        for j in range(2):
            if there.any():
                marginal = stats.multivariate_normal(mean[j][there], covariance[j][np.ix_(there, there)])
                local[t, j] = marginal.logpdf(x[0, t][there])
    paths, log = chains.enumerate_paths(np.log(initial), np.log(transition), local, 5)
    first = jaxem.Sequences(data.values[:1, :5])
    total = np.logaddexp.reduce(log)
    np.testing.assert_allclose(model.log_prob(start, first)[0], total, rtol=1e-10)
    smoothed = model.posterior(start, first)[0]
    np.testing.assert_allclose(smoothed[:, 1], np.exp(log - total) @ paths, atol=1e-10)
    filled = np.asarray(model.impute(start, first))[0]
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[4], np.asarray(smoothed)[4] @ mean, atol=1e-10)
    np.testing.assert_array_equal(filled[0], x[0, 0])
    check_model(model, start, data)


# Edges


@pytest.mark.slow
def test_one_state_and_one_step_are_a_single_member():
    x = np.asarray(cell()[2].values)[:, :1]
    model = jaxem.HMM(jaxem.Poisson(), 1)
    start = poisson([1.0], [[1.0]], [[1.0, 1.0]])
    fit = engine.solve(model, start, jnp.asarray(x))
    np.testing.assert_allclose(fit.params.emission.rate[0], x[:, 0].mean(0), rtol=1e-12)
    np.testing.assert_array_equal(fit.params.transition, [[1]])
    assert engine.name(fit) == "converged"


def test_a_state_that_is_never_visited_keeps_its_emission_and_is_reported():
    model, _, data, _ = cell()
    start = poisson([1.0, 0.0], [[1.0, 0.0], [0.5, 0.5]], [[3.0, 5.0], [1e4, 1e4]])
    fit = engine.solve(model, start, data)
    assert engine.name(fit) == "degenerate_component"
    np.testing.assert_array_equal(fit.params.emission.rate[1], 1e4)
    np.testing.assert_array_equal(fit.params.transition[1], [0.5, 0.5])


def test_an_impossible_sequence_is_not_finite():
    _, start, data, _ = cell()
    model = jaxem.HMM(jaxem.Poisson(), 2)
    values = data.values.at[0, 2, 0].set(0.5)
    # With known values such a step is refused.
    assert jax.jit(model.log_prob)(start, data._replace(values=values))[0] == -np.inf
    fit = engine.solve(model, start, data._replace(values=values))
    assert engine.name(fit) == "not_finite"


@pytest.mark.slow
def test_single_precision_is_double():
    model, start, data, _ = cell()
    single = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, (start, data))
    a = solved(model, *single, weights=jnp.ones(6, jnp.float32))
    b = solved(model, start, data)
    assert a.log_likelihood.dtype == jnp.float32
    engine.assert_same(a.params, b.params, rtol=1e-3)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-4)


# Data


def test_sequences_are_padded():
    data = jaxem.Sequences.of(pieces(), [np.arange(len(piece)) > 0 for piece in pieces()])
    np.testing.assert_array_equal(data.lengths, [40, 30, 40, 7, 1, 23])
    assert data.values.shape == (6, 40, 2)
    np.testing.assert_array_equal(data.seen().sum(1), data.lengths - 1)
    assert jaxem.Sequences.of([np.ones((3, 1)), np.zeros((3, 1))]).lengths is None


def test_what_cannot_be_is_refused():
    poisson_family = jaxem.Poisson()
    for words, build in (
        ("num_states must be a positive integer", lambda: jaxem.HMM(poisson_family, 0)),
        ("initial must be 'free' or 'stationary'", lambda: jaxem.HMM(poisson_family, 2, "uniform")),
        ("frozen: unknown parameter 'rate'", lambda: jaxem.HMM(poisson_family, 2, frozen=("rate",))),
        ("without a prior or pattern", lambda: jaxem.HMM(poisson_family, 2, "stationary", jaxem.priors.Dirichlet(2.0))),
        (
            r"transition_pattern must have shape \(2, 2\)",
            lambda: jaxem.HMM(poisson_family, 2, transition_pattern=[[1.0]]),
        ),
        (
            "row 1: all entries are fixed",
            lambda: jaxem.HMM(poisson_family, 2, transition_pattern=[[NAN] * 2, [0.5, 0.4]]),
        ),
        ("nothing is left", lambda: jaxem.HMM(poisson_family, 2, transition_pattern=[[NAN, 1.0], [NAN] * 2])),
        ("must be probabilities", lambda: jaxem.HMM(poisson_family, 2, initial_pattern=[-0.5, NAN])),
    ):
        with pytest.raises(ValueError, match=words):
            build()
    assert jaxem.HMM(poisson_family, 2, transition_pattern=[[NAN, 0.0]] * 2) == jaxem.HMM(
        poisson_family, 2, transition_pattern=np.array([[NAN, 0.0]] * 2)
    )


def test_data_are_checked():
    model, _, data, _ = cell()
    values = np.asarray(data.values)
    bad = values.copy()
    bad[1, 2, 1] = -3
    for words, wrong in (
        (r"values must have shape \[sequences, steps, columns\], got \(40, 2\)", values[0]),
        ("sequence 1 has length 41, not one of 1 to 40", data._replace(lengths=np.array([40, 41, 1, 1, 1, 1]))),
        ("lengths must be 6 integers", data._replace(lengths=np.ones(6))),
        (r"observed must have shape \(6, 40\)", data._replace(observed=np.ones((6, 39)))),
        (r"row 42, column 1 has value -3.0.*\(row r is step r % 40 of sequence r // 40\)", bad),
        ("0 observed steps, fewer than num_states=2", data._replace(observed=np.zeros((6, 40)))),
        ("labels are for mixtures", jaxem.Labelled(values, np.zeros(6, int))),
    ):
        with pytest.raises(jaxem.DataError, match=words):
            model.check(wrong, None)
    with pytest.raises(jaxem.DataError, match="number 1 has shape"):
        jaxem.Sequences.of([np.ones((3, 1)), np.ones(3)])
    with pytest.raises(jaxem.DataError, match="a mask for each sequence"):
        jaxem.Sequences.of([np.ones((3, 1))], [np.ones(2)])
