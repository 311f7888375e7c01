"""Every structure with every public family: a few steps of a fit, and the questions that can be asked of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.selection import num_observations
from tests.helpers import families

N, STEPS = 24, 12
_rng = np.random.default_rng(7)
_SIDE = np.arange(N) // 6 % 2
REAL = _rng.normal(size=(N, 2)) + 4.0 * _SIDE[:, None]
COUNTS = _rng.poisson(np.where(_SIDE, 9.0, 2.0)[:, None], (N, 2)).astype(float)
BITS = (_rng.random((N, 3)) < np.where(_SIDE, 0.8, 0.3)[:, None]).astype(float)
CODES = np.c_[_rng.integers(0, 3, N), _rng.integers(0, 2, N)].astype(float)
HOLES = np.where(_rng.random((N, 2)) < 0.2, np.nan, 1.0)
X = np.c_[np.ones(N), _rng.normal(size=N)]
LINE = np.where(_SIDE, 3.0, -3.0) + 2 * X[:, 1] + 0.3 * _rng.normal(size=N)
TIMES = _rng.gamma(2.0, np.where(_SIDE, 3.0, 0.5))
CENSORED = TIMES > 3
LATE = np.where(CENSORED, 3.0, TIMES)


def _log_density(params, row):
    return -jnp.abs(row[0] - params["centre"]) - jnp.log(2.0)


def _network(key):
    return {"slope": jax.random.normal(key, ())}


LAPLACE = jaxem.families.FunctionFamily(
    _log_density,
    lambda key, point, rows, weights: {"centre": point[0]},
    draw=lambda key, params: params["centre"] + jax.random.laplace(key, (2,)),
)
LINES = jaxem.families.NeuralFamily(_network, lambda net, row: -((row.y - net["slope"] * row.x[1]) ** 2) / 2)
INTERVALS = jaxem.Interval.right(LATE, CENSORED)
COUNTED = jaxem.Responses(X, COUNTS[:, 0])
BLOCKS = {"size": jaxem.Gaussian("diagonal"), "kind": jaxem.Categorical((3, 2))}
UNLIKE = jaxem.families.OneOf(low=jaxem.Poisson(), high=jaxem.families.NegativeBinomial())
# Family and rows of each, by name.
CASES = {
    **{f"Gaussian {s}": (jaxem.Gaussian(s), REAL) for s in ("full", "tied", "diagonal", "spherical", "VEV")},
    "StudentT": (jaxem.StudentT(), REAL),
    "Factor": (jaxem.Factor(1), REAL * HOLES),
    "Incomplete": (jaxem.Incomplete(jaxem.Gaussian()), REAL * HOLES),
    "Poisson": (jaxem.Poisson(), COUNTS),
    "NegativeBinomial": (jaxem.families.NegativeBinomial(), COUNTS),
    "Bernoulli": (jaxem.Bernoulli(), BITS),
    "Categorical": (jaxem.Categorical((3, 2)), CODES),
    "IncompleteColumns Poisson": (jaxem.families.IncompleteColumns(jaxem.Poisson()), COUNTS * HOLES),
    "IncompleteColumns Categorical": (jaxem.families.IncompleteColumns(jaxem.Categorical((3, 2))), CODES * HOLES),
    "Product": (jaxem.Product(BLOCKS), {"size": REAL, "kind": CODES}),
    "LinearRegression": (jaxem.LinearRegression(), jaxem.Responses(X, LINE)),
    "TRegression": (jaxem.families.TRegression(), jaxem.Responses(X, LINE)),
    "PoissonRegression": (jaxem.families.PoissonRegression(), COUNTED),
    "BinomialRegression": (jaxem.families.BinomialRegression(), jaxem.Responses(X, BITS[:, 0])),
    "NegativeBinomialRegression": (jaxem.families.NegativeBinomialRegression(), COUNTED),
    "CensoredRegression": (jaxem.families.CensoredRegression(lower=-2.0), jaxem.Responses(X, np.maximum(LINE, -2.0))),
    "CensoredNormal": (jaxem.families.CensoredNormal(), INTERVALS),
    "CensoredLogNormal": (jaxem.families.CensoredLogNormal(), INTERVALS),
    "CensoredExponential": (jaxem.families.CensoredExponential(), INTERVALS),
    "CensoredWeibull": (jaxem.families.CensoredWeibull(), INTERVALS),
    "InverseGaussian": (jaxem.families.InverseGaussian(), 0.5 + COUNTS),
    "OneOf": (UNLIKE, COUNTS),
    "FunctionFamily": (LAPLACE, REAL),
    "NeuralFamily": (LINES, jaxem.Responses(X, LINE)),
}
STRUCTURES = ("Single", "Mixture", "HMM", "MixtureOfExperts")
# The rest are the same arithmetic under other parameters.
QUICK = {
    ("HMM", "Categorical"),
    ("Single", "Product"),
    ("Mixture", "CensoredExponential"),
    ("MixtureOfExperts", "Gaussian diagonal"),
}
# What has no rows to draw without being told more.
NO_DRAWS = "covariates|unlike members|give it `draw`"


def made(structure, name):
    family, rows = CASES[name]
    if structure == "Single":
        return jaxem.Single(family), rows
    if structure == "Mixture":
        return jaxem.Mixture(family, 2), rows
    if structure == "HMM":
        return jaxem.HMM(family, 2), jax.tree.map(lambda a: a.reshape(N // STEPS, STEPS, *a.shape[1:]), rows)
    return jaxem.MixtureOfExperts(family, 2, gate_deviation=3.0), jaxem.models.Gated(rows, X)


def pairs():
    for structure in STRUCTURES:
        for name in CASES:
            if (structure, name) != ("Single", "OneOf"):
                marks = () if (structure, name) in QUICK else pytest.mark.slow
                yield pytest.param(structure, name, marks=marks)


def test_no_family_is_forgotten():
    tried = {type(family) for family, _ in CASES.values()}
    assert families.public() == tried | {jaxem.families.PointMass}


@pytest.mark.parametrize(("structure", "name"), [*pairs()])
def test_a_pair_fits_and_answers(structure, name):
    model, data = made(structure, name)
    fit = jaxem.fit(model, data, key=jax.random.key(1), max_steps=3)
    assert jaxem.status_name(fit.status) in ("max_steps_reached", "converged", "degenerate_component")
    assert np.isfinite(fit.objective)
    first = float(fit.history[0])
    assert float(fit.objective) >= first - 1e-9 * abs(first)

    count = N // STEPS if structure == "HMM" else N
    data = jax.tree.map(jnp.asarray, data)
    log_prob = np.asarray(model.log_prob(fit.params, data))
    assert log_prob.shape == (count,)
    assert log_prob.sum() == pytest.approx(float(fit.log_likelihood), rel=1e-7)
    if structure != "Single":
        share, chosen = np.asarray(model.posterior(fit.params, data)), np.asarray(model.predict(fit.params, data))
        shape = (count, STEPS) if structure == "HMM" else (count,)
        assert share.shape == (*shape, 2)
        assert chosen.shape == shape
        np.testing.assert_allclose(share.sum(-1), 1, rtol=1e-9)
    assert float(jaxem.bic(model, fit.params, data)) == pytest.approx(
        -2 * log_prob.sum() + model.num_parameters(fit.params) * np.log(float(num_observations(model, data)))
    )

    draw = {"HMM": (3, 5)}.get(structure, (15,))
    if structure == "MixtureOfExperts" or "egression" in name or name in ("OneOf", "NeuralFamily"):
        with pytest.raises(jaxem.MissingCapabilityError, match=NO_DRAWS):
            model.sample(jax.random.key(2), fit.params, *draw)
        return
    rows, _ = model.sample(jax.random.key(2), fit.params, *draw)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(rows)]
    assert all(shape[: len(draw)] == draw for shape in shapes), shapes
    # They are rows of the family: those it was fitted to have as many axes, but for intervals of one column.
    if structure != "HMM":
        model.distribution.check_rows(jax.tree.map(np.asarray, rows))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_point_mass_alone_is_no_model(structure):
    family = jaxem.families.PointMass(0.0)
    model = {
        "Single": lambda: jaxem.Single(family),
        "Mixture": lambda: jaxem.Mixture(family, 2),
        "HMM": lambda: jaxem.HMM(family, 2),
        "MixtureOfExperts": lambda: jaxem.MixtureOfExperts(family, 2),
    }[structure]()
    zeros = np.zeros((2, 6, 1)) if structure == "HMM" else np.zeros((6, 1))
    data = jaxem.models.Gated(zeros, np.ones((6, 1))) if structure == "MixtureOfExperts" else zeros
    with pytest.raises(jaxem.MissingCapabilityError, match="as a member of a OneOf"):
        jaxem.fit(model, data, key=jax.random.key(0))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_unlike_members_are_as_many_as_the_model_has(structure):
    model, data = made(structure, "OneOf")
    if structure != "Single":
        name = "num_states" if structure == "HMM" else "num_components"
        model = model.__class__(**{("emission" if structure == "HMM" else "family"): UNLIKE, name: 3})
    with pytest.raises(jaxem.DataError, match=r"OneOf has 2 members \(low, high\), and the model asks for"):
        jaxem.fit(model, data, key=jax.random.key(0))


REGRESSIONS = [
    "LinearRegression",
    "TRegression",
    "PoissonRegression",
    "BinomialRegression",
    "NegativeBinomialRegression",
    "CensoredRegression",
]


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        pytest.param(
            structure,
            name,
            marks=()
            if (structure, name) in (("HMM", "TRegression"), ("Mixture", "LinearRegression"))
            else pytest.mark.slow,
        )
        for structure in STRUCTURES
        for name in REGRESSIONS
        if structure != "HMM" or name in ("TRegression", "CensoredRegression")
    ],
)
def test_a_column_of_responses_is_the_same_as_a_vector(structure, name):
    """`[n, 1]` as `[n]`, `[n, T, 1]` as `[n, T]`; never `[n, n]` residuals."""
    model, flat = made(structure, name)
    gated = isinstance(flat, jaxem.models.Gated)
    rows = flat.rows if gated else flat
    column = rows._replace(y=rows.y[..., None])
    column = flat._replace(rows=column) if gated else column
    model.check(flat, None)
    model.check(column, None)

    @jax.jit
    def found(data):
        params = model.init(jax.random.key(0), data)
        return params, model.log_prob(params, data)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), found(flat), found(column))
