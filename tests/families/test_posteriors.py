"""What every family promises of its posterior, on each of its kernels."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from jaxem import MissingCapabilityError, Single
from jaxem._conjugate import require_conjugate
from jaxem.families import Bernoulli, Categorical, Gaussian, Poisson, Product
from tests.families import cases

pytestmark = pytest.mark.slow  # compiled anew for every rule and model

# VEV covariances have no posterior; the product is one of families that are there by themselves.
CASES = {name: case for name, case in cases.every(prior=True).items() if name not in ("product", "gaussian-VEV")}
names = pytest.mark.parametrize("name", CASES)
DRAWS = 2000


def tolerance(dtype):
    return {"rtol": 2e-4, "atol": 2e-4} if dtype == jnp.float32 else {"rtol": 1e-9, "atol": 1e-9}


def same(a, b, **tolerances):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: assert_allclose(x, y, **tolerances), a, b)


def pair(a, b):
    return sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)))


def report(name, params, x, r):
    case, out = CASES[name], {}
    for kernel, (family, encoded) in cases.kernels(case.family, params, x, jnp.sum(r, 0)).items():
        stats = cases.collect(family, encoded, x, r)
        own = family.conjugate()
        posterior = own.posterior(stats)
        free = own.unconstrain(posterior)

        def bound(free, own=own, stats=stats):
            posterior = own.constrain(free)
            return pair(own.expected_natural(posterior), stats) - own.kl(posterior)

        value, gradient = jax.value_and_grad(bound)(free)
        out[kernel] = {
            "posterior": own.decode(posterior),
            "there_and_back": own.decode(own.constrain(free)),
            "again": own.decode(own.encode(own.decode(posterior))),
            "expected": family.potentials(own.expected_natural(posterior), x) + family.log_base(x)[None],
            "kl": own.kl(posterior),
            "bound": value + jnp.sum(r * family.log_base(x)[None]),
            "gradient": gradient,
            "mean": family.decode(own.mean(posterior)),
        }
    return out


@lru_cache
def reported(name, dtype):
    with jax.enable_x64(True):
        case = CASES[name]
        # Nothing falls to the second member.
        r = jnp.asarray(cases.responsibilities(), dtype).at[1].set(0)
        run = jax.jit(lambda params, x, r: report(name, params, x, r))
        return jax.tree.map(np.asarray, run(cases.cast(case.params, dtype), cases.cast(case.x, dtype), r))


@names
def test_posteriors_agree_between_kernels_and_coordinates(name, dtype):
    out = reported(name, dtype.name)
    for kernel in out:
        for found in ("posterior", "again", "there_and_back"):
            same(out[kernel][found], out["plain"]["posterior"], **tolerance(dtype))
        for leaf in jax.tree.leaves(out[kernel]):
            assert leaf.dtype == dtype
            assert np.isfinite(leaf).all()
        assert_allclose(out[kernel]["expected"], out["plain"]["expected"], **tolerance(dtype))
        assert_allclose(out[kernel]["kl"], out["plain"]["kl"], **tolerance(dtype))


@names
def test_the_posterior_maximises_the_evidence_bound(name, dtype):
    """Of the expected natural parameters and the divergence from the prior, in every direction."""
    for out in reported(name, dtype.name).values():
        for leaf in jax.tree.leaves(out["gradient"]):
            assert np.abs(leaf).max() < (3e-2 if dtype == jnp.float32 else 1e-8)


@lru_cache
def drawn(name):
    """Draws from the posterior, their natural parameters, what those are expected to be, and joint log densities."""
    family, posterior = CASES[name].family.kernel(), reported(name, "float64")["plain"]["posterior"]

    own = family.conjugate()

    @jax.jit
    def run(posterior, x, r):
        params = jax.vmap(lambda key: own.draw(key, posterior))(jax.random.split(jax.random.key(7), DRAWS))
        natural = jax.vmap(family.natural)(params)
        few, few_natural = jax.tree.map(lambda a: a[:3], (params, natural))
        stats = cases.collect(family, own.mean(posterior), x, r)
        joint = jax.vmap(lambda p, eta: pair(eta, stats) + family.log_prior(p))(few, few_natural)
        return (
            few,
            natural,
            own.expected_natural(posterior),
            joint + jnp.sum(r * family.log_base(x)[None]),
        )

    with jax.enable_x64(True):
        r = jnp.asarray(cases.responsibilities()).at[1].set(0)
        return run(jax.tree.map(jnp.asarray, posterior), cases.cast(CASES[name].x, float), r)


@names
def test_the_bound_is_the_evidence(name, double):
    """`log p(x, params) - log q(params)` is the same at all parameters, and the bound is that constant."""
    params, _, _, joint = drawn(name)
    for kernel in reported(name, "float64").values():
        for i in range(3):
            one = jax.tree.map(lambda a, i=i: a[i], params)
            evidence = float(joint[i]) - log_density(name, kernel["posterior"], one)
            assert_allclose(kernel["bound"], evidence, rtol=1e-9)
    for kernel in reported(name, "float32").values():
        assert_allclose(kernel["bound"], evidence, rtol=2e-5)


def log_density(name, posterior, params):
    """SciPy's log density of all parameters under the posterior."""
    posterior, params = (jax.tree.map(lambda a: np.asarray(a, float), tree) for tree in (posterior, params))
    if name.startswith("product"):
        return sum(log_density({"size": "gaussian-tied"}.get(b, b), posterior[b], params[b]) for b in posterior)
    if hasattr(params, "rate"):
        return stats.gamma.logpdf(params.rate, posterior.shape, scale=1 / posterior.rate).sum()
    if hasattr(params, "probability"):
        return stats.beta.logpdf(params.probability, posterior.a, posterior.b).sum()
    if hasattr(params, "probabilities"):
        rows = zip(params.probabilities.reshape(-1, 4), posterior.concentration.reshape(-1, 4), strict=True)
        return sum(stats.dirichlet.logpdf(p / p.sum(), a) for p, a in rows)
    structure = name.removeprefix("gaussian-")
    full = cases.dense(params.covariance, structure, cases.K, 2)
    members = zip(params.mean, posterior.mean, full, posterior.mean_precision, strict=True)
    normal = sum(stats.multivariate_normal.logpdf(x, m, c / s) for x, m, c, s in members)
    dof, scale = posterior.degrees_of_freedom, posterior.scale
    if structure == "tied":
        return normal + stats.invwishart.logpdf(params.covariance, float(dof), scale)
    if structure == "full":
        each = zip(params.covariance, dof, scale, strict=True)
        return normal + sum(stats.invwishart.logpdf(c, v, s) for c, v, s in each)
    dof = dof.reshape(-1, *[1] * (scale.ndim - 1))
    return normal + stats.invgamma.logpdf(params.covariance, dof / 2, scale=scale / 2).sum()


