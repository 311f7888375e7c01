"""Maxima of the likelihood along a function of the parameters: many values of it side by side, as one program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxem._bound import scoring
from jaxem._coordinates import vector
from jaxem.engine.door import question, without_unusable
from jaxem.engine.trees import choose
from jaxem.information._directions import hessian
from jaxem.information._matrices import Place, of_prior
from jaxem.information._scalar import LOGIT, on_scale
from jaxem.kernels.chunks import chunk_rows, num_rows, sum_chunks
from jaxem.kernels.linalg import eigh, matmul, symmetrize
from jaxem.kernels.sums import weighted_sum

_LONGEST = 2.0  # standard errors that a step may take along each direction
_FLAT = 1e-3  # of the curvature at the maximum, which is 1: directions of less are judged by the objective alone
_SHORTEST, _RETURNS = 0.5**20, 40


class Ridge(NamedTuple):
    """Where the likelihood is largest for given values of a function, each of `l`.

    - `place`: coordinates `[l, m]`, in which the information at the fit is the identity;
    - `fall`: by how much the objective is less there than at the fit;
    - `slope`: the derivative of that in the value;
    - `decrement`: how far, in standard errors, the maximum still is;
    - `reached`: whether the function takes the value; `settled`: whether the maximum was found; `steps` taken.
    """

    place: Float[Array, "l m"]
    value: Float[Array, " l"]
    fall: Float[Array, " l"]
    slope: Float[Array, " l"]
    decrement: Float[Array, " l"]
    reached: Bool[Array, " l"]
    settled: Bool[Array, " l"]
    steps: Int[Array, " l"]
    params: PyTree


class _Lane(NamedTuple):
    """A lane on its way: the last place that was taken, what is known of it, and the step to try from there."""

    place: Array
    fall: Array
    slope: Array
    decrement: Array
    sound: Array  # whether the curvature along the surface is that of a maximum
    direction: Array
    rate: Array
    share: Array
    steps: Array
    done: Array
    reached: Array
    settled: Array


@question
def ridge(
    model: Any,
    params: PyTree,
    data: PyTree,
    *,
    weights: Any = None,
    fn: Callable[[PyTree], Array],
    scale: Int[Array, ""],
    root: Float[Array, "p m"],
    centre: Float[Array, ""],
    unit: Float[Array, ""],
    targets: Float[Array, " l"],
    starts: Float[Array, "l m"],
    bound: Bool[Array, " l"],
    max_steps: int,
) -> Ridge:
    """Maxima of the objective where the function is `centre + unit * target` on its scale.

    Newton's method on the surface where it is: a step along the surface, with the second derivatives of Lagrange's
    function, and back onto it, which takes no look at the data. Lanes that are not `bound` have no constraint.
    """
    surface = _Surface(model, params, data, weights, fn, scale, root, centre, unit, targets.shape[0])

    def lane(target: Array, start: Array, on: Array) -> tuple[Any, ...]:
        state = surface.searched(target, start, on, max_steps)
        return state, surface.value(state.place), surface.at(surface.coordinates(state.place))

    state, values, there = jax.vmap(lane)(targets, starts, bound)
    return Ridge(
        state.place, values, state.fall, state.slope, state.decrement, state.reached, state.settled, state.steps, there
    )


class _Surface:
    """The objective and the function, at coordinates in which the information at the fit is the identity."""

    def __init__(
        self, model: Any, params: PyTree, data: PyTree, weights: Any, fn: Any, scale: Any, root: Any, centre: Any,
        unit: Any, lanes: int,
    ):  # fmt: skip
        self.model, self.fn, self.scale, self.root, self.centre, self.unit = model, fn, scale, root, centre, unit
        self.here, self.at = vector(model, params)
        self.dtype, self.lanes = self.here.dtype, lanes
        self.eps = jnp.finfo(self.dtype).eps
        w = jnp.ones(num_rows(data), self.dtype) if weights is None else jnp.asarray(weights, self.dtype)
        self.w, self.data = w, without_unusable(model, data, w)
        self.base = _log_density(model, params, self.data)
        self.prior = model.log_prior(params).astype(self.dtype)
        # Rounding of a sum of differences, each of the size of a log density.
        self.noise = 4 * self.eps * (jnp.sqrt(jnp.sum(w * w * jnp.where(w > 0, self.base, 0) ** 2)) + 1)
        # Where rounding lets a search go no farther, a decrement of so much is the end of it.
        self.enough = jnp.maximum(self.eps**0.2, jnp.sqrt(8 * self.noise))
        self.slack = 32 * self.eps * (1 + jnp.abs(centre / unit))

    def coordinates(self, v: Array) -> Array:
        return self.here + matmul(self.root, v[:, None])[:, 0]

    def value(self, v: Array) -> Array:
        """The function there, in units from its value at the fit."""
        found = on_scale(self.fn(self.at(self.coordinates(v))).astype(self.dtype), self.scale)
        return (found - self.centre) / self.unit

    def fall(self, v: Array) -> Array:
        """By how much the objective is less there than at the fit."""
        there, dtype = self.at(self.coordinates(v)), self.dtype
        rows = chunk_rows(num_rows(self.data), scoring(self.model, there).floats_per_row(there, self.lanes))

        def lost_by(block: PyTree, own: Array, index: Array) -> tuple[Array, Array]:
            chunk, before = block
            lost = before - _log_density(self.model, there, chunk)
            return jnp.zeros((), dtype), weighted_sum(own, lost)

        lost = sum_chunks(lost_by, (self.data, self.base), self.w, rows)[1]
        return lost + self.prior - self.model.log_prior(there).astype(dtype)

    def derivatives(self, v: Array) -> tuple[Array, Array]:
        """The gradient and the second derivatives of `fall`."""
        u, root = self.coordinates(v), self.root
        place = Place(self.model, self.at(u), self.data, self.w, coordinates=(u, self.at), lanes=self.lanes)
        curved, slope = of_prior(self.model, u, self.at)
        stats = place.stats()
        gradient = jax.vjp(place.natural_at, u)[1](stats)[0] + slope
        curvature = place.oakes(stats) + curved
        return -matmul(root.T, gradient[:, None])[:, 0], symmetrize(matmul(root.T, matmul(curvature, root)))

    def searched(self, target: Array, start: Array, on: Array, max_steps: int) -> _Lane:
        """Where a lane that is `on` the surface of `target` ends."""
        # Near 1 a probability has few digits of what it lacks.
        lacking = jnp.where(self.scale == LOGIT, jnp.exp(jnp.minimum(self.centre + self.unit * target, 60)), 0)
        tight = self.slack + 32 * self.eps * jnp.abs(target) + 8 * self.eps * lacking / self.unit

        def miss(v: Array) -> Array:
            return jnp.where(on, self.value(v) - target, 0)

        zero, no, yes = jnp.zeros((), self.dtype), jnp.zeros((), bool), jnp.ones((), bool)
        one, far, none = jnp.ones((), self.dtype), jnp.asarray(jnp.inf, self.dtype), jnp.zeros((), jnp.int32)
        state = _Lane(start, far, zero, far, no, jnp.zeros_like(start), zero, one, none, no, yes, no)
        return jax.lax.while_loop(
            lambda s: ~s.done & (s.steps < max_steps), lambda s: self._next(s, miss, tight), state
        )

    def _next(self, state: _Lane, miss: Callable[[Array], Array], tight: Array) -> _Lane:
        """A lane after the step that it is about to try, or with half of it to try next."""
        there, on_it = _back(miss, state.place + state.share * state.direction, tight)
        lost = self.fall(there)
        bound = state.fall + 1e-4 * state.share * state.rate + self.noise
        fine = on_it & jnp.isfinite(lost) & (lost <= bound)
        gradient, curvature = self.derivatives(there)
        slope, decrement, direction, sound = _tangent(there, gradient, curvature, miss)
        first, close = state.steps == 0, state.decrement <= self.enough
        near = ~(decrement > self.eps**0.5) | (close & (decrement > state.decrement / 2))
        taken = _Lane(
            there, lost, slope, decrement, sound, direction, jnp.sum(direction * gradient), jnp.ones((), self.dtype),
            state.steps + 1, near, on_it, near & sound,
        )  # fmt: skip
        given_up = first | close | (state.share <= _SHORTEST)
        refused = state._replace(
            share=state.share / 2, steps=state.steps + 1, done=given_up, reached=state.reached & ~first,
            settled=given_up & state.sound & close,
        )  # fmt: skip
        return choose(fine, taken, refused)


def _tangent(v: Array, gradient: Array, curvature: Array, miss: Callable[[Array], Array]) -> tuple[Array, ...]:
    """Lagrange's multiplier, Newton's decrement and step along the surface, and whether it is a maximum there."""
    normal = jax.grad(miss)(v)
    length = jnp.linalg.norm(normal)
    safe = jnp.where(length > 0, length, 1)
    normal = (normal / safe)[:, None]
    slope = jnp.sum(gradient * normal[:, 0]) / safe
    curvature = curvature - slope * hessian(miss, v)
    across = jnp.eye(v.size, dtype=v.dtype) - matmul(normal, normal.T)
    values, vectors = eigh(symmetrize(matmul(across, matmul(curvature, across)) + matmul(normal, normal.T)))
    size = jnp.maximum(jnp.abs(values), 1e3 * jnp.finfo(v.dtype).eps)
    turned = matmul(vectors.T, matmul(across, gradient[:, None]))[:, 0]
    decrement = jnp.sqrt(jnp.sum(jnp.where(size > _FLAT, turned**2 / size, 0)))
    # The maximum may lie at infinity, such as where a component vanishes: all that is left to gain is this.
    left = jnp.sum(jnp.where(size > _FLAT, 0, turned**2 / size))
    decrement = jnp.maximum(decrement, left)
    step = jnp.clip(turned / size, -_LONGEST, _LONGEST)
    direction = -matmul(across, matmul(vectors, step[:, None]))[:, 0]
    sound = jnp.isfinite(decrement) & (jnp.min(values) > -_FLAT)
    return slope, decrement, direction, sound


def _back(miss: Callable[[Array], Array], v: Array, tight: Array) -> tuple[Array, Array]:
    """The next place where the function has its value, along its gradient; and whether there is one."""

    def off(carry: tuple[Array, Array, Array]) -> Array:
        return (jnp.abs(carry[1]) > tight) & (carry[2] < _RETURNS)

    def closer(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, _, count = carry
        gap, slope = jax.value_and_grad(miss)(v)
        step = -gap * slope / jnp.maximum(jnp.sum(slope**2), jnp.finfo(slope.dtype).tiny)
        v = v + step / jnp.maximum(jnp.linalg.norm(step), 1)
        return v, miss(v), count + 1

    v, gap, _ = jax.lax.while_loop(off, closer, (v, miss(v), jnp.zeros((), jnp.int32)))
    return v, jnp.abs(gap) <= tight


def _log_density(model: Any, params: PyTree, data: PyTree) -> Float[Array, " n"]:
    scored = scoring(model, params)
    value = scored.latent.log_normalizer(scored.potentials(scored.natural(params), data))
    return value + scored.log_base(data).astype(value.dtype)
