"""The models that the command line offers, by name: a file for each group, an entry for each model."""

from jaxem.cli.kinds._kind import Assignment as Assignment
from jaxem.cli.kinds._kind import Kind
from jaxem.cli.kinds.factors import FACTORS
from jaxem.cli.kinds.hidden_markov import HIDDEN_MARKOV
from jaxem.cli.kinds.mixtures import MIXTURES

COVARIANCES = ("full", "diagonal", "spherical", "tied", "VEV")
KINDS: dict[str, Kind] = {**MIXTURES, **HIDDEN_MARKOV, **FACTORS}
