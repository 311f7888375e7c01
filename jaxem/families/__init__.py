"""Exponential families for the rows of a table, and their conjugate priors."""

from jaxem.families._family import AbstractFamily as AbstractFamily
from jaxem.families._prior import Beta as Beta
from jaxem.families._prior import Dirichlet as Dirichlet
from jaxem.families._prior import Gamma as Gamma
from jaxem.families._prior import NormalInverseWishart as NormalInverseWishart
from jaxem.families.bernoulli import Bernoulli as Bernoulli
from jaxem.families.bernoulli import BernoulliParams as BernoulliParams
from jaxem.families.categorical import Categorical as Categorical
from jaxem.families.categorical import CategoricalParams as CategoricalParams
from jaxem.families.gaussian import Gaussian as Gaussian
from jaxem.families.gaussian import GaussianParams as GaussianParams
from jaxem.families.poisson import Poisson as Poisson
from jaxem.families.poisson import PoissonParams as PoissonParams
from jaxem.families.product import Product as Product
