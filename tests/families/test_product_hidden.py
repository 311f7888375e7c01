"""Products whose blocks hide variables of their own, or are not linear."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats

import jaxem
from jaxem.families import Gaussian, Incomplete, IncompleteColumns, PoissonRegression, Product, StudentT
from jaxem.testing import check_model
from tests.helpers import chains

N = 150
FAMILY = Product(
    {
        "kind": IncompleteColumns(jaxem.Categorical(3)),
        "size": Incomplete(Gaussian()),
        "tail": StudentT(),
        "visits": jaxem.Poisson(),
    },
    columns={"size": [3, 0], "visits": [1], "kind": [4], "tail": [2]},
)


@lru_cache
def cell():
    """Two clusters of mixed columns with missing entries and outliers: model, start, rows, weights."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(12)
        label = np.arange(N) % 2
        size = rng.standard_normal((N, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]]) + 3.0 * label[:, None]
        tail = stats.t.rvs(3, size=N, random_state=rng) + 2.0 * label
        visits = rng.poisson(np.where(label == 0, 2.0, 6.0))
        kind = np.where(rng.random(N) < 0.4, label, rng.integers(0, 3, N)).astype(float)
        kind[rng.random(N) < 0.2] = np.nan
        size[rng.random(size.shape) < 0.25] = np.nan
        x = np.stack([size[:, 1], visits, tail, size[:, 0], kind], 1)
        components = {
            "kind": jaxem.families.CategoricalParams(jnp.array([[[0.5, 0.2, 0.3]], [[0.2, 0.5, 0.3]]])),
            "size": jaxem.families.GaussianParams(
                jnp.array([[0.2, -0.1], [2.5, 2.0]]), jnp.array([[[1.2, 0.3], [0.3, 0.9]], [[1.0, 0.2], [0.2, 1.4]]])
            ),
            "tail": jaxem.families.StudentTParams(
                jnp.array([[0.2], [1.5]]), jnp.array([[[1.1]], [[0.8]]]), jnp.array([4.0, 5.0])
            ),
            "visits": jaxem.families.PoissonParams(jnp.array([[2.5], [5.0]])),
        }
        start = jaxem.models.MixtureParams(jnp.array([0.45, 0.55]), components)
        return jaxem.Mixture(FAMILY, 2), start, jnp.asarray(x), jnp.ones(N)


def densities(components, x):
    """Log density of each row under each member, `[k, n]`, by SciPy."""
    found = np.zeros((2, len(x)))
    for j in range(2):
        mean, covariance = (np.asarray(v[j]) for v in components["size"])
        location, scale, dof = (np.ravel(v[j])[0] for v in components["tail"])
        log_kind = np.log(components["kind"][0][j, 0])
        for i, row in enumerate(np.asarray(x)):
            size = row[[3, 0]]
            there = ~np.isnan(size)
            if there.any():
                marginal = stats.multivariate_normal(mean[there], covariance[np.ix_(there, there)])
                found[j, i] += marginal.logpdf(size[there])
            found[j, i] += stats.t.logpdf(row[2], dof, location, np.sqrt(scale))
            found[j, i] += stats.poisson.logpmf(row[1], components["visits"].rate[j, 0])
            found[j, i] += 0 if np.isnan(row[4]) else log_kind[int(row[4])]
    return found


def test_density_is_the_product_of_those_of_the_blocks(double):
    model, start, x, _ = cell()
    own = densities(start.components, x) + np.log(np.asarray(start.weights))[:, None]
    assert_allclose(model.log_prob(start, x), special.logsumexp(own, 0), rtol=1e-10)
    tables = {name: x[:, list(which)] for name, which in FAMILY.columns}
    assert_allclose(
        jaxem.Mixture(Product(FAMILY.families), 2).log_prob(start, tables), special.logsumexp(own, 0), rtol=1e-10
    )


@pytest.mark.slow
def test_it_keeps_the_contract(double):
    model, start, x, _ = cell()
    check_model(model, start, x[:40])


@pytest.mark.slow
def test_one_member_has_the_maximum_of_each_block(double):
    _, start, x, _ = cell()
    first = jax.tree.map(lambda leaf: leaf[0], start.components)
    names = "size", "tail"
    pair = Product({name: FAMILY.families[name] for name in names}, columns={"size": [1, 0], "tail": [2]})
    rows = x[:, [0, 3, 2]]
    settings = {"key": jax.random.key(0), "tol": 1e-13, "max_steps": 3000}
    both = jaxem.fit(jaxem.Single(pair), rows, init={name: first[name] for name in names}, **settings)
    for name, own in zip(names, (rows[:, [1, 0]], rows[:, 2:]), strict=True):
        alone = jaxem.fit(jaxem.Single(FAMILY.families[name]), own, init=first[name], **settings)
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=2e-5), both.params[name], alone.params)
    assert both.status == jaxem.Status.converged


