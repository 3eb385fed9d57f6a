"""instamatic's wire and its raw units: against a recorded session, misbehaving servers, and its own simulated JEOL."""

import json
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.clock import SimClock, SystemClock
from autoscope.errors import InstrumentError, OutcomeUnknown, OutOfRange, Unreachable, Unsupported
from autoscope.records import Act, Blank, MoveStage, Scan, SetOptics
from autoscope.testing import check_instrument
from environments.instruments.instamatic import DacCalibration, InstamaticInstrument
from environments.instruments.instamatic.connection import MAX_ANSWER_BYTES, InstamaticConnection
from tests.unit.instruments.instamatic_double import Recorded, own_python, serving, simulated_jeol
from tests.unit.instruments.ports import free_ports, wait_until_open

GOLDEN = Path(__file__).parents[2] / "golden" / "instruments" / "instamatic_session.json"
CALIBRATED = {"focus": {"m_per_unit": 1e-9, "neutral": 30000}, "stigmator": {"m_per_unit": -2e-12}}


MADE = []


def made(port, clock=None, **options):
    MADE.append(InstamaticInstrument(InstamaticInstrument.Config(port=port, **options), clock=clock or SystemClock()))
    return MADE[-1]


@pytest.fixture(autouse=True)
def hang_up():
    yield
    while MADE:
        MADE.pop()._line.close()


def session(instrument):
    """Everything the driver says to the server, once; the golden file holds what the server answered."""
    acts = (
        MoveStage(x_m=12_345.4e-9, y_m=-2e-6),
        MoveStage(z_m=500e-9, alpha_rad=math.radians(2.0), beta_rad=math.radians(-1.0)),
        SetOptics(defocus_m=120.4e-9, stigmator_a_m=4e-12, stigmator_b_m=-6e-12),
        Blank(blanked=False),
        Blank(blanked=True),
    )
    return [instrument.execute(Act(act_id=str(k), action=action)).state for k, action in enumerate(acts)]


def test_the_driver_keeps_to_the_recorded_session_word_for_word():
    recorded = Recorded(json.loads(GOLDEN.read_text()))
    with serving(recorded) as (port, _):
        instrument = made(port, SimClock(), **CALIBRATED)
        first, second, third, fourth, fifth = session(instrument)
    assert recorded.left == []
    assert first.x_m == pytest.approx(12_345e-9, abs=1e-15)
    assert second.alpha_rad == pytest.approx(math.radians(2.0))
    assert third.defocus_m == pytest.approx(120e-9)
    assert third.stigmator_b_m == pytest.approx(-6e-12)
    assert (fourth.blanked, fifth.blanked) == (False, True)
    assert fifth.voltage_v == 200e3


ANSWERS = {
    "getStagePosition": [0, 0, 0, 0.0, 0.0],
    "getHTValue": 200_000,
    "isBeamBlanked": True,
    "isStageMoving": False,
}


def usual(call, **special):
    answers = ANSWERS | special
    return json.dumps([200, answers.get(call["func_name"])]).encode()


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (b'[500, ["TEMValueError", ["no"]]]', InstrumentError, "refused"),
        (b'{"status": 200}', InstrumentError, "does not speak"),
        (b"[200, [1, 2, null, 4, 5]]", InstrumentError, "5 numbers"),
        (b"[200, [1, 2, 3, NaN, 5]]", InstrumentError, "5 numbers"),
        (b"\x80\x04\x95" + b"x" * (MAX_ANSWER_BYTES + 10), OutcomeUnknown, "no JSON"),
    ],
)
def test_a_server_that_answers_nonsense_is_an_error_and_never_a_position(reply, error, words):
    with serving(lambda call: reply) as (port, _), pytest.raises(error, match=words):
        made(port, timeout_s=2.0)


def test_a_server_that_is_silent_is_an_error_in_bounded_time():
    with serving(lambda call: b"[200, [1,") as (port, _), pytest.raises(OutcomeUnknown, match="Read the instrument"):
        made(port, timeout_s=0.2)


