"""The linkage multinomial of Dempster, Laird and Rubin (1977), with a closed M-step and without.

197 animals fall into four cells with probabilities 1/2 + t/4, (1 - t)/4, (1 - t)/4 and t/4. The first is the sum of
two cells that cannot be told apart, 1/2 and t/4: which of them is the latent.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import jaxem
from jaxem.latent import Categorical

COUNTS = (125.0, 18.0, 20.0, 34.0)


class LinkageParams(NamedTuple):
    t: jax.Array


class Linkage(jaxem.models.AbstractLinearModel):
    """Rung 2: natural parameters are the log probabilities of the five complete cells.

    Rows are numbers of observed cells, 0 to 3; as weights they take counts.
    """

    # The complete cells that make up each observed cell; -1 for none.
    parts = ((0, 1, 2, 3), (4, -1, -1, -1))

    @property
    def latent(self):
        return Categorical()

    def natural(self, params):
        t = params.t
        return jnp.log(jnp.stack([jnp.full_like(t, 0.5), (1 - t) / 4, (1 - t) / 4, t / 4, t / 4]))

    def potentials(self, natural, data):
        part = jnp.asarray(self.parts)[:, data.astype(int)]
        known = jnp.isin(data, jnp.arange(4, dtype=data.dtype))  # another number is no cell, and has no density
        return jnp.where((part >= 0) & known[None], natural[part], -jnp.inf)

    def maximize(self, stats, params):
        recombined, not_recombined = stats[1] + stats[2], stats[3] + stats[4]
        return LinkageParams(not_recombined / (recombined + not_recombined))

    def unconstrain(self, params):
        return LinkageParams(jnp.log(params.t) - jnp.log1p(-params.t))

    def constrain(self, free):
        return LinkageParams(jax.nn.sigmoid(free.t))

    def init(self, key, data, weights):
        return LinkageParams(jnp.full((), 0.5, weights.dtype))

    def sample(self, key, params, n):
        cell = jax.random.categorical(key, self.natural(params), shape=(n,))
        observed = jnp.array([0, 1, 2, 3, 0])[cell]
        return observed.astype(params.t.dtype), cell


def log_joint(params, cell, z):
    """Rung 0: the same density, and nothing else. `z` says whether the animal is in the second part of cell 0."""
    t = params["t"]
    probabilities = jnp.stack([jnp.full_like(t, 0.5), (1 - t) / 4, (1 - t) / 4, t / 4])
    first = jnp.log(jnp.sum(jnp.where(cell == jnp.arange(4, dtype=cell.dtype), probabilities, 0)))
    return jnp.where(z == 0, first, jnp.where(cell == 0, jnp.log(t / 4), -jnp.inf))


def function_model():
    return jaxem.FunctionModel(log_joint, 2, start={"t": jnp.array(0.5)}, constraints={"t": "unit"})


def data():
    """Cells and their counts."""
    return jnp.arange(4.0), jnp.array(COUNTS)


def main():
    cells, counts = data()
    model = Linkage()
    start = LinkageParams(jnp.array(0.5))

    @jax.jit
    def em(steps):
        return jaxem.solve(model, start, cells, weights=counts, max_steps=steps, tol=0.0)

    for steps in range(1, 9):
        print(f"EM, {steps} steps: {float(em(steps).params.t):.9f}")
    rough = function_model()
    fit = jaxem.solve(rough, rough.start, cells, weights=counts, algorithm=jaxem.em_gradient(), tol=1e-12)
    print(f"EM gradient, from the density alone: {float(fit.params['t']):.9f}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
