"""From the journal to the numbers the screens draw."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.dashboard.attaching import attach, newest
from autoscope.dashboard.budgets import budgets, end_in_s
from autoscope.dashboard.columns import FARTHEST, STATUSES, StepColumns
from autoscope.dashboard.details import Details
from autoscope.dashboard.follow import Follower
from autoscope.dashboard.learning import honesty, learning
from autoscope.dashboard.skimming import skim_intent, skim_outcome
from autoscope.dashboard.source import FolderSource
from autoscope.dashboard.verdict import Level, judge
from autoscope.dashboard.windows import windows
from autoscope.errors import DataError, JournalCorrupt
from autoscope.journal import JournalReader
from autoscope.journal.chain import canonical
from autoscope.records import Axis, Candidate, Decision, Measure, MoveStage, Outcome, Scalar
from tests.unit.dashboard.lab import CONFIG, Lab, finished


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a finished run with one act in vain."""
    lab = Lab(tmp_path_factory.mktemp("runs") / "run").start().overview().measure(15).fail("cable out")
    return lab.say("note", why="tea").measure(15).end()


def followed(folder, stopwatch=lambda: 0.0):
    """Return a run read to its end."""
    follower = Follower(FolderSource(folder), stopwatch)
    while not follower.model().whole:
        follower.poll()
    return follower


def test_the_columns_hold_what_the_records_say(run):
    steps = followed(run).model().steps
    recorded = list(JournalReader.open(run).steps())
    assert len(steps) == len(recorded) == 32
    for step in recorded:
        value = step.outcome.values[0].value if step.outcome.values else math.nan
        assert STATUSES[steps.status[step.index]] == step.outcome.status
        assert steps.purpose_of(step.index) == step.decision.purpose
        np.testing.assert_array_equal(steps.values["plasmon"][step.index], value)
        np.testing.assert_array_equal(steps.mean[step.index], step.decision.predicted_mean or math.nan)
        assert (steps.begun_s[step.index], steps.ended_s[step.index]) == (step.time_s, step.ended_s)
        if isinstance(step.decision.action, Measure):
            assert (steps.x_m[step.index], steps.y_m[step.index]) == (
                step.decision.action.x_m,
                step.decision.action.y_m,
            )
        sizes = sum(math.prod(f.shape) * np.dtype(f.dtype).itemsize for f in step.outcome.frames)
        assert steps.bytes[step.index] == sizes
        assert steps.images[step.index] == sum(len(f.shape) == 2 for f in step.outcome.frames)


def test_reading_piece_by_piece_gives_the_same_as_reading_at_once(tmp_path):
    lab = Lab(tmp_path / "run").start()
    follower = Follower(FolderSource(tmp_path / "run"), lambda: 0.0)
    follower.poll()
    for _ in range(5):
        lab.overview().measure(3)
        assert follower.poll()
        assert not follower.poll()
    lab.end()
    follower.poll()
    now, anew = follower.model(), followed(tmp_path / "run").model()
    for name in ("status", "x_m", "mean", "dose_e", "intent_seq"):
        np.testing.assert_array_equal(getattr(now.steps, name), getattr(anew.steps, name))
    assert now.remarks == anew.remarks


def test_what_a_run_costs_to_show_does_not_grow_with_it(run):
    follower = followed(run)
    steps = follower.model().steps
    assert all(np.shares_memory(getattr(steps, n), getattr(follower.model().steps, n)) for n in ("x_m", "status"))
    with pytest.raises(ValueError, match="read-only"):
        steps.x_m[0] = 0.0


def test_a_record_altered_while_a_run_is_followed_is_noticed(tmp_path):
    import sqlite3

    lab = Lab(tmp_path / "run").start().measure(2)
    follower = followed(tmp_path / "run")
    lab.measure(1)
    lab.end()
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as connection:
        connection.execute("UPDATE records SET time_s = time_s + 1 WHERE seq = 7")
    follower.poll()
    assert "record 7" in follower.model().damage
    assert follower.model().steps.concluded() == 2


