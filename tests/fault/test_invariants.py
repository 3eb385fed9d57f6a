"""The checker of the invariants finds each breach it claims to find."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoscope.clock import SimClock
from autoscope.journal import Journal
from autoscope.records import MicroscopeState, Outcome
from tests.fault.invariants import assert_hold, check

RUN = runpy.run_path(str(Path(__file__).parents[1] / "golden" / "journal" / "write_three_steps.py"))
LOG = tuple(SimpleNamespace(act_id=f"act-{k}", start_s=0.5 * k) for k in range(3))


def outcome(**changes):
    state = MicroscopeState(time_s=0.0, blanked=True)
    return Outcome(act_id="act-9", status="done", state_before=state, state=state).replace(**changes)


def broken(folder, *records):
    clock = SimClock()
    with Journal.create(folder, clock=clock) as journal:
        journal.append("run_started", {"config": {"budget": {"dose": "10 e"}, "limits": {"x": ["-1 um", "1 um"]}}})
        for kind, body, step in records:
            journal.append(kind, body, step=step)
    return {breach.invariant for breach in check(folder, ended=False)}


@pytest.fixture
def folder(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    return tmp_path / "run"


def test_a_sound_run_keeps_them_all(folder):
    assert_hold(folder, LOG, final=MicroscopeState(time_s=9.0, blanked=True))


@pytest.mark.parametrize(
    ("invariant", "log"),
    [
        ("I1", (*LOG, LOG[0])),
        ("I1", LOG[:2]),
        ("I2", (*LOG, SimpleNamespace(act_id="act-7"))),
        ("I2", (SimpleNamespace(act_id="act-0", start_s=-1.0), *LOG[1:])),
    ],
)
def test_acts_done_twice_never_or_without_an_intent_are_breaches(folder, invariant, log):
    assert {breach.invariant for breach in check(folder, log)} == {invariant}


def test_a_beam_left_on_is_a_breach(folder):
    final = MicroscopeState(time_s=9.0, blanked=False)
    assert [breach.invariant for breach in check(folder, LOG, final=final)] == ["I6"]


def test_a_frame_that_does_not_match_is_a_breach(folder):
    frames = sorted((folder / "frames").glob("*"))
    if frames:
        frames[0].write_bytes(b"gone")
    else:
        import sqlite3

        with sqlite3.connect(folder / "journal.sqlite") as connection:
            connection.execute("UPDATE frames SET content = x'00'")
        connection.close()
    assert {"I7", "I8"} <= {breach.invariant for breach in check(folder)}


def test_each_breach_of_the_record_is_found(tmp_path):
    intent = {"act_id": "act-9", "decision": RUN["decision"](0), "cost": {}}
    begun = ("intent", intent, 0)
    far = MicroscopeState(time_s=0.0, x_m=5e-6)
    six, twelve = (MicroscopeState(time_s=0.0, dose_e=dose_e) for dose_e in (6.0, 12.0))
    eighteen = MicroscopeState(time_s=0.0, dose_e=18.0)
    assert broken(tmp_path / "a", begun, ("intent", intent | {"act_id": "b"}, 0)) == {"I10"}
    assert broken(tmp_path / "b", begun, ("outcome", outcome(state=far), 0)) == {"I3"}
    assert "I4" in broken(tmp_path / "c", begun, ("outcome", outcome(dose_e=5.0), 0))
    acts = [("intent", intent | {"act_id": f"b{k}"}, k) for k in range(3)]
    done = [
        ("outcome", outcome(act_id=f"b{k}", state_before=before, state=state, dose_e=6.0), k)
        for k, (before, state) in enumerate(
            [(RUN["MicroscopeState"](time_s=0.0), six), (six, twelve), (twelve, eighteen)]
        )
    ]
    assert "I4" not in broken(tmp_path / "d", *acts, *done[:2])  # over by one exposure
    assert "I4" in broken(tmp_path / "e", *acts, *done)


@pytest.mark.parametrize("last", [("note", {}), ("run_ended", {})])
def test_no_terminal_state_or_one_without_reason_is_a_breach(tmp_path, last):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        journal.append("run_started", {"config": {}})
        journal.append(*last)
    assert [breach.invariant for breach in check(tmp_path / "run")] == ["I11"]
