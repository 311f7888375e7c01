"""`check_family`: each law finds the fault that it is there for, and a sound family passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.testing import check_family
from jaxem.testing.family import FAMILY_LAWS
from tests.testing import waits


def ask(family, *laws, rows=waits.ROWS, params=waits.PARAMS, **options):
    skip = [law for law in FAMILY_LAWS if law not in laws] if laws else []
    cast = lambda tree: jax.tree.map(jnp.asarray, tree)  # noqa: E731
    return check_family(family, cast(rows), params=cast(params), skip=skip, **options)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [None, waits.PRIOR])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sound_family_passes(prior, dtype):
    with jax.enable_x64(dtype == "float64"):
        rows, params = (jax.tree.map(lambda a: a.astype(dtype), tree) for tree in (waits.ROWS, waits.PARAMS))
        assert ask(waits.Waits(prior=prior), rows=rows, params=params) is None


def test_a_sound_family_passes_the_laws_that_are_quick():
    assert ask(waits.Waits(), "kernels", "constant", "integral", "sampling", "support", "answers") is None


QUICK = ("constant", "normalizer", "base", "sample", "check")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=() if fault in QUICK else pytest.mark.slow)
        for fault in (*waits.FAULTS, *waits.WITH_PRIOR)
    ],
)
def test_each_fault_is_found(fault):
    prior = waits.PRIOR if fault in waits.WITH_PRIOR else None
    law, words = (waits.FAULTS | waits.WITH_PRIOR)[fault]
    with pytest.raises(AssertionError, match=rf"- {law}: .*{words}"):
        ask(waits.Waits(fault, prior), law)


@pytest.mark.parametrize("promise", ["frozen", "never empty"])
def test_what_the_model_sees_to_is_no_fault(promise):
    """A `maximize` that looks at neither frozen names nor empty members, and divides by their counts."""
    assert ask(waits.Waits(promise), "frozen", "empty") is None


def test_all_failures_are_told_at_once():
    with pytest.raises(AssertionError) as found:
        ask(waits.Waits("constant"), "constant", "integral", "kernels")
    assert "Waits breaks" in str(found.value)
    assert "integral" not in str(found.value)

    class WorseKernel(waits.WaitsKernel):
        def log_base(self, x):
            return super().log_base(x) + 0.5

    class Worse(waits.Waits):
        def kernel(self):
            return WorseKernel(self)

        def bind(self, x, weights, reduce):
            return WorseKernel(self, super().bind(x, weights, reduce).scale)

    with pytest.raises(AssertionError) as found:
        ask(Worse("constant"), "constant", "integral", "support")
    told = str(found.value).splitlines()
    assert any(line.startswith("- constant: add_constant as it comes") for line in told)
    assert any(line.startswith("- integral: the density of member 1 integrates to 1.6") for line in told)


def test_an_exception_is_a_failure_of_the_law_that_met_it():
    class Broken(waits.Waits):
        def sample(self, key, params, labels):
            raise RuntimeError("no rows today")

    with pytest.raises(AssertionError, match="- sampling: RuntimeError while it was checked: no rows today"):
        ask(Broken(), "sampling")


def test_laws_are_skipped_by_name():
    ask(waits.Waits("constant"), "support")
    with pytest.raises(ValueError, match="unknown law 'integrals'; choose from kernels, "):
        check_family(waits.Waits(), jnp.asarray(waits.ROWS), skip=("integrals",))


def test_the_support_can_be_given():
    nodes, masses = np.polynomial.laguerre.laggauss(40)
    log = np.log(2 * masses) + nodes
    grid = 2 * np.stack([np.repeat(nodes, 40), np.tile(nodes, 40)], 1)
    support = (jnp.asarray(grid), jnp.asarray((log[:, None] + log[None]).reshape(-1)))
    ask(waits.Waits(), "integral", support=support)
    with pytest.raises(AssertionError, match=r"member 1 sums to 1\.3\d* over `support`, not to 1"):
        ask(waits.Waits("normalizer"), "integral", support=support)


@pytest.mark.parametrize("scale", [pytest.param(0.5, marks=pytest.mark.slow), 1.5])
def test_a_wrong_constant_is_found_in_any_number_of_columns(scale):
    class Off(jaxem.Gaussian):
        def log_base(self, x):
            return super().log_base(x) + np.log(scale)

    for d in (1, 3, 6):
        rng = np.random.default_rng(d)
        x = rng.standard_normal((40, d)) * np.arange(1, d + 1)
        params = jaxem.families.GaussianParams(x[:2], np.stack([np.cov(x.T).reshape(d, d)] * 2))
        ask(jaxem.Gaussian(), "integral", "sampling", rows=x, params=params)
        with pytest.raises(AssertionError, match=rf"member 1 integrates to {scale}"[:-1]):
            ask(Off(), "integral", rows=x, params=params)
