"""Families of distributions for the rows of a table, and their parameters."""

from typing import TYPE_CHECKING

from jaxem._conjugate import AbstractConjugate as AbstractConjugate
from jaxem._conjugate import AbstractPriorConjugate as AbstractPriorConjugate
from jaxem.families._family import AbstractFamily as AbstractFamily
from jaxem.families._family import AbstractKernelFamily as AbstractKernelFamily
from jaxem.families.bernoulli import Bernoulli as Bernoulli
from jaxem.families.bernoulli import BernoulliParams as BernoulliParams
from jaxem.families.categorical import Categorical as Categorical
from jaxem.families.categorical import CategoricalParams as CategoricalParams
from jaxem.families.censored import CensoredLogNormal as CensoredLogNormal
from jaxem.families.censored import CensoredNormal as CensoredNormal
from jaxem.families.censored import CensoredRegression as CensoredRegression
from jaxem.families.censored_lifetimes import CensoredExponential as CensoredExponential
from jaxem.families.censored_lifetimes import CensoredWeibull as CensoredWeibull
from jaxem.families.censored_lifetimes import ExponentialParams as ExponentialParams
from jaxem.families.censored_lifetimes import WeibullParams as WeibullParams
from jaxem.families.factor import Factor as Factor
from jaxem.families.factor import FactorParams as FactorParams
from jaxem.families.function import FunctionFamily as FunctionFamily
from jaxem.families.function import NeuralFamily as NeuralFamily
from jaxem.families.gaussian import Gaussian as Gaussian
from jaxem.families.gaussian import GaussianParams as GaussianParams
from jaxem.families.glm import BinomialRegression as BinomialRegression
from jaxem.families.glm import GLMParams as GLMParams
from jaxem.families.glm import PoissonRegression as PoissonRegression
from jaxem.families.incomplete import Incomplete as Incomplete
from jaxem.families.incomplete import IncompleteColumns as IncompleteColumns
from jaxem.families.intervals import Interval as Interval
from jaxem.families.inverse_gaussian import InverseGaussian as InverseGaussian
from jaxem.families.inverse_gaussian import InverseGaussianParams as InverseGaussianParams
from jaxem.families.kernels import AbstractKernel as AbstractKernel
from jaxem.families.negative_binomial import NegativeBinomial as NegativeBinomial
from jaxem.families.negative_binomial import NegativeBinomialParams as NegativeBinomialParams
from jaxem.families.negative_binomial import NegativeBinomialRegression as NegativeBinomialRegression
from jaxem.families.negative_binomial import (
    NegativeBinomialRegressionParams as NegativeBinomialRegressionParams,
)
from jaxem.families.one_of import OneOf as OneOf
from jaxem.families.one_of import PointMass as PointMass
from jaxem.families.poisson import Poisson as Poisson
from jaxem.families.poisson import PoissonParams as PoissonParams
from jaxem.families.product import Product as Product
from jaxem.families.regression import LinearRegression as LinearRegression
from jaxem.families.regression import RegressionParams as RegressionParams
from jaxem.families.responses import Responses as Responses
from jaxem.families.student_t import StudentT as StudentT
from jaxem.families.student_t import StudentTParams as StudentTParams
from jaxem.families.student_t import TRegression as TRegression
from jaxem.families.student_t import TRegressionParams as TRegressionParams

if not TYPE_CHECKING:

    def __getattr__(name):
        from jaxem._moved import moved

        return moved(name, "jaxem.families")
