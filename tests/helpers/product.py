"""Every algorithm with every model: what is legal by their own declarations, and what is promised.

`python -m tests.helpers.product` prints the table of docs/product.md.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxem
from jaxem._model import rung
from jaxem._paths import parameter_names
from jaxem.latent import AbstractChoice
from tests.helpers import engine

ALGORITHMS = {
    "em": jaxem.em(),
    "hard_em": jaxem.hard_em(),
    "stochastic_em": jaxem.stochastic_em(),
    "monte_carlo_em": jaxem.monte_carlo_em(5, 20),
    "saem": jaxem.saem(hold=20),
    "annealed_em": jaxem.annealed_em(0.5, 1.5, 3),
    "alpha_em": jaxem.alpha_em(),
    "incremental_em": jaxem.incremental_em(4),
    "stepwise_em": jaxem.stepwise_em(rows=40),
    "ecm": jaxem.ecm("weights", "components"),
    "ecme": jaxem.ecme("components", "weights", steps=1),
    "em_gradient": jaxem.em_gradient(),
    "gem": jaxem.gem(optax.adam(0.02), steps=10),
    "conjugate_gradient_em": jaxem.algorithms.conjugate_gradient_em(),
    "squarem": jaxem.squarem(),
    "anderson": jaxem.anderson(),
    "quasi_newton_em": jaxem.algorithms.quasi_newton_em(),
    "parabolic_em": jaxem.algorithms.parabolic_em(),
    "vbem": jaxem.vbem(),
    "gibbs": jaxem.gibbs(20, burn_in=5),
    "newton": jaxem.algorithms.newton(),
    "gradient_ascent": jaxem.algorithms.gradient_ascent(optax.adam(0.02)),
    # Combinations without a name
    "annealed vbem": jaxem.Algorithm(e_step=jaxem.e_step.Annealed(0.5, 1.5, 3), m_step=jaxem.m_step.Posterior()),
    "incremental vbem": jaxem.Algorithm(update=jaxem.update.Incremental(4), m_step=jaxem.m_step.Posterior()),
    "accelerated vbem": jaxem.squarem(jaxem.vbem()),
    "accelerated em_gradient": jaxem.anderson(jaxem.em_gradient()),
    "alpha em_gradient": jaxem.alpha_em(m_step=jaxem.m_step.Newton()),
    "hard em_gradient": jaxem.Algorithm(e_step=jaxem.e_step.Mode(), m_step=jaxem.m_step.Newton()),
    "monte carlo em_gradient": jaxem.Algorithm(e_step=jaxem.e_step.MonteCarlo(5, 20), m_step=jaxem.m_step.Newton()),
    "incremental hard_em": jaxem.Algorithm(e_step=jaxem.e_step.Mode(), update=jaxem.update.Incremental(4)),
}
# Those that stop where EM stops, from a start near there.
LIKE_EM = {
    "annealed_em",
    "alpha_em",
    "incremental_em",
    "ecm",
    "ecme",
    "em_gradient",
    "gem",
    "conjugate_gradient_em",
    "squarem",
    "anderson",
    "quasi_newton_em",
    "parabolic_em",
    "newton",
    "accelerated em_gradient",
    "alpha em_gradient",
}
# Those that stay near there, within the noise of their draws.
STOCHASTIC = {"stochastic_em", "monte_carlo_em", "saem", "monte carlo em_gradient"}


class Cell(NamedTuple):
    model: Any
    start: Any
    x: Any
    weights: Any


@lru_cache
def models() -> dict[str, Cell]:
    """Each family, with the priors that make it conjugate where it has them; and a model from a function."""
    cells = {}
    prior = {
        "full": lambda x: jaxem.priors.NormalInverseWishart(x.mean(0), 0.1, np.eye(2) * x.var(0), 4.0),
        "diagonal": lambda x: jaxem.priors.NormalInverseWishart(x.mean(0), 0.1, x.var(0), 4.0),
        "spherical": lambda x: jaxem.priors.NormalInverseWishart(x.mean(0), 0.1, x.var(), 4.0),
        "tied": lambda x: jaxem.priors.NormalInverseWishart(x.mean(0), 0.1, np.eye(2) * x.var(0), 4.0),
    }
    for name in engine.LINEAR:
        model, start, x, w, _ = engine.case(name)
        cells[name] = Cell(model, start, x, w)
        conjugate = jaxem.Poisson(jaxem.priors.Gamma(1.5, 0.5)) if name == "poisson" else None
        conjugate = conjugate or jaxem.Gaussian(name, prior[name](np.asarray(x)))
        mixture = jaxem.Mixture(conjugate, 3, weights_prior=jaxem.priors.Dirichlet(1.5))
        cells[f"{name}, priors"] = Cell(mixture, start, x, w)
    cells["VEV"] = cells["full"]._replace(model=jaxem.GaussianMixture(3, "VEV"))
    rng = np.random.default_rng(5)
    labels = np.arange(240) % 2
    bits = (rng.random((240, 5)) < np.where(labels[:, None] == 0, 0.25, 0.7)).astype(float)
    start = jaxem.models.MixtureParams(
        jnp.array([0.4, 0.6]),
        jaxem.families.BernoulliParams(jnp.array([[0.3] * 5, [0.6] * 5]) + 0.02 * jnp.arange(5.0)[None]),
    )
    ones = jnp.ones(240)
    cells["bernoulli"] = Cell(jaxem.Mixture(jaxem.Bernoulli(), 2), start, jnp.asarray(bits), ones)
    model, start, x, w, _ = engine.case("function")
    cells["function"] = Cell(model, start, x, w)
    return cells | latents()


def latents() -> dict[str, Cell]:
    """A model for each structure of what is hidden."""
    from tests.families import (
        heavy,
        test_censored,
        test_function_family,
        test_glm,
        test_negative_binomial,
        test_product_hidden,
    )
    from tests.models import (
        test_driven,
        test_function,
        test_hmm,
        test_lda,
        test_mixture_of_experts,
        test_multivariate_normal,
        test_state_space,
    )

    rng = np.random.default_rng(40)
    x = rng.standard_normal((120, 1)) * np.array([1.0, 0.8, -0.7, 0.6]) + 0.6 * rng.standard_normal((120, 4))
    x[rng.random(x.shape) < 0.15] = np.nan
    factor = jaxem.families.FactorParams(jnp.zeros(4), jnp.array([[0.5], [0.4], [-0.3], [0.2]]), jnp.ones(4))
    lines = Cell(*heavy.two_lines())
    return {
        "chain": Cell(*test_hmm.cell()),
        "chain, priors": Cell(*test_hmm.conjugate_cell()),
        "chain, driven": Cell(*test_driven.cell()),
        "Student t": Cell(*heavy.mixture()),
        "regressions": lines._replace(weights=jnp.ones(len(lines.x.y)) if lines.weights is None else lines.weights),
        "factors": Cell(jaxem.FactorAnalysis(1), factor, jnp.asarray(x), jnp.ones(120)),
        "missing": Cell(*test_multivariate_normal.cell()),
        "state space": Cell(*test_state_space.cell()),
        "censored regression": Cell(*test_censored.cells()["regression"]),
        "censored Weibull": Cell(*test_censored.cells()["Weibull"]),
        "topics": Cell(*test_lda.cell()),
        "topics, priors": Cell(*test_lda.cell(True)),
        "Poisson regressions": Cell(*test_glm.cell()),
        "negative binomial": Cell(*test_negative_binomial.cell()),
        "zero-inflated": Cell(*test_negative_binomial.zero_inflated()),
        "mixed columns": Cell(*test_product_hidden.cell()),
        "experts": Cell(*test_mixture_of_experts.cell()),
        "continuous function": Cell(*test_function.cell()),
        "log density": Cell(*test_function_family.cell()),
    }


def algorithm(name: str, model: str) -> jaxem.Algorithm:
    """The algorithm, with the parameters of the model for its blocks."""
    if name not in ("ecm", "ecme"):
        return ALGORITHMS[name]
    cell = models()[model]
    trainable = jax.tree.leaves(cell.model.trainable(cell.start))
    names = zip(parameter_names(cell.start), trainable, strict=True)
    first, *others = dict.fromkeys(leaf.split(".")[0] for leaf, free in names if free)
    if name == "ecm":
        return jaxem.ecm(first, *others)
    if not others:
        return jaxem.Algorithm(m_step=jaxem.m_step.Conditional(jaxem.m_step.OnLikelihood(first, steps=1)))
    return jaxem.ecme(tuple(others), first, steps=1)


def rungs(algorithm: str, model: str) -> tuple[int, int]:
    """What the algorithm needs, and what the model supplies."""
    return ALGORITHMS[algorithm].rung, rung(models()[model].model)


def legal(algorithm: str, model: str) -> bool:
    """Whether the declarations of the two allow the cell."""
    needed, supplied = rungs(algorithm, model)
    latent = models()[model].model.latent
    return needed <= supplied and ALGORITHMS[algorithm].e_step.needs not in latent.lacks


def plain(model: str) -> str:
    """What others are compared with."""
    return "em" if models()[model].model.linear else "em_gradient"


def discrete(model: Any) -> bool:
    """Whether all that is hidden is discrete."""
    return isinstance(model.latent, AbstractChoice)


def table() -> str:
    names = list(models())
    lines = ["| algorithm | needs rung | " + " | ".join(names) + " |", "| --- | ---: |" + " :-: |" * len(names)]
    for algorithm in ALGORITHMS:
        marks = ["yes" if legal(algorithm, model) else "-" for model in names]
        lines.append(f"| {algorithm} | {ALGORITHMS[algorithm].rung} | " + " | ".join(marks) + " |")
    count = sum(legal(a, m) for a in ALGORITHMS for m in names)
    total = len(ALGORITHMS) * len(names)
    return f"{count} legal cells of {total}; {total - count} are refused.\n\n" + "\n".join(lines)


if __name__ == "__main__":
    print(table())