@names
def test_draws_have_the_expected_natural_parameters(name, double):
    _, natural, expected, _ = drawn(name)
    for sample, mean in zip(jax.tree.leaves(natural), jax.tree.leaves(expected), strict=True):
        error = np.std(sample, 0) / np.sqrt(DRAWS)
        assert np.all(np.abs(np.mean(sample, 0) - mean) <= 5 * error + 1e-12)


@names
def test_without_rows_the_posterior_is_the_prior(name, double):
    case = CASES[name]
    params = cases.cast(case.params, double)
    empty = jax.tree.map(jnp.zeros_like, case.family.natural(params))

    @jax.jit
    def run(stats):
        own = case.family.conjugate()
        posterior = own.posterior(stats)
        return posterior, own.kl(posterior), own.expected_natural(posterior)

    posterior, kl, natural = run(empty)
    assert_allclose(kl, 0, atol=1e-12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(natural))
    if not name.startswith("product"):
        for field, given in zip(jax.tree.leaves(posterior), jax.tree.leaves(case.family.prior), strict=True):
            assert_allclose(field, np.broadcast_to(given, field.shape), rtol=1e-12)


@names
def test_means_to_plug_in(name, double):
    out = reported(name, "float64")["plain"]
    if name.startswith("product"):
        pairs = [(out["posterior"][block], out["mean"][block]) for block in out["mean"]]
    else:
        pairs = [(out["posterior"], out["mean"])]
    for q, mean in pairs:
        if hasattr(mean, "covariance"):
            dof = q.degrees_of_freedom.reshape(
                *q.degrees_of_freedom.shape, *[1] * (q.scale.ndim - q.degrees_of_freedom.ndim)
            )
            expected = [q.mean, q.scale / dof]
        else:
            expected = [q.mean()]
        same(list(mean), expected, rtol=1e-12)


def test_single_precision_keeps_the_digits_of_large_counts(single):
    """A divergence of a few hundred from posteriors of a million rows."""
    for name, case in CASES.items():
        if name.startswith("product"):
            continue

        def values(dtype, case=case):
            params, x = cases.cast(case.params, dtype), cases.cast(case.x, dtype)
            r = 1e5 * jnp.asarray(cases.responsibilities(), dtype)
            own = case.family.conjugate()
            posterior = own.posterior(cases.collect(case.family.kernel(), params, x, r))
            return own.kl(posterior), own.kl(jax.tree.map(lambda a: jnp.asarray(a, dtype), posterior))

        found = jax.jit(values, static_argnums=0)(single)[0]
        with jax.enable_x64(True):
            exact = jax.jit(values, static_argnums=0)(jnp.dtype("float64"))[0]
        assert_allclose(found, exact, rtol=2e-4)


def test_what_is_missing_is_named():
    for family, words in (
        (cases.gaussian("VEV", prior=True).family, "VEV covariances have no conjugate prior"),
        (Gaussian(), r"Gaussian has no prior.*prior=NormalInverseWishart"),
        (Poisson(), r"Poisson has no prior.*prior=Gamma"),
        (Bernoulli(), r"Bernoulli has no prior.*prior=Beta"),
        (Categorical(3), r"Categorical has no prior.*prior=Dirichlet"),
        (Product({"visits": Poisson()}), r"block 'visits': Poisson has no prior"),
    ):
        assert family.conjugate() is None
        with pytest.raises(MissingCapabilityError, match=rf"Single has no conjugate prior .*{words}"):
            require_conjugate(Single(family), "variational Bayes")
