"""Checks for authors of models."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._coordinates import vector
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel, collect, inner, weighted_sum
from jaxem._solve import solve
from jaxem.kernels.chunks import num_rows
from jaxem.m_step import AbstractMStep, Maximize, Newton
from jaxem.termination import FixedSteps


def check_model(model: AbstractModel, params: PyTree, data: PyTree, *, key: PRNGKeyArray | None = None) -> None:
    """Raise `AssertionError` for a model that breaks the contract; the message names the property, and by how much.

    - `coordinates`: `constrain(unconstrain(params))` is `params`.
    - `linearity`: for a linear model, `potentials` are linear in `natural(params)`.
    - `additivity`: statistics and log-likelihood are sums over rows; weight 0 drops a row, weight 2 repeats it.
    - `Fisher's identity`: Q and the log-likelihood have the same gradient where the posterior was taken.
    - `maximisation`: for a linear model, `maximize` raises Q, and Q is stationary there.
    - `ascent`: the objective does not fall in five iterations of EM, or of EM gradient.
    - `precision`: `log_prob` in float32 is that in float64 to 1e-3 (only where float64 is enabled).
    - `sampling`: what `sample` draws, if the model defines it, is shaped like the data and possible.

    Both kernels of a model with an `accurate` one are held to the first five.

    **Arguments:**

    - `model`: a model.
    - `params`: parameters, in the interior of their domain.
    - `data`: a few dozen rows, in the precision of `params`.
    - `key`: for the random points and draws.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> from jaxem.testing import check_model
    >>> model = jaxem.Mixture(jaxem.Poisson(), num_components=2)
    >>> params = jaxem.MixtureParams(jnp.array([0.3, 0.7]), jaxem.PoissonParams(jnp.array([[1.0], [4.0]])))
    >>> check_model(model, params, jnp.array([[0.0], [1.0], [0.0], [5.0], [3.0], [7.0]]))
    """
    key = jax.random.key(0) if key is None else key
    params, data = jax.tree.map(jnp.asarray, (params, data))
    dtype = jax.tree.leaves(params)[0].dtype
    weights = jnp.ones(num_rows(data), dtype)
    tol = 1e-6 if dtype == jnp.float64 else 2e-3

    _check_coordinates(model, params, tol)
    for kernel in (model.bind(data, weights), model.bind(data, weights).accurate()):
        if kernel is not None:
            _check_statistics(kernel, kernel.encode(params), data, key, tol)
    _check_ascent(model, params, data, tol)
    if dtype == jnp.float64:
        _check_precision(model, params, data)
    _check_samples(model, params, data, key)


def _check_coordinates(model, params, tol):
    again = jax.jit(lambda p: model.constrain(model.unconstrain(p)))(params)
    _agree("coordinates: constrain(unconstrain(params)) differs from params", (again, params), tol)


def _check_statistics(model, params, data, key, tol):
    measured = eqx.filter_jit(_measure)
    near = _near(model, params, key)
    for point in (params, near):
        found = measured(model, point, near, data)
        if model.linear:
            # Parts of them may be 0 but for rounding.
            largest = max(
                float(np.abs(leaf[np.isfinite(leaf)]).max(initial=0))
                for leaf in map(np.asarray, jax.tree.leaves(found["linear"]))
            )
            _agree("linearity: potentials are not linear in natural(params)", found["linear"], tol, largest)
        scale = float(num_rows(data))
        _agree("additivity: statistics of all rows differ from the sum over two halves", found["halves"], tol, scale)
        _agree("additivity: weights 0 and 2 differ from dropping and repeating rows", found["repeated"], tol, scale)
        _agree("Fisher's identity: the gradients of Q and of the log-likelihood differ", found["gradients"], tol, scale)
        if model.linear:
            before, after, gradient = (np.asarray(value) for value in found["maximum"])
            _require(
                after >= before - tol * (abs(before) + 1), "maximisation: maximize(stats) lowers Q", before - after
            )
            _agree(
                "maximisation: Q is not stationary at maximize(stats)", (gradient, np.zeros_like(gradient)), tol, scale
            )


def _measure(model, params, other, data):
    model = model.at(params)
    n = num_rows(data)
    ones = jnp.ones(n, jax.tree.leaves(params)[0].dtype)
    half, counts = n // 2, np.arange(n) % 3
    rows = np.repeat(np.arange(n), counts)

    def expect(data, weights):
        stats, value = collect(model, model.natural(params), data, weights, model.latent.expectation)
        value = value + model.log_base(data).astype(value.dtype)
        return stats, weighted_sum(weights, value)

    moments = model.latent.expectation(model.potentials(model.natural(params), data))[0]
    stats: Any
    stats, value = expect(data, ones)
    first = expect(jax.tree.map(lambda a: a[:half], data), ones[:half])
    second = expect(jax.tree.map(lambda a: a[half:], data), ones[half:])

    def q(params):
        natural, prior = model.natural(params), model.log_prior(params).astype(ones.dtype)
        if model.linear:
            return inner(natural, stats) + prior
        return jnp.sum(model.latent.pair(model.potentials(natural, data), moments)) + prior

    def log_likelihood(params):
        value = model.latent.expectation(model.potentials(model.natural(params), data))[1]
        return jnp.sum(value) + model.log_prior(params).astype(value.dtype)

    here, at = vector(model, params)
    found = {
        "halves": (jax.tree.map(jnp.add, first, second), (stats, value)),
        "repeated": (
            expect(data, jnp.asarray(counts, ones.dtype)),
            expect(jax.tree.map(lambda a: a[rows], data), jnp.ones(len(rows), ones.dtype)),
        ),
        "gradients": (jax.grad(lambda u: q(at(u)))(here), jax.grad(lambda u: log_likelihood(at(u)))(here)),
    }
    if model.linear:
        a, b = model.natural(params), model.natural(other)
        mix = jax.tree.map(lambda a, b: 0.7 * a - 0.4 * b, a, b)
        separate = jax.tree.map(
            lambda p, q: jnp.where(jnp.isfinite(p) & jnp.isfinite(q), 0.7 * p - 0.4 * q, -jnp.inf),
            model.potentials(a, data),
            model.potentials(b, data),
        )
        best = model.maximize(stats, params)
        there, at_best = vector(model, best)
        found["linear"] = (model.potentials(mix, data), separate)
        found["maximum"] = (q(params), q(best), jax.grad(lambda u: q(at_best(u)))(there))
    return found


class _Unjudged(AbstractMStep):
    """A rule whose falls are kept in the history."""

    inner: AbstractMStep
    ascends = False

    def init(self, model, params):
        return self.inner.init(model, params)

    def __call__(self, surrogate, params, state, key):
        return self.inner(surrogate, params, state, key)


def _check_ascent(model, params, data, tol):
    rule = Maximize() if model.linear else Newton()
    run = eqx.filter_jit(
        lambda params, data: solve(
            model, params, data, algorithm=Algorithm(m_step=_Unjudged(rule)), termination=FixedSteps(), max_steps=5
        )
    )
    values = np.asarray(run(params, data).history)[:6]
    _require(np.isfinite(values).all(), f"ascent: the objective is not finite: {values.tolist()}", np.nan)
    fall = -np.diff(values).min()
    _require(
        fall <= 1e-3 * tol * (np.abs(values).max() + 1), "ascent: the objective falls within five iterations", fall
    )


def _check_precision(model, params, data):
    def as_type(tree, dtype):
        return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)

    single = as_type((model, params, data), jnp.float32)
    coarse = single[0].log_prob(*single[1:])
    fine = model.log_prob(*as_type(single[1:], jnp.float64))
    _agree("precision: log_prob in float32 differs from float64", (coarse, fine), 1e-3, 1.0)


def _check_samples(model, params, data, key):
    n = 7
    try:
        drawn, _ = model.sample(key, params, n)
    except MissingCapabilityError:
        return
    rows = getattr(data, "rows", data)
    shapes = jax.tree.map(lambda a: (n, *a.shape[1:]), rows)
    found = jax.tree.map(jnp.shape, drawn)
    assert found == shapes, f"sampling: {n} draws have shape {found}, while rows of the data have {shapes}"
    possible = np.isfinite(np.asarray(model.log_prob(params, drawn)))
    _require(possible.all(), "sampling: draws that the model holds impossible", n - possible.sum())


def _near(model, params, key):
    here, at = vector(model, params)
    return at(here + 0.1 * jax.random.normal(key, here.shape, here.dtype))


def _agree(what: str, pair: tuple[Any, Any], tol: float, scale: float | None = None) -> None:
    """Leaves that agree relative to the largest number among them (or to `scale`, if that is larger)."""
    for x, y in zip(*map(jax.tree.leaves, pair), strict=True):
        x, y = np.asarray(x, float), np.asarray(y, float)
        with np.errstate(invalid="ignore"):
            error = np.where(x == y, 0.0, np.abs(x - y))
        size = max(np.abs(y[np.isfinite(y)]).max(initial=0.0), scale or 0.0) or 1.0
        worst = float(error.max(initial=0.0)) if not np.isnan(error).any() else np.nan
        _require(worst <= tol * size, what, worst, tol * size)


def _require(holds: Any, what: str, by: Any, allowed: float = 0.0) -> None:
    if not holds:
        raise AssertionError(f"{what}, by {float(by):.3g} (allowed: {allowed:.3g})")
