"""Variables of an observation that are known to lie in an interval."""

import math
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, PRNGKeyArray

from jaxem.kernels.tails import interval_moments, interval_quantile
from jaxem.latent._latent import AbstractLatent


class TruncatedNormalPotentials(NamedTuple):
    """Potentials or moments of `TruncatedNormal`."""

    constant: Array
    linear: Array
    precision: Array
    below: Array
    above: Array
    width: Array


class TruncatedExponentialPotentials(NamedTuple):
    """Potentials or moments of `TruncatedExponential`."""

    constant: Array
    linear: Array
    width: Array


@final
class TruncatedNormal(AbstractLatent):
    """Independent variables with log potentials `linear y - precision y^2 / 2`, each on its interval `[l, u]`.

    `constant` has the leading axes of an observation, `[n]` or `[k, n]`; the other potentials may have more axes, of
    several variables. Moments are `1`, `E y` and `-E y^2 / 2`; what states the bounds has moments 0. A precision of 0
    says that nothing is hidden: the variable has moments 0 and no part in the log-normalizer.

    The bounds enter as multiples of the potentials, so that the whole is linear in natural parameters: `below` is
    `precision l - linear`, `above` is `linear - precision u` (minus infinity without the bound), and `width` is
    `precision (u - l)` (0 unless both are finite).

    **Example**

    A standard normal variable known to be positive:

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import TruncatedNormal, TruncatedNormalPotentials
    >>> zero, one = jnp.zeros(1), jnp.ones(1)
    >>> potentials = TruncatedNormalPotentials(zero, zero, one, zero, jnp.full(1, -jnp.inf), zero)
    >>> moments, log_normalizer = TruncatedNormal().expectation(potentials)
    >>> round(float(moments.linear[0]), 3)
    0.798
    """

    def expectation(self, potentials: TruncatedNormalPotentials) -> tuple[TruncatedNormalPotentials, Array]:
        return _normal(potentials)

    def mode(self, potentials: TruncatedNormalPotentials) -> tuple[TruncatedNormalPotentials, Array]:
        own = _standardised(potentials)
        point = jnp.maximum(own.near, 0)
        y = own.centre + own.side * point / own.root
        value = (potentials.linear * own.centre - point * point) / 2
        moments = _masked(potentials, own.hidden, y, y * y)
        return moments, _total(potentials, jnp.where(own.hidden, value, 0))

    def sample(self, key: PRNGKeyArray, potentials: TruncatedNormalPotentials) -> TruncatedNormalPotentials:
        own = _standardised(potentials)
        uniform = jax.random.uniform(key, own.near.shape, own.near.dtype)
        y = own.centre + own.side * interval_quantile(uniform, own.near, own.width) / own.root
        return _masked(potentials, own.hidden, y, y * y)

    def pair(self, potentials: TruncatedNormalPotentials, moments: TruncatedNormalPotentials) -> Array:
        own = potentials.linear * moments.linear + potentials.precision * moments.precision
        return _total(potentials, own, moments.constant)


