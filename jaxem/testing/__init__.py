"""Checks for authors of models, families and latent structures."""

from jaxem.testing.family import check_family as check_family
from jaxem.testing.latent import check_latent as check_latent
from jaxem.testing.model import check_model as check_model