def test_a_server_that_is_not_there_is_unreachable():
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match=str(port)):
        made(port)


def test_an_answer_in_pieces_is_put_together():
    answer = b'[200, "' + b"a" * 9000 + b'"]'
    with serving(lambda call: answer) as (port, _):
        connection = InstamaticConnection("127.0.0.1", port, 2.0)
        assert connection.call("getName") == "a" * 9000
        connection.close()


def test_only_words_of_the_verb_table_are_ever_said():
    with serving(usual) as (port, calls):
        instrument = made(port)
        instrument.execute(Act(act_id="a", action=Blank(blanked=True)))
        instrument.make_safe()
    said = {call["func_name"] for call in calls}
    assert said == {"getStagePosition", "getHTValue", "isBeamBlanked", "setBeamBlank", "stopStage"}
    assert all(set(call) == {"func_name", "args", "kwargs"} for call in calls)


def test_make_safe_goes_ahead_of_a_call_that_hangs_and_that_call_trusts_no_answer():
    hanging, released = threading.Event(), threading.Event()

    def answer(call):
        if call["func_name"] == "setStagePosition":
            hanging.set()
            released.wait(10.0)
        return usual(call)

    failures = []
    with serving(answer) as (port, calls):
        instrument = made(port)

        def move():
            try:
                instrument.execute(Act(act_id="m", action=MoveStage(x_m=1e-6)))
            except OutcomeUnknown as error:
                failures.append(error)

        line = threading.Thread(target=move)
        line.start()
        assert hanging.wait(5.0)
        instrument.make_safe()
        assert [c["func_name"] for c in calls[-2:]] == ["setBeamBlank", "stopStage"]
        released.set()
        line.join(10.0)
    assert "mixes up answers" in str(failures[0])


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (MoveStage(x_m=2e-3), OutOfRange),
        (SetOptics(defocus_m=1e-9), Unsupported),
        (Scan(fov_m=1e-6, width_px=8, height_px=8, dwell_s=1e-6), Unsupported),
    ],
)
def test_what_it_cannot_do_is_refused_before_a_word_is_said(action, error):
    with serving(usual) as (port, calls):
        instrument = made(port)
        said = len(calls)
        with pytest.raises(error):
            instrument.execute(Act(act_id="a", action=action))
        assert len(calls) == said


@given(st.floats(1e-13, 1e-6), st.booleans(), st.integers(0, 65535), st.floats(0.0, 1.0))
def test_metres_survive_the_converter_to_half_a_unit(unit_m, negative, neutral, part):
    calibration = DacCalibration(m_per_unit=-unit_m if negative else unit_m, neutral=neutral)
    low, high = calibration.bounds_m()
    value_m = low + part * (high - low)
    setting = calibration.to_dac(value_m)
    assert 0 <= setting <= 65535
    assert calibration.to_m(setting) == pytest.approx(value_m, abs=0.5001 * unit_m)


def test_a_calibration_without_slope_is_refused():
    with pytest.raises(ValueError, match="m_per_unit is 0"):
        DacCalibration(m_per_unit=0.0)


@pytest.mark.slow
@pytest.mark.skipif(own_python() is None, reason="instamatic is not installed; 'make instamatic' sets it apart")
def test_its_own_simulated_jeol_keeps_every_promise_it_can(tmp_path):
    (port,) = free_ports(1)
    with simulated_jeol(own_python(), tmp_path, port) as server:
        wait_until_open(server, port)
        instrument = made(port, simulated=True, **CALIBRATED)
        instrument.execute(Act(act_id="home", action=MoveStage(x_m=0.0, y_m=0.0, z_m=0.0, alpha_rad=0.0, beta_rad=0.0)))
        report = check_instrument(instrument)
        assert report.ok, str(report)
        slow = instrument.execute(Act(act_id="far", action=MoveStage(x_m=100e-6)))
        assert slow.state.time_s - slow.state_before.time_s > 0.9
        assert slow.state.x_m == pytest.approx(100e-6, abs=1e-9)
        session(instrument)
        instrument.close()
