"""Distributions on the line, which a family names for one column of its rows: what distribution functions, quantiles
and residuals are made of."""

from jaxem.families.univariate._univariate import AbstractUnivariate as AbstractUnivariate
from jaxem.families.univariate._univariate import Marginal as Marginal
from jaxem.families.univariate._univariate import Stacked as Stacked
from jaxem.families.univariate._univariate import entries as entries
from jaxem.families.univariate._univariate import marginal_of as marginal_of
from jaxem.families.univariate._univariate import of_column as of_column
from jaxem.families.univariate._univariate import require_covariates as require_covariates
from jaxem.families.univariate.discrete import Binomial as Binomial
from jaxem.families.univariate.discrete import Categories as Categories
from jaxem.families.univariate.discrete import NegativeBinomial as NegativeBinomial
from jaxem.families.univariate.discrete import Point as Point
from jaxem.families.univariate.discrete import Poisson as Poisson
from jaxem.families.univariate.positive import Gamma as Gamma
from jaxem.families.univariate.positive import InverseGaussian as InverseGaussian
from jaxem.families.univariate.positive import LogNormal as LogNormal
from jaxem.families.univariate.positive import Weibull as Weibull
from jaxem.families.univariate.symmetric import Normal as Normal
from jaxem.families.univariate.symmetric import StudentT as StudentT
