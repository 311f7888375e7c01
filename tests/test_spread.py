"""Rows of an array that is spread over devices stay there: compiled programs move statistics, and few numbers besides.

In processes of their own, as the number of devices is set at their start.
"""

import pytest

from tests.helpers import apart

PREAMBLE = r"""
import glob, os, re, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
import jaxem
from jaxem._algorithm import default_algorithm

assert jax.device_count() == 8
mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType[KIND],))


def spread(tree):
    return jax.device_put(tree, NamedSharding(mesh, P("rows")))


def moved(text, least):
    # What a compiled program moves between devices that has `least` or more numbers along an axis.
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    found = re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text)
    assert found, "nothing moves: each device would have to have all rows"
    sizes = [(kind, int(size)) for shape, kind in found for dims in re.findall(r"\[([\d,]+)\]", shape)
             for size in dims.split(",")]
    return [entry for entry in sizes if entry[1] >= least]


def same(a, b, tol=1e-9):
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), rtol=tol, atol=tol)
"""

SOLVE = """
from jaxem.engine.trees import in_memory
from tests.helpers import product

cell = product.models()[CASE]
n, chunk = 8 * 600, 350  # more than the 256 rows that stand for a design
index = np.arange(n) % len(cell.weights)
x, weights = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[index]), cell.x), jnp.linspace(0.0, 2.0, n)


def run(x, weights):
    return jaxem.solve(cell.model, cell.start, x, weights=weights, algorithm=default_algorithm(cell.model),
                       max_steps=8, history_size=1, chunk_rows=chunk, kernel="fast")


assert in_memory(x, weights) and not in_memory(spread(weights))
apart = jax.jit(run).lower(*spread((x, weights))).compile()
assert not moved(apart.as_text(), chunk), moved(apart.as_text(), chunk)
same(apart(*spread((x, weights))).params, jax.jit(run)(x, weights).params)
"""

EXPLICIT = """
for name in ("log_prob", "posterior", "log_likelihood"):
    ask = jax.jit(getattr(cell.model, name))
    found, plain = ask(cell.start, spread(x)), ask(cell.start, x)
    same(found, plain)
    assert all(leaf.sharding.spec[:1] == ("rows",) for leaf in jax.tree.leaves(found) if leaf.ndim)
grad = jax.jit(jax.grad(lambda w, x: jaxem.solve(cell.model, cell.start, x, weights=w, max_steps=3).objective))
same(grad(spread(weights), spread(x)), grad(weights, x), 1e-6)
"""

# What each fit and each question compiles, but for what was compiled before.
WATCH = r"""
def forget():
    for file in glob.glob(DUMP + "/*"):
        if os.path.isfile(file):
            os.remove(file)


def stays(least, *programs):
    names = glob.glob(DUMP + "/*after_optimizations.txt")
    texts = [(os.path.basename(name).split(".")[1], open(name).read()) for name in names]
    moving = [(name, text) for name, text in texts if re.search("all-reduce|all-gather", text)]
    assert set(programs) <= {name for name, _ in moving}, [name for name, _ in moving]
    far = [(name, moved(text, least)) for name, text in moving]
    assert not any(sizes for _, sizes in far), far


def lies_beside(answer):
    assert all(len(leaf.sharding.device_set) == 8 and not leaf.sharding.is_fully_replicated for leaf in
               jax.tree.leaves(answer))
"""

FIT = r"""
rng = np.random.default_rng(0)
n = 8 * 9000  # more on each device than the 8192 rows that starts are drawn from
x = np.r_[rng.normal(size=(n // 2, 3)), rng.normal(3, 1, size=(n - n // 2, 3))]
x = x[rng.permutation(n)]
weights = rng.integers(0, 3, n).astype(float)
model, options = jaxem.GaussianMixture(2), dict(key=jax.random.key(0), restarts=2, max_steps=10, weights=weights)
whole = jaxem.fit(model, x, **options)
likelihood = model.log_likelihood(whole.params, x), jaxem.bic(model, whole.params, x, weights)
forget()
apart = spread(x)
fit = jaxem.fit(model, apart, **options)
same(fit.params, whole.params)
same(fit.restarts.objective, whole.restarts.objective)
same((model.log_likelihood(whole.params, apart), jaxem.bic(model, whole.params, apart, weights)), likelihood)
for ask in (model.posterior, model.predict, model.log_prob):
    answer = ask(fit.params, apart)
    lies_beside(answer)
    same(answer, ask(fit.params, x))
stays(n // 8, "jit__bind", "jit_draw", "jit__advance", "jit_finish")
"""

