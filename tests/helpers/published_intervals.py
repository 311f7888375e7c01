"""Printed intervals: profile likelihoods, Wald's on the scale of log-odds, and bootstrap."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from tests.helpers import problems
from tests.helpers.published_chain_errors import BACRI, TINNITUS, states
from tests.helpers.published_errors import Row, fit, rows
from tests.helpers.published_latent_errors import pairs

BEATH = "Beath (2017), vignette of `randomLCA` 0.9, p. 9"
HSAUR = "Everitt and Hothorn (2006), `HSAUR`, vignette Ch_density_estimation, p. 12"
# Patients by Q wave, history, LDH and CPK; Galen and Gambino (1975), Rindskopf and Rindskopf (1986).
_HEARTS = "1111:24 0111:5 1011:4 0011:3 1101:3 0101:5 1001:2 0001:7 0010:1 0100:7 0000:33"


class Limits(NamedTuple):
    """Intervals as a source prints them: rows have both limits, and `slack` is relative to the distance between."""

    name: str
    model: str
    source: str
    rows: tuple[Row, ...]
    found: Callable[[], np.ndarray]
    slack: float


def tinnitus_profile():
    model, params, data, _ = states(TINNITUS, [1.6, 5.5])
    names = ("emission.rate[1, 0]", "transition[1, 0]", "transition[0, 1]")
    found = [jaxem.profile(model, params, data, name, num_points=7) for name in names]
    assert not any(one.notes for one in found)
    return np.array([(one.lower, one.upper) for one in found])


def hearts():
    patterns, counts = pairs(_HEARTS)
    return np.array([[float(c) for c in word] for word in patterns]), counts


def hearts_fitted():
    """The penalty of `randomLCA` is a prior: a hundredth of an observation over two classes and two categories."""
    prior = jaxem.priors.Beta(1.0025, 1.0025)
    healthy, ill = jnp.array([0.1, 0.2, 0.1, 0.2]), jnp.array([0.8, 0.8, 0.8, 0.9])
    start = jaxem.models.MixtureParams(jnp.full(2, 0.5), jaxem.families.BernoulliParams(jnp.stack([healthy, ill])))
    return fit(jaxem.Mixture(jaxem.Bernoulli(prior=prior), 2), *hearts(), init=start, tol=1e-14)


def hearts_intervals():
    model, params, data, weights = hearts_fitted()
    found = jaxem.information.observed(model, params, data, weights=weights).interval()
    places = (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)
    lower, upper = (np.asarray(bound.components.probability) for bound in (found.lower, found.upper))
    return np.array([(lower[at], upper[at]) for at in places])


def waiting_times():
    problem = problems.old_faithful(("waiting",), "tied")
    model, x = jaxem.GaussianMixture(2, "tied"), np.asarray(problem.x)
    start = jaxem.models.MixtureParams(
        jnp.array([0.36, 0.64]), jaxem.families.GaussianParams(jnp.array([[54.6], [80.1]]), jnp.array([[34.4]]))
    )
    params = fit(model, x, init=start).params
    drawn = jaxem.bootstrap(model, params, x, key=jax.random.key(0), replicates=999, tol=1e-7)
    assert drawn.num_failed == 0
    of = drawn.of(lambda p: jnp.append(p.weights[:1], p.components.mean[:, 0]))
    found = of.interval(method="bca")
    return np.stack([found.lower, found.upper], 1)


LIMITS = (
    Limits(
        "tinnitus, profile likelihood",
        "Poisson HMM, 2 states, stationary",
        BACRI.replace("section 6", "section 5.2"),
        rows("""
            rate2 4.919178 6.175815
            2->1 0.00154545 0.08801416
            1->2 0.001997133 0.1834695
        """),
        tinnitus_profile,
        2e-4,
    ),
    Limits(
        "myocardial infarction",
        "2 latent classes of 94 patients, Wald on log-odds, with a prior",
        BEATH,
        rows("""
            healthy,history 0.1017700 0.3415270
            healthy,LDH 0.003831663 0.1665603
            healthy,CPK 0.09784188 0.3528810
            ill,Q-wave 0.5919047 0.8817503
            ill,history 0.6388626 0.8905520
            ill,LDH 0.6552016 0.9241144
        """),
        hearts_intervals,
        2e-4,
    ),
    Limits(
        "Old Faithful, bootstrap",
        "2 Gaussians of one variance, waiting times, BCa of 999 samples",
        HSAUR,
        rows("""
            weight 0.3041 0.4233
            mean1 53.42 56.07
            mean2 79.05 81.01
        """),
        waiting_times,
        0.12,  # four standard errors of a limit from 1000 samples, there and here
    ),
)
