import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from autoscope.errors import FrameRejected
from autoscope.fitness import QualityConfig
from autoscope.perception.quality import assess, contrast_snr, cut_off, require, ring_correlation
from autoscope.records import Axis, Frame, FrameMeta

PIXEL_M = 2e-9


def framed(data):
    y, x = (Axis(name=n, unit="m", size=s, scale=PIXEL_M) for n, s in zip("yx", data.shape, strict=True))
    meta = FrameMeta(signal="HAADF", axes=(y, x), time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
    return Frame(meta, data)


def field(rng, size=256, width_px=3.0):
    """Return a smooth random field of unit variance."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((size, size)), width_px, mode="wrap")
    return smooth / smooth.std()


@pytest.mark.parametrize("snr", [0.1, 1.0, 10.0])
def test_the_contrast_over_noise_is_that_of_the_image(snr):
    rng = np.random.default_rng(0)
    image = field(rng, 512, 6.0) + rng.standard_normal((512, 512)) / np.sqrt(snr)
    assert contrast_snr(image) == pytest.approx(snr, rel=0.2)


def test_noise_alone_has_neither_contrast_nor_resolution():
    image = np.random.default_rng(1).standard_normal((256, 256))
    metrics = assess(framed(image))
    assert metrics["contrast_snr"] < 0.05
    assert metrics["resolution_m"] > 50 * PIXEL_M
    assert metrics["sharpness"] == 0.0


@pytest.mark.parametrize("width_px", [2.0, 3.0, 5.0])
def test_a_blurred_image_is_resolved_down_to_where_its_signal_meets_the_noise(width_px):
    rng = np.random.default_rng(2)
    signal, noise = field(rng, 512, width_px), 0.1
    frequency, correlation = ring_correlation(signal + noise * rng.standard_normal(signal.shape))
    k = np.linspace(0.001, 0.25, 4000)
    power = 4 * np.pi * width_px**2 * np.exp(-((2 * np.pi * k * width_px) ** 2))
    expected = k[np.argmin(np.abs(power / (power + noise**2) - 1 / 7))]
    assert cut_off(frequency, correlation) == pytest.approx(expected, rel=0.2)


def test_halves_of_a_clean_image_agree_up_to_their_own_sampling():
    image = field(np.random.default_rng(3), 256, 0.8)
    frequency, correlation = ring_correlation(ndimage.gaussian_filter(image, 1.2, mode="wrap"))
    assert correlation[(frequency > 0.02) & (frequency < 0.15)].min() > 0.9
    assert frequency[-1] == pytest.approx(0.25)


@given(st.floats(0.5, 4.0), st.floats(0.05, 1.0))
def test_more_noise_never_looks_like_a_better_image(width_px, noise):
    rng = np.random.default_rng(7)
    signal, grain = field(rng, 128, width_px), rng.standard_normal((128, 128))
    good, bad = (assess(framed(signal + n * grain)) for n in (noise, 3 * noise))
    assert bad["contrast_snr"] < good["contrast_snr"]
    assert bad["resolution_m"] >= good["resolution_m"] * 0.999


def test_spectra_small_and_flat_frames_are_not_judged():
    axis = Axis(name="energy", unit="eV", size=100)
    spectrum = Frame(FrameMeta(signal="EDS", axes=(axis,), time_s=0, dwell_s=1.0, x_m=0, y_m=0), np.arange(100.0))
    assert assess(spectrum) == assess(framed(np.ones((16, 16)))) == assess(framed(np.ones((64, 64)))) == {}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"min_contrast_snr": 1e5}, "contrast snr"),
        ({"min_sharpness": 0.4}, "sharpness"),
        ({"max_resolution_m": 1e-9}, "resolution"),
    ],
    ids=["snr", "sharpness", "resolution"],
)
def test_an_image_that_does_not_reach_a_limit_is_refused_with_the_metric_and_the_limit(limits, said):
    rng = np.random.default_rng(5)
    frame = framed(field(rng) + 0.2 * rng.standard_normal((256, 256)))
    metrics = assess(frame)
    require(frame, metrics, QualityConfig())
    with pytest.raises(FrameRejected, match=f"{said}.*limit"):
        require(frame, metrics, QualityConfig(**limits))