# Steps and labels: starts are drawn from few rows, so that few are as many as must not move; 256 stand for a design.
KINDS = r"""
rng = np.random.default_rng(0)
n, steps, few = 8 * 300, 6, 128
states = (np.cumsum(rng.random((n, steps)) < 0.3, 1) + rng.integers(0, 2, (n, 1))) % 2
normal, counts = rng.normal(3 * states[..., None], 1, (n, steps, 2)), rng.poisson(2 + 7 * states)[..., None] * 1.0
weights, labels = rng.integers(0, 3, n) * 1.0, np.where(rng.random(n) < 0.3, states[:, 0], -1)
gaps = np.where(rng.random(normal.shape) < 0.2, np.nan, normal)
lengths, observed = rng.integers(1, steps + 1, n), rng.random((n, steps)) < 0.8
season = np.stack([np.ones((n, steps)), rng.normal(size=(n, steps))], 2)
ragged = jaxem.Sequences(counts, lengths, observed)
level = np.where(rng.random((n, steps)) < 0.2, 2, states)[..., None] * 1.0
softmax = jaxem.structures.SoftmaxTransitions()
kmeans, points = jaxem.init.KMeansPlusPlus(rows=few), jaxem.init.Points()
chain = lambda family, start=kmeans, **parts: jaxem.HMM(family, 2, start=start, **parts)
model, x = {
    "labels": lambda: (jaxem.GaussianMixture(2, start=kmeans), normal[:, 0]),
    "labels, points": lambda: (jaxem.GaussianMixture(2, start=points), normal[:, 0]),
    "sequences": lambda: (chain(jaxem.Gaussian()), normal),
    "sequences, points": lambda: (chain(jaxem.Gaussian(), points), normal),
    "ragged": lambda: (chain(jaxem.Poisson()), ragged),
    "levels": lambda: (chain(jaxem.Categorical(3)), level),
    "gaps": lambda: (chain(jaxem.Incomplete(jaxem.Gaussian())), gaps),
    "responses": lambda: (chain(jaxem.LinearRegression()), jaxem.Responses(season, normal[..., 0])),
    "stationary": lambda: (chain(jaxem.Poisson(), initial="stationary"), counts),
    "driven": lambda: (chain(jaxem.Poisson(), transitions=softmax), jaxem.models.Driven(ragged, season)),
    "mixture with gaps": lambda: (jaxem.GaussianMixture(2, missing=True, start=kmeans), gaps[:, 0]),
}[CASE]()
options = dict(key=jax.random.key(0), restarts=2, max_steps=6, weights=weights)
options |= dict(labels=labels) if "labels" in CASE else {}
first = jaxem.fit(model, x, **options)
# Of rows with gaps one device sorts the table, from which starts are drawn then.
options |= dict(restarts=1, init=first.params) if "mixture" in CASE else {}
whole = jaxem.fit(model, x, **options)
forget()
# A table that is passed without being spread is spread like the others.
apart = x._replace(values=spread(x.values)) if CASE == "ragged" else spread(x)
fit = jaxem.fit(model, apart, **options)
same((fit.params, fit.restarts.objective), (whole.params, whole.restarts.objective), 1e-8)
stays(n // 8, "jit__bind", "jit__advance", "jit_finish", *(["jit_draw"] if "mixture" not in CASE else []))
forget()
questions = ["posterior", "predict", "log_prob"]
for name in questions + (["entropy", "filter", "log_predictive"] if isinstance(model, jaxem.HMM) else []):
    answer = getattr(model, name)(fit.params, apart)
    lies_beside(answer)
    same(answer, getattr(model, name)(fit.params, x))
total = model.log_likelihood(fit.params, apart), jaxem.bic(model, fit.params, apart, weights)
same(total, (model.log_likelihood(fit.params, x), jaxem.bic(model, fit.params, x, weights)))
stays(n // 8)
"""

MESH = r"""
rng = np.random.default_rng(0)
x = rng.normal(size=(8 * 3000 - 5, 3)) + 1.5 * rng.integers(0, 2, (8 * 3000 - 5, 1))
weights, labels = rng.integers(0, 3, len(x)).astype(float), np.where(x[:, 0] > 4, 1, -1)
model = jaxem.GaussianMixture(2)
for kind in ("plain", "weighted"):
    options = dict(key=jax.random.key(0), restarts=16, max_steps=10)
    if kind == "weighted":
        options |= dict(weights=weights, labels=labels)
    whole = jaxem.fit(model, x, **options)
    for shape, names in (((8,), ("rows",)), ((8,), ("lanes",)), ((4, 2), ("rows", "lanes"))):
        fit = jaxem.fit(model, x, mesh=jax.make_mesh(shape, names), **options)
        same((fit.params, fit.restarts.objective), (whole.params, whole.restarts.objective))
        assert len(fit.params.weights.sharding.device_set) == 8
same(jaxem.fit(model, x, chunk_rows=700, **options).params, whole.params)
texts = [open(name).read() for name in glob.glob(DUMP + "/*_advance*after_optimizations.txt")]
spread = [text for text in texts if "all-reduce" in text and "f64[8,2,10]" in text]
assert spread  # statistics of half of sixteen lanes: the other half lies on other devices
assert not any(moved(text, 1000) for text in spread)
for mesh, told in ((jax.make_mesh((8,), ("batch",)), "'rows' and 'lanes'"), ("all", "jax.make_mesh")):
    try:
        jaxem.fit(model, x, mesh=mesh, **options)
    except jaxem.DataError as error:
        assert told in str(error)
    else:
        raise AssertionError(mesh)
"""


def run(program, tmp_path, kind="Auto", case=""):
    flags = f"{apart.FEW} --xla_dump_to={tmp_path} --xla_dump_hlo_as_text"
    names = f"KIND, CASE, DUMP = {kind!r}, {case!r}, {str(tmp_path)!r}\n"
    apart.run(names + PREAMBLE + program, 8, flags)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_fit_and_questions(kind, tmp_path):
    run(WATCH + FIT, tmp_path, kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "labels",
        "labels, points",
        "sequences",
        "sequences, points",
        "ragged",
        "levels",
        "gaps",
        "responses",
        "stationary",
        "driven",
        "mixture with gaps",
    ],
)
def test_steps_and_labels(case, tmp_path):
    run(WATCH + KINDS, tmp_path, case=case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "full",
        "bernoulli",
        "regressions",
        "Poisson regressions",
        "Student t",
        "factors",
        "function",
        "chain",
        "chain, driven",
    ],
)
def test_solve_under_jit(case, tmp_path):
    run(SOLVE, tmp_path, case=case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["full", "Student t"])
def test_explicit_axes_under_jit(case, tmp_path):
    run(SOLVE + EXPLICIT, tmp_path, "Explicit", case)


@pytest.mark.slow
def test_rows_and_lanes_over_a_mesh(tmp_path):
    run(MESH, tmp_path)
