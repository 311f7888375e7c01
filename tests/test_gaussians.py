from types import SimpleNamespace as Params

import numpy as np
import pytest

from jaxem import plot

MEAN = np.array([[0.0, 1.0], [2.0, 3.0]])


def params(covariance):
    return Params(weights=np.array([0.25, 0.75]), components=Params(mean=MEAN, covariance=np.asarray(covariance)))


@pytest.mark.parametrize(
    ("structure", "given", "full"),
    [
        ("full", [[[2, 1], [1, 3]], [[1, 0], [0, 5]]], [[[2, 1], [1, 3]], [[1, 0], [0, 5]]]),
        ("VEV", [[[2, 1], [1, 3]], [[3, 1], [1, 2]]], [[[2, 1], [1, 3]], [[3, 1], [1, 2]]]),
        ("tied", [[2, 1], [1, 3]], [[[2, 1], [1, 3]], [[2, 1], [1, 3]]]),
        ("diagonal", [[2, 1], [1, 3]], [[[2, 0], [0, 1]], [[1, 0], [0, 3]]]),
        ("spherical", [2, 3], [[[2, 0], [0, 2]], [[3, 0], [0, 3]]]),
    ],
)
def test_every_structure_becomes_full(structure, given, full):
    np.testing.assert_array_equal(plot.gaussians(params(given), structure).covariances, full)


def test_shift_and_scale_bring_back_the_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) @ [[3.0, 1.0], [0.0, 0.2]] + [10.0, -4.0]
    shift, scale = x.mean(0), x.std(0)
    z = (x - shift) / scale
    fitted = Params(weights=np.ones(1), components=Params(mean=z.mean(0)[None], covariance=np.cov(z.T)[None]))
    back = plot.gaussians(fitted, "full", shift=shift, scale=scale)
    np.testing.assert_allclose(back.means[0], shift, atol=1e-12)
    np.testing.assert_allclose(back.covariances[0], np.cov(x.T))
    np.testing.assert_allclose(back.standard_deviations[0], x.std(0, ddof=1))


def test_wrong_structures_are_refused():
    with pytest.raises(ValueError, match="none of full, tied"):
        plot.gaussians(params([1, 2]), "round")
    with pytest.raises(ValueError, match=r"spherical covariance has shape \(2,\), not \(2, 2\)"):
        plot.gaussians(params(np.eye(2)), "spherical")


def test_the_outline_lies_at_its_mahalanobis_distance():
    components = plot.gaussians(params([[[2, 1], [1, 3]], [[1, 0.2], [0.2, 5]]]), "full")
    for j in range(2):
        outline = components.ellipse(j, 2.0) - components.means[j]
        distance = np.einsum("ni,ij,nj->n", outline, np.linalg.inv(components.covariances[j]), outline)
        np.testing.assert_allclose(np.sqrt(distance), 2)


def test_marginals_keep_the_chosen_columns_in_order():
    covariance = np.arange(9.0).reshape(1, 3, 3)
    marginal = plot.Gaussians(np.ones(1), np.array([[5.0, 6.0, 7.0]]), covariance).select([2, 0])
    np.testing.assert_array_equal(marginal.means, [[7, 5]])
    np.testing.assert_array_equal(marginal.covariances, [[[8, 6], [2, 0]]])
