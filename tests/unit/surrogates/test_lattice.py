"""What looking covariances up on a lattice promises: what computing them gives."""

import numpy as np
import pytest

from autoscope.surrogates.features import coordinates
from autoscope.surrogates.lattice import Lattice, LatticeKernel
from autoscope.surrogates.pool import PoolKernel
from autoscope.surrogates.prior import Prior


def prior(shape="matern52"):
    return Prior(shape, ((0, 1), (2,)), ((0.4, 0.9), (0.7,)), (1.3, 0.6))


def pool(height=7, width=5):
    place = coordinates(height, width).astype(np.float32)
    return np.column_stack([place, np.random.default_rng(0).normal(size=len(place)).astype(np.float32)])


@pytest.mark.parametrize("shape", ["matern52", "rbf"])
@pytest.mark.parametrize("block", [slice(None), slice(3, 17), slice(30, 100)])
def test_rows_looked_up_are_those_of_the_prior(shape, block):
    points = pool()
    looked_up = PoolKernel(points, prior(shape)).rows(points[[0, 12, 34]], block)
    np.testing.assert_allclose(looked_up, prior(shape).covariance(points[[0, 12, 34]], points[block]), atol=2e-6)


def test_covariances_between_points_of_the_pool_are_those_of_the_prior():
    points, one, other = pool(), np.array([0, 33, 7]), np.array([34, 2])
    found = PoolKernel(points, prior()).between(one, other)
    np.testing.assert_allclose(found, prior().covariance(points[one], points[other]), atol=2e-6)


def test_a_point_between_the_pixels_is_computed():
    points, between = pool(), np.array([[0.013, -0.4, 0.2]], dtype=np.float32)
    assert Lattice.of(points[:, :2]).places(between[:, :2]) is None
    np.testing.assert_allclose(
        PoolKernel(points, prior()).rows(between), prior().covariance(between, points), atol=2e-6
    )


def test_every_second_pixel_is_a_lattice_too_and_others_lie_between():
    whole = coordinates(8, 10).astype(np.float32)
    every_second = whole.reshape(8, 10, 2)[::2, ::2].reshape(-1, 2)
    lattice = Lattice.of(every_second)
    assert lattice.shape == (4, 5)
    assert [at.tolist() for at in lattice.places(every_second[[0, 7, 19]])] == [[0, 1, 3], [0, 2, 4]]
    assert lattice.places(whole[[1]]) is None


@pytest.mark.parametrize("seed", range(3))
def test_points_that_are_no_lattice_are_none(seed):
    place = coordinates(6, 6)
    rng = np.random.default_rng(seed)
    moved = place.copy()
    moved[rng.integers(36), rng.integers(2)] += 0.1
    for points in (moved, rng.permutation(place), place[:-1], place[:6], place[:3], place**3, place[:, :1]):
        assert Lattice.of(points) is None


def test_a_point_outside_is_not_of_the_lattice():
    place = coordinates(4, 4)
    assert Lattice.of(place).places(place[[0]] - [[place[1, 0] - place[0, 0], 0.0]]) is None


def test_the_covariance_depends_on_the_step_alone():
    lattice = Lattice.of(coordinates(9, 9))
    kernel = LatticeKernel(lattice, "rbf", (1.0, 1.0), 2.0)
    rows = kernel.rows((np.array([4, 5]), np.array([4, 4])), slice(None)).reshape(2, 9, 9)
    np.testing.assert_array_equal(rows[0, :-1], rows[1, 1:])
