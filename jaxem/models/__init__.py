"""Models, their parameters and data, and the contracts that a model of your own keeps.

Models are short, because latents, families and rules do the work.
"""

from jaxem._bound import AbstractBound as AbstractBound
from jaxem._bound import AbstractPlain as AbstractPlain
from jaxem._model import AbstractBoundModel as AbstractBoundModel
from jaxem._model import AbstractLinearModel as AbstractLinearModel
from jaxem._model import AbstractModel as AbstractModel
from jaxem.engine.variational import Variational as Variational
from jaxem.models import factor_analysis as factor_analysis
from jaxem.models.documents import Documents as Documents
from jaxem.models.factor_analysis import PPCA as PPCA
from jaxem.models.factor_analysis import FactorAnalysis as FactorAnalysis
from jaxem.models.factor_analysis import MixtureOfFactorAnalyzers as MixtureOfFactorAnalyzers
from jaxem.models.function import FunctionModel as FunctionModel
from jaxem.models.hmm import HMM as HMM
from jaxem.models.hmm import HMMParams as HMMParams
from jaxem.models.joined import Joined as Joined
from jaxem.models.lda import LDA as LDA
from jaxem.models.lda import LDAParams as LDAParams
from jaxem.models.mixture import GaussianMixture as GaussianMixture
from jaxem.models.mixture import Mixture as Mixture
from jaxem.models.mixture import MixtureParams as MixtureParams
from jaxem.models.mixture import StudentTMixture as StudentTMixture
from jaxem.models.mixture_of_experts import MixtureOfExperts as MixtureOfExperts
from jaxem.models.mixture_of_experts import MixtureOfExpertsParams as MixtureOfExpertsParams
from jaxem.models.mixture_of_experts import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
from jaxem.models.mixture_of_experts import ZeroInflatedPoisson as ZeroInflatedPoisson
from jaxem.models.single import MultivariateNormal as MultivariateNormal
from jaxem.models.single import MultivariateT as MultivariateT
from jaxem.models.single import Single as Single
from jaxem.models.single import Tobit as Tobit
from jaxem.models.state_space import LinearGaussianStateSpace as LinearGaussianStateSpace
from jaxem.models.state_space import StateSpaceParams as StateSpaceParams
from jaxem.structures.gate import Gated as Gated
from jaxem.structures.labelled import Labelled as Labelled
from jaxem.structures.sequences import Driven as Driven
from jaxem.structures.sequences import Sequences as Sequences
