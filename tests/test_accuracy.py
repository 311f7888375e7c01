"""Single precision agrees with double, or says why not."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.kernels import linalg
from tests.helpers.problems import COVARIANCES, narrow_clusters, two_gaussians

pytestmark = pytest.mark.optimized

# The other structures share their code with this one; they run with the slow tests.
KINDS = [pytest.param(kind, marks=pytest.mark.slow if kind != "full" else ()) for kind in (*COVARIANCES, "VEV")]


def both(problem, k, **options):
    model, key = jaxem.GaussianMixture(k, problem.family.covariance), jax.random.key(0)
    single = jaxem.fit(model, problem.x.astype(np.float32), key=key, restarts=4, **options)
    double = jaxem.fit(model, problem.x, key=key, restarts=4, **options)
    assert single.params.components.mean.dtype == np.float32
    return single, double


def emulate(monkeypatch, preset):
    """Products of float32 as the sum of those of parts that have few digits; sums are in float32."""
    narrow, parts = (10, 2) if "TF32" in preset else (7, 3)

    def split(a):
        found = []
        for _ in range(parts):
            part = jax.lax.reduce_precision(a, exponent_bits=8, mantissa_bits=narrow)
            found, a = [*found, part], a - part
        return found

    def by_parts(product):
        def call(*operands, **options):
            if any(jnp.result_type(a) != jnp.float32 for a in operands) or len(operands) != 2:
                return product(*operands, **options)
            pairs = itertools.product(enumerate(split(operands[0])), enumerate(split(operands[1])))
            # The smallest first; products of two small parts are left out.
            kept = sorted(((i + j, a, b) for (i, a), (j, b) in pairs if i + j < parts), key=lambda one: -one[0])
            return sum(product(a, b, **options) for _, a, b in kept)

        return call

    class Narrow:
        """`jax.numpy` with other products of matrices."""

        matmul = staticmethod(by_parts(jnp.matmul))

        @staticmethod
        def einsum(spec, *operands, **options):
            return by_parts(lambda *a, **o: jnp.einsum(spec, *a, **o))(*operands, **options)

        def __getattr__(self, name):
            return getattr(jnp, name)

    monkeypatch.setattr(linalg, "jnp", Narrow())


def covariances(fit, kind):
    """Covariances in the order of the first mean."""
    covariance = np.asarray(fit.params.components.covariance, float)
    return covariance if kind == "tied" else covariance[np.argsort(fit.params.components.mean[:, 0])]


@pytest.mark.parametrize("kind", KINDS)
def test_a_common_offset_does_not_change_the_variances(kind):
    for offset in (0.0, 1e2, 1e3, 1e4, 1e5, 1e6):
        single, double = both(two_gaussians(offset, kind), 2)
        assert jaxem.status_name(single.status) == "converged", offset
        np.testing.assert_allclose(covariances(single, kind), covariances(double, kind), rtol=0.01, atol=0.01)
        # The objective is that of the parameters returned, rounded to their own spacing as they are.
        scored = jaxem.GaussianMixture(2, kind).log_likelihood(
            single.params, two_gaussians(offset, kind).x.astype(np.float32)
        )
        np.testing.assert_allclose(single.log_likelihood, scored, rtol=1e-4)
        np.testing.assert_allclose(single.log_likelihood, double.log_likelihood, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["TF32_TF32_F32_X3", "BF16_BF16_F32_X6"])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_products_of_several_narrow_ones_pass_the_table(preset, offset, monkeypatch):
    """The arithmetic of accelerators, by hand: a CPU has none of its own for these."""
    emulate(monkeypatch, preset)
    problem = two_gaussians(offset, "full")
    model, x = jaxem.GaussianMixture(2), problem.x.astype(np.float32)
    start = model.init(jax.random.key(0), x, None)
    # A function of its own for every case, so that JAX has no program of full products for it.
    single = jax.jit(lambda x: jaxem.solve(model, start, x, tol=1e-6))(x)
    monkeypatch.undo()
    double = jaxem.fit(model, problem.x, key=jax.random.key(0), restarts=4)
    assert jaxem.status_name(single.status) == "converged"
    np.testing.assert_allclose(covariances(single, "full"), covariances(double, "full"), rtol=0.01, atol=0.01)
    np.testing.assert_allclose(single.log_likelihood, double.log_likelihood, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*COVARIANCES, "VEV"])
def test_narrow_clusters(kind):
    problem = narrow_clusters(1e4, kind)
    single, double = both(problem, 3)
    assert jaxem.status_name(single.status) == jaxem.status_name(double.status) == "converged"
    a, b = covariances(single, kind), covariances(double, kind)
    assert np.abs(a - b).max() < 1e-3 * np.abs(b).max()
    np.testing.assert_allclose(single.log_likelihood, double.log_likelihood, rtol=1e-3)


def test_data_that_single_precision_cannot_hold_are_refused():
    problem = two_gaussians(1e7)
    with pytest.raises(jaxem.FitError, match="cannot be held accurately in this precision"):
        jaxem.fit(jaxem.GaussianMixture(2), problem.x.astype(np.float32), key=jax.random.key(0), restarts=2)
    result = jaxem.fit(
        jaxem.GaussianMixture(2), problem.x.astype(np.float32), key=jax.random.key(0), restarts=2, throw=False
    )
    assert jaxem.status_name(result.status) == "inaccurate"


def test_float64_data_in_single_precision_warn_or_are_refused():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2)) + np.repeat([[0.0], [8.0]], 30, 0)
    model = jaxem.GaussianMixture(2)
    with jax.enable_x64(False):
        with pytest.warns(jaxem.PrecisionWarning, match="jax_enable_x64"):
            fit = jaxem.fit(model, x, key=jax.random.key(0))
        assert fit.params.weights.dtype == np.float32
        with (
            pytest.warns(jaxem.PrecisionWarning),
            pytest.raises(jaxem.DataError, match="float32 cannot hold column 0"),
        ):
            jaxem.fit(model, x + 1e9, key=jax.random.key(0))
