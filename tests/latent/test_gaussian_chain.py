"""The Gaussian chain against its dense joint distribution: log-normalizer, moments, derivatives, draws."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.latent import Entries, GaussianChain, GaussianChainTree

Q, STEPS, LENGTHS = 2, 3, (3, 2)


def definite(rng, *shape):
    root = rng.standard_normal((*shape, shape[-1]))
    return root @ np.swapaxes(root, -1, -2) + 0.5 * np.eye(shape[-1])


@lru_cache
def potentials(entries=False, seed=0) -> Any:
    """Two chains of different lengths; the pairs are not those of any transition with unit leftovers."""
    rng = np.random.default_rng(seed)
    n, d = len(LENGTHS), 2
    there = (np.arange(STEPS)[None] < np.array(LENGTHS)[:, None]).astype(float)
    normal = rng.standard_normal
    hidden = np.zeros((n, STEPS, d))
    hidden[0, 1, 0] = hidden[0, 2] = hidden[1, 0, 1] = 1
    mask = hidden[..., :, None] * hidden[..., None, :]
    extra = Entries(
        jnp.asarray(mask * definite(rng, n, STEPS, d)),
        jnp.asarray(0.3 * hidden[..., None] * normal((n, STEPS, d, Q))),
        jnp.asarray(hidden * normal((n, STEPS, d))),
    )
    leaves = (
        there * normal((n, STEPS)),
        there,
        definite(rng, n, Q),
        definite(rng, n, Q),
        0.3 * normal((n, Q, Q)),
        definite(rng, n, Q),
        there[..., None] * normal((n, STEPS, Q)),
        there[..., None, None] * definite(rng, n, STEPS, Q),
        there[..., None] * normal((n, STEPS, Q)),
    )
    return GaussianChainTree(*map(jnp.asarray, leaves))._replace(entries=extra if entries else None)  # pyright: ignore[reportArgumentType]


TRANSITION = np.array([[0.6, 0.2], [-0.3, 0.5]])


def energy(p, row, length, transition, z, v):
    """The log density that the docstrings of the trees write down, up to its constant, for one chain."""
    e = jnp.concatenate([z[:1], z[1:] - z[:-1] @ transition.T])
    total = 0.0
    for t in range(length):
        total += p.constant[row, t] + p.linear[row, t] @ z[t] - z[t] @ p.quadratic[row, t] @ z[t] / 2
        total += p.drift[row, t] @ e[t]
        if t == 0:
            total -= e[0] @ p.first[row] @ e[0] / 2
        else:
            total += -e[t] @ p.precision[row] @ e[t] / 2 + e[t] @ p.cross[row] @ z[t - 1]
            total -= z[t - 1] @ p.past[row] @ z[t - 1] / 2
        if p.entries is not None:
            own = p.entries
            total += own.linear[row, t] @ v[t] + v[t] @ own.cross[row, t] @ z[t]
            total -= v[t] @ own.quadratic[row, t] @ v[t] / 2
    return total


def dense(p, row, transition):
    """Log-normalizer, and mean and covariance of all that is hidden, from the Hessian of the energy."""
    length = LENGTHS[row]
    size = length * Q
    seen = np.zeros(0, bool)
    if p.entries is not None:
        seen = (np.asarray(p.entries.quadratic[row, :length]).diagonal(0, 1, 2) != 0).ravel()
    keep = np.concatenate([np.ones(size, bool), seen])

    def of(flat):
        z, v = flat[:size].reshape(length, Q), flat[size:].reshape(length, -1) if len(seen) else None
        return energy(p, row, length, transition, z, v)

    zero = jnp.zeros(len(keep))
    value, gradient, hessian = map(np.asarray, jax.jit(lambda z: (of(z), jax.grad(of)(z), jax.hessian(of)(z)))(zero))
    covariance = np.linalg.inv(-hessian[np.ix_(keep, keep)])
    gradient = gradient[keep]
    log_normalizer = value + gradient @ covariance @ gradient / 2
    log_normalizer += (keep.sum() * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1]) / 2
    return log_normalizer, covariance @ gradient, covariance


@lru_cache
def found(entries):
    """Moments, log-normalizers, and the gradient of their sum, under increments by `TRANSITION`."""
    latent, p = GaussianChain(jnp.asarray(TRANSITION)), potentials(entries)

    @jax.jit
    def run(p):
        return (*latent.expectation(p), jax.grad(lambda p: jnp.sum(latent.expectation(p)[1]))(p), latent.mode(p))

    return p, *run(p)


@pytest.mark.parametrize("entries", [pytest.param(False, marks=pytest.mark.slow), True])
def test_log_normalizer_and_states_are_those_of_the_joint(entries):
    p, moments, value, _, (mode, at_mode) = found(entries)
    for row, length in enumerate(LENGTHS):
        expected, mean, covariance = dense(p, row, TRANSITION)
        np.testing.assert_allclose(value[row], expected, rtol=1e-12)
        states = mean[: length * Q].reshape(length, Q)
        np.testing.assert_allclose(moments.linear[row, :length], states, atol=1e-12)
        np.testing.assert_allclose(mode.linear[row, :length], states, atol=1e-12)
        sign, log_det = np.linalg.slogdet(covariance)
        at = expected - (len(mean) * np.log(2 * np.pi) + log_det) / 2
        assert sign > 0
        np.testing.assert_allclose(at_mode[row], at, rtol=1e-12)
        assert not np.any(moments.linear[row, length:])


@pytest.mark.parametrize("entries", [pytest.param(False, marks=pytest.mark.slow), True])
def test_moments_are_the_gradient_of_the_energy_in_expectation(entries):
    """Each moment is the expectation of what its potential multiplies, by exact quadrature of a quadratic."""
    p, moments, *_ = found(entries)
    for row in range(len(LENGTHS)):
        _, mean, covariance = dense(p, row, TRANSITION)
        length, size = LENGTHS[row], LENGTHS[row] * Q
        hidden = None
        if entries:
            hidden = np.asarray(p.entries.quadratic[row, :length]).diagonal(0, 1, 2) != 0

        def of(p, flat, row=row, length=length, size=size, hidden=hidden):
            v = None if hidden is None else jnp.zeros(hidden.shape).at[hidden].set(flat[size:])
            return energy(p, row, length, TRANSITION, flat[:size].reshape(length, Q), v)

        # E f(z) = f(mean) + tr(covariance H) / 2 for a quadratic, and points at +- the columns of a root do that.
        root = np.linalg.cholesky(covariance) * np.sqrt(len(mean))
        points = jnp.asarray(np.concatenate([mean + root.T, mean - root.T]))
        expected = jax.jit(
            lambda p, of=of, points=points: jax.grad(lambda p: jnp.mean(jax.vmap(lambda z: of(p, z))(points)))(p)
        )(p)
        for name in ("constant", "first", "precision", "cross", "past", "drift", "quadratic", "linear"):
            np.testing.assert_allclose(
                getattr(moments, name)[row], getattr(expected, name)[row], atol=1e-10, err_msg=name
            )
        if entries:
            mask = np.asarray(p.entries.quadratic[row]) != 0
            np.testing.assert_allclose(
                moments.entries.quadratic[row][mask], expected.entries.quadratic[row][mask], atol=1e-10
            )
            there = mask.diagonal(0, 1, 2)
            np.testing.assert_allclose(
                moments.entries.cross[row][there], expected.entries.cross[row][there], atol=1e-10
            )


@pytest.mark.parametrize("entries", [pytest.param(False, marks=pytest.mark.slow), True])
def test_gradient_of_the_log_normalizer_is_the_moments(entries):
    _, moments, _, gradient, _ = found(entries)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), gradient, moments)


@pytest.mark.slow
def test_any_transition_of_the_increments_gives_the_same_chain():
    """Potentials re-expressed about no transition at all."""
    p, moments, value, *_ = found(False)
    a, n = jnp.asarray(TRANSITION), jnp.asarray
    drift = np.asarray(p.drift)
    past = p.past + a.T @ p.precision @ a + p.cross.swapaxes(1, 2) @ a + a.T @ p.cross
    moved = p.linear.at[:, :-1].add(-n(drift[:, 1:] @ TRANSITION))
    plain = p._replace(cross=p.cross + p.precision @ a, past=past, linear=moved)
    again, same = jax.jit(lambda p: GaussianChain().expectation(p))(plain)
    np.testing.assert_allclose(same, value, rtol=1e-11)
    np.testing.assert_allclose(again.linear, moments.linear, atol=1e-11)


@pytest.mark.slow
def test_curvature_of_the_log_normalizer():
    """Second derivatives, which Newton's method needs, against differences of the moments."""
    latent, p = GaussianChain(jnp.asarray(TRANSITION)), potentials()
    push = jax.tree.map(lambda leaf: 1e-5 * jnp.ones_like(leaf), p)._replace(present=jnp.zeros_like(p.present))

    def moments(s):
        at = jax.tree.map(lambda a, b: a + s * b, p, push)
        return jax.grad(lambda q: jnp.sum(latent.expectation(q)[1]))(at)

    run = jax.jit(lambda: (jax.jvp(moments, (0.0,), (1.0,))[1], moments(1.0), moments(-1.0)))
    slope, after, before = run()
    jax.tree.map(
        lambda s, a, b: np.testing.assert_allclose(s, (a - b) / 2, atol=1e-9 * float(1 + np.abs(s).max())),
        slope,
        after,
        before,
    )


