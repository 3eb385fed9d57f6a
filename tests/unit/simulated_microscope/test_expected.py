"""What the simulated microscope expects of measurements agrees with what it measures on average."""

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.quantities import FROM_FILE
from autoscope.records import Act, Measure
from environments.instruments.simulated import SimulatedInstrument


def still_microscope():
    options = {
        "specimens": [{"kind": "nanoparticles", "extent": ["400 nm", "400 nm"], "count": 3}],
        "drift": {"ramp_x": "0 m/s", "ramp_y": "0 m/s", "walk_per_minute": "0 m", "load": "0 m", "creep_fraction": 0.0},
    }
    config = SimulatedInstrument.Config.model_validate(options, context=FROM_FILE)
    return SimulatedInstrument(config, clock=SimClock(), rng=np.random.default_rng(4))


def test_the_mean_of_many_measurements_is_what_was_expected():
    scope = still_microscope()
    place = np.array([[20e-9, -10e-9]])
    expected = scope.expected("EELS", place, 0.05).data[0]
    act = Measure(x_m=20e-9, y_m=-10e-9, dwell_s=0.05, signals=("EELS",))
    drawn = [scope.execute(Act(act_id=str(k), action=act)).frames[0].data.astype(float) for k in range(40)]
    total, wanted = np.sum(drawn), 40 * expected.sum()
    assert total == pytest.approx(wanted, abs=5 * np.sqrt(wanted))


def test_expecting_spends_no_dose_and_no_time():
    scope = still_microscope()
    before = scope.state()
    scope.expected("EDS", np.zeros((3, 2)), 1.0)
    assert scope.state() == before
