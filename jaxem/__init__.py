"""Expectation-maximization on JAX."""

from jaxem import adjoint as adjoint
from jaxem import e_step as e_step
from jaxem import families as families
from jaxem import init as init
from jaxem import latent as latent
from jaxem import m_step as m_step
from jaxem import termination as termination
from jaxem import update as update
from jaxem._algorithm import Algorithm as Algorithm
from jaxem._algorithm import em as em
from jaxem._algorithm import em_gradient as em_gradient
from jaxem._algorithm import hard_em as hard_em
from jaxem._algorithm import stepwise_em as stepwise_em
from jaxem._errors import DataError as DataError
from jaxem._errors import FitError as FitError
from jaxem._errors import MissingCapabilityError as MissingCapabilityError
from jaxem._errors import PrecisionWarning as PrecisionWarning
from jaxem._fit import fit as fit
from jaxem._model import AbstractLinearModel as AbstractLinearModel
from jaxem._model import AbstractModel as AbstractModel
from jaxem._restarts import Progress as Progress
from jaxem._restarts import Racing as Racing
from jaxem._solve import Fit as Fit
from jaxem._solve import Restarts as Restarts
from jaxem._solve import solve as solve
from jaxem._status import Status as Status
from jaxem._status import status_name as status_name
from jaxem.families import *  # noqa: F403
from jaxem.models import FunctionModel as FunctionModel
from jaxem.models import GaussianMixture as GaussianMixture
from jaxem.models import Labelled as Labelled
from jaxem.models import Mixture as Mixture
from jaxem.models import MixtureParams as MixtureParams
