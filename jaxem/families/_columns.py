"""Coordinates in which the columns of a table have mean 0 and variance 1."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.kernels.chunks import per_device, sum_chunks
from jaxem.kernels.sums import repeated

_ROWS = 2**16  # rows at a time when the data are first looked at
_STEPS = 15


def in_power_of_two(weights: Float[Array, " n"], reduce: Any) -> Float[Array, " n"]:
    """Weights in a unit near their sum: tiny ones times small squares would vanish. Nothing is rounded."""
    return jnp.ldexp(weights, -jnp.frexp(reduce(jnp.sum(weights)))[1])


class Columns(NamedTuple):
    """The loop works on `(x - shift) / scale`."""

    shift: Float[Array, " d"]
    scale: Float[Array, " d"]

    @staticmethod
    def of(
        x: Float[Array, "n d"],
        weights: Float[Array, " n"],
        reduce: Any,
        isotropic: bool = False,
        centred: bool = True,
    ) -> "Columns":
        """Mean and standard deviation of the observed entries of each column; one scale for all if `isotropic`.

        Unless `centred`, columns stay where they are and the scale is the root of their mean square.
        """

        def mean(about, power):
            def one(chunk, w, index):
                # A missing entry counts for nothing in its column.
                missing, w = jnp.isnan(chunk), w[:, None]
                power_of = jnp.where(missing, 0, chunk - per_device(about, chunk)[None]) ** power
                return jnp.sum(w * power_of, 0), jnp.sum(jnp.where(missing, 0, w), 0)

            sums, total = reduce(sum_chunks(one, x, weights, _ROWS))
            return sums / jnp.where(total > 0, total, 1)

        weights = in_power_of_two(weights, reduce)
        shift = jnp.zeros(x.shape[1], x.dtype)
        # A second pass about the first mean: in single precision a large offset leaves the first one inexact.
        for _ in range(2 * centred):
            shift = shift + mean(shift, 1)
        variance = mean(shift, 2)
        if isotropic:
            variance = jnp.full_like(variance, jnp.mean(variance))
        return jax.lax.stop_gradient(Columns(shift, jnp.sqrt(jnp.where(variance > 0, variance, 1))))

    def robust(
        self, x: Float[Array, "n d"], weights: Float[Array, " n"], reduce: Any, isotropic: bool = False
    ) -> "Columns":
        """Moved to the location and scale of a Cauchy distribution of each column, by EM: outliers hardly matter."""

        weights = in_power_of_two(weights, reduce)

        def once(_, found):
            def one(chunk, w, index):
                rest = per_device(found, chunk).standardize(chunk)
                if isotropic:
                    w = (w * (1 + x.shape[1]) / (1 + jnp.sum(rest**2, 1)))[:, None]
                    w = jnp.broadcast_to(w, rest.shape)
                else:
                    w = w[:, None] * 2 / (1 + rest**2)
                return (jnp.sum(w, 0), jnp.sum(w * rest, 0), jnp.sum(w * rest**2, 0)), jnp.zeros((), w.dtype)

            total, sums, squares = reduce(sum_chunks(one, x, weights, _ROWS))[0]
            squares = jnp.broadcast_to(jnp.mean(squares), squares.shape) if isotropic else squares
            left = squares / total
            scale = jnp.where(left > 0, found.scale * jnp.sqrt(left), found.scale)
            return Columns(found.shift + found.scale * sums / total, scale)

        return jax.lax.stop_gradient(repeated(reduce, _STEPS, once, self))

    def standardize(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return (x - self.shift[None]) / self.scale[None]
