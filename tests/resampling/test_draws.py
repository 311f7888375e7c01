"""Samples have the sizes, means and variances that they should have, whatever block they are drawn in."""

import jax
import numpy as np
import pytest

from jaxem import DataError
from jaxem.resampling import _draws
from jaxem.resampling._draws import blocks, require_several, require_whole, units_of, weights_of

KEY = jax.random.key(0)
WEIGHTS = np.array([2.0, 0.0, 1.0, 3.0])
STRATA = np.array(["b", "a", "b", "a", "a", "b", "b"])


def test_counts_of_a_multinomial():
    drawn = weights_of(units_of(4, WEIGHTS, None, None), KEY, range(4000), exact=True)
    share = WEIGHTS / 6
    assert (drawn == np.round(drawn)).all()
    assert (drawn.sum(1) == 6).all()
    error = np.sqrt(6 * share * (1 - share) / 4000)
    assert (np.abs(drawn.mean(0) - WEIGHTS) <= 4 * error).all()
    np.testing.assert_allclose(drawn.var(0), 6 * share * (1 - share), rtol=0.1)


def test_weights_of_a_dirichlet():
    drawn = weights_of(units_of(4, WEIGHTS, None, None), KEY, range(4000), exact=False)
    share = WEIGHTS / 6
    np.testing.assert_allclose(drawn.sum(1), 6, rtol=1e-12)
    assert (drawn[:, 1] == 0).all()
    variance = 36 * share * (1 - share) / 7  # of the Dirichlet distribution with these parameters
    assert (np.abs(drawn.mean(0) - WEIGHTS) <= 4 * np.sqrt(variance / 4000)).all()
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.1)


@pytest.mark.parametrize("exact", [True, False])
def test_strata_keep_their_sizes(exact):
    drawn = weights_of(units_of(7, None, STRATA, None), KEY, range(20), exact)
    np.testing.assert_allclose(drawn[:, STRATA == "a"].sum(1), 3, rtol=1e-12)
    np.testing.assert_allclose(drawn[:, STRATA == "b"].sum(1), 4, rtol=1e-12)
    assert drawn.std(0).min() > 0


def test_groups_are_drawn_whole():
    groups, weights = np.array([5, 5, 2, 9, 2, 9, 9]), np.array([1.0, 0.5, 2.0, 1.0, 1.0, 0.0, 3.0])
    drawn = weights_of(units_of(7, weights, None, groups), KEY, range(50), exact=True)
    counts = drawn[:, [2, 0, 3]] / weights[[2, 0, 3]]
    assert (counts.sum(1) == 3).all()
    assert (counts == np.round(counts)).all()
    for group, count in zip((2, 5, 9), counts.T, strict=True):
        own = groups == group
        np.testing.assert_array_equal(drawn[:, own], count[:, None] * weights[own])


def test_groups_within_strata():
    groups, strata = np.array([0, 0, 1, 2, 2, 3, 4]), np.array([0, 0, 0, 1, 1, 1, 1])
    drawn = weights_of(units_of(7, None, strata, groups), KEY, range(30), exact=True)
    np.testing.assert_array_equal(drawn[:, [0, 2]].sum(1), 2)
    np.testing.assert_array_equal(drawn[:, [3, 5, 6]].sum(1), 3)


def test_a_sample_depends_on_its_number_alone():
    units = units_of(4, WEIGHTS, None, None)
    whole = weights_of(units, KEY, range(6), exact=True)
    np.testing.assert_array_equal(weights_of(units, KEY, range(4, 6), exact=True), whole[4:])
    assert len({tuple(row) for row in whole.tolist()}) > 1
    raw = jax.random.PRNGKey(0)
    np.testing.assert_array_equal(weights_of(units, raw, range(6), exact=True), whole)
    other = weights_of(units, jax.random.key(1), range(6), exact=True)
    assert (other != whole).any()


def test_blocks_hold_what_fits_into_memory(monkeypatch):
    monkeypatch.setattr(_draws, "MOST_NUMBERS", 100)
    found = [list(block) for block in blocks(11, 30)]
    assert [i for block in found for i in block] == list(range(11))
    assert {len(block) for block in found} <= {2, 3}
    assert [len(block) for block in blocks(11, 1000)] == [1] * 11
    assert [len(block) for block in blocks(11, 1, most=6)] == [5, 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, None, [1, 2], None), "strata must be 4 labels"),
        ((4, None, None, [[1], [2], [3], [4]]), "groups must be 4 labels"),
        ((4, None, [0, 0, 1, 1], [7, 8, 8, 9]), "group 8 has rows in several strata"),
    ],
)
def test_labels_that_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        units_of(*arguments)


def test_what_leaves_nothing_to_draw():
    with pytest.raises(DataError, match="one observation to draw,"):
        require_several(units_of(3, np.array([0.0, 4.0, 0.0]), None, None))
    with pytest.raises(DataError, match="one observation to draw in each stratum"):
        require_several(units_of(3, None, [1, 2, 3], None))
    with pytest.raises(DataError, match="one group"):
        require_several(units_of(3, None, None, [1, 1, 1]))
    with pytest.raises(DataError, match=r"weights sum to 2\.5"):
        require_whole(units_of(2, np.array([1.0, 1.5]), None, None))
    with pytest.raises(DataError, match="traced"):
        jax.jit(lambda strata: units_of(2, None, strata, None).within.sum())(np.arange(2))
