"""M rules: how new parameters follow from expected statistics."""

from jaxem.m_step._m_step import AbstractMStep as AbstractMStep
from jaxem.m_step._m_step import Surrogate as Surrogate
from jaxem.m_step.maximize import Maximize as Maximize
from jaxem.m_step.newton import Newton as Newton
