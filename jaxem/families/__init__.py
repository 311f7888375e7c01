"""Exponential families for the rows of a table, and their conjugate priors."""

from jaxem.families._family import AbstractFamily as AbstractFamily
from jaxem.families.bernoulli import Bernoulli as Bernoulli
from jaxem.families.bernoulli import BernoulliParams as BernoulliParams
from jaxem.families.categorical import Categorical as Categorical
from jaxem.families.categorical import CategoricalParams as CategoricalParams
from jaxem.families.gaussian import Gaussian as Gaussian
from jaxem.families.gaussian import GaussianParams as GaussianParams
from jaxem.families.poisson import Poisson as Poisson
from jaxem.families.poisson import PoissonParams as PoissonParams
from jaxem.families.priors import Beta as Beta
from jaxem.families.priors import Dirichlet as Dirichlet
from jaxem.families.priors import Gamma as Gamma
from jaxem.families.priors import NormalInverseWishart as NormalInverseWishart
from jaxem.families.priors import StickBreaking as StickBreaking
from jaxem.families.product import Product as Product
from jaxem.families.responses import Responses as Responses
