"""Update rules: how expected statistics accumulate over data and iterations."""

from jaxem.update._update import AbstractUpdate as AbstractUpdate
from jaxem.update.full import Full as Full
from jaxem.update.stepwise import Stepwise as Stepwise