def test_expansion_of_the_blocks_that_have_one(double):
    rows = cell()[2][:, [2, 1]]
    tail = StudentT(degrees_of_freedom=3.0)
    model = jaxem.Single(Product({"tail": tail, "visits": jaxem.Poisson()}, {"tail": [0], "visits": [1]}))
    settings = {"key": jax.random.key(0), "tol": 1e-12}
    em = jaxem.fit(model, rows, **settings)
    px = jaxem.fit(model, rows, algorithm=jaxem.px_em(), **settings)
    alone = jaxem.fit(jaxem.Single(tail), rows[:, :1], algorithm=jaxem.px_em(), **settings)
    assert_allclose(px.log_likelihood, em.log_likelihood, rtol=1e-9)
    assert (np.diff(px.history) > -1e-9).all()
    assert px.num_steps == alone.num_steps < em.num_steps
    plain = jaxem.Single(Product({"a": jaxem.Poisson()}))
    with pytest.raises(jaxem.MissingCapabilityError, match="maximize_expanded"):
        jaxem.fit(plain, {"a": np.ones((3, 1))}, key=jax.random.key(0), algorithm=jaxem.px_em())


def test_missing_entries_of_some_blocks_are_filled_in(double):
    model, start, x, _ = cell()
    rows = x.at[:, 4].set(jnp.where(jnp.isnan(x[:, 4]), 2.0, x[:, 4]))
    filled = np.asarray(model.impute(start, x, key=jax.random.key(1)))[0]
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    assert set(np.unique(filled[:, 4])) == {0.0, 1.0, 2.0}
    with pytest.raises(jaxem.MissingCapabilityError, match="no mean"):
        model.impute(start, x)
    # Without missing categories: regressions on the other column under each member.
    family = Product(FAMILY.families | {"kind": jaxem.Categorical(3)}, FAMILY.columns)
    filled = np.asarray(jaxem.Mixture(family, 2).impute(start, rows))
    own = densities(start.components, rows) + np.log(np.asarray(start.weights))[:, None]
    share = np.exp(own - special.logsumexp(own, 0))
    gap = np.isnan(rows[:, 0]) & ~np.isnan(rows[:, 3])
    mean, covariance = (np.asarray(v) for v in start.components["size"])
    slope = covariance[:, 1, 0] / covariance[:, 0, 0]
    expected = mean[:, 1:] + slope[:, None] * (np.asarray(rows)[None, :, 3] - mean[:, :1])
    assert gap.any()
    assert_allclose(filled[gap, 0], np.sum(share * expected, 0)[gap], rtol=1e-9)


@pytest.mark.slow
def test_states_of_a_chain_emit_them(double):
    _, start, x, _ = cell()
    initial, transition = np.array([0.3, 0.7]), np.array([[0.8, 0.2], [0.4, 0.6]])
    params = jaxem.models.HMMParams(jnp.asarray(initial), jnp.asarray(transition), start.components)
    hmm = jaxem.HMM(FAMILY, 2)
    steps = 5
    local = densities(start.components, x[:steps]).T.copy()
    local[2] = 0
    observed = jnp.asarray([[True, True, False, True, True]])
    data = jaxem.Sequences(x[None, :steps], None, observed)
    _, log = chains.enumerate_paths(np.log(initial), np.log(transition), local, steps)
    assert_allclose(hmm.log_prob(params, data)[0], special.logsumexp(log), rtol=1e-10)
    filled = np.asarray(hmm.impute(params, jaxem.Sequences(x[None, :steps]), key=jax.random.key(2)))
    assert filled.shape == (1, 1, steps, 5)
    assert not np.isnan(filled).any()
    fit = jaxem.fit(hmm, x.reshape(5, 30, 5), key=jax.random.key(0), restarts=2, max_steps=20, tol=1e-9)
    assert (np.diff(fit.history) > -1e-9).all()


def test_blocks_without_sufficient_statistics(double):
    rng = np.random.default_rng(4)
    design = np.stack([np.ones(60), rng.standard_normal(60)], 1)
    counts = rng.poisson(np.exp(design @ [0.5, 0.8])).astype(float)
    family = Product({"counts": PoissonRegression(), "size": Gaussian("diagonal")})
    model = jaxem.Single(family)
    assert not model.linear
    rows = {"counts": jaxem.Responses(design, counts), "size": rng.standard_normal((60, 2))}
    fit = jaxem.fit(model, rows, key=jax.random.key(0), tol=1e-13)
    alone = jaxem.fit(jaxem.Single(PoissonRegression()), rows["counts"], key=jax.random.key(0), tol=1e-13)
    assert_allclose(fit.params["counts"].coefficients, alone.params.coefficients, rtol=1e-5)
    assert_allclose(fit.params["size"].mean, rows["size"].mean(0), atol=1e-6)
    assert_allclose(fit.params["size"].covariance, rows["size"].var(0), rtol=1e-5)


