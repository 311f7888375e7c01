"""Update rules: which rows an iteration looks at, and how statistics accumulate."""

from jaxem.update._update import AbstractUpdate as AbstractUpdate
from jaxem.update.full import Full as Full
from jaxem.update.incremental import Incremental as Incremental
from jaxem.update.stepwise import Stepwise as Stepwise
