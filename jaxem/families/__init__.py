"""Exponential families for the rows of a table, and their conjugate priors."""

from jaxem.families._family import AbstractFamily as AbstractFamily
from jaxem.families._prior import Dirichlet as Dirichlet
from jaxem.families._prior import NormalInverseWishart as NormalInverseWishart
from jaxem.families.gaussian import Gaussian as Gaussian
from jaxem.families.gaussian import GaussianParams as GaussianParams
