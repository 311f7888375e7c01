from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import reduce as fold
from typing import Any, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem.families._family import AbstractFamily


class AbstractParts(AbstractFamily):
    """A family that is made of others, by name: its parameters are a dictionary of theirs.

    A single parameter is called `"part.field"`.
    """

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, AbstractFamily]:
        """The family of each part."""

    @abstractmethod
    def with_parts(self, parts: dict[str, AbstractFamily]) -> Self:
        """This family with others of the same parameters for parts."""

    @property
    def parameters(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        paths = []
        for name, family in self.parts.items():
            paths += [name, *(f"{name}.{field}" for field in family.parameters)]
        return tuple(paths)

    def maximize_part(
        self, name: str, stats: PyTree, params: dict[str, PyTree], frozen: tuple[str, ...], expanded: bool = False
    ) -> PyTree:
        """The M-step of one part, from its own statistics."""
        if name in frozen:
            return params[name]
        family = self.parts[name]
        m_step = family.maximize_expanded if expanded else family.maximize
        return m_step(stats, params[name], _within(name, frozen))

    def redundant(self, params, frozen=()):
        free = [name for name in self.parts if name not in frozen]
        return sum(self.parts[name].redundant(params[name], _within(name, frozen)) for name in free)

    def log_prior(self, params):
        return fold(jnp.add, self._scalars(lambda family, p: family.log_prior(p), params))

    def unconstrain(self, params):
        return self._each(lambda family, p: family.unconstrain(p), params)

    def constrain(self, free):
        return self._each(lambda family, u: family.constrain(u), free)

    def blocks(self, free):
        parts = self._each(lambda family, u: family.blocks(u), free)
        counts = [len(blocks) for blocks, _ in parts.values()]

        def undo(arrays):
            rest, found = list(arrays), {}
            for name, count in zip(parts, counts, strict=True):
                found[name] = parts[name][1](rest[:count])
                rest = rest[count:]
            return found

        return [array for blocks, _ in parts.values() for array in blocks], undo

    def encode(self, params):
        return self._each(lambda family, p: family.encode(p), params)

    def decode(self, params):
        return self._each(lambda family, p: family.decode(p), params)

    def accurate(self):
        slower = self._each(lambda family: family.accurate())
        if all(family is None for family in slower.values()):
            return None
        return self.with_parts({name: slower[name] or family for name, family in self.parts.items()})

    def at(self, params):
        return self.with_parts(self._each(lambda family, p: family.at(p), params))

    def loss(self, params, natural=None):
        natural = dict.fromkeys(self.parts) if natural is None else natural
        return fold(jnp.maximum, self._scalars(lambda family, p, eta: family.loss(p, eta), params, natural))

    def degenerate(self, params):
        return fold(jnp.logical_or, self._each(lambda family, p: family.degenerate(p), params).values())

    @property
    def domains(self):
        each = ((name, family.domains.items()) for name, family in self.parts.items())
        return {f"{name}.{field}": kind for name, domains in each for field, kind in domains}

    def for_starts(self):
        return self.with_parts(self._each(lambda family: family.for_starts()))

    def seeded(self, key):
        return self.with_parts(self._each(lambda family, own: family.seeded(own), self._keys(key)))

    def floats_per_row(self, params):
        parts = self._each(lambda family, p: family.floats_per_row(p), params).values()
        return sum(shared for shared, _ in parts), sum(own for _, own in parts)

    def _each(self, fn: Callable[..., Any], *trees: Mapping[str, Any]) -> dict[str, Any]:
        return {name: fn(family, *(tree[name] for tree in trees)) for name, family in self.parts.items()}

    def _keys(self, key):
        return dict(zip(self.parts, jax.random.split(key, len(self.parts)), strict=True))

    def _scalars(self, fn: Callable[..., Array], params: dict[str, PyTree], *trees: dict[str, PyTree]) -> list[Array]:
        dtype = jax.tree.leaves(params)[0].dtype
        return [value.astype(dtype) for value in self._each(fn, params, *trees).values()]


def _within(name: str, frozen: tuple[str, ...]) -> tuple[str, ...]:
    """Of the names in `frozen`, those of a part's parameters, as the part calls them."""
    return tuple(path.removeprefix(f"{name}.") for path in frozen if path.startswith(f"{name}."))