def test_an_absent_record_is_noticed_also_where_a_long_past_is_read(tmp_path):
    import sqlite3

    folder = finished(tmp_path / "run", 202, spectra=False)
    with sqlite3.connect(folder / "journal.sqlite") as connection:
        connection.execute("DELETE FROM records WHERE seq = 400")
    assert "missing" in followed(folder).model().damage


finite = st.floats(-1e12, 1e12, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(reason=texts, purpose=texts, target=texts, mean=st.none() | finite, x=finite, others=st.integers(0, 3))
def test_skimming_an_intent_gives_what_reading_all_of_it_gives(reason, purpose, target, mean, x, others):
    action = Measure(x_m=x, y_m=-x, dwell_s=0.1)
    decision = Decision(
        action=action, purpose=purpose, reason=f'{reason}"action":{{}}', target=target, predicted_mean=mean,
        predicted_std=None if mean is None else 1.0,
        runners_up=tuple(Candidate(action=MoveStage(x_m=1.0), mean=2.0) for _ in range(others)),
    )  # fmt: skip
    body = canonical({"act_id": "a", "decision": decision, "latency_s": 0.1})
    said = skim_intent(body.encode())
    assert said.purpose == purpose
    assert said.action == json.loads(action.model_dump_json())
    np.testing.assert_equal(said.mean, math.nan if mean is None else mean)


@settings(max_examples=60, deadline=None)
@given(
    name=texts,
    unit=texts,
    value=finite,
    message=texts,
    status=st.sampled_from(("done", "refused", "rejected", "failed")),
)
def test_skimming_an_outcome_gives_what_reading_all_of_it_gives(name, unit, value, message, status):
    state = {"time_s": 1.0, "x_m": 2e-6, "dose_e": 5.0}
    outcome = Outcome.model_validate(
        {"act_id": message, "status": status, "state": state, "state_before": state | {"x_m": 1e-6}}
    ).replace(values=(Scalar(name=name, value=value, std=1.0, unit=unit, scalarizer='"values":['),))
    said = skim_outcome(canonical(outcome).encode())
    assert said.status == status
    assert json.loads(said.state)["x_m"] == 2e-6
    assert (said.x_m, said.y_m, said.dose_e, said.slot) == (2e-6, 0.0, 5.0, 0)
    assert said.values == ((name, value, 1.0, unit),)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"decision":3}', b'{"status":"done"}'], ids=str)
def test_what_is_no_record_is_refused(body):
    for skim in (skim_intent, skim_outcome):
        with pytest.raises(ValueError):
            skim(body)


def test_a_step_number_far_beyond_the_last_is_taken_for_damage():
    columns = StepColumns()
    columns.put(3, x_m=1.0)
    assert len(columns) == 4
    with pytest.raises(ValueError, match="after step 3"):
        columns.put(FARTHEST + 5, x_m=1.0)


def test_details_are_checked_against_their_hashes(tmp_path):
    import sqlite3

    folder = finished(tmp_path / "run", 3)
    follower = followed(folder)
    details, steps = Details(follower.source), follower.model().steps
    assert details.step(steps, 1).decision.purpose == "spectrum"
    assert details.step(steps, 99) is None
    with sqlite3.connect(folder / "journal.sqlite") as connection:
        connection.execute("UPDATE records SET wall = 'never' WHERE seq = ?", (int(steps.outcome_seq[2]),))
    with pytest.raises(JournalCorrupt):
        details.step(steps, 2)


def test_budgets_are_foretold_from_the_pace_of_the_last_acts(run):
    model = followed(run).model()
    found = {b.name: b for b in budgets(model)}
    assert found["acts"].spent == 32
    assert found["acts"].limit == 400
    assert found["acts"].left_s == pytest.approx((400 - 32) * 0.12, rel=1e-6)  # an act each 0.12 s
    assert found["dose"].left_s == pytest.approx((2e10 - 32 * 1.56e7) / (1.56e7 / 0.12), rel=1e-6)
    assert found["time"].left_s == pytest.approx(3600 - found["time"].spent)
    assert found["data"].limit is None
    assert end_in_s(tuple(found.values()))[1] == "acts"
    assert {b.name: b.spent for b in budgets(model, at=9)}["acts"] == 10


