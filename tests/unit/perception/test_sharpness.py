import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from autoscope.errors import FrameRejected
from autoscope.perception.sharpness import fit_focus, sharpness
from autoscope.records import Axis, Frame, FrameMeta


def scene(seed=0, size=192):
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size))
    image[tuple(rng.integers(0, size, (2, 400)))] = rng.uniform(0.5, 1.5, 400) * 900.0
    return 20.0 + gaussian_filter(image, 1.0)


def test_less_blur_is_sharper_also_in_counting_noise():
    rng = np.random.default_rng(1)
    values = [sharpness(rng.poisson(gaussian_filter(scene(), blur))) for blur in (0.0, 0.5, 1.0, 2.0, 3.0)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("blur", [0.0, 1.0, 2.0])
def test_noise_neither_sharpens_nor_dulls(blur):
    image = gaussian_filter(scene(), blur)
    noisy = [sharpness(np.random.default_rng(s).poisson(image)) for s in range(6)]
    assert np.mean(noisy) == pytest.approx(sharpness(image), rel=0.1)


def test_gaussian_field_has_the_mean_square_frequency_of_its_spectrum():
    rng = np.random.default_rng(2)
    field = gaussian_filter(rng.normal(size=(1024, 1024)), 3.0, mode="wrap")
    expected = 1.0 / (2.0 * np.pi * 3.0) ** 2  # of the spectrum exp(-(2 pi k sigma)^2) in two dimensions
    assert sharpness(field) == pytest.approx(expected, rel=0.05)


def test_noise_alone_has_no_sharpness():
    values = [sharpness(np.random.default_rng(s).poisson(20.0, (128, 128))) for s in range(20)]
    assert np.count_nonzero(values) <= 2


def test_constant_image_has_no_sharpness():
    assert sharpness(np.full((64, 64), 7.0)) == 0.0


def test_frame_and_its_array_are_equally_sharp():
    data = scene()
    axes = tuple(Axis(name=name, unit="m", size=192, scale=1e-9) for name in "yx")
    meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
    assert sharpness(Frame(meta, data)) == sharpness(data)


@pytest.mark.parametrize("data", [np.ones(64), np.ones((8, 8)), np.full((64, 64), np.nan)])
def test_what_is_no_image_is_rejected(data):
    with pytest.raises(FrameRejected):
        sharpness(data)


SETTINGS = np.linspace(-100e-9, 100e-9, 9)


def series(best_m, settings=SETTINGS, width_m=60e-9):
    return 0.2 + np.exp(-0.5 * ((settings - best_m) / width_m) ** 2)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 12])
def test_sharpest_setting_is_found_between_those_tried(n):
    settings = np.linspace(-100e-9, 100e-9, n)
    fit = fit_focus(settings, series(15e-9, settings))
    assert fit.ok
    assert fit.defocus_m == pytest.approx(15e-9, abs=1e-11 if n >= 5 else 12e-9)


def test_stated_uncertainty_covers_the_error():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(80):
        best_m = rng.uniform(-40e-9, 40e-9)
        fit = fit_focus(SETTINGS, series(best_m) + rng.normal(0, 0.05, SETTINGS.size))
        scores.append(abs(fit.defocus_m - best_m) / fit.std_m)
    assert 0.6 < np.percentile(scores, 68.3) < 1.5


@pytest.mark.parametrize("value", [0.0, 1.5])
@pytest.mark.parametrize("bad", range(9))
def test_one_bad_image_hardly_moves_the_focus(bad, value):
    measured = series(20e-9) + np.random.default_rng(1).normal(0, 0.02, SETTINGS.size)
    measured[bad] = value
    fit = fit_focus(SETTINGS, measured)
    assert fit.defocus_m == pytest.approx(20e-9, abs=6e-9)


def test_scatter_alone_is_seldom_taken_for_a_focus():
    rng = np.random.default_rng(3)
    assert np.mean([fit_focus(SETTINGS, rng.normal(size=SETTINGS.size)).ok for _ in range(50)]) < 0.2


@pytest.mark.parametrize("measured", [SETTINGS, -SETTINGS, np.ones(9), SETTINGS**2, np.exp(SETTINGS * 2e7)])
def test_series_without_a_maximum_inside_is_not_believed(measured):
    assert not fit_focus(SETTINGS, measured).ok


def test_order_of_the_settings_does_not_matter():
    order = np.random.default_rng(0).permutation(9)
    straight, mixed = fit_focus(SETTINGS, series(30e-9)), fit_focus(SETTINGS[order], series(30e-9)[order])
    assert mixed.defocus_m == pytest.approx(straight.defocus_m, abs=1e-11)


@pytest.mark.parametrize(
    ("settings", "measured"),
    [([0, 1], [1, 2]), ([0, 0, 0], [1, 2, 3]), ([0, 1, 2], [1, 2]), ([0, 1, 2], [1, np.nan, 1])],
)
def test_series_that_cannot_be_fitted_is_rejected(settings, measured):
    with pytest.raises(FrameRejected):
        fit_focus(settings, measured)
