"""What kernels share of families that change what is known of a row of another family."""

import dataclasses
from typing import Any, Self

import equinox as eqx

from jaxem.families.kernels._kernel import AbstractKernel


class AbstractWrappedKernel(AbstractKernel):
    """Natural parameters, M-step, coordinates and accuracy are those of `base`, a kernel of the other family."""

    base: eqx.AbstractVar[Any]

    def on(self, base: Any) -> Self:
        """The same over another kernel."""
        return dataclasses.replace(self, base=base)

    def natural(self, params):
        return self.base.natural(params)

    def maximize(self, stats, params, frozen=()):
        return self.base.maximize(stats, params, frozen)

    def log_prior(self, params):
        return self.base.log_prior(params)

    def conjugate(self):
        return self.base.conjugate()

    def for_lanes(self, lanes):
        return self.on(self.base.for_lanes(lanes))

    def for_starts(self, key):
        return self.on(self.base.for_starts(key))

    def encode(self, params):
        return self.base.encode(params)

    def decode(self, params):
        return self.base.decode(params)

    def about(self, params):
        return self.on(self.base.about(params))

    def translate(self, stats, source):
        return self.base.translate(stats, source.base)

    def rounding_error(self, params, natural=None):
        return self.base.rounding_error(params, natural)

    def accurate(self):
        base = self.base.accurate()
        return None if base is None else self.on(base)

    def degenerate(self, params):
        return self.base.degenerate(params)

    def pool(self, params, pooled, counts):
        return self.base.pool(params, pooled, counts)

    def blocks(self, free):
        return self.base.blocks(free)
