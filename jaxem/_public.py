"""The public face: what most users type. A name is imported, and what it needs, when it is asked for.

A test holds their number. All other public names live in one of the modules of `jaxem/__init__.py`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxem._algorithm import Algorithm as Algorithm
    from jaxem._batches import batches as batches
    from jaxem._errors import DataError as DataError
    from jaxem._errors import FitError as FitError
    from jaxem._errors import MissingCapabilityError as MissingCapabilityError
    from jaxem._errors import PrecisionWarning as PrecisionWarning
    from jaxem._fit import fit as fit
    from jaxem._fit_many import fit_many as fit_many
    from jaxem._solve import Fit as Fit
    from jaxem._solve import solve as solve
    from jaxem._status import Status as Status
    from jaxem._status import status_name as status_name
    from jaxem._stream import fit_stream as fit_stream
    from jaxem.algorithms import alpha_em as alpha_em
    from jaxem.algorithms import anderson as anderson
    from jaxem.algorithms import annealed_em as annealed_em
    from jaxem.algorithms import ecm as ecm
    from jaxem.algorithms import ecme as ecme
    from jaxem.algorithms import em as em
    from jaxem.algorithms import em_gradient as em_gradient
    from jaxem.algorithms import gem as gem
    from jaxem.algorithms import gibbs as gibbs
    from jaxem.algorithms import hard_em as hard_em
    from jaxem.algorithms import incremental_em as incremental_em
    from jaxem.algorithms import monte_carlo_em as monte_carlo_em
    from jaxem.algorithms import px_em as px_em
    from jaxem.algorithms import saem as saem
    from jaxem.algorithms import squarem as squarem
    from jaxem.algorithms import stepwise_em as stepwise_em
    from jaxem.algorithms import stochastic_em as stochastic_em
    from jaxem.algorithms import vbem as vbem
    from jaxem.engine.cache import cache as cache
    from jaxem.engine.checkpoint import Checkpoint as Checkpoint
    from jaxem.families import Bernoulli as Bernoulli
    from jaxem.families import Categorical as Categorical
    from jaxem.families import Factor as Factor
    from jaxem.families import Gaussian as Gaussian
    from jaxem.families import Incomplete as Incomplete
    from jaxem.families import Interval as Interval
    from jaxem.families import LinearRegression as LinearRegression
    from jaxem.families import Poisson as Poisson
    from jaxem.families import Product as Product
    from jaxem.families import Responses as Responses
    from jaxem.families import StudentT as StudentT
    from jaxem.information import pool as pool
    from jaxem.information import profile as profile
    from jaxem.information import summary as summary
    from jaxem.models import HMM as HMM
    from jaxem.models import LDA as LDA
    from jaxem.models import PPCA as PPCA
    from jaxem.models import Documents as Documents
    from jaxem.models import FactorAnalysis as FactorAnalysis
    from jaxem.models import FunctionModel as FunctionModel
    from jaxem.models import GaussianMixture as GaussianMixture
    from jaxem.models import Labelled as Labelled
    from jaxem.models import LinearGaussianStateSpace as LinearGaussianStateSpace
    from jaxem.models import Mixture as Mixture
    from jaxem.models import MixtureOfExperts as MixtureOfExperts
    from jaxem.models import MixtureOfFactorAnalyzers as MixtureOfFactorAnalyzers
    from jaxem.models import Sequences as Sequences
    from jaxem.models import Single as Single
    from jaxem.models import StudentTMixture as StudentTMixture
    from jaxem.resampling import bootstrap as bootstrap
    from jaxem.resampling import likelihood_ratio_test as likelihood_ratio_test
    from jaxem.selection import aic as aic
    from jaxem.selection import bic as bic
    from jaxem.selection import icl as icl
    from jaxem.selection import select as select

_NAMES = {
    "_algorithm": "Algorithm",
    "_batches": "batches",
    "_errors": "DataError FitError MissingCapabilityError PrecisionWarning",
    "_fit": "fit",
    "_fit_many": "fit_many",
    "_solve": "Fit solve",
    "_status": "Status status_name",
    "_stream": "fit_stream",
    "algorithms": """
        alpha_em anderson annealed_em ecm ecme em em_gradient gem gibbs hard_em incremental_em monte_carlo_em
        px_em saem squarem stepwise_em stochastic_em vbem
    """,
    "engine.cache": "cache",
    "engine.checkpoint": "Checkpoint",
    "families": """
        Bernoulli Categorical Factor Gaussian Incomplete Interval LinearRegression Poisson Product Responses
        StudentT
    """,
    "information": "pool profile summary",
    "models": """
        HMM LDA PPCA Documents FactorAnalysis FunctionModel GaussianMixture Labelled LinearGaussianStateSpace
        Mixture MixtureOfExperts MixtureOfFactorAnalyzers Sequences Single StudentTMixture
    """,
    "resampling": "bootstrap likelihood_ratio_test",
    "selection": "aic bic icl select",
}
PLACES = {name: f"jaxem.{module}" for module, names in _NAMES.items() for name in names.split()}


def public(name: str) -> Any:
    """What `jaxem` has under this name."""
    return getattr(import_module(PLACES[name]), name)
