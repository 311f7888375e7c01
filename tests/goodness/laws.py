"""Models in one dimension, and what SciPy has of their components."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import families


class Law(NamedTuple):
    name: str
    family: Any
    params: Any  # of two components
    components: list[Any]  # frozen distributions of SciPy
    discrete: bool = False


def _two(*values):
    return jnp.asarray(values)[:, None]


LAWS = [
    Law(
        "gaussian",
        jaxem.Gaussian("diagonal"),
        families.GaussianParams(_two(-1.0, 2.0), _two(0.25, 4.0)),
        [stats.norm(-1, 0.5), stats.norm(2, 2)],
    ),
    Law(
        "student",
        jaxem.StudentT(),
        families.StudentTParams(_two(-1.0, 2.0), jnp.array([[[0.25]], [[4.0]]]), jnp.array([3.0, 40.0])),
        [stats.t(3, -1, 0.5), stats.t(40, 2, 2)],
    ),
    Law(
        "factor",
        jaxem.Factor(1),
        families.FactorParams(_two(-1.0, 2.0), jnp.array([[[0.6]], [[1.0]]]), _two(0.64, 3.0)),
        [stats.norm(-1, 1), stats.norm(2, 2)],
    ),
    Law(
        "lognormal",
        families.CensoredLogNormal(),
        families.GaussianParams(_two(-1.0, 2.0), _two(0.25, 0.16)),
        [stats.lognorm(0.5, scale=np.exp(-1)), stats.lognorm(0.4, scale=np.exp(2))],
    ),
    Law(
        "normal-censored",
        families.CensoredNormal(),
        families.GaussianParams(_two(-1.0, 2.0), _two(0.25, 4.0)),
        [stats.norm(-1, 0.5), stats.norm(2, 2)],
    ),
    Law(
        "exponential",
        families.CensoredExponential(),
        families.ExponentialParams(_two(0.5, 3.0)),
        [stats.expon(scale=2), stats.expon(scale=1 / 3)],
    ),
    Law(
        "weibull",
        families.CensoredWeibull(),
        families.WeibullParams(_two(0.7, 3.0), _two(2.0, 5.0)),
        [stats.weibull_min(0.7, scale=2), stats.weibull_min(3, scale=5)],
    ),
    Law(
        "inverse-gaussian",
        families.InverseGaussian(),
        families.InverseGaussianParams(_two(1.5, 4.0), _two(2.0, 30.0)),
        [stats.invgauss(0.75, scale=2), stats.invgauss(4 / 30, scale=30)],
    ),
    Law(
        "poisson",
        jaxem.Poisson(),
        families.PoissonParams(_two(0.8, 12.0)),
        [stats.poisson(0.8), stats.poisson(12)],
        True,
    ),
    Law(
        "negative-binomial",
        families.NegativeBinomial(),
        families.NegativeBinomialParams(_two(2.0, 30.0), _two(0.6, 4.0)),
        [stats.nbinom(0.6, 0.6 / 2.6), stats.nbinom(4, 4 / 34)],
        True,
    ),
    Law(
        "bernoulli",
        jaxem.Bernoulli(),
        families.BernoulliParams(_two(0.2, 0.7)),
        [stats.bernoulli(0.2), stats.bernoulli(0.7)],
        True,
    ),
    Law(
        "categorical",
        jaxem.Categorical(3),
        families.CategoricalParams(jnp.array([[[0.2, 0.5, 0.3]], [[0.6, 0.1, 0.3]]])),
        [stats.rv_discrete(values=([0, 1, 2], p)) for p in ([0.2, 0.5, 0.3], [0.6, 0.1, 0.3])],
        True,
    ),
]
WEIGHTS = (0.35, 0.65)
QUICK = ("gaussian", "weibull", "categorical")  # the others are compiled for longer


def each(laws: Any = LAWS, quick: Any = QUICK) -> Any:
    """A test of every law, most of which are slow."""
    marked = [pytest.param(law, id=law.name, marks=[] if law.name in quick else pytest.mark.slow) for law in laws]
    return pytest.mark.parametrize("law", marked)


def mixture(law: Law, dtype: Any = float) -> tuple[Any, Any]:
    """A model and its parameters."""
    params = jaxem.models.MixtureParams(jnp.array(WEIGHTS), law.params)
    cast = jaxem.models.MixtureParams(*(_cast(part, dtype) for part in params))
    return jaxem.Mixture(law.family, 2), cast


def _cast(tree: Any, dtype: Any) -> Any:
    if isinstance(tree, tuple):
        return type(tree)(*(leaf.astype(dtype) for leaf in tree))
    return tree.astype(dtype)


def wanted(law: Law, name: str, x: Any) -> np.ndarray:
    """The function of SciPy of this name, of the mixture."""
    name = "pmf" if law.discrete and name == "pdf" else name
    return sum(w * getattr(own, name)(x) for w, own in zip(WEIGHTS, law.components, strict=True))


def values(law: Law) -> np.ndarray:
    """Some values from one end to the other."""
    if law.discrete:
        return np.arange(-1, 40 if law.name in ("poisson", "negative-binomial") else 4, dtype=float)
    return np.sort(np.concatenate([own.ppf([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999]) for own in law.components]))
