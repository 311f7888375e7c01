"""Factor-analytic rows with missing entries, against SciPy's density of what is there."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxem
from jaxem.families import Factor, FactorParams
from jaxem.testing import check_model
from tests.families import cases
from tests.helpers.factors import log_density

K, D, Q, N = 2, 4, 2, 50
NOISES = ("diagonal", "isotropic")
noises = pytest.mark.parametrize("noise", NOISES)


@lru_cache
def problem(noise):
    """Parameters and rows, a third of their entries missing, one row without any."""
    rng = np.random.default_rng(7)
    mean, loading = 3 * rng.standard_normal((K, D)), rng.standard_normal((K, D, Q))
    variance = rng.uniform(0.3, 1.5, (K, D) if noise == "diagonal" else K)
    labels, z = rng.integers(K, size=N), rng.standard_normal((N, Q))
    spread = np.sqrt(dense(variance)[labels])
    x = mean[labels] + np.einsum("ndq,nq->nd", loading[labels], z) + spread * rng.standard_normal((N, D))
    x[rng.random((N, D)) < 0.3] = np.nan
    x[5] = np.nan
    return FactorParams(mean, loading, variance), x


def dense(variance):
    return variance if variance.ndim == 2 else np.broadcast_to(variance[:, None], (K, D))


def e_step(family, params, x, r):
    """Log density of the rows under each member, and statistics."""
    latent = family.latent

    def expected(natural):
        moments, value = latent.expectation(family.potentials(natural, x))
        return moments, value + family.log_base(x)[None]

    natural = family.natural(params)
    moments, value = expected(natural)
    _, pull = jax.vjp(lambda natural: family.potentials(natural, x), natural)
    weighed = jax.tree.map(lambda m: m * jnp.broadcast_to(r.reshape(r.shape + (1,) * (m.ndim - 2)), m.shape), moments)
    return value, pull(weighed)[0]


def report(family, params, x, r):
    out = {}
    found = cases.kernels(family, params, x, jnp.sum(r, 0))
    for name, (kernel, encoded) in list(found.items())[1:]:
        value, stats = e_step(kernel, encoded, x, r)
        out[name] = {
            "value": value,
            "estimates": [
                kernel.decode(kernel.maximize(stats, encoded, frozen))
                for frozen in FROZEN[: 1 if name == "bound" else 6]
            ],
            "expanded": kernel.decode(kernel.maximize_expanded(stats, encoded)),
            "again": kernel.decode(kernel.family.constrain(kernel.family.unconstrain(encoded))),
        }
        if name == "anchored":
            other = kernel.about(encoded)
            moved, direct = other.translate(stats, kernel), e_step(other, encoded, x, r)[1]
            out[name] |= {"moved": moved, "direct": direct}
    out["embedded"] = family.embed(x)
    out["start"] = family.from_points(x[4:6], x, jnp.sum(r, 0))
    return out


FROZEN = ((), ("mean",), ("loading",), ("noise_variance",), ("mean", "loading"), ("loading", "noise_variance"))


@lru_cache
def found(noise, dtype="float64"):
    params, x = problem(noise)
    r = cases.responsibilities(K, N)
    r = cases.cast(r, dtype)
    return jax.tree.map(
        np.asarray, jax.jit(report)(Factor(Q, noise), cases.cast(params, dtype), jnp.asarray(x, dtype), r)
    )


def kernels(noise, dtype="float64"):
    return [(name, out) for name, out in found(noise, dtype).items() if isinstance(out, dict)]


@noises
def test_density_of_what_is_observed(noise):
    expected = log_density(*problem(noise))
    for _, out in kernels(noise):
        assert_allclose(out["value"], expected, rtol=1e-10, atol=1e-10)
        assert (out["value"][:, 5] == 0).all()


@pytest.mark.slow
def test_single_precision():
    for _, out in kernels("diagonal", "float32"):
        assert out["value"].dtype == np.float32
        assert_allclose(out["value"], log_density(*problem("diagonal")), rtol=1e-4, atol=1e-4)


def textbook(noise, frozen):
    """The M-step by loops over members, columns and rows."""
    params, x = problem(noise)
    r, new = cases.responsibilities(K, N), [np.array(leaf) for leaf in params]
    rest, counts = np.zeros((K, D)), np.zeros((K, D))
    for k in range(K):
        a, b, s = np.zeros((D, Q + 1, Q + 1)), np.zeros((D, Q + 1)), np.zeros(D)
        noise_k = dense(params.noise_variance)[k]
        for i, row in enumerate(x):
            seen = ~np.isnan(row)
            w = params.loading[k][seen]
            covariance = np.linalg.inv(np.eye(Q) + w.T @ (w / noise_k[seen, None]))
            z = covariance @ w.T @ ((row - params.mean[k])[seen] / noise_k[seen])
            u = np.append(z, 1)
            pairs = np.outer(u, u)
            pairs[:Q, :Q] += covariance
            for j in np.flatnonzero(seen):
                a[j] += r[k, i] * pairs
                b[j] += r[k, i] * row[j] * u
                s[j] += r[k, i] * row[j] ** 2
        for j in range(D):
            beta = np.append(params.loading[k, j], params.mean[k, j])
            free = np.array(["loading" not in frozen] * Q + ["mean" not in frozen])
            if free.any():
                fixed = a[j][np.ix_(free, ~free)] @ beta[~free]
                beta[free] = np.linalg.solve(a[j][np.ix_(free, free)], b[j][free] - fixed)
            new[1][k, j], new[0][k, j] = beta[:Q], beta[Q]
            rest[k, j], counts[k, j] = s[j] - 2 * beta @ b[j] + beta @ a[j] @ beta, a[j][Q, Q]
    if "noise_variance" not in frozen:
        new[2] = rest / counts if noise == "diagonal" else rest.sum(1) / counts.sum(1)
    return new


@noises
def test_conditional_maxima(noise):
    expected = [textbook(noise, frozen) for frozen in FROZEN]
    for _, out in kernels(noise):
        for found, best in zip(out["estimates"], expected, strict=False):
            for a, b in zip(found, best, strict=True):
                assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@noises
def test_the_expanded_step_gains_more(noise):
    _, x = problem(noise)
    r = cases.responsibilities(K, N)
    for _, out in kernels(noise):
        plain, expanded = (np.sum(r * log_density(p, x)) for p in (out["estimates"][0], out["expanded"]))
        # The rows' shares are fixed here: what is compared is the likelihood of each member.
        assert expanded > np.sum(r * log_density(problem(noise)[0], x))
        assert expanded > plain - 1e-9


@noises
def test_coordinates(noise):
    for _, out in kernels(noise):
        for a, b in zip(out["again"], problem(noise)[0], strict=True):
            assert_allclose(a, b, rtol=1e-12)


def test_statistics_move_from_anchor_to_anchor():
    out = found("diagonal")["anchored"]
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9, atol=1e-9), out["moved"], out["direct"])


@noises
def test_starts_have_no_holes_and_loadings_that_differ(noise):
    out = found(noise)
    assert np.isfinite(out["embedded"]).all()
    start = out["start"]
    for leaf in start:
        assert np.isfinite(leaf).all()
    assert (start.noise_variance > 0).all()
    assert np.linalg.matrix_rank(start.loading[0], tol=1e-3) == Q
    seen = ~np.isnan(problem(noise)[1][4])
    assert_allclose(start.mean[0][seen], problem(noise)[1][4][seen])


def test_rotations_are_not_counted():
    params = cases.cast(problem("diagonal")[0], np.float64)
    one = jax.tree.map(lambda leaf: leaf[0], params)
    # A mean and a covariance matrix, which tells no more apart than it has entries: 11 parameters make its 10.
    entries = D * (D + 1) // 2
    assert entries < D * Q - 1 + D
    assert jaxem.Single(Factor(Q)).num_parameters(one) == D + entries
    mixture = jaxem.models.MixtureParams(jnp.ones(K) / K, params)
    assert jaxem.Mixture(Factor(Q), K).num_parameters(mixture) == K - 1 + K * (D + entries)
    first = one._replace(loading=one.loading[:, :1])
    assert jaxem.Single(Factor(1)).num_parameters(first) == D + D + D
    isotropic = jax.tree.map(lambda leaf: leaf[0], cases.cast(problem("isotropic")[0], np.float64))
    assert jaxem.Single(Factor(Q, "isotropic")).num_parameters(isotropic) == D + D * Q - 1 + 1
    fixed = jaxem.Mixture(Factor(Q), K, frozen=("components.loading",))
    assert fixed.num_parameters(mixture) == K - 1 + K * 2 * D


def test_noise_at_its_floor_is_degenerate():
    rng = np.random.default_rng(8)
    x = jnp.asarray(rng.standard_normal((30, 3)))
    family = Factor(1).bind(x, jnp.ones(30), lambda tree: tree)
    params = FactorParams(jnp.zeros((1, 3)), jnp.array([[[1.0], [0.1], [0.1]]]), jnp.array([[1e-9, 1.0, 1.0]]))
    step = jax.jit(lambda p: family.maximize(e_step(family, p, x, jnp.ones((1, 30)))[1], p))(params)
    assert_allclose(step.noise_variance[0, 0], 0.005, rtol=1e-6)
    assert family.degenerate(step)
    assert not family.degenerate(step._replace(noise_variance=jnp.ones((1, 3))))


def test_a_member_without_rows_keeps_its_parameters():
    params, x = cases.cast(problem("diagonal"), np.float64)
    r = jnp.concatenate([jnp.ones((1, N)), jnp.zeros((1, N))])

    @jax.jit
    def steps(params):
        stats = e_step(Factor(Q), params, x, r)[1]
        return Factor(Q).maximize(stats, params), Factor(Q).kernel().maximize_expanded(stats, params)

    for new in steps(params):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[1]), new, params)
        assert np.isfinite(new.loading[0]).all()


def test_wrong_arguments_and_data():
    with pytest.raises(ValueError, match="num_factors must be a positive integer, got 0"):
        Factor(0)
    with pytest.raises(ValueError, match="noise must be one of diagonal, isotropic"):
        Factor(1, "full")
    with pytest.raises(ValueError, match="floor must lie in"):
        Factor(1, floor=1.0)
    x = np.random.default_rng(0).standard_normal((6, 3))
    with pytest.raises(jaxem.DataError, match="3 columns, too few for num_factors=3"):
        Factor(3).check(x)
    with pytest.raises(jaxem.DataError, match="1 columns, too few for num_factors=1"):
        Factor(1).check(x[:, :1])
    gone, constant, infinite = x.copy(), x.copy(), x.copy()
    gone[:, 1] = np.nan
    constant[:, 2], constant[0, 2] = 4.0, np.nan
    infinite[3, 0] = np.inf
    with pytest.raises(jaxem.DataError, match="column 1 has no entry that is not missing"):
        Factor(1).check(gone)
    with pytest.raises(jaxem.DataError, match=r"column 2 is constant \(value 4.0\)"):
        Factor(1).check(constant)
    Factor(1, "isotropic").check(constant)
    with pytest.raises(jaxem.DataError, match=r"row 3, column 0 .* infinite"):
        Factor(1).check(infinite)


@pytest.mark.slow
@noises
def test_contract(noise):
    params, x = problem(noise)
    params = cases.cast(params, np.float64)
    check_model(jaxem.Single(Factor(Q, noise)), jax.tree.map(lambda leaf: leaf[0], params), x)
    check_model(jaxem.Mixture(Factor(Q, noise), K), jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), params), x)
