import numpy as np
import pytest

from autoscope.perception.constellation import Match, match
from autoscope.purposes import UNFIT
from autoscope.records import Budget, Capabilities, MicroscopeState, Range, View
from policies.survey.config import AlignConfig, GateConfig
from policies.survey.gate import ENOUGH, FrameGate
from policies.survey.keep_place import KeepPlace

CENTRES = np.array([[0.0, 0.0], [2e-6, 0.0], [4e-6, 0.0]])


def lattice(rows, period_m=20e-9, *, missing=0.0, seed=0):
    grid = np.arange(rows) - (rows - 1) / 2
    points = np.array([(x, y) for y in grid for x in grid]) * period_m
    return points[np.random.default_rng(seed).random(len(points)) >= missing]


def within(points, half_m):
    return points[np.all(np.abs(points) <= half_m, axis=1)]


def test_a_perfect_lattice_in_a_narrow_field_is_seen_to_be_ambiguous():
    everywhere = lattice(60)
    seen = within(everywhere + np.array([23e-9, -2e-9]), 300e-9)
    agreed = match(everywhere, seen, reach_m=100e-9, tolerance_m=3e-9)
    assert agreed.confidence > 0.9
    assert agreed.ambiguous


def test_what_is_known_of_the_drift_tells_which_period_of_the_lattice_it_is():
    everywhere = lattice(60)
    seen = within(everywhere + np.array([3e-9, -2e-9]), 300e-9)
    agreed = match(everywhere, seen, reach_m=100e-9, tolerance_m=3e-9, expected_m=(1e-9, 0.0), expected_std_m=4e-9)
    assert not agreed.ambiguous
    assert (agreed.dx_m, agreed.dy_m) == pytest.approx((3e-9, -2e-9), abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_field_with_the_edges_of_the_lattice_is_not_ambiguous(seed):
    island = lattice(20, missing=0.02, seed=seed)
    seen = lattice(20, missing=0.03, seed=seed + 50) + np.array([43e-9, -22e-9])
    agreed = match(island, seen, reach_m=100e-9, tolerance_m=3e-9)
    assert not agreed.ambiguous
    assert (agreed.dx_m, agreed.dy_m) == pytest.approx((43e-9, -22e-9), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_scattered_particles_are_not_ambiguous(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-5e-7, 5e-7, (30, 2))
    agreed = match(points, points + rng.normal(0, 1e-9, points.shape) + [6e-8, 1e-8], reach_m=15e-8, tolerance_m=5e-9)
    assert not agreed.ambiguous
    assert agreed.std_m == pytest.approx(1e-9 / np.sqrt(30), rel=0.5)


@pytest.fixture
def view():
    scope = Capabilities(instrument="x", serial="1", simulated=True, voltage_v=2e5, actions=(), detectors=())
    return View(step=0, time_s=0.0, budget=Budget(), state=MicroscopeState(time_s=202.0), capabilities=scope)


def agreed(dx_m, dy_m):
    return Match(dx_m=dx_m, dy_m=dy_m, matched=20, confidence=0.9, std_m=0.2e-9)


def test_after_a_jump_was_seen_in_one_tile_the_stage_is_sent_to_where_the_next_one_is_now():
    place = KeepPlace(AlignConfig(), CENTRES)
    for tile, time_s in ((0, 0.0), (1, 100.0)):
        place.arrived(tile, *place.aim(tile, time_s), time_s)
        place.saw(time_s)
    place.arrived(0, *place.aim(0, 200.0), 200.0)
    place.found(agreed(3e-6, -1e-6), 201.0)
    assert place.shift_m(201.0) == pytest.approx((3e-6, -1e-6), abs=1e-9)
    assert place.aim(1, 202.0) == pytest.approx((5e-6, -1e-6), abs=5e-9)
    place.arrived(1, *place.aim(1, 202.0), 203.0)
    assert place.shift_m(203.0) == pytest.approx((0.0, 0.0), abs=5e-9)


@pytest.mark.parametrize(
    ("jump_m", "limit_m", "out"),
    [((3e-6, 0.0), 6e-6, {2}), ((3e-6, 0.0), 8e-6, set()), ((-3e-6, 0.0), 8e-6, set()), ((0.0, 9e-6), 8e-6, {0, 1, 2})],
)
def test_tiles_whose_place_is_now_beyond_the_range_of_the_stage_are_told(jump_m, limit_m, out, view):
    place, reach = KeepPlace(AlignConfig(), CENTRES), Range(low=-limit_m, high=limit_m)
    place.arrived(0, 0.0, 0.0, 0.0)
    place.saw(0.0)
    place.arrived(0, *place.aim(0, 200.0), 200.0)
    place.found(agreed(*jump_m), 201.0)
    scope = view.capabilities.replace(ranges={"x_m": reach, "y_m": reach})
    assert place.beyond(view.replace(capabilities=scope)) == out
    assert place.beyond(view.replace(capabilities=scope.replace(ranges={}))) == set()


def test_steady_drift_is_corrected_in_places_asked_for_between_looks():
    place, speed = KeepPlace(AlignConfig(), CENTRES), 30e-12
    place.arrived(0, 0.0, 0.0, 0.0)
    place.saw(0.0)
    for time_s in range(60, 1200, 60):
        place.found(agreed(speed * time_s, 0.0), float(time_s))
    assert place.shift_m(1300.0)[0] == pytest.approx(speed * 1300.0, abs=0.5e-9)


def test_a_look_is_due_on_arrival_and_when_the_model_is_no_longer_sure():
    place = KeepPlace(AlignConfig(), CENTRES)
    place.arrived(0, 0.0, 0.0, 0.0)
    assert place.is_due(0.0, 1.0)
    place.saw(0.0)
    assert not place.is_due(0.5, 1.0)
    for time_s in (60.0, 120.0, 180.0):
        place.found(agreed(0.0, 0.0), time_s)
    assert not place.is_due(190.0, 1.0)
    assert place.is_due(500.0, 1.0)


def test_the_place_survives_its_state():
    place, twin = KeepPlace(AlignConfig(), CENTRES), KeepPlace(AlignConfig(), CENTRES)
    place.arrived(1, 2e-6, 0.0, 5.0)
    place.saw(6.0)
    place.found(agreed(1e-9, 2e-9), 30.0)
    twin.restore(place.state())
    assert twin.shift_m(77.0) == place.shift_m(77.0)
    assert twin.aim(2, 77.0) == place.aim(2, 77.0)
    assert twin.state() == place.state()


def seen(mean, snr=20.0):
    """Return the metrics of an image; its noise goes with its mean, as that of an amplifier does."""
    return {"HAADF.mean": mean, "HAADF.snr_estimate": snr}


def test_a_dim_or_glaring_image_is_taken_again_at_most_so_often():
    gate = FrameGate(GateConfig(repeats=2))
    assert [gate.judge("overview", "HAADF", seen(m)) for m in (100.0, 120.0, 90.0)] == ["", "", ""]
    assert "dim" in gate.judge("overview", "HAADF", seen(10.0))
    assert "dim" in gate.judge("overview", "HAADF", seen(10.0))
    assert gate.judge("overview", "HAADF", seen(10.0)) == ""
    assert "glaring" in gate.judge("overview", "HAADF", seen(900.0))
    assert gate.judge("align", "HAADF", seen(10.0)) == ""


def test_what_the_gate_says_of_an_image_is_told_once_and_survives_its_state():
    gate, twin = FrameGate(GateConfig(repeats=1)), FrameGate(GateConfig(repeats=1))
    for mean in (100.0, 100.0, 100.0):
        gate.judge("overview", "HAADF", seen(mean))
        assert gate.remark == ""
    gate.judge("overview", "HAADF", seen(10.0))
    assert gate.remark == "the image before is not learnt from (mean 10, usually 100: dim): it is taken again"
    twin.restore(gate.state())
    assert (twin.remark, twin.note) == (gate.remark, {UNFIT: 1.0})
    gate.next_act()
    assert (gate.remark, gate.note) == ("", {})
    gate.judge("overview", "HAADF", seen(10.0))
    assert "no better when repeated" in gate.remark
    assert gate.note == {UNFIT: 0.0}


def test_a_noisy_image_is_taken_again_even_as_the_first_of_its_kind():
    assert "signal to noise" in FrameGate(GateConfig()).judge("overview", "HAADF", seen(100.0, snr=0.5))


def test_an_image_of_little_signal_on_a_pedestal_is_dim_by_its_noise():
    """HAADF with a pedestal of 20: a tenth of the signal moves the mean by a seventh, and the noise by a half."""
    gate = FrameGate(GateConfig(repeats=1))
    for mean, snr in ((23.7, 10.2), (23.8, 10.0), (24.1, 9.6)):
        assert gate.judge("overview", "HAADF", seen(mean, snr)) == ""
    assert gate.judge("overview", "HAADF", seen(22.9, 11.0)) == ""  # half over a hole
    assert "noise 1.09, usually 2.35: dim" in gate.judge("overview", "HAADF", seen(20.4, 18.7))


def test_without_enough_images_nothing_is_unusual():
    gate = FrameGate(GateConfig())
    for mean in (100.0, 1.0)[:ENOUGH]:
        assert gate.judge("overview", "HAADF", seen(mean)) == ""


def test_the_gate_survives_its_state():
    gate, twin = FrameGate(GateConfig()), FrameGate(GateConfig())
    for mean in (100.0, 100.0, 100.0, 5.0):
        gate.judge("overview", "HAADF", seen(mean))
    twin.restore(gate.state())
    assert twin.judge("overview", "HAADF", seen(5.0)) == gate.judge("overview", "HAADF", seen(5.0)) != ""
    assert twin.state() == gate.state()
