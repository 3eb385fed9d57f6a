"""Blurred images, against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from environments.instruments.simulated.blur import Blur
from environments.instruments.simulated.optics import Probe

PIXEL = np.eye(2) * 1e-10
ALPHA = 20e-3
IN_FOCUS = np.zeros((1, 1))


def spot(shape=(64, 96)):
    image = np.zeros(shape)
    image[shape[0] // 2, shape[1] // 2] = 1.0
    return image


def moments(image):
    y, x = np.indices(image.shape)
    weight = image / image.sum()
    dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
    return (weight * dx**2).sum(), (weight * dx * dy).sum(), (weight * dy**2).sum()


def test_round_probe_blurs_as_scipy_does_with_mirrored_edges():
    image = np.random.default_rng(0).random((50, 70))
    blurred = Blur(Probe(ALPHA, (2e-10) ** 2, 0.0, 0.0), IN_FOCUS, PIXEL, image.shape)(image)
    expected = gaussian_filter(image, 2.0, mode="reflect", truncate=8)
    assert blurred == pytest.approx(expected, abs=1e-4)
    assert blurred.std() < 0.5 * image.std()


def test_blurred_spot_has_the_covariance_of_the_probe_in_any_orientation():
    probe = Probe(ALPHA, (1.5e-10) ** 2, 5e-9, 20e-9)
    defocus = 25e-9
    blurred = Blur(probe, np.full((1, 1), defocus), PIXEL, (128, 128))(spot((128, 128)))
    xx, xy, yy = probe.moments_m2(defocus)
    assert moments(blurred) == pytest.approx((xx / 1e-20, xy / 1e-20, yy / 1e-20), rel=1e-3)


def test_scan_rotated_by_90_degrees_swaps_the_axes_of_the_probe():
    probe = Probe(ALPHA, (1e-10) ** 2, 30e-9, 0.0)
    defocus = np.full((1, 1), 10e-9)
    turned = np.array([[0.0, -1.0], [1.0, 0.0]]) * 1e-10
    straight_xx, _, straight_yy = moments(Blur(probe, defocus, PIXEL, (96, 96))(spot((96, 96))))
    xx, _, yy = moments(Blur(probe, defocus, turned, (96, 96))(spot((96, 96))))
    assert (xx, yy) == pytest.approx((straight_yy, straight_xx), rel=1e-3)
    assert straight_xx > 1.5 * straight_yy


def test_featureless_image_and_total_intensity_are_preserved():
    blur = Blur(Probe(ALPHA, (3e-10) ** 2, 0.0, 0.0), IN_FOCUS, PIXEL, (40, 40))
    assert blur(np.full((40, 40), 0.25)) == pytest.approx(np.full((40, 40), 0.25), rel=1e-5)
    assert blur(spot((40, 40))).sum() == pytest.approx(1.0, rel=1e-5)


def test_probe_much_finer_than_a_pixel_leaves_the_image_as_it_is():
    image = np.random.default_rng(1).random((20, 20))
    blurred = Blur(Probe(ALPHA, (5e-12) ** 2, 0.0, 0.0), IN_FOCUS, PIXEL, image.shape)(image)
    assert np.array_equal(blurred, image.astype(np.float32))


def test_each_part_of_a_field_is_blurred_by_its_own_defocus():
    stripes = np.tile(np.arange(64) // 4 % 2, (128, 1)).astype(float)
    defocus = np.repeat([0.0, 60e-9], 64)[:, None] * np.ones((1, 64))
    blurred = Blur(Probe(ALPHA, (2e-11) ** 2, 0.0, 0.0), defocus, PIXEL, stripes.shape)(stripes)
    assert blurred[32].std() == pytest.approx(stripes[32].std(), rel=0.1)
    assert blurred[96, 20:44].std() < 0.01  # away from the mirrored edges


def test_blend_between_planes_approaches_the_exact_blur_of_intermediate_heights():
    image = np.random.default_rng(2).random((64, 64))
    probe = Probe(ALPHA, (1e-10) ** 2, 0.0, 0.0)
    ramp = np.linspace(0.0, 40e-9, 64)[:, None] * np.ones((1, 64))
    blended = Blur(probe, ramp, PIXEL, image.shape)(image)
    for row in (10, 30, 50):
        exact = Blur(probe, ramp[row : row + 1, :1], PIXEL, image.shape)(image)
        assert np.abs(blended[row] - exact[row]).max() < 0.03
