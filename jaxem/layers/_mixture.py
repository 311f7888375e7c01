"""The task of layers whose rows choose their members independently."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.e_step.tempered import tempered
from jaxem.layers._run import AbstractTask, Look, about_constant, finite_derivative, placed, with_equal_share
from jaxem.models import Mixture, MixtureParams


@final
class MixtureTask(AbstractTask):
    """A mixture of Gaussians, from `start`."""

    model: Mixture
    start: MixtureParams

    def table(self, data):
        return data

    def look(self, params, data, weights, temperature):
        shares, scores = responsibilities(self.model, params, data, temperature)
        return Look(shares, scores, jnp.ones_like(scores) if weights is None else weights)

    def reseat(self, params, dead, places):
        weights = params.weights
        if "weights" not in self.model.frozen:
            weights = with_equal_share(weights, dead)
        shared = bool(self.model.family.shared) or "components.covariance" in self.model.frozen
        return MixtureParams(weights, placed(params.components, dead, places, shared))


def responsibilities(
    model: Any, params: Any, x: Float[Array, "n d"], temperature: Array
) -> tuple[Float[Array, "n k"], Float[Array, " n"]]:
    """The posterior of the members of each row, tempered, and the log-normalizer of that."""
    bound = about_constant(model, params)
    moments, value = bound.latent.expectation(tempered(bound.potentials(bound.natural(params), x), temperature))
    return moments.T, value


@eqx.filter_jit
def log_density(model: Any, params: Any, x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The log density of each row."""
    params, x = finite_derivative((params, x))
    bound = about_constant(model, params)
    return bound.latent.log_normalizer(bound.potentials(bound.natural(params), x)) + bound.log_base(x)
