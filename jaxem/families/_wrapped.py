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
    def num_members(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.family.num_members

    @property
    def shared(self) -> tuple[str, ...]:
        return self.family.shared

    def unconstrain(self, params):
        return self.family.unconstrain(params)

    def constrain(self, free):
        return self.family.constrain(free)

    def redundant(self, params, frozen=()):
        return self.family.redundant(params, frozen)

    def sample(self, key, params, labels):
        return self.family.sample(key, params, labels)

    # Rows and members

    def read(self, x):
        return self.family.read(x)

    @property
    def domains(self):
        return self.family.domains

    def check_shape(self, params, x, name="data"):
        self.family.check_shape(params, x, name)

    def pool(self, params, pooled, counts):
        return self.family.pool(params, pooled, counts)
