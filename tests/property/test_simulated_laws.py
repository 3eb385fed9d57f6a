"""Laws of the simulated microscope that hold for all inputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.clock import SimClock
from autoscope.exposure import predict
from autoscope.records import Act, Axis, Measure, MoveStage, Scan, SetOptics, SpectrumSignal, Wait
from environments.instruments.simulated import DoseConfig, SimulatedInstrument, StageConfig
from environments.instruments.simulated.drift import RandomWalk
from environments.instruments.simulated.exposure_map import ExposureMap
from environments.instruments.simulated.optics import STENCIL_WEIGHTS, Probe, stencil_m
from environments.instruments.simulated.stage import Stage


class Plate:
    """A flat specimen."""

    name = "plate"
    extent_m = (2e-6, 2e-6)
    signals = (SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=4)),)

    def height_m(self, x_m, y_m):
        return np.zeros(np.shape(x_m))

    def image_yield(self, detector, x_m, y_m, dose_e_per_m2):
        return np.full(np.shape(x_m), 0.1)

    def spectrum(self, signal, x_m, y_m, dose_e_per_m2):
        return np.full((*np.shape(x_m), 4), 1e-4)

    def truth(self):
        return {}


def length(limit_m):
    return st.floats(-limit_m, limit_m, allow_subnormal=False)


dwell = st.floats(1e-7, 1e-2)
actions = st.one_of(
    st.builds(MoveStage, x_m=st.none() | length(1e-5), y_m=st.none() | length(1e-5), z_m=st.none() | length(1e-6)),
    st.builds(SetOptics, defocus_m=length(1e-6), beam_current_a=st.none() | st.floats(1e-12, 1e-9)),
    st.builds(
        Scan, fov_m=st.floats(1e-9, 1e-6), width_px=st.integers(1, 9), height_px=st.integers(1, 9), dwell_s=dwell
    ),
    st.builds(Measure, x_m=length(1e-6), y_m=length(1e-6), dwell_s=dwell),
    st.builds(Wait, duration_s=st.floats(0.0, 1e5)),
)


@settings(max_examples=40, deadline=None)
@given(plan=st.lists(actions, max_size=8))
def test_any_plan_takes_the_time_and_dose_predicted_and_no_electron_is_lost(plan):
    clock = SimClock()
    microscope = SimulatedInstrument.holding([Plate()], clock=clock, rng=np.random.default_rng(0))
    dose_e = 0.0
    for k, action in enumerate(plan):
        start_s = clock.now_s()
        cost = predict(action, microscope.state(), microscope.describe())
        microscope.execute(Act(act_id=str(k), action=action))
        assert clock.now_s() - start_s == pytest.approx(cost.time_s, rel=1e-9, abs=1e-9)
        dose_e += cost.dose_e
    assert microscope.state().dose_e == pytest.approx(dose_e, rel=1e-9)
    assert microscope._carousel.exposed.total_e == pytest.approx(dose_e, rel=1e-9)
    spans = [(r.start_s, r.end_s) for r in microscope.log]
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@given(
    points=st.lists(st.tuples(length(5e-6), length(5e-6)), min_size=1, max_size=50),
    electrons=st.floats(1e-3, 1e9),
    cell_m=st.floats(1e-9, 1e-6),
)
def test_map_keeps_every_electron_wherever_it_falls(points, electrons, cell_m):
    exposed = ExposureMap((2e-6, 3e-6), DoseConfig(cell_m=cell_m, max_cells=50))
    x, y = np.array(points).T
    told = exposed.expose(x, y, electrons)
    assert exposed.total_e == pytest.approx(electrons * len(points), rel=1e-12)
    assert 2 * told == pytest.approx(exposed.read(x, y), rel=1e-12)
    assert exposed.fluence_e_per_m2().sum() * exposed.cell_m**2 + exposed.outside_e == pytest.approx(exposed.total_e)


@given(f=length(1e-5), g=length(1e-5), a=length(1e-6), b=length(1e-6), floor_m=st.floats(1e-12, 1e-9))
def test_covariance_is_positive_and_the_probe_grows_away_from_focus(f, g, a, b, floor_m):
    probe = Probe(0.02, floor_m**2, a, b)
    assert np.linalg.eigvalsh(probe.covariance_m2(f)).min() >= floor_m**2 * (1 - 1e-6) - 1e-12 * probe.rms_m(f) ** 2
    near, far = sorted((abs(f), abs(g)))
    assert probe.rms_m(near) <= probe.rms_m(far) * (1 + 1e-12)
    dx, dy = stencil_m(*probe.moments_m2(f))
    assert STENCIL_WEIGHTS @ (dx**2 + dy**2) == pytest.approx(probe.rms_m(f) ** 2, rel=1e-6)


@given(targets=st.lists(length(1e-5), min_size=1, max_size=20), backlash_m=st.floats(0.0, 1e-6))
def test_read_back_is_near_the_drive_and_the_sample_within_the_play(targets, backlash_m):
    config = StageConfig(backlash_m=backlash_m, precision_m=2e-9)
    stage = Stage(config, np.random.default_rng(0))
    for target_m in targets:
        stage.move(MoveStage(x_m=target_m))
        read_m = stage.read()["x_m"]
        assert abs(read_m - target_m) <= 6 * config.precision_m + config.encoder_m
        assert abs(stage.true_m[0] - read_m) <= backlash_m / 2 + config.encoder_m


@given(times=st.lists(st.floats(0.0, 1e5), min_size=1, max_size=12))
def test_random_walk_is_one_path_whatever_order_it_is_asked_in(times):
    rising = np.sort(times)
    together = RandomWalk(11, 1e-10).at(rising)
    walk = RandomWalk(11, 1e-10)
    falling = [walk.at(np.array([t]))[0] for t in rising[::-1]]
    assert np.array_equal(together[::-1], falling)
