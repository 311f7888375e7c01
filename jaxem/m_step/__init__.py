"""M rules: how new parameters follow from expected statistics."""

from jaxem.m_step._m_step import AbstractMStep as AbstractMStep
from jaxem.m_step._m_step import Surrogate as Surrogate
from jaxem.m_step.conditional import Conditional as Conditional
from jaxem.m_step.conditional import OnLikelihood as OnLikelihood
from jaxem.m_step.conjugate_gradient import ConjugateGradient as ConjugateGradient
from jaxem.m_step.direct import GradientAscent as GradientAscent
from jaxem.m_step.direct import NewtonAscent as NewtonAscent
from jaxem.m_step.draw import Draw as Draw
from jaxem.m_step.expanded import Expanded as Expanded
from jaxem.m_step.maximize import Maximize as Maximize
from jaxem.m_step.newton import Newton as Newton
from jaxem.m_step.optax_steps import Optax as Optax
from jaxem.m_step.posterior import Posterior as Posterior
