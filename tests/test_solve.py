"""`solve`: what it returns belongs together, and its status says what happened."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import logsumexp

import jaxem
from tests.helpers import direct, engine, oracles
from tests.helpers.engine import assert_same, history, name, solve
from tests.helpers.oracles import NIW

pytestmark = pytest.mark.optimized

MODEL, START, X, ONES, _ = engine.case("spherical")


@pytest.fixture(scope="module")
def fit():
    return solve(MODEL, START, X)


def moved(params, by):
    return params._replace(components=params.components._replace(mean=params.components.mean + by))


# The result


def test_the_result_belongs_together(fit):
    assert name(fit) == "converged"
    assert fit.restarts is None
    np.testing.assert_allclose(fit.log_likelihood, MODEL.log_likelihood(fit.params, X), rtol=1e-12)
    np.testing.assert_array_equal(fit.objective, fit.log_likelihood)
    values = history(fit)
    np.testing.assert_allclose(values[0], MODEL.log_likelihood(START, X), rtol=1e-12)
    np.testing.assert_allclose(values[-1], fit.objective, rtol=1e-12)
    assert np.all(np.diff(values) > 0)
    # It stopped as soon as the gains, extrapolated to their limit, left less than the tolerance, and not before.
    gains = np.diff(values) / len(X)
    rate = gains[1:] / gains[:-1]
    left = np.where(rate < 1, gains[1:] * rate / np.where(rate < 1, 1 - rate, 1), np.inf)
    assert np.all(left[:-1] > 1e-9)
    assert left[-1] <= 1e-9


def test_every_iterate_is_that_of_the_oracle():
    _, x, start, _ = engine.case("spherical").oracle
    for _ in range(3):
        start = oracles.em_step(oracles.Gaussian("spherical"), start, x)
    fit = solve(MODEL, START, X, max_steps=3)
    assert_same(engine.as_oracle(fit.params), start)


def test_history_keeps_the_last_values(fit):
    short = jax.jit(lambda p, x: jaxem.solve(MODEL, p, x, tol=1e-9, history_size=5))(START, X)
    assert int(short.num_steps) == int(fit.num_steps) > 5
    np.testing.assert_allclose(short.history, history(fit)[-5:], rtol=1e-12)


# Statuses


def test_max_steps_reached(fit):
    stopped = solve(MODEL, START, X, max_steps=3)
    assert name(stopped) == "max_steps_reached"
    assert int(stopped.num_steps) == 3
    np.testing.assert_allclose(history(stopped), history(fit)[:4], rtol=1e-12)


def test_no_steps_at_all():
    stopped = solve(MODEL, START, X, max_steps=0)
    assert name(stopped) == "max_steps_reached"
    assert int(stopped.num_steps) == 0
    assert_same(stopped.params, START, rtol=1e-12)
    np.testing.assert_allclose(stopped.objective, MODEL.log_likelihood(START, X), rtol=1e-12)
    np.testing.assert_allclose(history(stopped), [stopped.objective], rtol=1e-12)


def test_a_start_that_is_not_finite():
    for bad in (np.nan, np.inf):
        start = START._replace(weights=START.weights.at[1].set(bad))
        fit = solve(MODEL, start, X)
        assert name(fit) == "not_finite"
        assert int(fit.num_steps) == 0
        assert np.isnan(fit.history).all()


def test_impossible_data_are_not_finite():
    """No component gives a negative count any probability."""
    model, start, x, *_ = engine.case("poisson")
    fit = solve(model, start, x.at[5, 0].set(-1.0))
    assert name(fit) == "not_finite"
    assert float(fit.log_likelihood) == -np.inf
    assert_same(fit.params, start, rtol=1e-12)
    # But they do not count where their weight is zero.
    kept, dropped = solve(model, start, x.at[5, 0].set(-1.0), ONES_P), solve(model, start, x, ONES_P)
    assert name(kept) == "converged"
    assert_same(kept.params, dropped.params, rtol=1e-6, atol=1e-8)


ONES_P = engine.case("poisson").weights.at[5].set(0.0)


def with_tight_cluster():
    """Twenty rows at one point, and a component there."""
    x = X.at[:20].set(jnp.asarray([30.0, 30.0]))
    start = START._replace(components=START.components._replace(mean=START.components.mean.at[0].set(30.0)))
    return x, start


def test_a_component_that_collapses():
    x, start = with_tight_cluster()
    fit = solve(MODEL, start, x)
    assert name(fit) == "degenerate_component"
    assert np.isfinite(fit.objective)
    # The floor is relative to the variance of the data.
    floor = 1e-12 * np.var(np.asarray(x), 0).mean()
    np.testing.assert_allclose(fit.params.components.covariance[0], floor, rtol=1e-3)


def test_a_component_without_rows():
    start = START._replace(
        components=jaxem.families.GaussianParams(
            START.components.mean.at[2].set(1e3), START.components.covariance.at[2].set(1e-2)
        )
    )
    fit = solve(MODEL, start, X)
    assert name(fit) == "degenerate_component"
    assert float(fit.params.weights[2]) == 0.0
    np.testing.assert_allclose(fit.params.components.mean[2], 1e3, rtol=1e-12)
    # The others are a mixture of two.
    pair = jax.tree.map(lambda leaf: leaf[:2], start._replace(weights=start.weights * 1.5))
    assert_same(
        jax.tree.map(lambda leaf: leaf[:2], fit.params),
        solve(jaxem.GaussianMixture(2, "spherical"), pair, X).params,
        rtol=1e-5,
    )


class Sabotaged(jaxem.models.AbstractLinearModel):
    """A Poisson mixture whose M-step goes wrong by `amount` once it changes the rates by less than `near`."""

    inner: jaxem.Mixture
    amount: jax.Array
    near: float = 0.1

    @property
    def latent(self):
        return self.inner.latent

    def natural(self, params):
        return self.inner.natural(params)

    def potentials(self, natural, data):
        return self.inner.potentials(natural, data)

    def log_base(self, data):
        return self.inner.log_base(data)

    def init(self, key, data, weights):
        return self.inner.init(key, data, weights)

    def maximize(self, stats, params):
        new = self.inner.maximize(stats, params)
        change = jnp.max(jnp.abs(new.components.rate - params.components.rate))
        wrong = jnp.where(change < self.near, self.amount, 0.0)
        return new._replace(components=jaxem.families.PoissonParams(new.components.rate + wrong))


@pytest.mark.parametrize(("amount", "status"), [(2.0, "objective_decreased"), (np.nan, "not_finite")])
def test_a_wrong_step_is_not_taken(amount, status):
    model, start, x, *_ = engine.case("poisson")
    fit = solve(Sabotaged(model, jnp.asarray(amount)), start, x)
    assert name(fit) == status
    values = history(fit)
    assert len(values) > 3
    assert np.all(np.diff(values) > 0)
    np.testing.assert_allclose(fit.objective, values[-1], rtol=1e-12)
    # The steps before it are those of the honest model.
    assert_same(fit.params, solve(model, start, x, max_steps=len(values) - 1).params)


def test_completed_is_a_promise_of_steps_alone():
    fixed = solve(MODEL, START, X, max_steps=4, termination=jaxem.termination.FixedSteps())
    assert name(fixed) == "completed"
    assert int(fixed.num_steps) == 4
    assert_same(fixed.params, solve(MODEL, START, X, max_steps=4).params)
    x, start = with_tight_cluster()
    fixed = solve(MODEL, start, x, max_steps=200, termination=jaxem.termination.FixedSteps())
    assert name(fixed) == "degenerate_component"


def test_messages_and_names(fit):
    assert jaxem.Status[fit.status] == "converged"
    assert bool(fit.status == jaxem.Status.converged)
    assert not bool(fit.status == jaxem.Status.not_finite)


# Programs


def test_tol_and_max_steps_are_traced():
    model, start, x, *_ = engine.case("poisson")

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(start, x, tol, max_steps):
        return jaxem.solve(model, start, x, tol=tol, max_steps=max_steps).num_steps

    steps = [int(run(start, x, tol, most)) for tol, most in ((1e-9, 300), (1e-3, 300), (1e-9, 2))]
    assert steps[0] > steps[1] > steps[2] == 2


def test_many_starts_at_once_are_the_starts_one_by_one():
    """Lanes of a batch end at different times, and one that fails touches no other."""
    shifts = [0.0, np.nan, 0.5, -1.0]
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(moved(START, by) for by in shifts))
    batch = jax.jit(jax.vmap(lambda p: jaxem.solve(MODEL, p, X, tol=1e-9, max_steps=3999, history_size=4000)))(starts)
    assert name(batch) == ["converged", "not_finite", "converged", "converged"]
    assert len(set(np.asarray(batch.num_steps).tolist())) == 4
    for lane, by in enumerate(shifts):
        alone, mine = solve(MODEL, moved(START, by), X), jax.tree.map(lambda leaf, lane=lane: leaf[lane], batch)
        assert name(alone) == name(mine)
        assert_same(alone.params, mine.params, rtol=1e-8)
        np.testing.assert_allclose(alone.history, mine.history, rtol=1e-10)


def test_chunked_is_whole(fit):
    """300 rows in chunks of 64: the last reaches back over rows already seen."""
    chunked = solve(MODEL, START, X, chunk_rows=64)
    assert_same(chunked.params, fit.params)
    np.testing.assert_allclose(chunked.log_likelihood, fit.log_likelihood, rtol=1e-13)
    np.testing.assert_allclose(history(chunked), history(fit), rtol=1e-12)


# Equivalences


def test_weight_k_is_k_copies_and_weight_zero_is_none():
    rows = X[::3]
    copies = solve(MODEL, START, jnp.concatenate([rows, rows, rows]))
    junk = jnp.full((200, 2), 1e3)
    weights = jnp.concatenate([jnp.full(100, 3.0), jnp.zeros(200)])
    weighted = solve(MODEL, START, jnp.concatenate([rows, junk]), weights)
    assert name(copies) == name(weighted) == "converged"
    assert_same(weighted.params, copies.params, rtol=1e-8)
    np.testing.assert_allclose(weighted.objective, copies.objective, rtol=1e-12)
    np.testing.assert_array_equal(weighted.num_steps, copies.num_steps)
    np.testing.assert_allclose(
        MODEL.log_likelihood(weighted.params, jnp.concatenate([rows, junk]), weights), copies.objective, rtol=1e-12
    )


def test_the_scale_of_the_weights_scales_the_objective_alone(fit):
    double = solve(MODEL, START, X, 2 * ONES)
    assert_same(double.params, fit.params)
    np.testing.assert_allclose(double.objective, 2 * fit.objective, rtol=1e-12)


def test_order_of_rows_and_components_does_not_matter(fit):
    other = solve(MODEL, jax.tree.map(lambda leaf: leaf[::-1], START), X[::-1])
    assert_same(jax.tree.map(lambda leaf: leaf[::-1], other.params), fit.params)


def test_shift_and_scale(fit):
    scale, shift = 250.0, jnp.asarray([1e4, -3e3])

    def change(params):
        mean, variance = params.components
        return params._replace(
            components=jaxem.families.GaussianParams(mean * scale + shift[None], variance * scale**2)
        )

    other = solve(MODEL, change(START), X * scale + shift[None])
    assert_same(other.params, change(fit.params), rtol=1e-8)
    np.testing.assert_allclose(other.objective, fit.objective - X.size * np.log(scale), rtol=1e-12)


# Precision


def in_float32(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_single_precision_agrees_with_double(offset):
    x = in_float32(X + offset)
    start = in_float32(moved(START, offset))
    single = solve(MODEL, start, x, tol=1e-6)
    double = solve(MODEL, jax.tree.map(lambda leaf: leaf.astype(float), start), x.astype(float), tol=1e-6)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves((single.params, single.history, single.objective)))
    assert name(single) == name(double) == "converged"
    centred = moved(jax.tree.map(lambda leaf: leaf.astype(float), single.params), -offset)
    assert_same(centred, moved(double.params, -offset), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(single.objective, double.objective, rtol=1e-3)


def test_data_beyond_single_precision_are_said_to_be_so():
    fit = solve(MODEL, in_float32(moved(START, 1e7)), in_float32(X + 1e7))
    assert name(fit) == "inaccurate"


def test_one_kernel_alone(fit):
    """Where digits suffice all agree; where they do not, the fast one says so, and the accurate one has no need to."""
    for kernel in ("fast", "accurate"):
        alone = solve(MODEL, START, X, kernel=kernel)
        assert name(alone) == name(fit) == "converged"
        assert_same(alone.params, fit.params, rtol=1e-6, atol=1e-8)
    tight = 0.01 * np.random.default_rng(0).normal(size=(60, 2))
    x, start = in_float32(X.at[:60].set(tight)), in_float32(START)
    start = start._replace(components=start.components._replace(mean=start.components.mean.at[0].set(0)))
    fast, accurate, both = (solve(MODEL, start, x, tol=1e-6, kernel=kernel) for kernel in ("fast", "accurate", "auto"))
    assert [name(fast), name(accurate), name(both)] == ["inaccurate", "converged", "converged"]
    with pytest.raises(jaxem.DataError, match="kernel must be 'auto', 'fast' or 'accurate', got 'slow'"):
        jaxem.solve(MODEL, START, X, kernel="slow")


def test_mixed_precision_is_refused():
    with pytest.raises(TypeError, match="share one floating-point type, got float32, float64"):
        jaxem.solve(MODEL, START, in_float32(X))


# Edges


def test_one_row_and_one_component():
    one = jaxem.Mixture(jaxem.Poisson(), 1)
    start = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.PoissonParams(jnp.ones((1, 2))))
    fit = solve(one, start, jnp.asarray([[3.0, 7.0]]))
    assert name(fit) == "converged"
    assert int(fit.num_steps) == 2
    np.testing.assert_allclose(fit.params.components.rate, [[3.0, 7.0]], rtol=1e-12)
    single = jaxem.GaussianMixture(1, "spherical")
    start = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.GaussianParams(jnp.zeros((1, 2)), jnp.ones(1)))
    assert name(solve(single, start, jnp.asarray([[3.0, 7.0]]))) == "degenerate_component"


# Priors, labels, frozen parameters: against direct maximisation


PRIOR = NIW(np.array([1.0, -1.0]), 0.5, 6.0, np.array([[2.0, 0.5], [0.5, 1.0]]))


@pytest.mark.parametrize("kind", ["full", pytest.param("tied", marks=pytest.mark.slow)])
def test_the_posterior_mode(kind):
    case = engine.case(kind)
    prior = jaxem.priors.NormalInverseWishart(
        *(jnp.asarray(v) for v in (PRIOR.location, PRIOR.strength, PRIOR.scale, PRIOR.dof))
    )
    model = jaxem.GaussianMixture(
        3, kind, prior=prior, weights_prior=jaxem.priors.Dirichlet(jnp.asarray([3.0, 1.5, 2.0]))
    )
    fit = solve(model, case.start, case.x, tol=1e-13)
    assert name(fit) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, model.log_likelihood(fit.params, case.x), rtol=1e-12)
    np.testing.assert_allclose(fit.objective - fit.log_likelihood, model.log_prior(fit.params), rtol=1e-9)
    assert np.all(np.diff(history(fit)) > -1e-10)

    family, x = case.oracle.family, np.asarray(case.x)
    pack, unpack, *_ = direct.unconstrained(family, case.oracle.start, x)
    where = pack(engine.as_oracle(fit.params))

    def objective(vector):
        params = unpack(vector)
        prior = oracles.log_prior(family, params, PRIOR, np.array([3.0, 1.5, 2.0]))
        return (oracles.log_likelihood(family, params, x) + prior) / len(x)

    here = objective(where)
    np.testing.assert_allclose(fit.objective / len(x), here, rtol=1e-10)
    for step in 1e-4 * np.eye(where.size):
        up, down = objective(where + step), objective(where - step)
        assert abs(up - down) / 2e-4 < 2e-6
        assert max(up, down) < here


def test_all_labels_known_is_the_closed_form():
    labels = jnp.arange(300) % 3
    fit = solve(MODEL, START, jaxem.Labelled(X, labels))
    assert name(fit) == "converged"
    assert int(fit.num_steps) == 2
    r = np.asarray(labels)[:, None] == np.arange(3)
    mean, variance = oracles.Gaussian("spherical").maximize(np.asarray(X), r.astype(float))
    closed = oracles.Mixture(r.mean(0), (mean, variance))
    assert_same(engine.as_oracle(fit.params), closed)
    joint = oracles.log_joint(oracles.Gaussian("spherical"), closed, np.asarray(X))
    np.testing.assert_allclose(fit.objective, joint[r].sum(), rtol=1e-12)


def test_some_labels_known_is_the_maximum_of_their_likelihood():
    case = engine.case("spherical")
    family, start = case.oracle.family, case.oracle.start
    labels = np.where(np.arange(300) % 5 == 0, np.arange(300) % 3, -1)
    fit = solve(MODEL, START, jaxem.Labelled(X, jnp.asarray(labels)), tol=1e-13)
    pack, unpack, *_ = direct.unconstrained(family, start, np.asarray(X))

    def loss(vector):
        joint = oracles.log_joint(family, unpack(vector), np.asarray(X))
        known = joint[np.arange(300), labels]
        return -np.where(labels < 0, logsumexp(joint, 1), known).sum() / 300

    found = optimize.minimize(loss, pack(start), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(-300 * found.fun, fit.objective, rtol=1e-9)
    assert_same(engine.as_oracle(fit.params), unpack(found.x), rtol=1e-3, atol=1e-4)
    posterior = MODEL.posterior(fit.params, jaxem.Labelled(X, jnp.asarray(labels)))
    np.testing.assert_array_equal(np.asarray(posterior)[labels >= 0].argmax(1), labels[labels >= 0])
    np.testing.assert_allclose(posterior.sum(1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("frozen", [("components.mean",), ("weights", "components.covariance")])
def test_frozen_parameters_leave_the_conditional_maximum(frozen):
    case = engine.case("spherical")
    family, start = case.oracle.family, case.oracle.start
    model = jaxem.GaussianMixture(3, "spherical", frozen=frozen)
    fit = solve(model, case.start, case.x, tol=1e-13)
    pack, unpack, value, gradient = direct.unconstrained(family, start, np.asarray(case.x))
    # Coordinates are 2 of the weights, 6 of the means, 3 of the variances.
    free = np.r_[0:2, 8:11] if "components.mean" in frozen else np.r_[2:8]
    whole = pack(start)

    def loss(part):
        vector = whole.copy()
        vector[free] = part
        return -value(vector) / 300, -gradient(vector)[free] / 300

    found = optimize.minimize(loss, whole[free], jac=True, method="BFGS", options={"gtol": 1e-9})
    whole[free] = found.x
    assert name(fit) == "converged"
    assert_same(engine.as_oracle(fit.params), unpack(whole), rtol=1e-4, atol=1e-5)
    for kept in frozen:
        leaf = {"weights": lambda p: p.weights}.get(
            kept, lambda p, kept=kept: getattr(p.components, kept.split(".")[1])
        )
        np.testing.assert_allclose(leaf(fit.params), leaf(case.start), rtol=1e-13)
