"""Functions of Dirichlet distributions along the last axis, batched over the leading ones."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.kernels.special import digamma_excess, gamma_divergence, stirling_excess

# Where a concentration that the data do not hold back comes to rest.
LEAST, MOST = 1e-6, 1e6
_STEPS, _HALVINGS = 100, 12


def expected_log(a: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """Mean of the logarithm of each probability."""
    total = jnp.sum(a, -1, keepdims=True)
    return jnp.log(a / total) + digamma_excess(a) - digamma_excess(total)


@jax.custom_jvp
def log_normalizer(a: Float[Array, "... k"]) -> Float[Array, "..."]:
    """`log Gamma(sum a) - sum log Gamma(a)`, what the log density has beside its powers."""
    return _log_gamma(jnp.sum(a, -1)) - jnp.sum(_log_gamma(a), -1)


@log_normalizer.defjvp
def _(primals, tangents):
    return log_normalizer(*primals), -jnp.sum(expected_log(*primals) * tangents[0], -1)


def divergence(a: Float[Array, "... k"], b: Float[Array, "... k"]) -> Float[Array, "..."]:
    """Kullback-Leibler divergence of `Dirichlet(a)` from `Dirichlet(b)`."""
    total_a, total_b = jnp.sum(a, -1, keepdims=True), jnp.sum(b, -1, keepdims=True)
    terms = gamma_divergence(a, b) + b * jnp.log((b / total_b) / (a / total_a))
    return jnp.sum(terms, -1) - gamma_divergence(total_a, total_b)[..., 0]


def trigamma(x: Array) -> Array:
    """Derivative of the digamma function."""
    return jax.jvp(lambda x: digamma_excess(x) + jnp.log(x), (x,), (jnp.ones_like(x),))[1]


def maximize_concentration(
    logs: Float[Array, " k"], count: Float[Array, ""], start: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The concentration under which `count` vectors whose logarithms sum to `logs` are most probable.

    That of a symmetric Dirichlet where `start` is a scalar. The log-likelihood is concave; Newton steps, whose Hessian
    is diagonal plus rank one, are shortened until it rises. Between `LEAST` and `MOST`; `start` where there is no
    vector. Minka (2000), Estimating a Dirichlet distribution.
    """
    k, eps = logs.shape[0], jnp.finfo(logs.dtype).eps
    mean = logs / jnp.where(count > 0, count, 1)

    shares = jnp.asarray(0.5 ** np.arange(_HALVINGS), logs.dtype).reshape(-1, *[1] * start.ndim)

    def value(a):
        a = jnp.broadcast_to(a.reshape(*a.shape[: a.ndim - start.ndim], -1), (*a.shape[: a.ndim - start.ndim], k))
        return log_normalizer(a) + jnp.sum(a * mean[None], -1)

    def direction(a):
        own = trigamma(a)
        common = trigamma(jnp.sum(jnp.broadcast_to(a, (k,))))
        gradient = mean - expected_log(jnp.broadcast_to(a, (k,)))
        if a.ndim == 0:
            return jnp.sum(gradient) / (k * own - k * k * common)
        return (gradient + jnp.sum(gradient / own) / (1 / common - jnp.sum(1 / own))) / own

    def step(carry):
        turn, a, _ = carry
        # A concentration may shrink tenfold, and grow as far as Newton says.
        moved = jnp.clip(a[None] + shares * direction(a)[None], jnp.maximum(a / 10, LEAST)[None], MOST)
        tried = jnp.concatenate([a[None], jnp.where(jnp.isfinite(moved), moved, a[None])])
        values = value(tried)
        values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
        new = tried[jnp.argmax(values)]
        return turn + 1, new, jnp.all(jnp.abs(new - a) <= 4 * eps * a)

    def going(carry):
        turn, _, done = carry
        return (turn < _STEPS) & ~done

    start = jnp.clip(start, LEAST, MOST)
    _, a, _ = jax.lax.while_loop(going, step, (jnp.zeros((), jnp.int32), start, jnp.zeros((), bool)))
    return jnp.where(count > 0, a, start)


def _log_gamma(x):
    return (x - 0.5) * jnp.log(x) - x + math.log(2 * math.pi) / 2 + stirling_excess(x)