def test_the_best_so_far_and_the_honesty_are_those_of_the_values(run):
    steps = followed(run).model().steps
    curve = learning(steps, "plasmon")
    assert curve.best[-1] == np.nanmax(steps.values["plasmon"])
    assert learning(steps, "plasmon", least=True).best[-1] == np.nanmin(steps.values["plasmon"])
    honest = honesty(steps, "plasmon")
    step = int(honest.steps[4])
    spread = math.hypot(steps.std[step], 150.0)
    assert honest.z[4] == pytest.approx((steps.values["plasmon"][step] - steps.mean[step]) / spread)
    assert honest.covered == pytest.approx(np.mean(np.abs(honest.z) < 1.6449))
    assert honesty(steps, "nothing").covered is None


def test_a_silent_program_is_asked_about_and_a_dead_one_is_trouble(tmp_path):
    now = [0.0]
    lab = Lab(tmp_path / "run").start().overview().measure(3)
    follower = followed(tmp_path / "run", lambda: now[0])
    assert judge(follower.model()).level is Level.OK
    now[0] = 100.0
    follower.poll()
    verdict = judge(follower.model())
    assert (verdict.level, verdict.why) == (Level.NEEDS_YOU, "no record for 100 s")
    lab.journal.close()
    follower.poll()
    assert judge(follower.model()).level is Level.TROUBLE
    assert "autoscope resume" in judge(follower.model()).why


def test_acts_in_vain_worry_before_they_end_the_run(tmp_path):
    lab = Lab(tmp_path / "run").start().overview().measure(30)
    for _ in range(3):
        lab.fail()
    assert judge(followed(tmp_path / "run").model()).level is Level.OK
    lab.fail()
    verdict = judge(followed(tmp_path / "run").model())
    assert (verdict.level, verdict.why) == (Level.TROUBLE, "4 acts in a row came to nothing; the run ends at 5")
    lab.journal.close()


def test_windows_of_scalarizers_are_found_in_the_unit_of_the_axis():
    axis = Axis(name="energy_loss", unit="eV", size=100)
    found = set(windows(CONFIG["scalarizers"], axis, "EELS"))
    assert found == {("plasmon.band", 1.6, 2.2), ("plasmon.background", 0.8, 1.2)}
    assert not set(windows(CONFIG["scalarizers"], axis, "EDS"))
    typed = {"k": {"options": {"band": ["1.9 keV", "2 keV"], "noise_std": 3.0, "elements": ["Pt", "Co"]}}}
    assert list(windows(typed, axis, "EDS")) == [("k.band", 1900.0, 2000.0)]


def test_without_a_name_the_run_being_written_is_shown_then_the_newest(tmp_path):
    finished(tmp_path / "a", 1)
    lab = Lab(tmp_path / "b").start()
    finished(tmp_path / "c", 1)
    assert newest(tmp_path).name == "b"
    assert attach("c", tmp_path).source.name == "c"
    assert attach(str(tmp_path / "a"), tmp_path).source.name == "a"
    lab.journal.close()
    for what in ("nonsense", str(tmp_path)):
        with pytest.raises(DataError, match="no journal"):
            attach(what, tmp_path)
    with pytest.raises(DataError, match="no runs here"):
        newest(tmp_path / "empty")


def test_an_act_that_a_person_overruled_is_no_fault(tmp_path):
    lab = Lab(tmp_path / "run").start().overview().measure(2)
    for _ in range(4):
        lab.overrule()
    model = followed(tmp_path / "run").model()
    assert [STATUSES[s] for s in model.steps.status[-4:]] == ["overruled"] * 4
    assert judge(model).level is Level.OK
    lab.journal.close()
