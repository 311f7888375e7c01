import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem.kernels import linalg
from jaxem.kernels.chunks import num_rows, per_device
from jaxem.kernels.linalg import matmul
from jaxem.latent._latent import AbstractLatent

_TAILS = 5.0  # degrees of freedom of what importance samples are drawn from
_MODE_STEPS = 30


class ContinuousPotentials(NamedTuple):
    """What gives the joint density of each row as a function of its latent: the parameters, and the rows."""

    natural: PyTree
    rows: PyTree


class ContinuousMoments(NamedTuple):
    """Draws of the latent of each row, `[n, m, ...]`, of which the first `held` hold, beside what they came from."""

    natural: PyTree
    rows: PyTree
    draws: Float[Array, "n m ..."]
    held: Array


class _Laplace(NamedTuple):
    """The normal approximation of a posterior: its mode, and a root of its covariance."""

    mode: Array
    root: Array


@final
class Continuous(AbstractLatent):
    """A latent vector for each row, with any smooth density, which has no moments in closed form and is drawn instead.

    A draw starts from a normal approximation at the posterior mode and makes `transitions` moves of a blackjax kernel
    in coordinates where that approximation is standard, so that draws are independent and a fixed step size will do.
    The log-normalizer is estimated by importance sampling from a Student t at the mode, always with the same `nodes`
    numbers, so that it is a smooth function of the parameters. Both want posteriors with one mode.

    For Monte Carlo rules (`jaxem.e_step.Sample`, `jaxem.e_step.MonteCarlo`). Wei and Tanner (1990).

    **Arguments:**

    - `shape`: of the latent of one row; each of its numbers may be any real number.
    - `transitions`: moves of the chain for a draw.
    - `nodes`: importance samples for the log-normalizer; exact for a normal posterior.
    - `kernel`: `kernel(log_density)`, a blackjax sampling algorithm (or anything with its `init` and `step`) for a
        density over `[q]` near standard normal; by default Hamiltonian Monte Carlo over a quarter of a period.

    Needs the extra `blackjax`, unless `kernel` makes no use of it.

    **Example**

    >>> import jaxem
    >>> jaxem.latent.Continuous((2,)).lacks
    ('expectation', 'mode')
    """

    shape: tuple[int, ...] = eqx.field(static=True, default=())
    transitions: int = eqx.field(static=True, default=10)
    nodes: int = eqx.field(static=True, default=256)
    kernel: Callable[[Callable[[Array], Array]], Any] | None = eqx.field(static=True, default=None)
    log_joint: Callable[[PyTree, PyTree, Array], Array] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        for name in ("transitions", "nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def lacks(self):
        return ("expectation", "mode")

    @property
    def floats_per_row(self) -> int:
        """How many numbers an E-step holds for each row, without the draws."""
        return (self.nodes + 4 * self._size + 8) * max(self._size, 1)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    def expectation(self, potentials):
        raise MissingCapabilityError(
            "a continuous latent given by a function has no posterior moments in closed form; use "
            "jaxem.e_step.Sample(draws) or jaxem.e_step.MonteCarlo()"
        )

    def mode(self, potentials):
        raise MissingCapabilityError(
            "the mode of a continuous latent depends on its coordinates; use jaxem.e_step.Sample(draws)"
        )

    def log_normalizer(self, potentials: ContinuousPotentials) -> Float[Array, " n"]:
        dtype = self._dtype(potentials)
        nodes, log_density = _nodes(self.nodes, self._size, dtype)

        def one(row):
            density = self._density(potentials.natural, row)
            # The nodes move with the parameters, but what they estimate does not depend on where they are.
            mode, root = jax.lax.stop_gradient(_laplace(density, jnp.zeros(self._size, dtype)))
            values = jax.vmap(lambda u: density(mode + matmul(root, u[:, None])[:, 0]))(nodes)
            log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(root))))
            weights = values - log_density
            return logsumexp(jnp.where(jnp.isnan(weights), -jnp.inf, weights)) + log_det - math.log(self.nodes)

        return jax.vmap(one)(potentials.rows)

    def sample(self, key: PRNGKeyArray, potentials: ContinuousPotentials) -> ContinuousMoments:
        return self._moments(potentials, self._drawer(potentials)(key)[:, None], 1)

    def average(self, key: PRNGKeyArray, potentials: ContinuousPotentials, draws: Any, most: int) -> ContinuousMoments:
        """Not the mean of statistics, of which there are none: all the draws, as those of `sample` for each key."""
        draw, n = self._drawer(potentials), num_rows(potentials.rows)

        def add(j, drawn):
            return jax.lax.dynamic_update_index_in_dim(drawn, draw(jax.random.fold_in(key, j)), j, 1)

        zeros = per_device(jnp.zeros((n, most, self._size), self._dtype(potentials)), potentials.rows)
        return self._moments(potentials, jax.lax.fori_loop(0, draws, add, zeros), draws)

    def _drawer(self, potentials: ContinuousPotentials) -> Callable[[PRNGKeyArray], Float[Array, "n q"]]:
        """A function that makes one draw for each row."""
        natural, rows = jax.lax.stop_gradient(potentials)
        start = jnp.zeros(self._size, self._dtype(potentials))
        fitted = jax.vmap(lambda row: _laplace(self._density(natural, row), start))(rows)

        def draw(key):
            keys = per_device(jax.random.key_data(jax.random.split(key, num_rows(rows))), rows)
            keys = jax.random.wrap_key_data(keys, impl=jax.random.key_impl(key))
            return jax.vmap(lambda *each: self._draw(natural, *each))(keys, rows, fitted)

        return draw

    def _moments(self, potentials: ContinuousPotentials, draws: Array, count: Any) -> ContinuousMoments:
        draws = draws.reshape(*draws.shape[:2], *self.shape)
        return ContinuousMoments(potentials.natural, potentials.rows, draws, jnp.asarray(count, jnp.int32))

    def pair(self, potentials: ContinuousPotentials, moments: ContinuousMoments) -> Float[Array, " n"]:
        each = jax.vmap(jax.vmap(self._joint, (None, None, 0)), (None, 0, 0))
        values = each(potentials.natural, moments.rows, moments.draws)
        there = jnp.broadcast_to(jnp.arange(values.shape[1], dtype=jnp.int32)[None] < moments.held, values.shape)
        return jnp.sum(jnp.where(there, values, 0), 1) / moments.held.astype(values.dtype)

    def weigh(self, moments: ContinuousMoments, weights: Float[Array, " n"]) -> Any:
        """The derivative of what the draws add to Q, as a tree like the potentials: Fisher's identity."""

        def total(natural):
            return jnp.sum(weights * self.pair(ContinuousPotentials(natural, moments.rows), moments))

        return ContinuousPotentials(jax.grad(total)(moments.natural), jax.tree.map(_no_tangent, moments.rows))

    def _joint(self, natural: PyTree, row: PyTree, z: Array) -> Array:
        assert self.log_joint is not None
        return self.log_joint(natural, row, z)

    def _density(self, natural: PyTree, row: PyTree) -> Callable[[Array], Array]:
        """The joint density of a row as a function of its latent, `[q]`."""
        return lambda z: self._joint(natural, row, z.reshape(self.shape))

    def _draw(self, natural: PyTree, key: PRNGKeyArray, row: PyTree, fitted: _Laplace) -> Array:
        density, (mode, root) = self._density(natural, row), fitted

        def white(u):
            return density(mode + matmul(root, u[:, None])[:, 0])

        algorithm = (self.kernel or _hamiltonian)(white)
        first, others = jax.random.split(key)
        state = per_device(algorithm.init(jax.random.normal(first, mode.shape, mode.dtype)), mode)
        keys = jax.random.split(others, self.transitions)
        state, _ = jax.lax.scan(lambda state, key: (algorithm.step(key, state)[0], None), state, keys)
        return mode + matmul(root, state.position[:, None])[:, 0]

    def _dtype(self, potentials: ContinuousPotentials) -> Any:
        leaves = [leaf for leaf in jax.tree.leaves(potentials.natural) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return leaves[0].dtype if leaves else jnp.result_type(float)


def _hamiltonian(log_density: Callable[[Array], Array]) -> Any:
    try:
        import blackjax
    except ImportError as error:
        raise MissingCapabilityError(
            "draws of a continuous latent come from blackjax, which is not installed: pip install 'jaxem[blackjax]', "
            "or pass jaxem.latent.Continuous(..., kernel=...)"
        ) from error

    def make(position):
        size = position.shape[0]
        step = 0.5 * min(1.0, (4 / max(size, 1)) ** 0.25)
        return blackjax.hmc(log_density, step, jnp.ones(size, position.dtype), math.ceil(math.pi / 2 / step))

    return _Deferred(make)


class _Deferred(NamedTuple):
    """A sampling algorithm that needs the shape of the position."""

    make: Callable[[Array], Any]

    def init(self, position):
        return self.make(position).init(position)

    def step(self, key, state):
        return self.make(state.position).step(key, state)


def _laplace(density: Callable[[Array], Array], start: Array) -> _Laplace:
    """The mode by damped Newton steps, and a root of the inverse of minus the Hessian there.

    Directions in which the density does not curve down get a standard deviation of 1.
    """
    if start.shape[0] == 0:
        return _Laplace(start, jnp.zeros((0, 0), start.dtype))

    def curvature(z):
        values, vectors = linalg.eigh(-jax.hessian(density)(z))
        return jnp.where(values > 0, values, 1), vectors

    def improve(_, carry):
        z, value, damping = carry
        values, vectors = curvature(z)
        slope = matmul(vectors.T, jax.grad(density)(z)[:, None])[:, 0]
        proposed = z + matmul(vectors, (slope / (values + damping))[:, None])[:, 0]
        found = density(proposed)
        better = found >= value
        damping = jnp.where(better, damping / 10, jnp.maximum(10 * damping, jnp.max(values)))
        return jnp.where(better, proposed, z), jnp.where(better, found, value), damping

    value = density(start)
    carry = per_device((start, value, jnp.zeros((), start.dtype)), value)
    mode = jax.lax.fori_loop(0, _MODE_STEPS, improve, carry)[0]
    values, vectors = curvature(mode)
    root = jnp.linalg.qr((vectors / jnp.sqrt(values)[None]).T, mode="r").T
    return _Laplace(mode, root)


def _nodes(count: int, size: int, dtype: Any) -> tuple[Array, Array]:
    """Points from a standard multivariate t, the same ones always, and their log density."""
    from scipy import stats  # slow to import
    from scipy.stats import qmc

    # A low-discrepancy sequence: the error falls nearly with the number of nodes, and not with its root.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a number that is no power of two is as good as another
        uniform = qmc.Sobol(size + 1, scramble=False).random(count) + 0.5 / count
    mix = stats.chi2.ppf(uniform[:, :1], _TAILS) / _TAILS
    nodes = jnp.asarray(stats.norm.ppf(uniform[:, 1:]) / np.sqrt(mix), dtype)
    nu = jnp.asarray(_TAILS, dtype)
    constant = gammaln((nu + size) / 2) - gammaln(nu / 2) - size / 2 * jnp.log(nu * math.pi)
    square = jnp.sum(nodes**2, 1)
    log_density = constant - (nu + size) / 2 * jnp.log1p(square / nu)
    # Scaled so that a posterior that is normal is integrated exactly.
    normal = -square / 2 - size / 2 * math.log(2 * math.pi)
    return nodes, log_density + logsumexp(normal - log_density) - math.log(count)


def _no_tangent(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)
