"""Frequencies of the ABO alleles by gene counting (Ceppellini, Siniscalco and Smith 1955; Smith 1957).

Of the blood groups A, B, AB and O, the first two hide the genotype: A/A or A/O, B/B or B/O. Data of Clarke et al.
(1959), 521 patients with a peptic ulcer.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from jaxem.latent import Categorical

GROUPS = ("A", "B", "AB", "O")
COUNTS = (186.0, 38.0, 13.0, 284.0)
ALLELES = ("A", "B", "O")

# The alleles of each genotype, and the genotypes of each group; -1 for none.
GENOTYPES = ((0, 0), (0, 2), (1, 1), (1, 2), (0, 1), (2, 2))
GENOTYPES_OF = ((0, 2, 4, 5), (1, 3, -1, -1))


class AlleleParams(NamedTuple):
    frequency: jax.Array  # of A, B and O


class BloodGroups(jaxem.models.AbstractLinearModel):
    """Rung 2: the expected statistics are counts of genotypes, and the M-step counts their genes."""

    @property
    def latent(self):
        return Categorical()

    def natural(self, params):
        first, second = jnp.asarray(GENOTYPES).T
        log = jnp.log(params.frequency)
        return log[first] + log[second] + jnp.where(first == second, 0.0, jnp.log(2.0)).astype(log.dtype)

    def potentials(self, natural, data):
        genotype = jnp.asarray(GENOTYPES_OF)[:, data.astype(int)]
        known = jnp.isin(data, jnp.arange(4, dtype=data.dtype))  # another number is no group, and has no density
        return jnp.where((genotype >= 0) & known[None], natural[genotype], -jnp.inf)

    def maximize(self, stats, params):
        genes = sum(jnp.zeros_like(params.frequency).at[alleles].add(stats) for alleles in jnp.asarray(GENOTYPES).T)
        return AlleleParams(genes / jnp.sum(genes))

    def unconstrain(self, params):
        log = jnp.log(params.frequency)
        return AlleleParams(log[:2] - log[2])

    def constrain(self, free):
        return AlleleParams(jax.nn.softmax(jnp.append(free.frequency, 0.0)))

    def init(self, key, data, weights):
        return AlleleParams(jnp.full(3, 1 / 3, weights.dtype))


# Rung 0: the latent is the pair of alleles, one from each parent; its values are all nine pairs.

PAIRS = tuple((maternal, paternal) for maternal in range(3) for paternal in range(3))
GROUP_OF = ((0, 2, 0), (2, 1, 1), (0, 1, 3))


def log_joint(params, group, pair):
    maternal, paternal = pair
    seen = jnp.asarray(GROUP_OF, group.dtype)[maternal, paternal] == group
    log = jnp.log(params["frequency"])
    return jnp.where(seen, log[maternal] + log[paternal], -jnp.inf)


def function_model():
    return jaxem.FunctionModel(
        log_joint,
        values=jnp.asarray(PAIRS),
        start={"frequency": jnp.full(3, 1 / 3)},
        constraints={"frequency": "simplex"},
    )


def data():
    """Groups and their counts."""
    return jnp.arange(4.0), jnp.array(COUNTS)


def main():
    groups, counts = data()
    model, start = BloodGroups(), AlleleParams(jnp.array([0.3, 0.2, 0.5]))

    @jax.jit
    def em(steps):
        return jaxem.solve(model, start, groups, weights=counts, max_steps=steps, tol=0.0)

    for steps in range(1, 5):
        print(f"EM, {steps} steps: {np.round(em(steps).params.frequency, 4)}")
    rough = function_model()
    fit = jaxem.solve(rough, rough.start, groups, weights=counts, algorithm=jaxem.em_gradient(), tol=1e-12)
    print(f"EM gradient, from the density alone: {np.round(fit.params['frequency'], 6)}")
    print("a patient of group A is A/A with probability", round(float(rough.posterior(fit.params, groups)[0, 0]), 3))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
