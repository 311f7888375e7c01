"""How `solve` is differentiated."""

from jaxem.adjoint._adjoint import AbstractAdjoint, Implicit, OneStep, Unroll
from jaxem.adjoint._equation import em_map

__all__ = ["AbstractAdjoint", "Implicit", "OneStep", "Unroll", "em_map"]