@pytest.mark.slow
def test_a_common_coefficient_is_a_block_of_its_own(double):
    rng = np.random.default_rng(4)
    design = np.stack([np.ones(60), rng.standard_normal(60)], 1)
    counts = rng.poisson(np.exp(np.where(np.arange(60) % 2, 2.0, 0.0) + 0.4 * design[:, 1])).astype(float)
    family = Product({"counts": PoissonRegression(common=(1,)), "size": Incomplete(Gaussian("diagonal"))})
    size = rng.standard_normal((60, 2)) + 3.0 * (np.arange(60) % 2)[:, None]
    size[::5, 0] = np.nan
    rows = {"counts": jaxem.Responses(design, counts), "size": size}
    fit = jaxem.fit(jaxem.Mixture(family, 2), rows, key=jax.random.key(0), restarts=2, max_steps=200)
    assert jaxem.status_name(fit.status) == "converged"
    assert (np.diff(fit.history) > -1e-9).all()
    slopes = fit.params.components["counts"].coefficients[:, 1]
    assert_allclose(slopes[0], slopes[1])


@pytest.mark.slow
def test_a_product_in_a_product_can_do_what_its_blocks_can(double):
    x = cell()[2]
    inner = Product({"kind": IncompleteColumns(jaxem.Categorical(3)), "visits": jaxem.Poisson()})
    plain = Product({"visits": jaxem.Poisson()})
    rows = {"tail": x[:, 2:3], "rest": {"kind": x[:, 4:], "visits": x[:, 1:2]}}
    family = Product({"tail": StudentT(degrees_of_freedom=3.0), "rest": inner})
    assert family.kernel().imputes
    assert family.kernel().expands
    assert not inner.kernel().expands
    assert not plain.kernel().imputes
    fit = jaxem.fit(jaxem.Single(family), rows, key=jax.random.key(0), algorithm=jaxem.px_em(), tol=1e-10)
    flat = Product({"tail": family.families["tail"], **inner.families})
    other = {"tail": x[:, 2:3], "kind": x[:, 4:], "visits": x[:, 1:2]}
    same = jaxem.fit(jaxem.Single(flat), other, key=jax.random.key(0), algorithm=jaxem.px_em(), tol=1e-10)
    assert_allclose(fit.log_likelihood, same.log_likelihood, rtol=1e-10)
    filled = jaxem.Single(family).impute(fit.params, rows, key=jax.random.key(1), num_draws=2)
    assert filled["rest"]["kind"].shape == (2, N, 1)
    assert not np.isnan(filled["rest"]["kind"]).any()
    without = jaxem.Single(Product({"size": Incomplete(Gaussian()), "rest": plain}))
    given = {"size": x[:, [3, 0]], "rest": {"visits": x[:, 1:2]}}
    params = {
        "size": jaxem.families.GaussianParams(jnp.zeros(2), jnp.eye(2)),
        "rest": {"visits": jaxem.families.PoissonParams(jnp.ones(1))},
    }
    filled = without.impute(params, given)
    assert_allclose(filled["size"], np.where(np.isnan(given["size"]), 0, given["size"]))
    np.testing.assert_array_equal(filled["rest"]["visits"], given["rest"]["visits"])


def test_frozen_paths_and_the_rotation_of_factors_reach_the_blocks(double):
    family = Product({"scores": jaxem.Factor(2), "rest": Product({"visits": jaxem.Poisson()})})
    params = {
        "scores": jaxem.families.FactorParams(jnp.zeros((1, 5)), jnp.ones((1, 5, 2)), jnp.ones((1, 5))),
        "rest": {"visits": jaxem.families.PoissonParams(jnp.ones((1, 1)))},
    }
    assert family.redundant(params) == 1
    assert family.redundant(params, ("scores.loading",)) == family.redundant(params, ("scores",)) == 0
    own = jax.tree.map(lambda leaf: leaf[0], params)
    assert jaxem.Single(family).num_parameters(own) == 5 + 10 + 5 + 1 - 1
    frozen = jaxem.Single(family, frozen=("rest.visits.rate", "scores.loading"))
    assert frozen.num_parameters(own) == 10


