"""The variants of EM and the plain maximisers, and what an iteration of each evaluates."""

from collections.abc import Callable
from dataclasses import dataclass

import optax

import jaxem
from benchmarks._problems import Problem


@dataclass
class Variant:
    """`trace` says where the log-likelihood of the iterates is found: in the `history`, at the iterates themselves
    (`draws`), or at the end of runs of different `lengths`."""

    algorithm: jaxem.Algorithm
    passes: float = 1.0  # evaluations of the potentials of all rows, an iteration
    trace: str = "history"
    limit: int | None = None  # iterations, where fewer than the budget of passes


def _all(problem: Problem) -> dict[str, Callable[[], Variant]]:
    n, p, k = problem.size, problem.num_parameters, problem.model.num_components
    blocks, share = 8, min(problem.rows, n) / n
    head, *rest = problem.blocks
    return {
        "em": lambda: Variant(jaxem.em()),
        "squarem": lambda: Variant(jaxem.squarem()),
        "squarem, constrained": lambda: Variant(jaxem.squarem(unconstrained=False)),
        "anderson": lambda: Variant(jaxem.anderson()),
        "quasi_newton_em": lambda: Variant(jaxem.algorithms.quasi_newton_em()),
        "parabolic_em": lambda: Variant(jaxem.algorithms.parabolic_em()),
        "alpha_em": lambda: Variant(jaxem.alpha_em(), 2),  # potentials of the last two iterates
        "conjugate_gradient_em": lambda: Variant(jaxem.algorithms.conjugate_gradient_em(), 1 + 9),
        "ecm": lambda: Variant(jaxem.ecm(head, *rest)),
        # Three Newton steps on the weights: gradient, Hessian by columns, eleven lengths.
        "ecme": lambda: Variant(jaxem.ecme(tuple(rest), head), 1 + 3 * (1 + (k - 1) + 11), limit=100),
        "em_gradient": lambda: Variant(jaxem.em_gradient()),
        "gem": lambda: Variant(jaxem.gem()),
        "incremental_em": lambda: Variant(jaxem.incremental_em(blocks), 1 / blocks, "draws"),
        "stepwise_em": lambda: Variant(jaxem.stepwise_em(problem.rows), share, "draws", int(100 / share)),
        "stepwise_em, averaged": lambda: Variant(jaxem.stepwise_em(problem.rows, average=True), share, "lengths"),
        "stochastic_em": lambda: Variant(jaxem.stochastic_em(), 1, "lengths"),
        "saem": lambda: Variant(jaxem.saem()),
        # The gain is measured at both ends of the step.
        "monte_carlo_em": lambda: Variant(jaxem.monte_carlo_em(max_draws=50), 1 + 2, limit=200),
        "annealed_em": lambda: Variant(jaxem.annealed_em(), 1, "draws"),
        "hard_em": lambda: Variant(jaxem.hard_em(), 1, "draws", 200),
        # Gradient, Hessian by columns, 21 lengths.
        "newton": lambda: Variant(jaxem.algorithms.newton(), 1 + (1 + p + 21), limit=30),
        "gradient_ascent(adam)": lambda: Variant(jaxem.algorithms.gradient_ascent(optax.adam(0.05))),
    }


LBFGS = "scipy L-BFGS"
PLAIN = ("newton", "gradient_ascent(adam)", LBFGS)


def variants(problem: Problem) -> dict[str, Variant]:
    return {name: make() for name, make in _all(problem).items()}
