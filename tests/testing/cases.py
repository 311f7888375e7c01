"""Every public family with parameters of two members and rows, and every latent structure with potentials."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxem

N = 36


class Case(NamedTuple):
    family: Any
    params: Any
    rows: Any
    support: Any = None
    skip: tuple[str, ...] = ()


def _rng(seed):
    return np.random.default_rng(seed)


def _table(seed, d=2):
    rng = _rng(seed)
    return rng.standard_normal((N, d)) * np.array([1.0, 2.0, 0.7])[:d] + np.array([1.0, -2.0, 3.0])[:d]


_FULL = np.array([[[1.5, 0.4], [0.4, 3.0]], [[0.8, -0.3], [-0.3, 5.0]]])
_MEAN = np.array([[0.5, -1.0], [1.5, -3.0]])
_COVARIANCES = {
    "full": _FULL,
    "tied": _FULL[0],
    "diagonal": np.array([[1.5, 3.0], [0.8, 5.0]]),
    "spherical": np.array([1.5, 2.5]),
    "VEV": _FULL,
}
_SCALES = {"full": _FULL[0], "tied": _FULL[0], "diagonal": np.array([1.2, 2.0]), "spherical": 1.4, "VEV": _FULL[0]}


def _gaussian(structure, prior=False, floor=1e-12):
    own = jaxem.priors.NormalInverseWishart(np.array([1.0, -2.0]), 0.7, _SCALES[structure], 5.5) if prior else None
    return jaxem.Gaussian(structure, own, floor)


def _gaussian_params(structure):
    covariance = _COVARIANCES[structure]
    if structure == "VEV":  # the same ratio of axes for both
        values, vectors = np.linalg.eigh(_FULL)
        shape = np.array([1 / 2.0, 2.0])
        volume = np.sqrt(np.prod(values, 1))
        covariance = np.einsum("kij,kj,klj->kil", vectors, volume[:, None] * shape, vectors)
    return jaxem.families.GaussianParams(_MEAN, covariance)


def _responses(counts=False, trials=False, several=False):
    rng = _rng(7)
    shape = (N, 2) if several else (N,)
    x = np.stack([np.ones(shape), rng.uniform(-1, 1, shape)], -1)
    predictor = x @ np.array([0.8, 0.6])
    if trials:
        size = rng.integers(2, 6, shape).astype(float)
        return jaxem.Responses(x, rng.binomial(size.astype(int), 1 / (1 + np.exp(-predictor))).astype(float), size)
    if counts:
        return jaxem.Responses(x, rng.poisson(np.exp(predictor)).astype(float), rng.uniform(0.5, 1.5, shape))
    return jaxem.Responses(x, predictor + 0.7 * rng.standard_normal(shape))


def _counts(seed=2):
    return _rng(seed).poisson(np.array([3.0, 5.0]), (N, 2)).astype(float)


def _intervals(seed, positive=False, columns=None):
    rng = _rng(seed)
    shape = (N,) if columns is None else (N, columns)
    y = rng.gamma(2.0, 1.0, shape) if positive else rng.standard_normal(shape) + 1
    kind = rng.integers(4, size=shape)
    lower = np.where(kind == 1, y - 0.4 * y, np.where(kind == 2, -np.inf, y))
    upper = np.where(kind == 1, y + 0.5 * np.abs(y) + 0.1, np.where(kind == 3, np.inf, y))
    lower = np.where(kind == 1, np.minimum(lower, upper - 0.1), lower)
    return jaxem.Interval(np.where(positive & np.isinf(lower), 0.0, lower), upper)


def _limited(low, high):
    """Points of a response between two limits, and the limits, which have a probability of their own."""
    edges = np.linspace(low, high, 1001)
    y = np.concatenate([(edges[1:] + edges[:-1]) / 2, [low, high]])
    x = np.broadcast_to(_responses().x[3], (len(y), 2))
    return jaxem.Responses(x, y), np.concatenate([np.log(np.diff(edges)), [0.0, 0.0]])


def _gaps(x, seed=9, share=0.2):
    x = np.array(x)
    holes = _rng(seed).random(x.shape) < share
    holes[:4] = False
    x[holes] = np.nan
    return x


def _student(**options):
    structure = options.pop("structure", "full")
    shared, known = options.get("shared_degrees_of_freedom"), options.get("degrees_of_freedom")
    dof = np.array(4.0) if shared else np.full(2, known) if known else np.array([3.0, 6.0])
    own = _gaussian_params(structure)
    rows = _rng(3).standard_t(3, (N, 2)) * np.array([1.0, 2.0]) + np.array([1.0, -2.0])
    return Case(jaxem.StudentT(structure, **options), jaxem.families.StudentTParams(*own, dof), rows)


def _laplace_density(params, row):
    return -jnp.abs(row[0] - params["centre"]) / params["scale"] - jnp.log(2 * params["scale"])


def _laplace():
    import jax

    def start(key, point, rows, weights):
        share = weights / jnp.sum(weights)
        middle = jnp.sum(share * rows[:, 0])
        return {"centre": (point[0] + middle) / 2, "scale": jnp.sqrt(jnp.sum(share * (rows[:, 0] - middle) ** 2))}

    def draw(key, params):
        return (params["centre"] + params["scale"] * jax.random.laplace(key, (), params["scale"].dtype))[None]

    family = jaxem.families.FunctionFamily(
        _laplace_density, start, constraints={"scale": "positive"}, parameters=("centre", "scale"), draw=draw
    )
    return Case(family, {"centre": np.array([0.3, 1.5]), "scale": np.array([1.0, 0.6])}, _table(4, 1))


def _factor(noise, gaps=False):
    rng = _rng(12)
    loading = np.array([[[1.0], [0.8], [-0.5]], [[0.6], [-0.7], [0.9]]])
    x = rng.standard_normal((N, 1)) * loading[0, :, 0] + 0.6 * rng.standard_normal((N, 3)) + np.array([1.0, -2.0, 3.0])
    variance = np.array([[0.4, 0.6, 0.5], [0.7, 0.5, 0.3]]) if noise == "diagonal" else np.array([0.5, 0.4])
    mean = np.array([[1.2, -2.1, 2.8], [0.8, -1.7, 3.1]])
    return Case(jaxem.Factor(1, noise), jaxem.families.FactorParams(mean, loading, variance), _gaps(x) if gaps else x)


def _categorical(prior=False):
    own = jaxem.priors.Dirichlet(np.array([1.5, 2.0, 1.2])) if prior else None
    return Case(
        jaxem.Categorical(3, own),
        jaxem.families.CategoricalParams(
            np.array([[[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], [[0.4, 0.3, 0.3], [0.2, 0.2, 0.6]]])
        ),
        _rng(5).integers(3, size=(N, 2)).astype(float),
    )


def _bernoulli(prior=False):
    own = jaxem.priors.Beta(np.array([2.0, 1.5]), 1.25) if prior else None
    params = jaxem.families.BernoulliParams(np.array([[0.2, 0.9], [0.5, 0.7]]))
    return Case(jaxem.Bernoulli(own), params, (_rng(6).random((N, 2)) < np.array([0.4, 0.8])).astype(float))


def _poisson(prior=False):
    own = jaxem.priors.Gamma(np.array([2.0, 3.5]), 1.5) if prior else None
    return Case(jaxem.Poisson(own), jaxem.families.PoissonParams(np.array([[2.0, 6.0], [4.0, 4.0]])), _counts())


def _scalar_prior(case, prior):
    return (
        type(case.family)(prior)
        if not isinstance(case.family, jaxem.families.Categorical)
        else type(case.family)(3, prior)
    )


def _inverse_gaussian():
    rng, mean = _rng(27), np.array([[1.5, 4.0], [3.0, 2.0]])
    shape = np.array([[4.0, 6.0], [2.0, 9.0]])
    label = rng.integers(2, size=N)
    rows = rng.wald(mean[label], shape[label])
    return Case(jaxem.families.InverseGaussian(), jaxem.families.InverseGaussianParams(mean, shape), rows)


def families():
    """All of them by name."""
    found = {}
    for structure in _COVARIANCES:
        found[f"gaussian-{structure}"] = Case(_gaussian(structure), _gaussian_params(structure), _table(1))
        found[f"gaussian-{structure}-prior"] = Case(_gaussian(structure, True), _gaussian_params(structure), _table(1))
    found |= {
        "poisson": _poisson(),
        "poisson-prior": _poisson(True),
        "bernoulli": _bernoulli(),
        "bernoulli-prior": _bernoulli(True),
        "categorical": _categorical(),
        "categorical-prior": _categorical(True),
        "inverse-gaussian": _inverse_gaussian(),
    }
    rates = jaxem.families.ExponentialParams(np.array([[0.5, 1.0], [1.5, 0.7]]))
    normal = jaxem.families.GaussianParams(np.array([[0.8, 1.4], [1.2, 0.6]]), np.array([[0.9, 1.3], [1.4, 0.8]]))
    found |= {
        "censored-normal": Case(jaxem.families.CensoredNormal(), normal, _intervals(20, columns=2)),
        "censored-normal-flat": Case(
            jaxem.families.CensoredNormal(jaxem.Gaussian("spherical")),
            jaxem.families.GaussianParams(np.array([[0.8], [1.2]]), np.array([0.9, 1.4])),
            _intervals(21),
        ),
        "censored-log-normal": Case(jaxem.families.CensoredLogNormal(), normal, _intervals(22, True, 2)),
        "censored-exponential": Case(jaxem.families.CensoredExponential(), rates, _intervals(23, True, 2)),
        "censored-exponential-prior": Case(
            jaxem.families.CensoredExponential(jaxem.priors.Gamma(2.0, 1.5)),
            rates,
            jaxem.Interval.exact(_rng(24).exponential(1.0, (N, 2))),
        ),
        "censored-weibull": Case(
            jaxem.families.CensoredWeibull(),
            jaxem.families.WeibullParams(np.array([[1.4, 0.8], [2.0, 1.1]]), np.array([[1.0, 2.0], [1.5, 0.7]])),
            _intervals(25, True, 2),
        ),
        "regression": Case(
            jaxem.LinearRegression(),
            jaxem.families.RegressionParams(np.array([[0.5, 0.9], [1.1, 0.2]]), np.array([0.5, 0.8])),
            _responses(),
        ),
        "censored-regression": Case(
            jaxem.families.CensoredRegression(),
            jaxem.families.RegressionParams(np.array([[0.5, 0.9], [1.1, 0.2]]), np.array([0.5, 0.8])),
            _responses()._replace(y=_intervals(26)),
        ),
        "tobit": Case(
            jaxem.families.CensoredRegression(lower=0.1, upper=2.05),
            jaxem.families.RegressionParams(np.array([[0.5, 0.9], [1.1, 0.2]]), np.array([0.5, 0.8])),
            _responses(),
            _limited(0.1, 2.05),
        ),
        "t-regression": Case(
            jaxem.families.TRegression(),
            jaxem.families.TRegressionParams(
                np.array([[0.5, 0.9], [1.1, 0.2]]), np.array([0.5, 0.8]), np.array([3.0, 5.0])
            ),
            _responses(),
        ),
        "poisson-regression": Case(
            jaxem.families.PoissonRegression(),
            jaxem.families.GLMParams(np.array([[0.5, 0.9], [1.1, 0.2]])),
            _responses(True),
        ),
        "poisson-regression-common": Case(
            jaxem.families.PoissonRegression(common=(1,), prior_deviation=2.0),
            jaxem.families.GLMParams(np.array([[0.5, 0.4], [1.1, 0.4]])),
            _responses(True),
        ),
        "binomial-regression": Case(
            jaxem.families.BinomialRegression(),
            jaxem.families.GLMParams(np.array([[0.5, 0.9], [1.1, 0.2]])),
            _responses(trials=True),
        ),
        "binomial-regression-several": Case(
            jaxem.families.BinomialRegression(),
            jaxem.families.GLMParams(np.array([[0.5, 0.9], [1.1, 0.2]])),
            _responses(trials=True, several=True),
        ),
        "negative-binomial-regression": Case(
            jaxem.families.NegativeBinomialRegression(),
            jaxem.families.NegativeBinomialRegressionParams(np.array([[0.5, 0.9], [1.1, 0.2]]), np.array([1.5, 3.0])),
            _responses(True),
        ),
        "negative-binomial": Case(
            jaxem.families.NegativeBinomial(),
            jaxem.families.NegativeBinomialParams(
                np.array([[2.0, 6.0], [4.0, 4.0]]), np.array([[1.5, 3.0], [2.0, 0.8]])
            ),
            _rng(31).negative_binomial(2, 0.3, (N, 2)).astype(float),
        ),
        "negative-binomial-shared": Case(
            jaxem.families.NegativeBinomial(shared_theta=True, prior=jaxem.priors.Gamma(2.0, 0.5)),
            jaxem.families.NegativeBinomialParams(np.array([[2.0, 6.0], [4.0, 4.0]]), np.array([1.5, 3.0])),
            _rng(32).negative_binomial(2, 0.3, (N, 2)).astype(float),
        ),
        "student": _student(),
        "student-fixed-tied": _student(structure="tied", degrees_of_freedom=4.0),
        "student-shared-diagonal": _student(structure="diagonal", shared_degrees_of_freedom=True),
        "factor-diagonal": _factor("diagonal"),
        "factor-isotropic": _factor("isotropic"),
        "factor-gaps": _factor("diagonal", True),
        "incomplete-full": Case(jaxem.Incomplete(_gaussian("full")), _gaussian_params("full"), _gaps(_table(1))),
        "incomplete-tied": Case(jaxem.Incomplete(_gaussian("tied")), _gaussian_params("tied"), _gaps(_table(1))),
        "incomplete-diagonal-prior": Case(
            jaxem.Incomplete(_gaussian("diagonal", True)), _gaussian_params("diagonal"), _gaps(_table(1))
        ),
        "incomplete-poisson": _poisson()._replace(
            family=jaxem.families.IncompleteColumns(jaxem.Poisson(jaxem.priors.Gamma(2.0, 1.5))), rows=_gaps(_counts())
        ),
        "incomplete-categorical": _categorical()._replace(
            family=jaxem.families.IncompleteColumns(jaxem.Categorical(3)), rows=_gaps(_categorical().rows)
        ),
        "incomplete-bernoulli": _bernoulli()._replace(
            family=jaxem.families.IncompleteColumns(jaxem.Bernoulli()), rows=_gaps(_bernoulli().rows)
        ),
        "function": _laplace(),
        "neural": _neural(),
        # In a `OneOf` it must take the rows of the other members.
        "point": Case(jaxem.families.PointMass(0.0), (), np.zeros((N, 1)), skip=("support",)),
        "one-of": Case(
            jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson()),
            {"zero": (), "count": jaxem.families.PoissonParams(np.array([[2.0]]))},
            np.where(_rng(33).random((N, 1)) < 0.4, 0.0, _counts()[:, :1]),
        ),
        "one-of-hidden": Case(
            jaxem.families.OneOf(plain=jaxem.Gaussian("diagonal"), heavy=jaxem.StudentT("diagonal")),
            {
                "plain": jaxem.families.GaussianParams(_MEAN[:1], np.array([[1.5, 3.0]])),
                "heavy": jaxem.families.StudentTParams(_MEAN[1:], np.array([[1.5, 3.0]]), np.array([4.0])),
            },
            _student().rows,
        ),
        "product": Case(
            jaxem.Product(
                {"size": _gaussian("full", True), "visits": _poisson(True).family, "kind": _categorical(True).family}
            ),
            {"size": _gaussian_params("full"), "visits": _poisson().params, "kind": _categorical().params},
            {"size": _table(1), "visits": _counts(), "kind": _categorical().rows},
        ),
        "product-columns": Case(
            jaxem.Product(
                {"size": jaxem.Gaussian("tied"), "kind": jaxem.Bernoulli()}, {"size": [0, 2], "kind": [3, 1]}
            ),
            {"size": _gaussian_params("tied"), "kind": _bernoulli().params},
            np.stack([*_table(1).T, *_bernoulli().rows.T])[[0, 3, 1, 2]].T,
        ),
        "product-hidden": Case(
            jaxem.Product(
                {"heavy": jaxem.StudentT("diagonal"), "gaps": jaxem.Incomplete(_gaussian("full")), "n": jaxem.Poisson()}
            ),
            {
                "heavy": jaxem.families.StudentTParams(_MEAN, np.array([[1.5, 3.0], [0.8, 5.0]]), np.array([3.0, 6.0])),
                "gaps": _gaussian_params("full"),
                "n": _poisson().params,
            },
            {"heavy": _student().rows, "gaps": _gaps(_table(1)), "n": _counts()},
        ),
    }
    return found


def _neural():
    import equinox as eqx
    import jax

    def make(key):
        return eqx.nn.MLP("scalar", "scalar", 3, 1, activation=jnp.tanh, key=key)

    def log_density(network, row):
        return -((row.y - network(row.x[1])) ** 2) / 2 - jnp.log(2 * jnp.pi) / 2

    family = jaxem.families.NeuralFamily(make, log_density)
    networks = [eqx.filter(make(jax.random.key(i)), eqx.is_inexact_array) for i in range(2)]
    # Three times as steep as they are drawn: nearly linear ones hardly tell their units apart.
    params = jax.tree.map(lambda *leaves: 3 * np.stack([np.asarray(leaf) for leaf in leaves]), *networks)
    return Case(family, params, _responses())
