from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree


class AbstractAccelerator(eqx.Module):
    """Chooses where to evaluate the EM map next, in coordinates `[p]` of the parameters that are not frozen.

    The loop evaluates the objective wherever the map is evaluated. Where it has fallen, or is not finite, the run goes
    on from the EM step that was passed over, so that the objective never falls.

    `unconstrained` says whether the coordinates are unconstrained, or the parameters themselves; a point outside of
    their domain is then refused like one whose objective has fallen.
    """

    @property
    def unconstrained(self) -> bool:
        return True

    @abstractmethod
    def init(self, free: Float[Array, " p"]) -> PyTree:
        """State for coordinates like `free`."""

    @abstractmethod
    def __call__(
        self, here: Float[Array, " p"], mapped: Float[Array, " p"], state: PyTree
    ) -> tuple[Float[Array, " p"], PyTree]:
        """The next point, given the last one, `here`, and what the EM map made of it."""

    @abstractmethod
    def plain(self, state: PyTree) -> Bool[Array, ""]:
        """True if the point that came with `state` is an EM step from one that was compared."""

    @abstractmethod
    def comparable(self, state: PyTree) -> Any:
        """True if the objective at the point that came with `state` is to be compared; false for one on the way.

        A plain `True` says that it always is.
        """

    @abstractmethod
    def rejected(self, state: PyTree) -> tuple[Float[Array, " p"], PyTree]:
        """The EM step to go on from after the point that came with `state` was refused, and the state for it."""
