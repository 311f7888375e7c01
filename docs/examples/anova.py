"""Missing plots in the analysis of variance, by the method of Healy and Westmacott (1956), an EM before EM.

Yields of penicillin from five blends of a raw material under four treatments, in randomised blocks (Box, Hunter and
Hunter 1978, table 7.1), some of them lost. Fill in what is missing, analyse the complete table, whose sums balance,
take the fitted values for the missing ones, and repeat. With one lost cell Yates (1933) has a formula.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from jaxem.latent import GaussianPotentials, MissingBlock

# Rows are blends, columns are treatments.
YIELDS = ((89, 88, 97, 94), (84, 77, 92, 79), (81, 87, 87, 85), (87, 92, 89, 84), (79, 81, 80, 88))
LOST = ((0, 2), (3, 0), (3, 3))


class Plots(NamedTuple):
    """One row for each cell of the table; NaN for a lost yield."""

    block: jax.Array
    treatment: jax.Array
    y: jax.Array

    integers = ("block", "treatment")


class Effects(NamedTuple):
    mean: jax.Array  # of each cell, [blocks, treatments]: the sum of an effect of either
    variance: jax.Array


class CellNatural(NamedTuple):
    constant: jax.Array  # [blocks, treatments]
    linear: jax.Array  # [blocks, treatments]
    quadratic: jax.Array


class RandomisedBlocks(jaxem.models.AbstractLinearModel):
    """Rung 2: a normal yield in each cell, with one variance. The latent of a lost cell is its yield."""

    blocks_by_treatments = (5, 4)

    @property
    def latent(self):
        return MissingBlock()

    def natural(self, params):
        mean, variance = params
        constant = -(mean**2) / (2 * variance) - jnp.log(2 * jnp.pi * variance) / 2
        return CellNatural(constant, mean / variance, -1 / (2 * variance))

    def potentials(self, natural, data):
        lost, cell = jnp.isnan(data.y), (data.block, data.treatment)
        y, linear = jnp.where(lost, 0, data.y), natural.linear[cell]
        constant = natural.constant[cell] + linear * y + natural.quadratic * y**2
        precision = jnp.where(lost, -2 * natural.quadratic, 0)
        linear = jnp.where(lost, linear, 0)
        return GaussianPotentials(constant, linear[None, None], precision[None, None, None])

    def maximize(self, stats, params):
        """The analysis of a complete table: effects are differences of means of rows and columns."""
        table = stats.linear / stats.constant
        mean = table.mean(1, keepdims=True) + table.mean(0, keepdims=True) - table.mean()
        residual = stats.quadratic - jnp.sum(mean * (2 * stats.linear - stats.constant * mean))
        return Effects(mean, residual / jnp.sum(stats.constant))

    def unconstrain(self, params):
        mean = params.mean
        return mean[:, 0], mean[0, 1:] - mean[0, 0], jnp.log(params.variance)

    def constrain(self, free):
        effect = jnp.concatenate([jnp.zeros_like(free[1][:1]), free[1]])
        return Effects(free[0][:, None] + effect[None], jnp.exp(free[2]))

    def init(self, key, data, weights):
        seen = data.y[~jnp.isnan(data.y)]
        return Effects(jnp.full(self.blocks_by_treatments, seen.mean()), seen.var())

    def sample(self, key, params, n):
        where, noise = jax.random.split(key)
        cell = jax.random.randint(where, (n,), 0, params.mean.size)
        block, treatment = cell // params.mean.shape[1], cell % params.mean.shape[1]
        yields = params.mean[block, treatment]
        return Plots(block, treatment, yields + jnp.sqrt(params.variance) * jax.random.normal(noise, (n,))), ()


def data(lost=LOST):
    """The plots, those in `lost` without a yield."""
    table = np.array(YIELDS, float)
    for cell in lost:
        table[cell] = np.nan
    block, treatment = np.indices(table.shape, np.int32).reshape(2, -1)
    return Plots(jnp.asarray(block), jnp.asarray(treatment), jnp.asarray(table.reshape(-1)))


def yates(table, cell):
    """The value that leaves the sum of squares of residuals least when one cell is lost (Yates 1933)."""
    b, t = table.shape
    rest = np.array(table, float)
    rest[cell] = 0.0
    row, column = rest[cell[0]].sum(), rest[:, cell[1]].sum()
    return (b * row + t * column - rest.sum()) / ((b - 1) * (t - 1))


def residual_mean_square(params, lost):
    """The sum of squares of the residuals of the plots that are there, over its degrees of freedom."""
    b, t = params.mean.shape
    return float(params.variance) * (b * t - len(lost)) / ((b - 1) * (t - 1) - len(lost))


def main():
    model = RandomisedBlocks()
    for lost in (LOST[:1], LOST):
        plots = data(lost)
        start = model.init(jax.random.key(0), plots, jnp.ones(len(plots.y)))
        fit = jaxem.solve(model, start, plots, tol=1e-14)
        filled = [round(float(fit.params.mean[cell]), 2) for cell in lost]
        rate = jaxem.information.fraction_missing(model, fit.params, plots)
        print(f"{len(lost)} lost: {filled} after {int(fit.num_steps)} iterations, fraction missing {rate:.3f}")
        print(f"residual mean square: {residual_mean_square(fit.params, lost):.2f}")
    print(f"by the formula of Yates: {yates(np.array(YIELDS), LOST[0]):.2f}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
