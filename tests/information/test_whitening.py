"""Inverse roots of matrices that fall into blocks are those of the whole."""

import numpy as np
import pytest

from jaxem.information import _whitening
from jaxem.information._whitening import whitening

EPS = 2.0**-52


def in_blocks(sizes, rank_lost=0, seed=0):
    """A matrix whose coordinates are in no order, the first block of which lacks some of its rank."""
    rng = np.random.default_rng(seed)
    matrix, start = np.zeros((sum(sizes), sum(sizes))), 0
    for j, size in enumerate(sizes):
        root = rng.normal(size=(size, 2 * size if j or not rank_lost else size - rank_lost))
        matrix[start : start + size, start : start + size] = root @ root.T
        start += size
    order = rng.permutation(len(matrix))
    return matrix[np.ix_(order, order)]


@pytest.mark.parametrize("sizes", [[3, 4], [90, 1, 1, 60, 120, 2]])
def test_blocks_are_whitened_together(sizes):
    matrix = in_blocks(sizes)
    found = whitening(matrix, EPS)
    assert len(found.parts) == (1 if sum(sizes) <= 200 else 3)
    w = found.whole()
    np.testing.assert_allclose(w.T @ matrix @ w, np.eye(len(matrix)), atol=1e-10)
    np.testing.assert_allclose(w @ w.T, np.linalg.inv(matrix), rtol=1e-8, atol=1e-12)
    other = np.random.default_rng(1).normal(size=(len(matrix), 3))
    np.testing.assert_allclose(found @ other, w @ other, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.transposed(other), w.T @ other, rtol=1e-12, atol=1e-14)
    assert found.void.shape == (len(matrix), 0)


def test_what_a_block_lacks_is_void(monkeypatch):
    matrix = in_blocks([100, 80, 60], rank_lost=2)
    found = whitening(matrix, EPS)
    assert len(found.parts) == 3
    assert found.void.shape[1] == 2
    np.testing.assert_allclose(matrix @ found.void, 0, atol=1e-9)
    monkeypatch.setattr(_whitening, "_WHOLE", 1000)
    whole = whitening(matrix, EPS)
    np.testing.assert_allclose(found.whole() @ found.whole().T, whole.whole() @ whole.whole().T, rtol=1e-6, atol=1e-9)
    assert np.linalg.matrix_rank(np.concatenate([found.void, whole.void], 1), tol=1e-6) == 2
