"""The offset of defocus and stigmators from synthetic image series whose probes are known exactly."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.errors import FrameRejected
from autoscope.perception.aberrations import Look, cells, estimate, polar_power

ALPHA_RAD = 25e-3
SIZE = 128
PIXEL_M = 4e-9
PRIOR_M = (1e-6, 1e-6, 1e-6)


def specimen(seed, slope=1.5, anisotropy=1.0):
    """A periodic random field with a power law for a spectrum, longer along x where asked."""
    rng = np.random.default_rng(seed)
    ky, kx = scipy.fft.fftfreq(SIZE)[:, None], scipy.fft.fftfreq(SIZE)[None]
    radius = np.hypot(ky, kx * anisotropy) + 1.0 / SIZE
    field = scipy.fft.ifft2(scipy.fft.fft2(rng.normal(size=(SIZE, SIZE))) * radius**-slope).real
    return field / field.std()


def image(field, aberrations_m, noise=0.01, seed=0, alpha_rad=ALPHA_RAD):
    f, a, b = aberrations_m
    matrix = np.array([[f + a, b], [b, f - a]]) * alpha_rad / 2.0 / PIXEL_M
    covariance = matrix @ matrix
    ky, kx = scipy.fft.fftfreq(SIZE)[:, None], scipy.fft.fftfreq(SIZE)[None]
    exponent = covariance[0, 0] * kx**2 + 2 * covariance[0, 1] * kx * ky + covariance[1, 1] * ky**2
    blurred = scipy.fft.ifft2(scipy.fft.fft2(field) * np.exp(-2 * np.pi**2 * exponent)).real
    return 100.0 + blurred + noise * np.random.default_rng(seed).normal(size=blurred.shape)


def look(data, setting_m, field=(0.0,)):
    return Look(tuple(setting_m), field, PIXEL_M, data.shape, polar_power(data))


def series(offset_m, settings_m, seed=0, alter=lambda data: data, **optics):
    field = specimen(seed)
    images = [image(field, np.add(offset_m, s), seed=k, **optics) for k, s in enumerate(settings_m)]
    return [look(alter(data), s) for data, s in zip(images, settings_m, strict=True)]


PAIR = ((9e-7, 0.0, 0.0), (-9e-7, 0.0, 0.0))
part = st.floats(-3e-7, 3e-7)


@given(offset_m=st.tuples(part, part, part), seed=st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_two_images_through_focus_tell_defocus_and_both_stigmators(offset_m, seed):
    found = estimate(series(offset_m, PAIR, seed), ALPHA_RAD, (0, 0, 0), PRIOR_M)
    assert np.abs(found.offset_m - offset_m).max() < 0.1 * 9e-7


def test_closer_images_tell_it_closer():
    offset_m = (4e-8, -6e-8, 3e-8)
    wide = estimate(series(offset_m, PAIR), ALPHA_RAD, (0, 0, 0), PRIOR_M)
    near = series(offset_m, (*PAIR, (3e-7, 0, 0), (-3e-7, 0, 0), (0, 0, 0)))
    both = estimate(near, ALPHA_RAD, (0, 0, 0), PRIOR_M)
    assert both.std_m < 0.6 * wide.std_m
    assert np.abs(both.offset_m - offset_m).max() < 12e-9


def test_errors_are_as_large_as_the_uncertainty_says():
    rng = np.random.default_rng(5)
    z = []
    for seed in range(8):
        offset_m = rng.uniform(-2e-7, 2e-7, 3)
        found = estimate(series(offset_m, (*PAIR, (0, 0, 0)), seed), ALPHA_RAD, (0, 0, 0), PRIOR_M)
        z.extend((found.offset_m - offset_m) / np.sqrt(np.diag(found.covariance_m2)))
    assert 0.2 < np.sqrt(np.mean(np.square(z))) < 2.0


def test_a_specimen_with_a_grain_is_not_taken_for_astigmatism():
    field = specimen(3, anisotropy=2.0)
    looks = [look(image(field, np.add((1e-7, 0, 0), s), seed=k), s) for k, s in enumerate(PAIR)]
    found = estimate(looks, ALPHA_RAD, (0, 0, 0), PRIOR_M)
    assert np.hypot(*found.offset_m[1:]) < 60e-9
    assert abs(found.offset_m[0] - 1e-7) < 50e-9


def test_the_mirror_image_has_the_other_diagonal_astigmatism():
    offset_m = (1e-7, 5e-8, 1.5e-7)
    seen = estimate(series(offset_m, PAIR), ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m
    mirrored = estimate(series(offset_m, PAIR, alter=np.fliplr), ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m
    np.testing.assert_allclose(mirrored, seen * [1, 1, -1], atol=1e-8)


def test_a_quarter_turn_of_the_image_turns_both_astigmatisms_round():
    offset_m = (1e-7, 1.2e-7, 6e-8)
    seen = estimate(series(offset_m, PAIR), ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m
    turned = estimate(series(offset_m, PAIR, alter=np.rot90), ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m
    np.testing.assert_allclose(turned, seen * [1, -1, -1], atol=1e-8)


def test_brightness_and_gain_do_not_matter():
    plain = estimate(series((2e-7, -1e-7, 0), PAIR), ALPHA_RAD, (0, 0, 0), PRIOR_M)
    scaled = series((2e-7, -1e-7, 0), PAIR, alter=lambda data: 500.0 + 30.0 * data)
    np.testing.assert_allclose(estimate(scaled, ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m, plain.offset_m, atol=1e-10)


def test_drift_between_the_images_does_not_matter():
    offset_m, field = (1.5e-7, 1e-7, -5e-8), specimen(2)
    looks = [
        look(np.roll(image(field, np.add(offset_m, s), seed=k), (3 * k, -2 * k), (0, 1)), s)
        for k, s in enumerate((*PAIR, (0, 0, 0)))
    ]
    assert np.abs(estimate(looks, ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m - offset_m).max() < 50e-9


def test_a_wider_aperture_than_the_panel_says_still_focuses():
    found = estimate(
        series((2e-7, -1e-7, 5e-8), (*PAIR, (-2e-7, 0, 0)), alpha_rad=1.05 * ALPHA_RAD), ALPHA_RAD, (0, 0, 0), PRIOR_M
    )
    assert found.width_factor > 1.0
    assert np.abs(found.offset_m - (2e-7, -1e-7, 5e-8)).max() < 50e-9


def test_one_image_of_something_else_does_not_carry_the_result_away():
    offset_m = (1.5e-7, 1e-7, -5e-8)
    looks = series(offset_m, (*PAIR, (4e-7, 0, 0), (-4e-7, 0, 0), (0, 0, 0)))
    spoilt = [*looks[:4], look(image(specimen(9, slope=0.5), (0, 0, 0)), (0, 0, 0))]
    assert np.abs(estimate(spoilt, ALPHA_RAD, (0, 0, 0), PRIOR_M).offset_m - offset_m).max() < 80e-9


def test_images_of_two_fields_are_told_together():
    offset_m = (8e-8, -5e-8, 4e-8)
    second = [look(image(specimen(8), np.add(offset_m, s), seed=7 + k), s, field=(1.0,)) for k, s in enumerate(PAIR)]
    alone = estimate(series(offset_m, PAIR), ALPHA_RAD, (0, 0, 0), PRIOR_M)
    both = estimate([*series(offset_m, PAIR), *second], ALPHA_RAD, (0, 0, 0), PRIOR_M)
    assert both.std_m < 0.85 * alone.std_m
    assert np.abs(both.offset_m - offset_m).max() < 50e-9


def test_noise_alone_leaves_the_prior():
    rng = np.random.default_rng(0)
    looks = [look(rng.normal(size=(SIZE, SIZE)), s) for s in PAIR]
    found = estimate(looks, ALPHA_RAD, (1e-7, 0, 0), (2e-8, 2e-8, 2e-8))
    assert np.abs(found.offset_m - (1e-7, 0, 0)).max() < 40e-9


def test_power_of_white_noise_is_its_variance_in_every_cell():
    data = 3.0 * np.random.default_rng(1).normal(size=(256, 256))
    spectrum = polar_power(data)
    modes = cells(256, 256).modes
    z = (spectrum.power / 9.0 - 1.0) * np.sqrt(modes)
    assert spectrum.noise == pytest.approx(9.0, rel=0.05)
    assert abs(np.average(spectrum.power, weights=modes) - 9.0) < 0.2
    assert 0.5 < z[modes > 5].std() < 1.3


@pytest.mark.parametrize("data", [np.zeros((8, 8)), np.zeros((64, 64, 2)), np.full((64, 64), np.nan)])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(FrameRejected):
        polar_power(data)


def test_no_images_are_refused():
    with pytest.raises(FrameRejected):
        estimate([], ALPHA_RAD, (0, 0, 0), PRIOR_M)
