import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Runs the test in both precisions, with every implicit promotion an error."""
    wide = request.param == "float64"
    with jax.enable_x64(wide), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield jnp.dtype(request.param)


@pytest.fixture
def single():
    """Runs the test in single precision only."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield jnp.dtype("float32")


@pytest.fixture
def double():
    """Runs the test in double precision only."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield jnp.dtype("float64")
