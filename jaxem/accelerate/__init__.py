"""Accelerators: extrapolation of the whole EM map."""

from jaxem.accelerate._accelerator import AbstractAccelerator as AbstractAccelerator
from jaxem.accelerate.anderson import Anderson as Anderson
from jaxem.accelerate.parabolic import Parabolic as Parabolic
from jaxem.accelerate.quasi_newton import QuasiNewton as QuasiNewton
from jaxem.accelerate.squarem import Squarem as Squarem