def test_steps_that_were_not_observed(double):
    """Dictionaries of tables and unequal lengths; blocks that take no missing entries stay empty there."""
    _, start, x, _ = cell()
    names = "size", "visits"
    family = Product({name: FAMILY.families[name] for name in names})
    hmm = jaxem.HMM(family, 2)
    parts = [{"size": x[a:b, [3, 0]], "visits": x[a:b, 1:2]} for a, b in ((0, 6), (6, 10))]
    data = jaxem.Sequences.of(parts, observed=[np.arange(6) != 2, np.ones(4, bool)])
    moves = jnp.array([[0.8, 0.2], [0.4, 0.6]])
    params = jaxem.models.HMMParams(jnp.array([0.3, 0.7]), moves, {name: start.components[name] for name in names})
    filled = hmm.impute(params, data)
    assert filled["size"].shape == data.values["size"].shape
    assert not np.isnan(filled["size"][:, :4]).any()
    assert np.isnan(filled["visits"][0, 2]).all()
    np.testing.assert_array_equal(np.isnan(filled["visits"][..., 0]).sum(), 1)
    state = hmm.posterior(params, data)[0, 2]
    assert_allclose(filled["size"][0, 2], state @ params.emission["size"].mean, rtol=1e-9)


def test_a_point_mass_beside_what_is_hidden(double):
    family = Product({"zero": jaxem.families.PointMass(0.0), "size": Incomplete(Gaussian())})
    _, start, x, _ = cell()
    params = jaxem.models.MixtureParams(start.weights, {"zero": (), "size": start.components["size"]})
    rows = {"zero": np.zeros((N, 1)), "size": x[:, [3, 0]]}
    alone = jaxem.Mixture(Incomplete(Gaussian()), 2)
    expected = alone.log_prob(jaxem.models.MixtureParams(start.weights, start.components["size"]), rows["size"])
    assert_allclose(jaxem.Mixture(family, 2).log_prob(params, rows), expected, rtol=1e-12)


@pytest.mark.slow
def test_variational_bayes_of_blocks_with_missing_entries(double):
    x = cell()[2]
    prior = jaxem.priors.NormalInverseWishart(np.zeros(2), 0.1, np.eye(2), 4.0)
    family = Product({"size": Incomplete(Gaussian(prior=prior)), "visits": jaxem.Poisson(jaxem.priors.Gamma(2.0, 0.5))})
    rows = {"size": x[:, [3, 0]], "visits": x[:, 1:2]}
    both = jaxem.fit(jaxem.Single(family), rows, key=jax.random.key(0), algorithm=jaxem.vbem(), tol=1e-10)
    bounds = [
        jaxem.fit(jaxem.Single(own), rows[name], key=jax.random.key(0), algorithm=jaxem.vbem(), tol=1e-10).objective
        for name, own in family.families.items()
    ]
    assert_allclose(both.objective, sum(bounds), rtol=1e-8)
    draws = jaxem.fit(jaxem.Single(family), rows, key=jax.random.key(0), algorithm=jaxem.gibbs(50, burn_in=20)).draws
    assert_allclose(draws["visits"].rate.mean(), both.params["visits"].rate[0], rtol=0.05)


def test_members_that_are_unlike_may_miss_entries(double):
    _, start, x, _ = cell()
    size = start.components["size"]
    rows, variances = x[:, [3, 0]], jnp.diagonal(size.covariance, axis1=1, axis2=2)
    gaps = jaxem.families.OneOf(a=Incomplete(Gaussian()), b=Incomplete(Gaussian("diagonal")))
    params = {
        "a": jaxem.families.GaussianParams(size.mean[:1], size.covariance[:1]),
        "b": jaxem.families.GaussianParams(size.mean[1:], variances[1:]),
    }
    model = jaxem.Mixture(gaps, 2)
    found = model.log_prob(jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), params), rows)
    each = [
        jaxem.Single(family).log_prob(jax.tree.map(lambda leaf: leaf[0], params[name]), rows)
        for name, family in gaps.parts.items()
    ]
    assert_allclose(found, np.logaddexp(np.log(0.4) + each[0], np.log(0.6) + each[1]), rtol=1e-10)


def test_a_gap_where_none_may_be_names_its_block():
    x = np.asarray(cell()[2]).copy()
    FAMILY.check(x)
    x[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"block 'visits' \(data\[:, \[1\]\]\): row 7, column 0 has value nan"):
        FAMILY.check(x)
    with pytest.raises(jaxem.MissingCapabilityError, match="Product takes no missing entries"):
        Product({"a": jaxem.Poisson()}).kernel().impute({}, {"a": x})
    with pytest.raises(ValueError, match=r"row 7, column 0 has value nan"):
        Product({"a": jaxem.families.PointMass(0.0)}).check({"a": x[:, 1:2]})
