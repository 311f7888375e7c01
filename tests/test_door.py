"""The door of data: what means the same is computed the same, whoever is asked; the rest is refused by name."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import polars
import pytest

import jaxem
from jaxem.engine.convert import as_data, as_table, as_weights
from jaxem.structures.labelled import with_labels

COUNTS = np.array([[0, 3], [1, 2], [5, 0], [4, 1], [2, 2], [7, 1], [1, 1], [0, 4]])
COVARIANCE = np.stack([np.array([[4.0, 0.5], [0.5, 2.0]]), np.eye(2)])
HALF = np.array([0.5, 0.5])


def _gaussian(family=None):
    family = family or jaxem.Gaussian()
    components = jaxem.families.GaussianParams(np.array([[1.0, 2.0], [4.0, 1.0]]), COVARIANCE)
    return jaxem.Mixture(family, 2), jaxem.models.MixtureParams(HALF, components)


def _student():
    model = jaxem.Mixture(jaxem.StudentT(), 2)
    components = jaxem.families.StudentTParams(np.array([[1.0, 2.0], [4.0, 1.0]]), COVARIANCE, np.array([3.0, 9.0]))
    return model, jaxem.models.MixtureParams(HALF, components)


def _poisson(family=None):
    rate = jaxem.families.PoissonParams(np.array([[1.0, 3.0], [5.0, 0.5]]))
    return jaxem.Mixture(family or jaxem.Poisson(), 2), jaxem.models.MixtureParams(HALF, rate)


def _factor():
    params = jaxem.families.FactorParams(np.array([2.0, 1.5]), np.array([[1.0], [0.5]]), np.array([1.0, 2.0]))
    return jaxem.FactorAnalysis(1), params


def _negative_binomial():
    own = jaxem.families.NegativeBinomialParams(np.array([[1.0, 3.0], [5.0, 0.5]]), np.full((2, 2), 3.0))
    return jaxem.Mixture(jaxem.families.NegativeBinomial(), 2), jaxem.models.MixtureParams(HALF, own)


def _categorical():
    p = np.stack([np.full((2, 8), 1 / 8), np.tile(np.arange(1.0, 9.0) / 36, (2, 1))])
    return jaxem.Mixture(jaxem.Categorical(8), 2), jaxem.models.MixtureParams(HALF, jaxem.families.CategoricalParams(p))


TABLES = {
    "gaussian": _gaussian,
    "student": _student,
    "incomplete": lambda: _gaussian(jaxem.Incomplete(jaxem.Gaussian())),
    "poisson": _poisson,
    "incomplete columns": lambda: _poisson(jaxem.families.IncompleteColumns(jaxem.Poisson())),
    "negative binomial": _negative_binomial,
    "categorical": _categorical,
    "factor": _factor,
}
SAME = {
    "int64": lambda x: x.astype(np.int64),
    "uint8": lambda x: x.astype(np.uint8),
    "big-endian": lambda x: x.astype(">f8"),
    "big-endian integers": lambda x: x.astype(">i4"),
    "float32": lambda x: x.astype(np.float32),
    "lists": lambda x: x.tolist(),
    "jax integers": lambda x: jnp.asarray(x, jnp.int32),
    "pandas": lambda x: pandas.DataFrame(x, columns=["a", "b"]),
    "pandas nullable": lambda x: pandas.DataFrame(x, columns=["a", "b"]).astype("Int64"),
    "polars": lambda x: polars.DataFrame({"a": x[:, 0].tolist(), "b": x[:, 1].tolist()}),
    "fortran order": lambda x: np.asfortranarray(x.astype(float)),
    "masked without masked entries": lambda x: np.ma.masked_greater(x.astype(float), 1e5),
}
REFUSED = {
    "complex": lambda x: x + 0j,
    "jax complex": lambda x: jnp.asarray(x, complex),
    "float16": lambda x: x.astype(np.float16),
    "jax float16": lambda x: jnp.asarray(x, jnp.float16),
    "jax bfloat16": lambda x: jnp.asarray(x, jnp.bfloat16),
    "long double": lambda x: x.astype(np.longdouble),
    "dates": lambda x: x.astype("M8[D]"),
    "durations": lambda x: x.astype("m8[s]"),
    "objects": lambda x: x.astype(object),
    "text": lambda x: x.astype(str),
    "frame with text": lambda x: pandas.DataFrame({"a": x[:, 0], "b": x[:, 1].astype(str)}),
    "polars with text": lambda x: polars.DataFrame({"a": x[:, 0].tolist(), "b": [str(v) for v in x[:, 1]]}),
    "one column less": lambda x: x[:, :1],
    "one column more": lambda x: np.concatenate([x, x[:, :1]], 1),
    "a vector": lambda x: x[:, 0],
    "a cube": lambda x: x[None],
    "no rows": lambda x: x[:0],
    "no columns": lambda x: x[:, :0],
    "a number": lambda x: 3.0,
    "ragged": lambda x: [[1.0, 2.0], [1.0]],
    "a tuple of arrays": lambda x: (x.astype(float), x[:, 0].astype(float)),
    "a dictionary": lambda x: {"x": x},
    "infinity": lambda x: np.where(x == 7, np.inf, x.astype(float)),
}


def questions(model, params):
    """Everything that can be asked of rows."""
    asked = {
        "log_prob": model.log_prob,
        "log_likelihood": model.log_likelihood,
        "expectation": lambda p, x: model.expectation(p, x)[1],
    }
    for name in ("posterior", "predict"):
        if hasattr(model, name):
            asked[name] = getattr(model, name)
    if isinstance(model, jaxem.Single):
        asked["scores"] = lambda p, x: jaxem.models.factor_analysis.scores(p, x).mean
    if isinstance(getattr(model, "family", None), jaxem.Incomplete | jaxem.families.IncompleteColumns | jaxem.Factor):
        asked["impute"] = model.impute
    return asked


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("name", TABLES)
def test_what_means_the_same_is_computed_the_same(name, kind):
    model, params = TABLES[name]()
    params = jax.tree.map(jnp.asarray, params)
    given = SAME[kind](COUNTS)
    for asked, question in questions(model, params).items():
        want, got = question(params, jnp.asarray(COUNTS, float)), question(params, given)
        np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=asked)
    np.testing.assert_array_equal(np.asarray(as_table(given, "data")), COUNTS)


@pytest.mark.parametrize(
    "kind",
    ["int64", "pandas nullable", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("big-endian", "lists"))],
)
def test_runs_take_what_a_fit_takes(kind):
    model, params = _poisson()
    params, given = jax.tree.map(jnp.asarray, params), SAME[kind](COUNTS)
    want = jaxem.solve(model, params, jnp.asarray(COUNTS, float), max_steps=3)
    fit = jaxem.fit(model, given, init=params, max_steps=3, key=jax.random.key(0))
    stream = jaxem.fit_stream(model, [given, given], init=params, key=jax.random.key(0))
    assert jnp.isfinite(stream.params.components.rate).all()
    for got in (jaxem.solve(model, params, given, max_steps=3), fit):
        np.testing.assert_allclose(got.log_likelihood, want.log_likelihood, rtol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind != "a tuple of arrays"])  # rows and weights
def test_runs_refuse_what_a_fit_refuses(kind):
    model, params = _poisson()
    params, given = jax.tree.map(jnp.asarray, params), REFUSED[kind](COUNTS)
    for run in (
        lambda: jaxem.solve(model, params, given, max_steps=3),
        lambda: jaxem.fit(model, given, init=params, key=jax.random.key(0)),
        lambda: jaxem.fit_stream(model, [given], init=params, key=jax.random.key(0)),
    ):
        with pytest.raises(jaxem.DataError):
            run()


@pytest.mark.parametrize(
    "kind", ["int32", "lists", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("uint8", "pandas"))]
)
def test_integers_take_the_precision_of_the_parameters(kind):
    model, params = _gaussian()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    given = {"int32": COUNTS.astype(np.int32), "uint8": COUNTS.astype(np.uint8), "lists": COUNTS.tolist()}
    rows = given[kind] if kind in given else pandas.DataFrame(COUNTS)
    got = model.log_prob(params, rows)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, model.log_prob(params, jnp.asarray(COUNTS, jnp.float32)))
    assert jaxem.solve(model, params, rows, max_steps=2).params.weights.dtype == jnp.float32


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", TABLES)
def test_the_rest_is_refused(name, kind):
    model, params = TABLES[name]()
    params = jax.tree.map(jnp.asarray, params)
    given = REFUSED[kind](COUNTS)
    for question in questions(model, params).values():
        with pytest.raises(jaxem.DataError, match=r"^data"):
            question(params, given)
    if kind not in ("one column less", "one column more"):
        with pytest.raises(jaxem.DataError):
            jaxem.fit(model, given, key=jax.random.key(0))


@pytest.mark.parametrize("name", TABLES)
def test_masked_and_missing_entries(name):
    """They are missing where the model takes missing entries, and an error where it takes none."""
    model, params = TABLES[name]()
    params = jax.tree.map(jnp.asarray, params)
    rows = np.where(COUNTS == 7, np.nan, COUNTS.astype(float))
    hidden = np.ma.masked_equal(np.where(COUNTS == 7, 10**6, COUNTS), 10**6)
    frame = pandas.DataFrame(COUNTS).astype("Int64").mask(COUNTS == 7)
    nulls = polars.DataFrame({str(j): [None if v == 7 else int(v) for v in COUNTS[:, j]] for j in range(2)})
    takes = name in ("incomplete", "incomplete columns", "factor")
    for given in (rows, hidden, frame, nulls):
        if takes:
            np.testing.assert_allclose(model.log_prob(params, given), model.log_prob(params, rows))
        else:
            with pytest.raises(jaxem.DataError, match=r"row 5, column 0"):
                model.log_prob(params, given)


def test_what_single_precision_cannot_hold_is_refused():
    rows = np.random.default_rng(0).normal(size=(50, 2))
    with jax.enable_x64(False):
        for wrong in (rows + 1e9, rows * 1e60, (rows * 100).astype(np.int64) + 10**10):
            with pytest.raises(jaxem.DataError, match="float32 cannot hold"):
                as_data(wrong)
        for held in (rows, rows + 100, np.where(rows > 2, np.nan, rows), np.array([[2**24], [5]])):
            assert as_data(held).dtype == np.float32


def test_static_faults_are_found_under_a_trace():
    model, params = _gaussian()
    for wrong in (jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros((0, 2)), jnp.zeros((4, 2), complex)):
        with pytest.raises(jaxem.DataError, match="data"):
            jax.jit(lambda x: model.log_prob(params, x))(wrong)
        with pytest.raises(jaxem.DataError, match="data"):
            jax.jit(lambda x: jaxem.solve(model, params, x, max_steps=1).objective)(wrong)
    got = jax.jit(lambda x: model.log_prob(params, x))(jnp.asarray(COUNTS, jnp.int32))
    np.testing.assert_allclose(got, model.log_prob(params, COUNTS))


def test_a_fit_is_no_parameters():
    model, params = _poisson()
    fit = jaxem.fit(model, COUNTS, key=jax.random.key(0), init=jax.tree.map(jnp.asarray, params), max_steps=2)
    with pytest.raises(jaxem.DataError, match=r"fit\.params"):
        model.log_prob(fit, COUNTS)
    with pytest.raises(jaxem.DataError, match=r"fit\.params"):
        jaxem.fit(model, COUNTS, key=jax.random.key(0), init=fit)


def test_two_columns_are_no_single_one():
    model = jaxem.GaussianMixture(1, "diagonal")
    params = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.GaussianParams(jnp.zeros((1, 2)), jnp.ones((1, 2))))
    with pytest.raises(jaxem.DataError, match="has 1 columns, but the parameters are for 2"):
        model.log_prob(params, jnp.zeros((5, 1)))


def test_sequences_are_told_from_one_sequence():
    model = jaxem.HMM(jaxem.Gaussian("diagonal"), 2)
    own = jaxem.families.GaussianParams(jnp.array([[0.0, 0.0], [3.0, 3.0]]), jnp.ones((2, 2)))
    params = jaxem.models.HMMParams(jnp.asarray(HALF), jnp.full((2, 2), 0.5), own)
    want = model.log_prob(params, jnp.asarray(COUNTS, float)[None])
    for name in ("log_prob", "predict", "posterior", "filter", "forecast", "log_predictive"):
        question = getattr(model, name)
        question(params, COUNTS[None])
        for wrong in (COUNTS, COUNTS[None, :, :1], COUNTS[None, :0]):
            with pytest.raises(jaxem.DataError):
                question(params, wrong)
    one = COUNTS[None]
    for data in (one, one.tolist(), jaxem.Sequences(one), jaxem.Sequences(jnp.asarray(one))):
        np.testing.assert_allclose(model.log_prob(params, data), want)
    with pytest.raises(jaxem.DataError, match="lengths"):
        model.predict(params, jaxem.Sequences(COUNTS[None], np.array([9])))


def test_regressions():
    model = jaxem.Single(jaxem.LinearRegression())
    params = jaxem.families.RegressionParams(jnp.array([1.0, 0.5]), jnp.array(2.0))
    x, y = np.stack([np.ones(8), np.arange(8)], 1), np.array([1, 2, 2, 3, 2, 4, 5, 4])
    want = model.log_prob(params, jaxem.Responses(jnp.asarray(x), jnp.asarray(y, float)))
    for rows in (
        jaxem.Responses(x, y),
        jaxem.Responses(x.tolist(), y.tolist()),
        jaxem.Responses(pandas.DataFrame(x), pandas.Series(y)),
        jaxem.Responses(polars.DataFrame(x), polars.Series(y)),
    ):
        np.testing.assert_allclose(model.log_prob(params, rows), want)
    for wrong in ((x, y), (x.tolist(), y.tolist()), x, jaxem.Responses(x[:, :1], y), jaxem.Responses(x, y[:4])):
        with pytest.raises(jaxem.DataError, match=r"jaxem\.Responses|data\.x has 1|different numbers"):
            model.log_prob(params, wrong)
    for wrong in ((x, y), x):
        with pytest.raises(jaxem.DataError, match=r"jaxem\.Responses"):
            jaxem.fit(model, wrong, key=jax.random.key(0))


def test_no_infinite_response_is_censored_by_a_limit():
    x, y = np.stack([np.ones(6), np.arange(6)], 1), np.array([0.0, -np.inf, 0.3, 1.4, 2.2, 3.3])
    for model in (jaxem.models.Tobit(), jaxem.models.Tobit(upper=3.0)):
        with pytest.raises(jaxem.DataError, match="row 1"):
            jaxem.fit(model, jaxem.Responses(x, y), key=jax.random.key(0))
    for made in (jaxem.Interval.exact, lambda y: jaxem.Interval.right(y, y < 1), jaxem.Interval.limited):
        with pytest.raises(jaxem.DataError, match="row 1"):
            made(y)


# Rows of weight 0 are no rows


def _zero_cases():
    normal = np.random.default_rng(0).normal(size=(30, 3))
    constant = np.concatenate([np.tile([[1.0, 2.0, 3.0]], (30, 1)), normal])
    absent = np.concatenate([np.where(np.arange(3) == 1, np.nan, normal), normal])
    return {
        "constant columns": (jaxem.GaussianMixture(2), constant),
        "constant columns of factors": (jaxem.FactorAnalysis(1), constant),
        "constant columns of t": (jaxem.StudentTMixture(2), constant),
        "a column without entries": (jaxem.models.MultivariateNormal(missing=True), absent),
        "a column of factors without entries": (jaxem.FactorAnalysis(1), absent),
        "too few rows": (jaxem.GaussianMixture(31), normal[:30].repeat(2, 0)),
        "outside the support": (jaxem.Mixture(jaxem.Poisson(), 2), np.abs(normal.round()).repeat(2, 0) - 1),
        "wholly censored": (jaxem.Single(jaxem.families.CensoredExponential()), None),
        "censored alike": (jaxem.Single(jaxem.families.CensoredNormal()), None),
    }


@pytest.mark.parametrize("name", _zero_cases())
def test_checks_look_at_rows_of_positive_weight(name):
    """Data that cannot be fitted are refused whatever rows of weight 0 stand beside them."""
    model, rows = _zero_cases()[name]
    if rows is None:
        rows = jaxem.Interval.right(np.arange(1.0, 61.0), np.arange(60) < 30)
    weights = (np.arange(60) < 30).astype(float)
    alone = jax.tree.map(lambda leaf: leaf[:30], rows)
    with pytest.raises(jaxem.DataError) as without:
        jaxem.fit(model, alone, key=jax.random.key(0))
    with pytest.raises(jaxem.DataError) as beside:
        jaxem.fit(model, rows, weights=weights, key=jax.random.key(0))
    assert str(without.value).split("(")[0] == str(beside.value).split("(")[0]


def test_rows_of_weight_0_may_hold_anything():
    model, params = _poisson()
    rows = np.concatenate([COUNTS.astype(float), [[np.nan, np.inf], [-1.0, -np.inf]]])
    weights = np.r_[np.ones(8), 0, 0]
    params = jax.tree.map(jnp.asarray, params)
    want = jaxem.solve(model, params, jnp.asarray(COUNTS, float), max_steps=5)
    for got in (
        jaxem.solve(model, params, rows, weights=weights, max_steps=5),
        jax.jit(lambda x, w: jaxem.solve(model, params, x, weights=w, max_steps=5))(rows, weights),
        jaxem.fit(model, rows, weights=weights, init=params, max_steps=5, key=jax.random.key(0)),
    ):
        for a, b in zip(jax.tree.leaves(got.params), jax.tree.leaves(want.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
        np.testing.assert_allclose(got.log_likelihood, want.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(model.log_likelihood(params, rows, weights), model.log_likelihood(params, COUNTS))
    np.testing.assert_allclose(jaxem.aic(model, params, rows, weights), jaxem.aic(model, params, COUNTS))


def test_weights():
    assert as_weights(None, 3, float) is None
    np.testing.assert_array_equal(as_weights([1, 0, True], 3, np.float32), [1, 0, 1])
    for wrong, message in (
        ([1, 2], "3 numbers"),
        ([1, -1, 1], "row 1"),
        ([1, np.nan, 1], "row 1"),
        ([0, 0, 0], "sum to zero"),
        (["a", "b", "c"], "3 numbers"),
        (1.0, "3 numbers"),
    ):
        with pytest.raises(jaxem.DataError, match=message):
            as_weights(wrong, 3, float)


# A process of its own


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_forked_child_is_told():
    script = """