@pytest.mark.slow
def test_leading_axes_are_a_batch():
    p, moments, value, *_ = found(False)
    spread = jax.tree.map(lambda leaf: leaf[:, None] + jnp.zeros((1, 3) + (1,) * (leaf.ndim - 1)), p)
    again, values = jax.jit(lambda p: GaussianChain(jnp.asarray(TRANSITION)).expectation(p))(spread)
    np.testing.assert_allclose(values, np.broadcast_to(value[:, None], values.shape), rtol=1e-12)
    np.testing.assert_allclose(again.cross[:, 2], moments.cross, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("entries", [pytest.param(False, marks=pytest.mark.slow), True])
def test_draws_have_the_moments(entries):
    latent, (p, moments, *_) = GaussianChain(jnp.asarray(TRANSITION)), found(entries)
    draws = 20_000

    def one(key):
        return latent.sample(key, p)

    drawn = jax.jit(lambda key: jax.vmap(one)(jax.random.split(key, draws)))(jax.random.key(1))
    for name in ("first", "precision", "cross", "past", "drift", "linear", "quadratic"):
        sample = np.asarray(getattr(drawn, name))
        error = sample.std(0) / np.sqrt(draws)
        off = np.abs(sample.mean(0) - np.asarray(getattr(moments, name)))
        assert np.all(off <= 5 * error + 1e-12), name
        assert np.any(error > 0), name
    if entries:
        there = np.asarray(p.entries.quadratic) != 0
        sample = np.asarray(drawn.entries.quadratic)
        error = sample.std(0) / np.sqrt(draws)
        off = np.abs(sample.mean(0) - np.asarray(moments.entries.quadratic))
        assert np.all((off <= 5 * error + 1e-12)[there])


@pytest.mark.slow
def test_a_chain_of_one_step_is_a_gaussian():
    p = potentials()
    by_step = ("constant", "present", "drift", "quadratic", "linear")
    one = p._replace(**{name: getattr(p, name)[:, :1] for name in by_step})
    moments, value = jax.jit(lambda p: GaussianChain().expectation(p))(one)
    precision = np.asarray(one.first + one.quadratic[:, 0])
    push = np.asarray(one.linear + one.drift)[:, 0]
    mean = np.linalg.solve(precision, push[..., None])[..., 0]
    np.testing.assert_allclose(moments.linear[:, 0], mean, rtol=1e-12)
    expected = one.constant[:, 0] + np.sum(mean * push, -1) / 2 + Q / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(value, expected - np.linalg.slogdet(precision)[1] / 2, rtol=1e-12)
    assert not np.any(moments.cross)


@pytest.mark.slow
def test_an_improper_chain_is_not_a_number():
    bad = potentials()._replace(precision=-potentials().precision)
    assert np.isnan(jax.jit(lambda p: GaussianChain().expectation(p))(bad)[1]).all()