@final
class TruncatedExponential(AbstractLatent):
    """Independent variables with log potentials `linear t`, each on an interval `[0, w]` or `[0, inf)`.

    Potentials are `TruncatedExponentialPotentials` in which `width` is `linear w` (minus infinity without an end, and
    `linear` is then negative). Axes, and a `linear` of 0, are as for `TruncatedNormal`. Moments are `1` and `E t`.

    **Example**

    A waiting time of mean 2 that may last forever:

    >>> import jax.numpy as jnp
    >>> from jaxem.latent import TruncatedExponentialPotentials, TruncatedExponential
    >>> potentials = TruncatedExponentialPotentials(jnp.zeros(1), jnp.array([-0.5]), jnp.full(1, -jnp.inf))
    >>> TruncatedExponential().expectation(potentials)[0].linear.tolist()
    [2.0]
    """

    def expectation(self, potentials: TruncatedExponentialPotentials) -> tuple[TruncatedExponentialPotentials, Array]:
        return _exponential(potentials)

    def mode(self, potentials: TruncatedExponentialPotentials) -> tuple[TruncatedExponentialPotentials, Array]:
        own = _slopes(potentials)
        t = jnp.where(own.bounded & (own.turns > 0), own.turns / own.slope, 0)
        return own.moments(potentials, t), _total(potentials, jnp.where(own.hidden, own.slope * t, 0))

    def sample(self, key: PRNGKeyArray, potentials: TruncatedExponentialPotentials) -> TruncatedExponentialPotentials:
        own = _slopes(potentials)
        uniform = jax.random.uniform(key, own.slope.shape, own.slope.dtype)
        rise = jnp.where(own.bounded, jnp.expm1(-jnp.abs(own.turns)), -1)
        from_top = -jnp.log1p(uniform * rise) / jnp.abs(own.slope)
        t = jnp.where(own.bounded & (own.turns > 0), own.turns / own.slope - from_top, from_top)
        return own.moments(potentials, t)

    def pair(self, potentials: TruncatedExponentialPotentials, moments: TruncatedExponentialPotentials) -> Array:
        return _total(potentials, potentials.linear * moments.linear, moments.constant)


class _Standard(NamedTuple):
    """Normal variables as standard ones, mirrored so that the nearer bound is below."""

    hidden: Array
    centre: Array
    root: Array
    side: Array
    near: Array
    width: Array


def _standardised(potentials: TruncatedNormalPotentials) -> _Standard:
    _, linear, precision, below, above, width = potentials
    hidden = precision != 0
    precision, linear = jnp.where(hidden, precision, 1), jnp.where(hidden, linear, 0)
    root = jnp.sqrt(precision)
    lower = below >= above
    near = jnp.where(lower, below, above)
    bounded = hidden & jnp.isfinite(near)
    # Without any bound: one so far away that it makes no difference.
    near = jnp.where(bounded, jnp.where(bounded, near, 0) / root, -50)
    both = hidden & jnp.isfinite(below) & jnp.isfinite(above)
    width = jnp.where(both, jnp.where(both, width, 1) / root, jnp.inf)
    return _Standard(hidden, linear / precision, root, jnp.where(lower, jnp.ones_like(root), -1), near, width)


def _masked(
    potentials: TruncatedNormalPotentials, hidden: Array, mean: Array, square: Array
) -> TruncatedNormalPotentials:
    zero = jnp.zeros_like(mean)
    mean, square = jnp.where(hidden, mean, 0), jnp.where(hidden, square, 0)
    return TruncatedNormalPotentials(jnp.ones_like(potentials.constant), mean, -square / 2, zero, zero, zero)


def _normal_expectation(potentials: TruncatedNormalPotentials) -> tuple[TruncatedNormalPotentials, Array]:
    own = _standardised(potentials)
    log, mean, square = interval_moments(own.near, own.width)
    mean = own.side * mean / own.root
    square = own.centre * (own.centre + 2 * mean) + square / own.root / own.root
    value = potentials.linear * own.centre / 2 + (math.log(2 * math.pi) / 2 - jnp.log(own.root)) + log
    moments = _masked(potentials, own.hidden, own.centre + mean, square)
    return moments, _total(potentials, jnp.where(own.hidden, value, 0))


def _exponential_expectation(
    potentials: TruncatedExponentialPotentials,
) -> tuple[TruncatedExponentialPotentials, Array]:
    own = _slopes(potentials)
    small = jnp.abs(own.turns) < 0.5
    near, far = jnp.where(small, own.turns, 0), jnp.where(small, 1, own.turns)
    square, series = near * near, jnp.zeros_like(near)
    for coefficient in (-691 / 1307674368000, 1 / 47900160, -1 / 1209600, 1 / 30240, -1 / 720, 1 / 12):
        series = square * series + coefficient
    # The mean as a share of the width.
    share = jnp.where(small, 0.5 + near * series, -1 / jnp.expm1(-far) - 1 / far)
    log = jnp.log(jnp.abs(own.slope))
    bounded = jnp.maximum(own.turns, 0) + jnp.log(-jnp.expm1(-jnp.abs(own.turns))) - log
    value = jnp.where(own.bounded, bounded, jnp.where(own.slope < 0, -log, jnp.inf))
    moments = own.moments(potentials, jnp.where(own.bounded, own.turns * share, -1) / own.slope)
    return moments, _total(potentials, jnp.where(own.hidden, value, 0))


