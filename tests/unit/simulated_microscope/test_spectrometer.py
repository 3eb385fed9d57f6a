"""The spectrometer: its drift is a function of time, spectra move by it, and software sets the offset against it."""

import numpy as np
import pytest

from autoscope.chance import stream
from autoscope.clock import SimClock
from autoscope.errors import OutOfRange, Unsupported
from autoscope.perception.zero_loss import zero_loss
from autoscope.records import Act, Axis, Measure, SetOptics, Wait
from autoscope.testing import check_instrument
from environments.instruments.simulated import SimulatedInstrument
from environments.instruments.simulated.config import SpectrometerConfig
from environments.instruments.simulated.spectrometer import Spectrometer, shifted

AXIS = Axis(name="energy_loss", unit="eV", size=200, offset=-5.0, scale=0.1)
WANDERING = {"spectrometer": {"hidden_offset": "0.4 eV", "ramp_per_hour": "0.3 eV", "walk_per_hour": "0.2 eV"}}


def microscope(**changes):
    config = SimulatedInstrument.Config.model_validate(
        {"specimens": [{"kind": "catalyst", "extent": ["2 um", "2 um"]}], "gun": {"beam_current": "50 pA"}} | changes
    )
    return SimulatedInstrument(config, clock=SimClock(), rng=np.random.default_rng(3))


def do(scope, action, number=[0]):  # noqa: B006  a counter of its own over all acts
    number[0] += 1
    return scope.execute(Act(act_id=f"a{number[0]}", action=action))


def peak(scope):
    (frame,) = do(scope, Measure(x_m=0.0, y_m=0.0, dwell_s=0.05, signals=("EELS",))).frames
    return zero_loss(frame)[0]


@pytest.mark.parametrize("shift_ev", [0.0, 0.1, 0.037, -1.23, 7.0])
def test_a_peak_moves_by_exactly_the_shift_and_keeps_its_counts(shift_ev):
    energy = AXIS.values()
    spectrum = np.exp(-0.5 * ((energy - 3.0) / 0.5) ** 2)
    moved = shifted(spectrum, AXIS, shift_ev)
    assert (moved @ energy) / moved.sum() == pytest.approx(3.0 + shift_ev, abs=1e-6)
    assert moved.sum() == pytest.approx(spectrum.sum())


def test_what_leaves_the_axis_is_lost_and_x_rays_are_left_alone():
    assert shifted(np.ones(200), AXIS, 30.0).sum() == 0.0
    rays = Axis(name="energy", unit="eV", size=200)
    assert (shifted(np.arange(200.0), rays, 3.0) == np.arange(200.0)).all()


def test_the_drift_is_a_function_of_time_whatever_is_asked_in_which_order():
    config = SpectrometerConfig(hidden_offset_ev=0.4)
    one, other = (Spectrometer(config, stream(5, "spectrometer")) for _ in range(2))
    times = [0.0, 10.0, 4000.0, 86400.0]
    forward = [one.drift_ev(t) for t in times]
    assert forward == [other.drift_ev(t) for t in reversed(times)][::-1]
    assert forward[0] == 0.4
    assert len(set(forward)) == 4


def test_the_walk_has_the_size_it_is_told():
    config = SpectrometerConfig(ramp_per_hour_ev=0.0, walk_per_hour_ev=0.2)
    after_4_h = [Spectrometer(config, stream(seed, "spectrometer")).drift_ev(4 * 3600.0) for seed in range(400)]
    assert np.std(after_4_h) == pytest.approx(0.4, rel=0.15)


def test_the_zero_loss_peak_wanders_and_an_offset_brings_it_back():
    scope = microscope(**WANDERING)
    assert peak(scope) == pytest.approx(0.4, abs=0.01)
    do(scope, Wait(duration_s=3600.0))
    wandered = peak(scope)
    assert abs(wandered - 0.7) > 0.005
    assert wandered == pytest.approx(scope.truth()["loss_shift_ev"], abs=0.005)
    reached = do(scope, SetOptics(energy_offset_ev=-wandered)).state
    assert reached.energy_offset_ev == -wandered
    assert peak(scope) == pytest.approx(0.0, abs=0.005)


def test_without_a_spectrometer_to_set_the_offset_is_unsupported_and_not_read_back():
    scope = microscope()
    assert scope.state().energy_offset_ev is None
    assert "energy_offset_ev" not in scope.state().model_dump()
    with pytest.raises(Unsupported):
        do(scope, SetOptics(energy_offset_ev=1.0))
    assert peak(scope) == pytest.approx(0.0, abs=0.005)


def test_an_offset_out_of_range_is_refused():
    scope = microscope(**WANDERING)
    with pytest.raises(OutOfRange):
        do(scope, SetOptics(energy_offset_ev=101.0))


def test_a_snapshot_brings_the_offset_back():
    scope, again = microscope(**WANDERING), microscope(**WANDERING)
    do(scope, SetOptics(energy_offset_ev=-0.4))
    again.restore(scope.snapshot())
    assert again.state().energy_offset_ev == -0.4


def test_the_conformance_kit_sets_the_offset_and_reads_it_back():
    report = check_instrument(microscope(**WANDERING))
    assert report.ok, str(report)
    (line,) = [c for c in report.checks if c.promise == "energy_offset_ev is set and read back"]
    assert line.status == "passed"
