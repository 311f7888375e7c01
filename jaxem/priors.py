"""Conjugate priors. A posterior is one too: an instance of the same class, with arrays for its fields."""

from jaxem.families.priors import Beta as Beta
from jaxem.families.priors import Dirichlet as Dirichlet
from jaxem.families.priors import Gamma as Gamma
from jaxem.families.priors import NormalInverseWishart as NormalInverseWishart
from jaxem.families.priors import StickBreaking as StickBreaking
