"""How `solve` is differentiated."""

from jaxem.engine.adjoint.adjoint import AbstractAdjoint, Implicit, OneStep, Unroll
from jaxem.engine.adjoint.equation import em_map

__all__ = ["AbstractAdjoint", "Implicit", "OneStep", "Unroll", "em_map"]
