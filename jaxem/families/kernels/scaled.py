"""What kernels share of families each of whose rows, or responses, has a hidden scale of mean 1."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.kernels.special import stirling_excess


class AbstractScaledKernel(AbstractKernel):
    """Coordinates and starts are those of the kernel `base`, of rows whose scale is known to be 1.

    `family` says which part of the parameters is that kernel's (`of_base`), and joins it with that of the scale.
    """

    base: eqx.AbstractVar[Any]

    def log_base(self, x):
        return self.base.log_base(x)

    def log_prior(self, params):
        return self.base.log_prior(self.family.of_base(params))

    def conjugate(self):
        return None

    def for_lanes(self, lanes):
        return dataclasses.replace(self, base=self.base.for_lanes(lanes))

    def for_starts(self, key):
        kernel: Any = super().for_starts(key)
        return dataclasses.replace(kernel, base=self.base.for_starts(key))

    def encode(self, params):
        own = self.base.encode(self.family.of_base(params))
        return self.family.joined(own, self.family.value(params))

    def decode(self, params):
        own = self.base.decode(self.family.of_base(params))
        return self.family.joined(own, getattr(params, self.family.spread))

    def blocks(self, free):
        (blocks, undo), value = self.base.blocks(self.family.of_base(free)), getattr(free, self.family.spread)
        if self.family.given is not None:
            return blocks, lambda arrays: self.family.joined(undo(arrays), value)
        shape = value.shape
        own = value.reshape(1 if self.family.pooled else shape[0], -1)
        return [*blocks, own], lambda arrays: self.family.joined(undo(arrays[:-1]), arrays[-1].reshape(shape))

    def degenerate(self, params):
        return self.base.degenerate(self.family.of_base(params))

    def from_points(self, points, x, weights):
        family, own = self.family, self.base.from_points(points, x, weights)
        value = jnp.full_like(family.like(own), family.first if family.given is None else family.given)
        return family.joined(own, value[0] if family.pooled else value)

    def refine(self, params, x, weights):
        family = self.family
        return family.joined(self.base.refine(family.of_base(params), x, weights), getattr(params, family.spread))

    def embed(self, x, weights=None):
        return self.base.embed(x, weights)


def log_constant(shape: Array) -> Array:
    """The coefficient of 1 in a gamma distribution of mean 1 that has `shape` for that of `log u - u + 1`."""
    return jnp.log(shape / (2 * jnp.pi)) / 2 - stirling_excess(shape)


def about_mean(excess: Array, counts: Array, totals: Array, mean: Array) -> Array:
    """The sum of `log v - v + 1` for `v = u / mean`, from sums of `log u - u + 1`, 1 and `u`."""
    return excess - counts * jnp.log(mean) + totals * (1 - 1 / mean)
