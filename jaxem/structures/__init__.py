"""Structures say which member of a family each row comes from: one, weights, a Markov chain, a gate of covariates.

The two parts of a chain, the distribution of its first state and its transitions, are objects that can be replaced.
"""

from jaxem.structures._parts import AbstractInitial as AbstractInitial
from jaxem.structures._parts import AbstractTransitions as AbstractTransitions
from jaxem.structures._structure import AbstractStructure as AbstractStructure
from jaxem.structures.free_transitions import FreeTransitions as FreeTransitions
from jaxem.structures.gate import Gate as Gate
from jaxem.structures.initial import FreeInitial as FreeInitial
from jaxem.structures.initial import StationaryInitial as StationaryInitial
from jaxem.structures.markov import Markov as Markov
from jaxem.structures.one import One as One
from jaxem.structures.softmax_transitions import SoftmaxTransitions as SoftmaxTransitions
from jaxem.structures.weights import Weights as Weights
