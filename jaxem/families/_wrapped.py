"""What families share that change what is known of a row of another family."""

from typing import Any

from jaxem.families._family import AbstractKernelFamily


class AbstractWrapped(AbstractKernelFamily):
    """Another family under a change of what is known of a row: parameters, prior and M-step are that family's."""

    family: Any

    def wrap(self, family: Any) -> "AbstractWrapped":
        """The same change of another family."""
        return type(self)(family)

    @property
    def parameters(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.family.parameters

    @property
    def prior_hint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.family.prior_hint

    @property
    def shared(self) -> tuple[str, ...]:
        return self.family.shared

    @property
    def coupled(self) -> bool:
        return self.family.coupled

    def unconstrain(self, params):
        return self.family.unconstrain(params)

    def constrain(self, free):
        return self.family.constrain(free)

    def blocks(self, free):
        return self.family.blocks(free)

    def redundant(self, params, frozen=()):
        return self.family.redundant(params, frozen)

    def sample(self, key, params, labels):
        return self.family.sample(key, params, labels)

    # Rows and members

    def read(self, x):
        return self.family.read(x)

    def check_members(self, count):
        self.family.check_members(count)

    @property
    def domains(self):
        return self.family.domains

    def check_shape(self, params, x, name="data"):
        self.family.check_shape(params, x, name)

    def for_starts(self, key):
        return self.wrap(self.family.for_starts(key))

    def pool(self, params, pooled, counts):
        return self.family.pool(params, pooled, counts)
