"""The map of what each place has received."""

import pytest

from autoscope.errors import DoseExceeded
from autoscope.exposure import Cost
from autoscope.guard import AreaDose
from autoscope.records import Blank, Measure, MicroscopeState, MoveStage, Scan, Wait

HERE = MicroscopeState(time_s=0.0)
SPOT = Measure(x_m=0.5, y_m=0.5, dwell_s=1.0)


@pytest.fixture
def area():
    """Ten electrons per square metre, cells of one metre."""
    return AreaDose(10.0, 1.0)


def test_a_place_is_full_when_its_dose_is_spent_and_the_next_one_is_not(area):
    area.charge(SPOT, HERE, HERE, 9.0)
    area.permit(SPOT, HERE, Cost(dose_e=1.0))
    with pytest.raises(DoseExceeded, match=r"got 10\.5, limit 10 e/m2 over 1 m"):
        area.permit(SPOT, HERE, Cost(dose_e=1.5))
    area.permit(Measure(x_m=1.5, y_m=0.5, dwell_s=1.0), HERE, Cost(dose_e=9.0))


def test_a_scan_over_a_full_place_is_refused_however_little_is_left_elsewhere(area):
    area.charge(SPOT, HERE, HERE, 10.0)
    scan = Scan(fov_m=40.0, width_px=4, height_px=4, dwell_s=1.0)
    with pytest.raises(DoseExceeded):
        area.permit(scan, HERE, Cost(dose_e=1600.0))
    area.permit(scan, HERE.replace(x_m=100.0), Cost(dose_e=1600.0))


def test_samples_in_other_slots_have_maps_of_their_own(area):
    area.charge(SPOT, HERE, HERE, 10.0)
    area.permit(SPOT, HERE.replace(sample_slot=1), Cost(dose_e=10.0))


def test_the_view_tells_what_is_left_under_the_axis(area):
    area.charge(SPOT, HERE, HERE, 4.0)
    assert area.left(HERE).here_e_per_m2 == 6.0
    assert area.left(HERE.replace(x_m=3.0)).here_e_per_m2 == 10.0


def test_a_beam_that_was_left_on_is_charged_where_it_was_parked(area):
    on = HERE.replace(blanked=False)
    area.charge(SPOT, on, on.replace(dose_e=2.0), 2.0)
    later = on.replace(dose_e=5.0)  # three electrons fell while nothing was asked for
    area.charge(Wait(duration_s=1.0), later, later.replace(dose_e=6.0), 1.0)
    assert area.received_e_per_m2(0, 0.5, 0.5) == 6.0


def test_a_move_with_the_beam_on_charges_every_place_on_its_way(area):
    move, there = MoveStage(x_m=3.5), HERE.replace(x_m=3.5, dose_e=2.0)
    area.charge(move, HERE, there, 2.0)
    assert [area.received_e_per_m2(0, x, 0.0) for x in (0.5, 1.5, 2.5, 3.5, 4.5)] == [2.0, 2.0, 2.0, 2.0, 0.0]


def test_the_beam_may_not_be_left_on_where_every_place_has_its_dose(area):
    with pytest.raises(DoseExceeded, match="beam left on"):
        area.permit(Blank(blanked=False), HERE, Cost())
