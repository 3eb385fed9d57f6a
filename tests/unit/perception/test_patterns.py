"""Virtual detectors: electrons in rings of scattering angles, with honest uncertainties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.errors import FrameRejected
from autoscope.perception.patterns import VirtualDetector
from autoscope.records import Axis, Frame, FrameMeta

PIXEL_RAD = 5e-3
AXES = tuple(Axis(name=n, unit="rad", size=32, offset=-16 * PIXEL_RAD, scale=PIXEL_RAD) for n in ("ky", "kx"))


def pattern(data, unit="counts", axes=AXES):
    meta = FrameMeta(signal="4D", axes=axes, unit=unit, time_s=0.0, dwell_s=1e-3, x_m=0.0, y_m=0.0)
    return Frame(meta, np.asarray(data))


def detector(**options):
    return VirtualDetector(VirtualDetector.Config(**options))


@given(st.integers(0, 2**32 - 1), st.floats(6e-3, 70e-3))
def test_two_rings_that_touch_share_every_electron_between_them(seed, edge_rad):
    frame = pattern(np.random.default_rng(seed).poisson(3.0, (32, 32)))
    whole = detector(outer_rad=80e-3).scalarize(frame, "all")
    inner = detector(outer_rad=edge_rad).scalarize(frame, "inner")
    outer = detector(inner_rad=edge_rad * (1 - 1e-9), outer_rad=80e-3).scalarize(frame, "outer")
    assert inner.value + outer.value == whole.value


def test_the_uncertainty_is_that_of_counts_repeated():
    rng, ring = np.random.default_rng(3), detector(inner_rad=20e-3, outer_rad=60e-3)
    seen = [ring.scalarize(pattern(rng.poisson(0.5, (32, 32))), "adf") for _ in range(300)]
    assert np.std([s.value for s in seen]) == pytest.approx(np.mean([s.std for s in seen]), rel=0.15)


def test_no_counts_are_not_certain():
    assert detector(outer_rad=50e-3).scalarize(pattern(np.zeros((32, 32), int)), "bf").std == 1.0


def test_camera_units_get_their_noise_from_the_pattern():
    data = 100.0 + np.random.default_rng(0).normal(0.0, 2.0, (32, 32))
    ring = detector(outer_rad=50e-3)
    pixels = ring.ring(*AXES).sum()
    assert ring.scalarize(pattern(data, unit="ADU"), "bf").std == pytest.approx(2.0 * math.sqrt(pixels), rel=0.2)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"outer_rad": 0.2}, "beyond the pattern"), ({"inner_rad": 11e-3, "outer_rad": 11.1e-3}, "no pixel")],
)
def test_rings_that_the_pattern_does_not_hold_are_rejected(options, words):
    with pytest.raises(FrameRejected, match=words):
        detector(**options).scalarize(pattern(np.ones((32, 32))), "x")


def test_a_spectrum_or_an_image_is_not_a_pattern():
    image = pattern(np.ones((32, 32)), axes=tuple(axis.replace(unit="m") for axis in AXES))
    assert not detector(outer_rad=0.05).fits(image)
    with pytest.raises(FrameRejected, match="not one pattern"):
        detector(outer_rad=0.05).scalarize(image, "x")
    assert not detector(outer_rad=0.05, signal="EELS").fits(pattern(np.ones((32, 32))))


def test_a_value_that_is_not_finite_is_rejected():
    data = np.ones((32, 32))
    data[16, 16] = np.nan
    with pytest.raises(FrameRejected, match="not finite"):
        detector(outer_rad=0.05).scalarize(pattern(data), "x")


def test_a_ring_inside_out_is_refused():
    with pytest.raises(ValueError, match="below the outer"):
        VirtualDetector.Config(inner_rad=0.1, outer_rad=0.05)