def _with_moments(expectation: Any, latent: AbstractLatent) -> Any:
    """An `expectation` whose value has the moments for its derivative, that at fixed bounds; see `moving_bounds`."""

    @jax.custom_jvp
    def run(potentials):
        return expectation(potentials)

    @run.defjvp
    def _(primals, tangents):
        (moments, value), (moved, _) = jax.jvp(expectation, primals, tangents)
        return (moments, value), (moved, latent.pair(tangents[0], moments))

    return run


@jax.custom_jvp
def moving_bounds(potentials: Any, lower: Array, upper: Array) -> Array:
    """Zero, with the derivative of the log-normalizer in the bounds of each variable, of the shape of `lower`.

    A latent holds the bounds fixed in its derivative, so that the log-normalizer has the moments for its gradient. A
    family adds this to `constant`, for derivatives in data. Bounds are in the units of the variable. Those that are
    infinite stay, and nothing is computed unless one moves.
    """
    return jnp.zeros_like(lower)


def _bounds_moved(primals, tangents):
    potentials, lower, upper = primals
    zero, moves = jnp.zeros_like(lower), tangents[1:]
    if all(isinstance(move, SymbolicZero) for move in moves):
        return zero, zero
    potentials = potentials._replace(constant=zero)
    normal = isinstance(potentials, TruncatedNormalPotentials)
    total = (_normal_expectation if normal else _exponential_expectation)(potentials)[1]
    change = zero
    for bound, move, sign in zip((lower, upper), moves, (-1, 1), strict=True):
        known = (potentials.linear != 0) | (normal and potentials.precision != 0)
        known = known & jnp.isfinite(bound)
        if not isinstance(move, SymbolicZero):
            at = jnp.where(known, bound, 0)
            log = potentials.linear * at - (potentials.precision * at * at / 2 if normal else 0) - total
            density = jnp.where(known, jnp.exp(jnp.where(known, log, 0)), 0)
            change = change + sign * density * jnp.where(known, move, 0)
    return zero, change


moving_bounds.defjvp(_bounds_moved, symbolic_zeros=True)


class _Exponential(NamedTuple):
    """Which variables are hidden; their slope, what it rises over the interval, and whether that has an end."""

    hidden: Array
    slope: Array
    turns: Array
    bounded: Array

    def moments(self, potentials: TruncatedExponentialPotentials, t: Array) -> TruncatedExponentialPotentials:
        return TruncatedExponentialPotentials(
            jnp.ones_like(potentials.constant), jnp.where(self.hidden, t, 0), jnp.zeros_like(t)
        )


def _slopes(potentials: TruncatedExponentialPotentials) -> _Exponential:
    hidden, bounded = potentials.linear != 0, jnp.isfinite(potentials.width)
    turns = jnp.where(hidden & bounded, potentials.width, -1)
    return _Exponential(hidden, jnp.where(hidden, potentials.linear, -1), turns, bounded)


def _total(
    potentials: TruncatedNormalPotentials | TruncatedExponentialPotentials, own: Array, factor: Array | None = None
) -> Array:
    constant = potentials.constant if factor is None else potentials.constant * factor
    return constant + jnp.sum(own, tuple(range(constant.ndim, own.ndim)))


_normal = _with_moments(_normal_expectation, TruncatedNormal())
_exponential = _with_moments(_exponential_expectation, TruncatedExponential())
