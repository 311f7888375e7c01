"""E rules: what is taken from the posterior of the latents."""

from jaxem.e_step._e_step import AbstractEStep as AbstractEStep
from jaxem.e_step.alpha import Alpha as Alpha
from jaxem.e_step.annealed import Annealed as Annealed
from jaxem.e_step.expectation import Expectation as Expectation
from jaxem.e_step.mode import Mode as Mode
from jaxem.e_step.monte_carlo import MonteCarlo as MonteCarlo
from jaxem.e_step.sample import Sample as Sample
from jaxem.e_step.tempered import Tempered as Tempered
