"""How a layer fits: when it stops, how it is differentiated, what keeps its members alive."""

import dataclasses
from typing import Any, final

import equinox as eqx

from jaxem._arguments import as_count, as_tolerance, require_kind
from jaxem._errors import DataError
from jaxem.adjoint import AbstractAdjoint, Implicit, Unroll


@final
class Fitting(eqx.Module):
    """How a layer of `jaxem.layers` fits.

    **Arguments:**

    - `steps`: the number of iterations; `None` goes on to convergence.
    - `adjoint`: how the fit is differentiated. By default `jaxem.adjoint.Implicit` at convergence, and
        `jaxem.adjoint.Unroll` through so many `steps`. In a layer `Implicit` has no NaN: where there is no implicit
        derivative, that of one iteration takes its place, as by `Implicit(unconverged="one_step")`.
    - `pseudo_count`: how many rows the initial parameters of a member count for in its prior; positive. A member that
        no row belongs to stays at them, and its derivative exists. With `None` there is no prior: under `Implicit` and
        `OneStep` the initial parameters then have the derivative 0.
    - `revivals`: how often members that hold less than a hundredth of an equal share of the rows are moved to the rows
        that are explained worst; the fit goes on from there each time, as long again.
    - `tol`: of the run to convergence: by default how much more objective per unit of weight there is to gain.
    - `max_steps`: the most iterations of a run to convergence.
    - `kernel`: the arithmetic, as of `jaxem.solve`. `"fast"` is enough where no member is fifty times narrower than
        the data in single precision, thousands of times in double precision.

    **Raises:** `DataError` for arguments that cannot be used, and for `Implicit` with a number of `steps`: a run that
    stops early is at no fixed point.

    **Example**

    >>> import jaxem
    >>> fitting = jaxem.layers.Fitting(steps=5)
    >>> fitting.derivative
    Unroll(steps=5)
    """

    steps: int | None = eqx.field(static=True, default=None)
    adjoint: AbstractAdjoint | None = None
    pseudo_count: float | None = eqx.field(static=True, default=1.0)
    revivals: int = eqx.field(static=True, default=0)
    tol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=1000)
    kernel: str = eqx.field(static=True, default="fast")

    def __check_init__(self):
        require_kind("adjoint", self.adjoint, AbstractAdjoint, "jaxem.adjoint.Implicit()")
        as_count("max_steps", self.max_steps)
        as_count("revivals", self.revivals, least=0)
        if self.tol is not None:
            as_tolerance(self.tol)
        count: Any = self.pseudo_count
        if count is not None and (isinstance(count, bool) or not isinstance(count, int | float) or not count > 0):
            raise DataError(f"pseudo_count must be a positive number, or None for no prior, got {count!r}")
        if self.steps is None:
            return
        as_count("steps", self.steps)
        if isinstance(self.adjoint, Implicit):
            raise DataError(
                f"Implicit is the derivative of a fixed point, and a run of steps={self.steps} ends before it: "
                "leave out steps, or pass adjoint=jaxem.adjoint.OneStep() or Unroll(...)"
            )
        if isinstance(self.adjoint, Unroll) and self.adjoint.steps < self.steps:
            raise DataError(f"Unroll(steps={self.adjoint.steps}) is too short for steps={self.steps}")

    @property
    def derivative(self) -> AbstractAdjoint:
        """The adjoint of a fit: the one that was given, or the default, without NaN."""
        if self.adjoint is None:
            return Implicit(unconverged="one_step") if self.steps is None else Unroll(self.steps)
        if isinstance(self.adjoint, Implicit) and self.adjoint.unconverged == "nan":
            return dataclasses.replace(self.adjoint, unconverged="one_step")
        return self.adjoint
