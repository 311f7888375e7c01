"""Old keywords are errors that name the new one."""

import inspect

import jax
import jax.numpy as jnp
import pytest

import jaxem
from jaxem._renamed import renamed

KEY = jax.random.key(0)
X = jnp.array([[0.0], [0.2], [0.1], [4.9], [5.0], [5.3]])
MODEL = jaxem.GaussianMixture(2, "spherical")
CHAIN = jaxem.HMM(jaxem.Poisson(), 2)
PARAMS = jaxem.models.HMMParams(
    jnp.array([0.5, 0.5]), jnp.array([[0.9, 0.1], [0.2, 0.8]]), jaxem.families.PoissonParams(jnp.array([[1.0], [9.0]]))
)
COUNTS = jnp.array([[[1.0], [0.0], [8.0]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxem.fit(MODEL, X, key=KEY, batch_size=3), "fit: batch_size is now lanes"),
        (lambda: jaxem.fit_stream(MODEL, [X], key=KEY, params=None), "fit_stream: params is now init"),
        (lambda: CHAIN.forecast(PARAMS, COUNTS, steps=2), "forecast: steps is now num_steps"),
        (lambda: CHAIN.sample(KEY, PARAMS, 2, length=3), "sample: length is now num_steps"),
    ],
)
def test_an_old_keyword_names_the_new_one(call, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        call()


def test_the_new_ones():
    assert CHAIN.forecast(PARAMS, COUNTS, num_steps=2).shape == (1, 2, 2)
    rows, states = CHAIN.sample(KEY, PARAMS, 2, num_steps=3)
    assert (rows.shape, states.shape) == ((2, 3, 1), (2, 3))
    with pytest.raises(jaxem.MissingCapabilityError, match=r"sample\(key, params, n, num_steps\)"):
        CHAIN.sample(KEY, PARAMS, 2)
    assert {"lanes", "batch_size"} & {*inspect.signature(jaxem.fit).parameters} == {"lanes"}
    assert {"init", "params"} & {*inspect.signature(jaxem.fit_stream).parameters} == {"init"}


def test_a_method_of_any_other_keyword_is_as_it_was():
    @renamed(old="new")
    def double(new, *, other=1):
        """What it does."""
        return 2 * new + other

    assert double(3) == double(new=3) == 7
    assert double.__doc__ == "What it does."
    assert list(inspect.signature(double).parameters) == ["new", "other"]
    with pytest.raises(TypeError, match="double: old is now new"):
        double(old=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'none'"):
        double(3, none=1)
