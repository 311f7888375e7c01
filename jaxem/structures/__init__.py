"""Structures say which member of a family each row comes from: one, weights, a Markov chain, a gate of covariates."""

from jaxem.structures._structure import AbstractStructure as AbstractStructure
from jaxem.structures.gate import Gate as Gate
from jaxem.structures.markov import Markov as Markov
from jaxem.structures.one import One as One
from jaxem.structures.weights import Weights as Weights
