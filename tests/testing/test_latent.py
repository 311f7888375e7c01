"""`check_latent`: each law finds the fault that it is there for, and every structure of the package passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.testing import check_latent
from jaxem.testing.latent import LATENT_LAWS
from tests.testing import latents

CASES = latents.latents()
QUICK = ("categorical", "gaussian")


def cast(tree, dtype=float):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def but(*laws):
    """All laws but these."""
    return [law for law in LATENT_LAWS if law not in laws]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
def test_the_structures_of_the_package_pass(name, dtype):
    case = CASES[name]
    with jax.enable_x64(dtype == "float64"):
        assert check_latent(case.latent, cast(case.potentials, dtype), other=cast(case.other, dtype)) is None


def test_a_sound_structure_passes():
    check_latent(latents.Level(), cast(latents.LEVELS), other=cast(latents.OTHERS))
    check_latent(latents.Choice(), cast(CASES["categorical"].potentials))


@pytest.mark.parametrize("fault", latents.FAULTS)
def test_each_fault_is_found(fault):
    law, words = latents.FAULTS[fault]
    with pytest.raises(AssertionError, match=rf"- {law}: .*({words})"):
        check_latent(latents.Level(fault), cast(latents.LEVELS), other=cast(latents.OTHERS), skip=but(law))


@pytest.mark.parametrize("fault", latents.CHOICES)
def test_each_fault_of_a_choice_is_found(fault):
    law, words = latents.CHOICES[fault]
    p = np.array(CASES["categorical"].potentials)
    if fault == "infinite pair":
        p[0, 1] = -np.inf
    with pytest.raises(AssertionError, match=rf"- {law}: .*({words})"):
        check_latent(latents.Choice(fault), cast(p), skip=but(law))


def test_rows_are_where_map_rows_says():
    members = jax.tree.map(lambda a, b: jnp.stack([a, b]), cast(latents.LEVELS), cast(latents.OTHERS))
    check_latent(latents.Level(), members, skip=but("axes", "observations"))
    with pytest.raises(AssertionError, match="- axes: map_rows does not find the axis of the rows"):
        check_latent(latents.Level("map_rows"), members, skip=but("axes"))


def test_unknown_laws_are_named():
    with pytest.raises(ValueError, match="unknown law 'modes'"):
        check_latent(latents.Level(), cast(latents.LEVELS), skip=("modes",))
