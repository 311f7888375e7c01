"""What families share that are made of others, by name."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax

from jaxem.families._family import AbstractFamily, AbstractKernelFamily
from jaxem.families.kernels.parts import within


class AbstractParts(AbstractKernelFamily):
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

    def redundant(self, params, frozen=()):
        free = [name for name in self.parts if name not in frozen]
        return sum(self.parts[name].redundant(params[name], within(name, frozen)) for name in free)

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

    @property
    def domains(self):
        each = ((name, family.domains.items()) for name, family in self.parts.items())
        return {f"{name}.{field}": kind for name, domains in each for field, kind in domains}

    def for_starts(self, key):
        return self.with_parts(self._each(lambda family, own: family.for_starts(own), self.keys(key)))

    def _each(self, fn: Callable[..., Any], *trees: Mapping[str, Any]) -> dict[str, Any]:
        return {name: fn(family, *(tree[name] for tree in trees)) for name, family in self.parts.items()}

    def keys(self, key: Any) -> dict[str, Any]:
        """A key for each part."""
        return dict(zip(self.parts, jax.random.split(key, len(self.parts)), strict=True))
