"""Dark references: what is left of a frame is unbiased and says how uncertain it is; what cannot be dark is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.errors import DarkStale, FrameRejected
from autoscope.perception.dark import between, dark_reference, require_dark, subtract
from autoscope.perception.scalarizers import BandIntegral
from autoscope.records import Axis, Frame, FrameMeta

CHANNELS = 400
ENERGY = Axis(name="energy", unit="eV", size=CHANNELS)
PLACES = (Axis(name="y", unit="m", size=20, scale=1e-9), Axis(name="x", unit="m", size=20, scale=1e-9))


def spectrum(data, dwell_s=1.0):
    meta = FrameMeta(signal="EDS", axes=(ENERGY,), time_s=0.0, dwell_s=dwell_s, x_m=0.0, y_m=0.0)
    return Frame(meta, np.asarray(data))


def image(data):
    meta = FrameMeta(signal="HAADF", axes=PLACES, time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
    return Frame(meta, np.asarray(data))


class Detector:
    """A pedestal of its own in each channel, a dark current, read-out noise, and counted events, in whole counts."""

    def __init__(self, seed, pedestal, rate_per_s, readout):
        self.rng, self.readout = np.random.default_rng(seed), readout
        self.pedestal = pedestal + self.rng.uniform(0.0, 50.0, CHANNELS)
        self.rate_per_s = rate_per_s * self.rng.exponential(1.0, CHANNELS)

    def read(self, mean=0.0, dwell_s=1.0):
        events = self.rng.poisson(mean + self.rate_per_s * dwell_s)
        noise = self.readout * self.rng.standard_normal(CHANNELS)
        return spectrum(np.maximum(np.rint(events + self.pedestal + noise), 0).astype(np.uint32), dwell_s)

    def reference(self, frames=16, dwell_s=1.0):
        return dark_reference([self.read(dwell_s=dwell_s) for _ in range(frames)])


detectors = st.builds(
    Detector,
    st.integers(0, 2**32 - 1),
    st.floats(50.0, 3000.0),
    st.floats(0.0, 30.0),
    st.floats(0.5, 8.0),
)


def pulls(corrected, truth):
    """Return by how many of its own standard deviations each channel is off, with true counting noise."""
    return (corrected.data - truth) / np.sqrt(truth + corrected.dark_variance)


@settings(max_examples=60, deadline=None)
@given(detectors, st.integers(4, 32), st.floats(0.0, 500.0))
def test_what_is_left_is_unbiased_and_no_surer_than_it_says(detector, frames, level):
    truth = np.full(CHANNELS, level)
    z = pulls(subtract(detector.read(truth), detector.reference(frames)), truth)
    assert abs(z.mean()) < 5.5 / np.sqrt(CHANNELS)  # no pedestal is left, whatever it was
    assert z.std() < 1.0 + 5.0 / np.sqrt(2 * CHANNELS)


@settings(max_examples=30, deadline=None)
@given(detectors, st.floats(0.3, 3.9))
def test_between_two_dwells_the_line_is_unbiased_too(detector, dwell_s):
    line = between(detector.reference(64, 0.25), detector.reference(64, 4.0), dwell_s)
    z = pulls(subtract(detector.read(20.0, dwell_s), line), np.full(CHANNELS, 20.0))
    assert abs(z.mean()) < 5.5 / np.sqrt(CHANNELS)
    assert z.std() < 1.0 + 5.0 / np.sqrt(2 * CHANNELS)


def test_a_scalarizer_counts_read_out_and_reference_among_its_uncertainty():
    detector = Detector(4, 200.0, 5.0, 6.0)
    band = BandIntegral(BandIntegral.Config())
    reference = detector.reference(16)
    made = [band.scalarize(subtract(detector.read(3.0), reference), "t") for _ in range(200)]
    values = np.array([m.value for m in made])
    offset = values.mean() - 3.0 * CHANNELS  # the error of the one reference, common to all
    assert abs(offset) < 4.0 * np.sqrt(reference.mean_variance.sum())
    assert np.mean([m.std for m in made]) == pytest.approx(np.hypot(values.std(), abs(offset)), rel=0.25)
    assert made[0].std > 2.0 * np.sqrt(3.0 * CHANNELS)  # counting alone would claim less than half


def test_all_pixels_of_an_image_have_the_pedestal_of_its_one_detector():
    rng = np.random.default_rng(2)
    dark = [image(np.rint(30.0 + 2.0 * rng.standard_normal((20, 20))).astype(np.uint16)) for _ in range(4)]
    reference = dark_reference(dark)
    assert reference.mean.shape == ()
    assert float(reference.mean) == pytest.approx(30.0, abs=5 * 2.0 / 40.0)
    left = subtract(image(np.full((20, 20), 130, np.uint16)), reference)
    assert left.data.dtype == np.float32
    assert left.data.mean() == pytest.approx(100.0, abs=0.3)


def test_noise_below_zero_is_kept_and_nonsense_below_it_refused():
    detector = Detector(7, 300.0, 0.0, 3.0)
    reference = detector.reference()
    raw = detector.read()
    left = subtract(raw, reference)
    assert (left.data < 0).sum() > 100
    assert raw.data.dtype == np.uint32
    with pytest.raises(DarkStale, match="further below its dark reference") as caught:
        subtract(spectrum(np.maximum(raw.data.astype(int) - 60, 0)), reference)
    assert "take a dark reference more often" in str(caught.value)


def test_a_frame_of_another_shape_is_not_corrected():
    reference = Detector(7, 300.0, 0.0, 3.0).reference()
    with pytest.raises(FrameRejected, match="another shape"):
        subtract(image(np.ones((20, 20))), reference)


def test_frames_with_beam_are_no_reference_and_a_drifted_pedestal_is_one():
    detector = Detector(9, 100.0, 1.0, 3.0)
    before = detector.reference()
    detector.pedestal += 5.0
    require_dark(detector.reference(), before)
    peak = 200.0 * np.exp(-0.5 * ((np.arange(CHANNELS) - 120) / 6.0) ** 2)
    bright = dark_reference([detector.read(peak) for _ in range(8)])
    with pytest.raises(FrameRejected, match="the beam was not kept away"):
        require_dark(bright, before)


def test_one_cosmic_ray_is_no_beam():
    detector = Detector(9, 100.0, 1.0, 3.0)
    frames = [detector.read() for _ in range(8)]
    struck = frames[3].data.copy()
    struck[77] += 20_000
    require_dark(dark_reference([*frames[:3], spectrum(struck), *frames[4:]]), detector.reference())


@pytest.mark.parametrize("frames", [[], [spectrum(np.ones(CHANNELS))], [spectrum(np.ones(4)), spectrum(np.ones(5))]])
def test_too_few_frames_or_of_several_shapes_make_no_reference(frames):
    with pytest.raises(FrameRejected, match="two or more frames of one shape"):
        dark_reference(frames)


def test_frames_that_are_not_finite_make_none():
    with pytest.raises(FrameRejected, match="NaN"):
        dark_reference([spectrum(np.full(CHANNELS, np.nan))] * 2)
