import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from autoscope.records import (
    Action,
    Axis,
    Blank,
    Frame,
    FrameMeta,
    LoadSample,
    Measure,
    MoveStage,
    Scan,
    SetOptics,
    Wait,
)

finite = st.floats(-1e3, 1e3)
positive = st.floats(1e-12, 1e3)
actions = st.one_of(
    st.builds(MoveStage, x_m=finite, y_m=st.none() | finite),
    st.builds(SetOptics, defocus_m=finite),
    st.builds(Scan, fov_m=positive, width_px=st.integers(1, 64), height_px=st.integers(1, 64), dwell_s=positive),
    st.builds(Measure, x_m=finite, y_m=finite, dwell_s=positive),
    st.builds(LoadSample, slot=st.integers(0, 9)),
    st.builds(Blank, blanked=st.booleans()),
    st.builds(Wait, duration_s=st.floats(0, 1e6)),
)
ANY_ACTION = TypeAdapter(Action)


@given(actions)
def test_an_action_survives_json(action):
    assert ANY_ACTION.validate_json(ANY_ACTION.dump_json(action)) == action


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1", None, True])
def test_a_position_must_be_a_finite_number(bad):
    with pytest.raises(ValidationError):
        Measure(x_m=bad, y_m=0.0, dwell_s=1.0)


def test_unknown_fields_and_kinds_are_refused():
    with pytest.raises(ValidationError):
        Wait(duration_s=1.0, extra=1)
    with pytest.raises(ValidationError):
        ANY_ACTION.validate_python({"kind": "fire_laser"})


def test_values_are_frozen_and_replace_validates_again():
    wait = Wait(duration_s=1.0)
    with pytest.raises(ValidationError):
        wait.duration_s = 2.0
    with pytest.raises(ValidationError):
        wait.replace(duration_s=-1.0)
    assert wait.replace(duration_s=2.0).duration_s == 2.0


def test_frames_are_read_only_and_compare_by_content():
    meta = FrameMeta(
        signal="HAADF", axes=(Axis(name="x", unit="m", size=3),), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0
    )
    one, same, other = (Frame(meta, np.array(v)) for v in ([1, 2, 3], [1, 2, 3], [1, 2, 4]))
    assert one == same
    assert one != other
    with pytest.raises(ValueError, match="read-only"):
        one.data[0] = 5


def test_axis_values_follow_offset_and_scale():
    assert Axis(name="energy", unit="eV", size=3, offset=-10.0, scale=5.0).values().tolist() == [-10.0, -5.0, 0.0]
