"""E rules: what is taken from the posterior of the latents."""

from jaxem.e_step._e_step import AbstractEStep as AbstractEStep
from jaxem.e_step.expectation import Expectation as Expectation
from jaxem.e_step.mode import Mode as Mode
