"""A model of rung 1 that is no mixture of families."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from jaxem.latent import Categorical


class Experts(jaxem.models.AbstractModel):
    """Two lines, and a logistic gate between them (Jacobs, Jordan, Nowlan and Hinton 1991)."""

    @property
    def latent(self):
        return Categorical()

    def potentials(self, natural, data):
        t, y = data
        gate = natural["gate"][0] + natural["gate"][1] * t
        log_gate = jnp.stack([-jax.nn.softplus(-gate), -jax.nn.softplus(gate)])
        mean = natural["line"][:, :1] + natural["line"][:, 1:] * t[None]
        return log_gate - 2 * (y[None] - mean) ** 2

    def log_base(self, data):
        return jnp.full(data[0].shape, -0.5 * np.log(2 * np.pi * 0.25))

    def init(self, key, data, weights):
        return {"gate": jnp.zeros(2), "line": jax.random.normal(key, (2, 2))}


START = {"gate": jnp.asarray([0.0, 1.0]), "line": jnp.asarray([[0.0, 0.5], [1.0, -0.5]])}
