"""No place receives more than the dose per area, whatever is asked for."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.config import LimitsConfig
from autoscope.errors import GuardViolation
from autoscope.exposure import electrons
from autoscope.guard import AreaDose, Guard
from autoscope.guard.geometry import corners
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SpectrumSignal,
    Wait,
)

CELL_M = 1e-7
LIMIT = 1e3 / CELL_M**2
CURRENT_A = electrons(1.0, 1.0) ** -1  # one electron a second
SCOPE = Capabilities(
    instrument="bench",
    serial="7",
    simulated=True,
    voltage_v=200e3,
    actions=("move_stage", "scan", "measure", "wait"),
    detectors=("HAADF",),
    signals=(SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=16)),),
)
places = st.floats(-4e-7, 4e-7)
acts = st.one_of(
    st.builds(MoveStage, x_m=places, y_m=places),
    st.builds(
        Scan,
        fov_m=st.floats(1e-8, 6e-7),
        width_px=st.just(4),
        height_px=st.integers(1, 8),
        dwell_s=st.floats(0.1, 500.0),
        centre_x_m=places,
        centre_y_m=places,
        rotation_rad=st.floats(-7.0, 7.0),
    ),
    st.builds(Measure, x_m=places, y_m=places, dwell_s=st.floats(0.1, 900.0)),
    st.builds(Wait, duration_s=st.floats(0.0, 500.0)),
)


class Sample:
    """Counts electrons in cells by sampling where each falls: nothing of it is shared with the map under test."""

    def __init__(self):
        self.cells = {}

    def receive(self, x_m, y_m, each_e):
        for x, y in zip(np.ravel(x_m), np.ravel(y_m)):
            cell = math.floor(x / CELL_M), math.floor(y / CELL_M)
            self.cells[cell] = self.cells.get(cell, 0.0) + each_e

    def expose(self, action, state, dose_e):
        if isinstance(action, Measure):
            self.receive(state.x_m + action.x_m, state.y_m + action.y_m, dose_e)
        elif isinstance(action, Scan):
            c = corners(action)
            u, v = (np.arange(24) + 0.5) / 24, (np.arange(24) + 0.5) / 24
            uu, vv = np.meshgrid(u, v)
            x = c[0][0] + uu * (c[1][0] - c[0][0]) + vv * (c[3][0] - c[0][0])
            y = c[0][1] + uu * (c[1][1] - c[0][1]) + vv * (c[3][1] - c[0][1])
            self.receive(state.x_m + x, state.y_m + y, dose_e / uu.size)


def walk(actions):
    """Do what the guard permits and return the map, the electrons that fell, and how many acts were done."""
    guard = Guard(LimitsConfig(), SCOPE, saturated_fraction=1.0)
    area, sample, done = AreaDose(LIMIT, CELL_M), Sample(), 0
    state = MicroscopeState(time_s=0.0, beam_current_a=CURRENT_A)
    for action in actions:
        try:
            cost = guard.permit(action, state, Budget(), area)
        except GuardViolation:
            continue
        after = state.replace(dose_e=state.dose_e + cost.dose_e)
        if isinstance(action, MoveStage):
            after = after.replace(x_m=action.x_m, y_m=action.y_m)
        area.charge(action, state, after, cost.dose_e)
        sample.expose(action, state, cost.dose_e)
        state, done = after, done + 1
    return area, sample, done


@settings(max_examples=150, deadline=None)
@given(st.lists(acts, max_size=25))
def test_no_cell_ever_receives_more_than_its_dose(actions):
    _, sample, _ = walk(actions)
    most_e = max(sample.cells.values(), default=0.0)
    # one sampled point of 576 more or less may lie across an edge
    assert most_e <= LIMIT * CELL_M**2 * (1 + 1e-9) + 900.0 * 32 / 24


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(Measure, x_m=places, y_m=places, dwell_s=st.floats(0.1, 900.0)), max_size=25))
def test_points_are_counted_exactly(actions):
    area, sample, done = walk(actions)
    for (column, row), received_e in sample.cells.items():
        there = area.received_e_per_m2(0, (column + 0.5) * CELL_M, (row + 0.5) * CELL_M)
        assert math.isclose(there * CELL_M**2, received_e, rel_tol=1e-9)
        assert received_e <= LIMIT * CELL_M**2 * (1 + 1e-9)
    assert done == len(actions) or sample.cells


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-8, 3e-5), places, places)
def test_an_unrotated_scan_gives_a_map_with_its_electrons(fov_m, x_m, y_m):
    area, state = AreaDose(1e30, CELL_M), MicroscopeState(time_s=0.0, x_m=x_m, y_m=y_m)
    area.charge(Scan(fov_m=fov_m, width_px=4, height_px=4, dwell_s=1.0), state, state, 1e6)
    total = 0.0
    for block in area._blocks.values():
        total += float(np.sum(np.broadcast_to(block, (64, 64)))) * CELL_M**2
    assert math.isclose(total, 1e6, rel_tol=1e-6)
