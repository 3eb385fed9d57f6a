"""Image detectors beside a spectrum: the same electrons as in an image, averaged over a longer time."""

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.errors import Unsupported
from autoscope.records import TIME, Act, Measure, Scan
from environments.instruments.simulated import DriftConfig, MicroscopeConfig, SimulatedInstrument
from tests.unit.simulated_microscope.conftest import EXACT_STAGE, SQUARE, STILL, AnalyticSpecimen

POINT = Measure(x_m=0.0, y_m=0.0, dwell_s=0.5, signals=("EELS",))
BOTH = ("HAADF", "BF")
REAL = MicroscopeConfig(drift=STILL, stage=EXACT_STAGE, scan=SQUARE)


def scope(config=REAL, **specimen):
    rng = np.random.default_rng(3)
    return SimulatedInstrument.holding([AnalyticSpecimen(**specimen)], config, clock=SimClock(), rng=rng)


def done(instrument, number, action):
    return instrument.execute(Act(act_id=f"test-{number}", action=action)).frames


def test_a_reading_beside_a_spectrum_is_the_mean_of_an_image_of_the_same_place():
    instrument = scope()
    images = done(instrument, 1, Scan(fov_m=1e-9, width_px=128, height_px=128, dwell_s=2e-6, detectors=BOTH))
    spectrum, *read = done(instrument, 2, POINT.replace(detectors=BOTH))
    assert spectrum.meta.signal == "EELS"
    for image, reading in zip(images, read, strict=True):
        assert reading.meta.signal == image.meta.signal
        assert [axis.name for axis in reading.meta.axes] == [TIME]
        assert reading.meta.axes[0].size * reading.meta.axes[0].scale == pytest.approx(0.5)
        assert reading.data.mean() == pytest.approx(image.data.mean(), abs=4 * image.data.std() / 128)
        # 0.5 s in sixteen parts: 15,625 times 2 us each
        assert reading.data.std() == pytest.approx(image.data.std() / np.sqrt(15_625), rel=0.7)


def test_readings_follow_the_drift_during_the_dwell():
    config = REAL.replace(drift=DriftConfig(**(STILL.model_dump() | {"ramp_x_m_per_s": 1e-8})))
    instrument = scope(config, yield_at=lambda x, y, *rest: 0.1 + 1e7 * np.asarray(x))
    _, reading = done(instrument, 1, POINT.replace(dwell_s=2.0, detectors=("HAADF",)))
    assert np.corrcoef(reading.data, reading.meta.axes[0].values())[0, 1] > 0.99


def test_time_and_dose_are_those_of_the_spectrum_alone():
    one, two = scope(), scope()
    done(one, 1, POINT)
    done(two, 1, POINT.replace(detectors=BOTH))
    assert one.state() == two.state()


def test_an_unknown_detector_is_refused():
    with pytest.raises(Unsupported, match="no such image detector"):
        done(scope(), 1, POINT.replace(detectors=("SE9",)))
