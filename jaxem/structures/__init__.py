"""The parts of a Markov chain of states, each of which can be replaced, and what joins them."""

from jaxem.structures._parts import AbstractInitial as AbstractInitial
from jaxem.structures._parts import AbstractTransitions as AbstractTransitions
from jaxem.structures.free_initial import FreeInitial as FreeInitial
from jaxem.structures.free_transitions import FreeTransitions as FreeTransitions
from jaxem.structures.softmax_transitions import SoftmaxTransitions as SoftmaxTransitions
from jaxem.structures.stationary_initial import StationaryInitial as StationaryInitial
