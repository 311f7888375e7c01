"""Choosing between models."""

from jaxem.selection._select import select as select
from jaxem.selection._selection import Selection as Selection
from jaxem.selection.criteria import aic as aic
from jaxem.selection.criteria import bic as bic
from jaxem.selection.criteria import icl as icl
from jaxem.selection.criteria import num_observations as num_observations
