"""Latent structures: each is an exponential family over the hidden variables of one observation."""

from jaxem.latent._latent import AbstractChoice as AbstractChoice
from jaxem.latent._latent import AbstractLatent as AbstractLatent
from jaxem.latent.categorical import Categorical as Categorical
from jaxem.latent.nested import Nested as Nested
from jaxem.latent.nested import NestedTree as NestedTree
