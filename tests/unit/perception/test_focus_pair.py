"""The offset of defocus and stigmators from two synthetic images whose probes are known exactly."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.errors import FrameRejected
from autoscope.perception.focus_pair import estimate_pair

ALPHA_RAD = 25e-3
SIZE = 128
PIXEL_M = 4e-9
APART_M = 6e-7
PAIR = ((APART_M, 0.0, 0.0), (-APART_M, 0.0, 0.0))
PRIOR_M = (6e-7, 6e-7, 6e-7)


def specimen(seed, anisotropy=1.0):
    """A random field with a power law for a spectrum, longer along x where asked; twice as wide as the images."""
    rng = np.random.default_rng(seed)
    ky, kx = scipy.fft.fftfreq(2 * SIZE)[:, None], scipy.fft.fftfreq(2 * SIZE)[None]
    radius = np.hypot(ky, kx * anisotropy) + 1.0 / SIZE
    field = scipy.fft.ifft2(scipy.fft.fft2(rng.normal(size=(2 * SIZE, 2 * SIZE))) * radius**-1.5).real
    return 10.0 * field / field.std()


def image(field, aberrations_m, seed, noise=0.1, shift_px=(0, 0)):
    f, a, b = aberrations_m
    matrix = np.array([[f + a, b], [b, f - a]]) * ALPHA_RAD / 2.0 / PIXEL_M
    xx, xy, yy = (matrix @ matrix)[[0, 0, 1], [0, 1, 1]]
    ky, kx = scipy.fft.fftfreq(2 * SIZE)[:, None], scipy.fft.fftfreq(2 * SIZE)[None]
    transfer = np.exp(-2 * np.pi**2 * (xx * kx**2 + 2 * xy * kx * ky + yy * ky**2))
    blurred = np.roll(scipy.fft.ifft2(scipy.fft.fft2(field) * transfer).real, shift_px, (0, 1))
    cut = blurred[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2]
    return 100.0 + cut + noise * np.random.default_rng([seed, 5]).normal(size=cut.shape)


def pair(field, offset_m, settings_m=PAIR, shift_px=(0, 0), **optics):
    shifts = ((0, 0), shift_px)
    return tuple(
        image(field, np.add(offset_m, s), k, shift_px=p, **optics)
        for k, (s, p) in enumerate(zip(settings_m, shifts, strict=True))
    )


def found(images, settings_m=PAIR, prior_m=PRIOR_M, centre_m=(0, 0, 0)):
    return estimate_pair(images, settings_m, PIXEL_M, ALPHA_RAD, centre_m, prior_m)


part = st.floats(-1.5e-7, 1.5e-7)


@given(offset_m=st.tuples(part, part, part), seed=st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_two_images_through_focus_tell_defocus_and_both_stigmators(offset_m, seed):
    result = found(pair(specimen(seed), offset_m))
    assert np.abs(result.offset_m - offset_m).max() < 0.04 * APART_M
    assert result.misfit == pytest.approx(1.0, abs=0.2)


def test_errors_are_as_large_as_the_uncertainty_says():
    rng, z = np.random.default_rng(5), []
    for seed in range(12):
        offset_m = rng.uniform(-1e-7, 1e-7, 3)
        result = found(pair(specimen(seed), offset_m, noise=3.0))
        z.extend((result.offset_m - offset_m) / np.sqrt(np.diag(result.covariance_m2)))
    assert 0.2 < np.sqrt(np.mean(np.square(z))) < 1.5


def test_a_specimen_with_a_grain_is_not_taken_for_astigmatism():
    result = found(pair(specimen(3, anisotropy=2.0), (1e-7, 0, 0)))
    assert np.abs(result.offset_m - (1e-7, 0, 0)).max() < 15e-9


def test_the_mirror_image_has_the_other_diagonal_astigmatism():
    images = pair(specimen(4), (1e-7, 5e-8, 1.2e-7))
    seen, mirrored = found(images).offset_m, found(tuple(i[:, ::-1] for i in images)).offset_m
    np.testing.assert_allclose(mirrored, seen * [1, 1, -1], atol=6e-9)


def test_the_order_of_the_images_does_not_matter():
    first, second = pair(specimen(6), (1e-7, 5e-8, -8e-8))
    forward, backward = found((first, second)), found((second, first), PAIR[::-1])
    np.testing.assert_allclose(forward.offset_m, backward.offset_m, atol=1e-9)


def test_two_settings_of_a_stigmator_tell_the_same():
    settings_m = ((0.0, APART_M, 0.0), (0.0, -APART_M, 0.0))
    result = found(pair(specimen(7), (5e-8, 4e-8, 0.0), settings_m), settings_m)
    assert np.abs(result.offset_m - (5e-8, 4e-8, 0.0))[:2].max() < 20e-9


def test_drift_between_the_images_does_not_matter():
    result = found(pair(specimen(2), (1e-7, 8e-8, -5e-8), shift_px=(7, -4)))
    assert np.abs(result.offset_m - (1e-7, 8e-8, -5e-8)).max() < 20e-9


def test_brightness_and_a_common_gain_do_not_matter():
    images = pair(specimen(1), (1e-7, -1e-7, 0))
    scaled = tuple(500.0 + 30.0 * i for i in images)
    np.testing.assert_allclose(found(scaled).offset_m, found(images).offset_m, atol=1e-12)


def test_noise_alone_leaves_the_prior():
    rng = np.random.default_rng(0)
    images = tuple(rng.normal(size=(SIZE, SIZE)) for _ in range(2))
    result = found(images, prior_m=(2e-8,) * 3, centre_m=(1e-7, 0, 0))
    assert np.abs(result.offset_m - (1e-7, 0, 0)).max() < 20e-9
    assert result.std_m > 15e-9


def test_flat_images_leave_the_prior_as_it_is():
    result = found((np.full((64, 64), 7.0),) * 2, centre_m=(1e-8, 2e-8, 3e-8))
    np.testing.assert_allclose(result.offset_m, (1e-8, 2e-8, 3e-8))


@pytest.mark.parametrize(
    "images",
    [
        (np.zeros((64, 64)), np.zeros((64, 32))),
        (np.zeros((8, 8)),) * 2,
        (np.zeros((64, 64)), np.full((64, 64), np.nan)),
    ],
)
def test_what_is_no_pair_of_images_is_refused(images):
    with pytest.raises(FrameRejected):
        found(images)
