"""What image detectors read beside a spectrum: honest means, and refusals where there is nothing to tell."""

import numpy as np
import pytest

from autoscope.errors import FrameRejected
from autoscope.perception.point_readings import DetectorReading
from autoscope.perception.scalarizers import BandIntegral
from autoscope.records import Axis, Frame, FrameMeta


def frame(data, signal="HAADF", axis="time"):
    axes = (Axis(name=axis, unit="s", size=len(data), scale=0.1),)
    return Frame(FrameMeta(signal=signal, axes=axes, time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0), np.asarray(data))


def reading(**options):
    return DetectorReading(DetectorReading.Config(**options))


def test_the_stated_uncertainty_is_that_of_many_dwells():
    rng = np.random.default_rng(4)
    told = [reading().scalarize(frame(row), "h") for row in rng.normal(50.0, 2.0, (2000, 16))]
    z = np.array([(t.value - 50.0) / t.std for t in told])
    assert abs(z.mean()) < 0.08
    assert z.std() == pytest.approx(np.sqrt(15 / 13), rel=0.06)  # Student's t with 15 degrees of freedom


def test_only_its_own_detector_at_points_is_its_business_and_spectra_are_not():
    assert reading().fits(frame([1.0, 2.0]))
    assert not reading().fits(frame([1.0, 2.0], signal="BF"))
    assert not reading().fits(frame([1.0, 2.0], axis="energy"))
    assert not BandIntegral(BandIntegral.Config()).fits(frame([1.0, 2.0]))


def test_a_single_reading_needs_to_be_told_its_uncertainty():
    with pytest.raises(FrameRejected, match="a single reading does not tell its uncertainty"):
        reading().scalarize(frame([3.0]), "h")
    told = reading(reading_std=0.5).scalarize(frame([3.0]), "h")
    assert (told.value, told.std) == (3.0, 0.5)


def test_values_that_are_no_numbers_are_rejected():
    with pytest.raises(FrameRejected, match="not finite"):
        reading().scalarize(frame([1.0, np.nan]), "h")
