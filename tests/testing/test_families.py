"""Every public family of the package keeps what `check_family` asks, in both precisions."""

import jax
import jax.numpy as jnp
import pytest

from jaxem.testing import check_family
from jaxem.testing.family import FAMILY_LAWS
from tests.helpers import families
from tests.testing.cases import families as every

pytestmark = pytest.mark.slow  # a dozen programs for each law and kernel

CASES = every()
# Those in which rounding has a say; the others are asked in double precision alone, which costs half as much.
ROUNDED = ("kernels", "constant", "gradients", "maximum", "empty", "integral", "sampling", "support", "starts")


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


@pytest.mark.parametrize("name", CASES)
def test_in_double_precision(name):
    case = CASES[name]
    params, rows, support = cast(case[1:4], float)
    assert check_family(case.family, rows, params=params, support=support, skip=case.skip) is None


@pytest.mark.parametrize("name", CASES)
def test_in_single_precision(name):
    case, skip = CASES[name], [law for law in FAMILY_LAWS if law not in ROUNDED or law in CASES[name].skip]
    with jax.enable_x64(False):
        params, rows, support = cast(case[1:4], "float32")
        assert check_family(case.family, rows, params=params, support=support, skip=skip) is None


def test_no_family_is_left_out():
    assert families.public() == {type(case.family) for case in CASES.values()}
