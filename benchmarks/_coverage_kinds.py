"""Models whose intervals are looked at, with parameters that data are drawn from."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxem
from jaxem.families import (
    BernoulliParams,
    CategoricalParams,
    FactorParams,
    GaussianParams,
    NegativeBinomialParams,
    PoissonParams,
    RegressionParams,
    StudentTParams,
)
from jaxem.models import HMMParams, MixtureParams, StateSpaceParams


class Kind(NamedTuple):
    """A model, true parameters, and `draw(key, n)`, which draws `n` observations; as many as `size` are wanted."""

    model: Any
    params: Any
    size: int
    draw: Callable[[Any, int], Any]


def _sampled(model: Any, params: Any, size: int, **options: Any) -> Kind:
    return Kind(model, params, size, lambda key, n: model.sample(key, params, n, **options)[0])


def _mixture(family: Any, members: Any, weights: tuple[float, ...], size: int) -> Kind:
    return _sampled(jaxem.Mixture(family, len(weights)), MixtureParams(jnp.array(weights), members), size)


def _gaussians(covariance: str) -> Any:
    matrices = jnp.array([[[1.0, 0.5], [0.5, 1.5]], [[0.8, -0.3], [-0.3, 0.6]]])
    spread = matrices if covariance == "full" else jnp.diagonal(matrices, axis1=1, axis2=2)
    return GaussianParams(jnp.array([[-2.0, 0.0], [1.5, 1.0]]), spread)


def _gaussian(covariance: str) -> Kind:
    return _mixture(jaxem.Gaussian(covariance), _gaussians(covariance), (0.4, 0.6), 1000)


def _poisson() -> Kind:
    return _mixture(jaxem.Poisson(), PoissonParams(jnp.array([[2.0, 6.0], [7.0, 3.0]])), (0.35, 0.65), 1000)


def _negative_binomial() -> Kind:
    members = NegativeBinomialParams(jnp.array([[2.0], [20.0]]), jnp.array([[3.0], [6.0]]))
    return _mixture(jaxem.families.NegativeBinomial(), members, (0.5, 0.5), 2000)


def _bernoulli() -> Kind:
    items = jnp.where(jnp.arange(8) % 2 == 0, 0.8, 0.3)
    return _mixture(jaxem.Bernoulli(), BernoulliParams(jnp.stack([items, 1 - items])), (0.4, 0.6), 1000)


def _categorical() -> Kind:
    low, high = jnp.array([0.6, 0.25, 0.15]), jnp.array([0.15, 0.25, 0.6])
    members = CategoricalParams(jnp.stack([jnp.tile(low, (6, 1)), jnp.tile(high, (6, 1))]))
    return _mixture(jaxem.Categorical(3), members, (0.45, 0.55), 1000)


def _student_t() -> Kind:
    means, scales = jnp.array([[-3.0, 0.0], [3.0, 1.0]]), jnp.stack([jnp.eye(2), 0.6 * jnp.eye(2)])
    return _mixture(jaxem.StudentT("full"), StudentTParams(means, scales, jnp.array([5.0, 4.0])), (0.5, 0.5), 2000)


def _regressions() -> Kind:
    members = RegressionParams(jnp.array([[1.0, 2.0], [-1.0, -1.0]]), jnp.array([0.5, 1.0]))
    params = MixtureParams(jnp.array([0.4, 0.6]), members)

    def draw(key, n):
        of_x, of_member, of_noise = jax.random.split(key, 3)
        x = jnp.stack([jnp.ones(n), 2 * jax.random.normal(of_x, (n,))], 1)
        member = (jax.random.uniform(of_member, (n,)) > params.weights[0]).astype(int)
        noise = jnp.sqrt(members.variance)[member] * jax.random.normal(of_noise, (n,))
        return jaxem.Responses(x, jnp.sum(x * members.coefficients[member], 1) + noise)

    return Kind(jaxem.Mixture(jaxem.families.LinearRegression(), 2), params, 1000, draw)


def _chain(family: Any, emission: Any) -> Kind:
    params = HMMParams(jnp.array([0.5, 0.5]), jnp.array([[0.85, 0.15], [0.25, 0.75]]), emission)
    return _sampled(jaxem.HMM(family, 2), params, 100, num_steps=25)


def _factors() -> Kind:
    loading = jnp.array([[0.9, 0.0], [0.8, 0.3], [0.7, -0.4], [0.2, 0.8], [-0.3, 0.7], [0.5, 0.6], [0.6, -0.5]])
    params = FactorParams(jnp.zeros(7), loading, jnp.array([0.4, 0.5, 0.6, 0.5, 0.7, 0.4, 0.6]))
    return _sampled(jaxem.FactorAnalysis(2), params, 1000)


def _without_some(key: Any, x: Any) -> Any:
    """Entries that are missing at random: the second column for large values of the first, others anywhere."""
    of_first, of_second = jax.random.split(key)
    first = jax.random.uniform(of_first, x.shape[:1]) < 0.1
    second = ~first & (jax.random.uniform(of_second, x.shape[:1]) < jax.nn.sigmoid(x[:, 0] - 1))
    return jnp.where(jnp.stack([first, second], 1), jnp.nan, x)


def _missing() -> Kind:
    params = MixtureParams(jnp.array([0.4, 0.6]), _gaussians("full"))
    complete, model = jaxem.GaussianMixture(2), jaxem.GaussianMixture(2, missing=True)

    def draw(key, n):
        of_rows, of_gaps = jax.random.split(key)
        return _without_some(of_gaps, complete.sample(of_rows, params, n)[0])

    return Kind(model, params, 1500, draw)


def _censored() -> Kind:
    members = GaussianParams(jnp.array([[0.0], [4.0]]), jnp.array([[1.0], [1.5]]))
    params = MixtureParams(jnp.array([0.5, 0.5]), members)
    drawn = jaxem.GaussianMixture(2, "diagonal")

    def draw(key, n):
        y = drawn.sample(key, params, n)[0]
        return jaxem.Interval(jnp.minimum(y, 5.0), jnp.where(y > 5.0, jnp.inf, y))  # a third of the second member

    return Kind(jaxem.Mixture(jaxem.families.CensoredNormal(), 2), params, 1000, draw)


def _state_space() -> Kind:
    """A state that returns to 0, whose scale the first column sets."""
    model = jaxem.LinearGaussianStateSpace(
        1,
        observation_covariance="diagonal",
        frozen=("initial_mean", "initial_covariance", "transition_covariance"),
    )
    one = jnp.ones((1, 1))
    observation, noise = jnp.array([[1.0], [0.7], [-0.5]]), jnp.array([0.5, 0.8, 0.6])
    params = StateSpaceParams(jnp.zeros(1), one / (1 - 0.8**2), 0.8 * one, one, observation, noise)
    return _sampled(model, params, 20, num_steps=50)


KINDS: dict[str, Callable[[], Kind]] = {
    "Gaussian mixture, full": partial(_gaussian, "full"),
    "Gaussian mixture, diagonal": partial(_gaussian, "diagonal"),
    "Poisson mixture": _poisson,
    "negative binomial mixture": _negative_binomial,
    "latent classes, binary items": _bernoulli,
    "latent classes, three categories": _categorical,
    "t mixture": _student_t,
    "mixture of regressions": _regressions,
    "HMM, Gaussian": lambda: _chain(jaxem.Gaussian("full"), _gaussians("full")),
    "HMM, Poisson": lambda: _chain(jaxem.Poisson(), PoissonParams(jnp.array([[2.0], [8.0]]))),
    "factor analysis": _factors,
    "Gaussian mixture, missing entries": _missing,
    "mixture of censored normals": _censored,
    "state space": _state_space,
}
