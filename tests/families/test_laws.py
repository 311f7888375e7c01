"""What every family promises, on each of its kernels.

One program for each family and precision computes everything that the tests look at, for two sets of parameters: in
double precision under `vmap`, in single precision in turn, with double precision enabled beside it.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from jaxem._paths import covers
from tests.families import cases
from tests.helpers import oracles

CASES, WITH_PRIOR = cases.every(), cases.every(prior=True)
# The product of columns is the one that is seen always: a product of tables differs in how rows are handed out.
names = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("product", "gaussian-tied", "gaussian-VEV") else ())
        for name in CASES
    ],
)


def tolerance(dtype):
    return {"rtol": 2e-4, "atol": 2e-4} if dtype == jnp.float32 else {"rtol": 1e-9, "atol": 1e-9}


def same(a, b, **tolerances):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: assert_allclose(x, y, **tolerances), a, b)


def both(params):
    """Two sets of parameters, stacked."""
    return jax.tree.map(lambda a: np.stack([a, 0.9 * a]), params)


def normalised(name, params):
    """The second set must be parameters too."""
    if name == "categorical":
        return jax.tree.map(lambda p: p / p.sum(-1, keepdims=True), params)
    if name.startswith("product"):
        return params | {"kind": normalised("categorical", params["kind"])}
    return params


def pair(name):
    stacked = normalised(name, both(CASES[name].params))
    return stacked, [jax.tree.map(lambda a, i=i: a[i], stacked) for i in range(2)]


def report(name, params, x, r):
    """What there is to check, on every kernel."""
    case, prior = CASES[name], WITH_PRIOR[name]
    out = {}
    found = cases.kernels(case.family, params, x, jnp.sum(r, 0))
    informed = cases.kernels(prior.family, params, x, jnp.sum(r, 0))
    for kernel, (family, encoded) in found.items():
        natural = family.natural(encoded)
        potentials, pull = jax.vjp(lambda eta, family=family: family.potentials(eta, x), natural)
        (stats,) = pull(r)
        taken = family.add_constant(natural, jnp.arange(potentials.shape[0], dtype=potentials.dtype))
        with_prior = informed[kernel][0]
        out[kernel] = {
            "log_density": potentials + family.log_base(x)[None],
            "potentials": potentials,
            "natural": natural,
            "added": family.potentials(taken, x) if taken is not None else (),
            "stats": stats,
            "estimate": family.decode(family.maximize(stats, encoded)),
            "mode": family.decode(with_prior.maximize(stats, encoded)),
            "log_prior": (family.log_prior(encoded), with_prior.log_prior(encoded)),
            "there_and_back": family.decode(family.family.constrain(family.family.unconstrain(encoded))),
            "loss": family.rounding_error(encoded),
            "loss_at_hand": family.rounding_error(encoded, natural),
        }
        if family.product_form:
            _, through = jax.vjp(family.coefficients, natural)
            out[kernel]["transposed"] = through(r @ family.statistics(x).T)[0]
        else:
            other = family.about(encoded)
            out[kernel]["moved"] = other.translate(stats, family)
            out[kernel]["direct"] = cases.collect(other, encoded, x, r)
    return out


@lru_cache
def reports(name, dtype):
    with jax.enable_x64(True):
        return compute(name, dtype)


def compute(name, dtype):
    stacked, single = pair(name)
    x, r = cases.cast(CASES[name].x, dtype), jnp.asarray(cases.responsibilities(), dtype)
    run = lambda params: report(name, params, x, r)  # noqa: E731
    if dtype == "float32":
        run = jax.jit(run)
        return [jax.tree.map(np.asarray, run(cases.cast(params, dtype))) for params in single]
    out = jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(cases.cast(stacked, dtype)))
    return [jax.tree.map(lambda a, i=i: a[i], out) for i in range(2)]


def each(name, dtype):
    """For both parameters and every kernel: the parameters, and the report on them."""
    for params, out in zip(pair(name)[1], reports(name, dtype.name), strict=True):
        for kernel in out:
            yield params, out[kernel]


@names
def test_density(name, dtype):
    for params, out in each(name, dtype):
        assert out["log_density"].dtype == dtype
        assert_allclose(out["log_density"], CASES[name].log_density(params, CASES[name].x), **tolerance(dtype))


@names
def test_potentials_are_linear_and_statistics_their_transpose(name, dtype):
    for _, out in each(name, dtype):
        # By the definition of a transpose, if potentials are linear.
        paired = jax.tree.map(lambda eta, stats: np.sum(eta * stats, dtype=float), out["natural"], out["stats"])
        expected = np.sum(cases.responsibilities() * out["potentials"])
        assert_allclose(sum(jax.tree.leaves(paired)), expected, rtol=1e-4 if dtype == jnp.float32 else 1e-11)
        if "transposed" in out:
            same(out["stats"], out["transposed"], **tolerance(dtype))


@names
def test_a_constant_is_added_to_all_rows(name, dtype):
    for _, out in each(name, dtype):
        if name == "categorical":  # its coefficients are all of indicators
            assert out["added"] == ()
        else:
            added = out["added"] - out["potentials"]
            assert_allclose(added, np.broadcast_to(np.arange(len(added))[:, None], added.shape), **tolerance(dtype))


@names
def test_statistics_move_from_anchor_to_anchor(name, dtype):
    for _, out in each(name, dtype):
        if "moved" in out:
            same(out["moved"], out["direct"], **tolerance(dtype))


@names
def test_maximize_has_the_closed_form_on_every_kernel(name, dtype):
    case, r = CASES[name], cases.responsibilities()
    blocks = {name: case.x}
    if name.startswith("product"):
        blocks = cases.blocks_of(case.x)
    for _, out in each(name, dtype):
        estimates = [out["estimate"]] if len(blocks) == 1 else [out["estimate"][block] for block in sorted(blocks)]
        for block, estimate in zip(sorted(blocks), estimates, strict=True):
            structure = "tied" if "tied" in name else name.removeprefix("gaussian-").replace("product", "full")
            expected = closed_form(type(estimate).__name__, structure, blocks[block], r)
            same(list(estimate), expected, **tolerance(dtype))


def closed_form(kind, structure, x, r):
    count = r.sum(1)
    mean = r @ x / count[:, None]
    if kind == "CategoricalParams":
        return [np.einsum("kn,ndc->kdc", r, x[:, :, None] == np.arange(4)) / count[:, None, None]]
    if kind != "GaussianParams":
        return [mean]
    residual = x[None] - mean[:, None]
    scatter = np.einsum("kn,kni,knj->kij", r, residual, residual)
    squares = np.diagonal(scatter, axis1=1, axis2=2)
    covariance = {
        "full": scatter / count[:, None, None],
        "tied": scatter.sum(0) / count.sum(),
        "diagonal": squares / count[:, None],
        "spherical": squares.mean(1) / count,
        "VEV": oracles.equal_shape(scatter, count),
    }
    return [mean, covariance[structure]]


@names
def test_priors_are_densities(name, dtype):
    for params, out in each(name, dtype):
        flat, informative = out["log_prior"]
        assert flat == 0
        assert flat.dtype == informative.dtype == dtype
        assert_allclose(informative, WITH_PRIOR[name].log_prior(params), **tolerance(dtype))


@names
def test_modes_agree_between_kernels(name, dtype):
    for out in reports(name, dtype.name):
        for kernel in out:
            same(out[kernel]["mode"], out["plain"]["mode"], **tolerance(dtype))


@names
def test_coordinates_there_and_back(name, dtype):
    for params, out in each(name, dtype):
        same(out["there_and_back"], params, **tolerance(dtype))


@names
def test_loss_is_small_here(name, dtype):
    for _, out in each(name, dtype):
        assert 0 <= out["loss"] < 1e4 * jnp.finfo(dtype).eps
        assert_allclose(out["loss_at_hand"], out["loss"], rtol=100 * jnp.finfo(dtype).eps)


@names
def test_maximize_maximises_given_what_is_frozen(name, double):
    """No other parameters have a larger Q: checked by direct maximisation over the fields that are free."""
    case = WITH_PRIOR[name]
    params, x = cases.cast(case.params, double), cases.cast(case.x, double)
    paths = [path for path in case.family.parameters if "." in path or not name.startswith("product")]
    choices = [(), *((path,) for path in paths if len(paths) > 1)]

    @jax.jit
    def prepare(params, x, r):
        kernel = case.family.bind(x, jnp.sum(r, 0), lambda tree: tree)
        encoded = kernel.encode(params)
        stats = cases.collect(kernel, encoded, x, r)
        found = [cases.maximum(kernel, encoded, x, r, frozen) for frozen in choices]
        return kernel, stats, case.family.unconstrain(encoded), [case.family.unconstrain(one) for one in found]

    kernel, stats, held, found = prepare(params, x, jnp.asarray(cases.responsibilities()))
    flat, unravel = jax.flatten_util.ravel_pytree(held)

    @jax.jit
    @jax.value_and_grad
    def negative_q(u, held, free):
        params = case.family.constrain(unravel(jnp.where(free, u, held)))
        paired = jax.tree.map(lambda a, b: jnp.sum(a * b), kernel.natural(params), stats)
        return -sum(jax.tree.leaves(paired)) - kernel.log_prior(params)

    at = jax.jit(lambda u: case.family.constrain(unravel(u)))
    for frozen, estimate in zip(choices, found, strict=True):
        mask = jax.tree_util.tree_map_with_path(
            lambda p, a, f=frozen: np.full(a.shape, not any(covers(name, path_of(p)) for name in f)), held
        )
        free = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(mask)])
        estimate, _ = jax.flatten_util.ravel_pytree(estimate)
        assert_allclose(estimate[~free], flat[~free], rtol=1e-12)
        direct = minimize(
            lambda u, free=free: tuple(np.asarray(v) for v in negative_q(jnp.asarray(u), flat, free)),
            np.where(free, flat + 0.1, flat),
            jac=True,
            options={"gtol": 1e-6},
        )
        assert negative_q(estimate, flat, free)[0] <= direct.fun + 1e-9 * abs(direct.fun)
        # Different coordinates may be the same parameters.
        same(at(estimate), at(direct.x), rtol=1e-4, atol=1e-4)


def path_of(path):
    return ".".join(getattr(entry, "name", getattr(entry, "key", "")) for entry in path)


@names
def test_everything_frozen_stays(name, double):
    case = CASES[name]
    params = cases.cast(case.params, double)
    stats = case.family.natural(params)
    same(case.family.maximize(stats, params, tuple(case.family.parameters)), params, rtol=0)


@names
def test_an_empty_member_keeps_its_parameters(name, double):
    case = CASES[name]
    params, x = cases.cast(case.params, double), cases.cast(case.x, double)
    r = jnp.asarray(cases.responsibilities()).at[1].set(0)

    @jax.jit
    def run(params, r):
        family, encoded = list(cases.kernels(case.family, params, x, jnp.sum(r, 0)).values())[-1]
        return family.decode(cases.maximum(family, encoded, x, r))

    found = jax.tree_util.tree_leaves_with_path(run(params, r))
    for (path, new), old in zip(found, jax.tree.leaves(params), strict=True):
        assert np.isfinite(new).all()
        if not case.family.shared or "covariance" not in path_of(path):
            assert_allclose(new[1], old[1], rtol=1e-9)
            assert not np.allclose(new[0], old[0], rtol=1e-3)


@names
def test_starts_leave_no_row_impossible(name, double):
    case = CASES[name]

    @jax.jit
    def run(x):
        family = case.family.bind(x, jnp.ones(cases.N), lambda tree: tree)
        pooled = family.from_points(jax.tree.map(lambda a: a[: cases.K], x), x, jnp.ones(cases.N))
        mended = family.pool(pooled, pooled, jnp.asarray([0.0, 1.0, 20.0]))
        density = family.potentials(family.natural(pooled), x) + family.log_base(x)[None]
        return pooled, family.decode(pooled), mended, density, family.embed(x)

    pooled, params, mended, density, embedded = run(cases.cast(case.x, double))
    assert_allclose(density, case.log_density(jax.tree.map(np.asarray, params), case.x), rtol=1e-9)
    assert (density > -100).all()
    same(mended, pooled, rtol=1e-12)
    assert embedded.shape[0] == cases.N


@names
def test_samples_follow_the_density(name, single):
    case, n = CASES[name], 4000
    labels = jnp.repeat(jnp.arange(cases.K), n)
    sample = jax.jit(lambda key, params: case.family.sample(key, params, labels))
    x = sample(jax.random.key(0), cases.cast(case.params, single))
    assert {leaf.dtype for leaf in jax.tree.leaves(x)} == {single}
    x = jax.tree.map(lambda a: np.asarray(a, float), x)
    case.family.check(x)
    log_density = case.log_density(case.params, x).reshape(cases.K, cases.K, n)
    for i in range(cases.K):
        for j in range(i):
            # The share of i in an equal mixture of i and j, averaged over draws of both, is a half.
            share = 1 / (1 + np.exp(log_density[j] - log_density[i]))
            from_i, from_j = share[i], share[j]
            error = np.sqrt((from_i.var() + from_j.var()) / n)
            assert abs(from_i.mean() + from_j.mean() - 1) < 4 * error
            assert from_i.mean() > 0.55


def test_floats_per_row_are_those_shared_and_those_of_each_run(double):
    for case in CASES.values():
        shared, own = case.family.kernel().floats_per_row(cases.cast(case.params, double))
        assert shared >= jax.tree.leaves(case.x)[0].shape[1]
        assert own >= cases.K
