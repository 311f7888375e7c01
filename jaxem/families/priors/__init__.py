"""Conjugate priors. A posterior is one too: an instance of the same class, with arrays for its fields."""

from jaxem.families.priors._prior import all_have_modes as all_have_modes
from jaxem.families.priors._prior import require_positive as require_positive
from jaxem.families.priors._prior import require_priors as require_priors
from jaxem.families.priors.beta import Beta as Beta
from jaxem.families.priors.dirichlet import Dirichlet as Dirichlet
from jaxem.families.priors.gamma import Gamma as Gamma
from jaxem.families.priors.normal_inverse_wishart import NormalInverseWishart as NormalInverseWishart
from jaxem.families.priors.stick_breaking import StickBreaking as StickBreaking