import multiprocessing, jax, numpy as np, jaxem
model, rows, key = jaxem.GaussianMixture(1), np.random.default_rng(0).normal(size=(30, 2)), jax.random.key(0)
def child(queue):
    try:
        queue.put(str(jaxem.fit(model, rows, key=key).status))
    except RuntimeError as error:
        queue.put(str(error))
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
print(queue.get(timeout=50))
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert "spawn" in run.stdout
    assert "loky" in run.stdout


SHAPES = {
    "one weight for all": (0, (1,)),
    "a weight too many": (0, (3,)),
    "one mean for all": (1, (1, 2)),
    "one covariance for all": (2, (1, 2, 2)),
    "variances for covariances": (2, (2, 2)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("ask", ["log_prob", "posterior", "solve", "traced"])
def test_parameters_of_another_shape_are_refused_by_the_name_of_the_leaf(name, ask):
    model, params = _gaussian()
    leaves, tree = jax.tree.flatten(params)
    leaf, shape = SHAPES[name]
    leaves[leaf] = np.ones(shape) / shape[0]
    own = ("params.weights", "params.components.mean", "params.components.covariance")[leaf]
    params = jax.tree.unflatten(tree, leaves)
    asked = {
        "log_prob": lambda: model.log_prob(params, COUNTS),
        "posterior": lambda: model.posterior(params, COUNTS),
        "solve": lambda: jaxem.solve(model, params, COUNTS.astype(float)),
        "traced": lambda: jax.jit(model.log_prob)(params, COUNTS),
    }
    with pytest.raises(jaxem.DataError, match=f"{own} has shape .*, expected"):
        asked[ask]()


@pytest.mark.parametrize(
    "params", [None, {"weights": HALF}, (HALF, COUNTS), _poisson()[1], jaxem.models.MixtureParams([0.5, 0.5], None)]
)
def test_parameters_of_another_kind_are_refused(params):
    with pytest.raises(jaxem.DataError, match=r"params has structure .*, but the model's parameters are MixtureParams"):
        _gaussian()[0].log_prob(params, COUNTS)


def test_members_of_another_number_are_refused():
    model = jaxem.HMM(jaxem.Poisson(), 3)
    params = jaxem.models.HMMParams(HALF, np.full((2, 2), 0.5), _poisson()[1].components)
    with pytest.raises(jaxem.DataError, match=r"params.initial has shape \(2,\), expected \(3,\)"):
        model.log_prob(params, COUNTS[None])


def test_masked_labels_are_not_known_and_masked_flags_and_words_are_refused():
    model, params = _gaussian()
    labels = np.ma.masked_array([1, 1, 0, 0, 0, 0, 0, 0], mask=[1, 0, 0, 0, 0, 0, 0, 0])
    found = with_labels(COUNTS, labels)
    assert found.labels.tolist() == [-1, 1, 0, 0, 0, 0, 0, 0]
    with pytest.raises(jaxem.DataError, match=r"data.labels has masked entries"):
        model.log_prob(params, jaxem.Labelled(COUNTS, labels))
    with pytest.raises(jaxem.DataError, match="censored has masked entries"):
        jaxem.Interval.right(np.arange(8.0), labels)
    with pytest.raises(jaxem.DataError, match=r"data.words has masked entries"):
        as_data(jaxem.Documents(labels[None], np.ones((1, 8))))
    with pytest.raises(jaxem.DataError, match="neither true nor false"):
        jaxem.Interval.right(np.arange(2.0), np.array([True, None]))


@pytest.mark.parametrize(("lower", "upper"), [(3.0, 1.0), (np.nan, 1.0), (0.0, np.nan)])
def test_limits_that_exclude_everything_are_refused(lower, upper):
    with pytest.raises(jaxem.DataError, match="lower must be at most upper"):
        jaxem.Interval.limited(np.arange(3.0), lower, upper)
