"""Budgets beyond time and dose: data volume, an instant to be over, a dose for every place, and the best so far."""

import pytest

from autoscope.clock import SimClock
from autoscope.config import BudgetConfig, Document
from autoscope.engine.events import RunStatus
from autoscope.engine.history import incumbents_of, read_history
from autoscope.errors import ConfigError
from autoscope.records import MoveStage
from tests.unit.engine.scripted import Trial, spot
from tests.unit.engine.test_resuming import Tried

FRAME_BYTES = 8
AHEAD = pytest.mark.parametrize("ahead", [0, 1])


def trial(answers, ahead, **budget):
    """Return a run to its end with the beam blanked between exposures."""
    made = Trial(answers, budget=budget, engine={"lookahead": ahead, "decision_time": "0 s"})
    made.environment.safe = 1
    return made.run()


@AHEAD
def test_a_run_ends_when_its_data_volume_is_spent(ahead):
    done = trial(
        [spot(k) for k in range(9)], ahead, data_bytes=5.0 * FRAME_BYTES
    )  # an act is expected to record two frames' worth
    assert (done.end.status, done.end.bytes) == (RunStatus.COMPLETED, 4 * FRAME_BYTES)
    assert "budget spent: " in done.end.reason
    assert "more data than is left" in done.end.reason


def test_the_policy_sees_what_is_left_of_the_data():
    done = trial([spot(k) for k in range(3)], 0, data_bytes=100.0)
    assert [view.budget.bytes for view in done.policy.views] == [100, 92, 84, 76]


@AHEAD
def test_a_run_is_over_by_the_time_of_day(ahead):
    done = trial([spot(k, dwell_s=1000.0) for k in range(90)], ahead, finish_by="21:00")
    assert done.end.status is RunStatus.COMPLETED
    assert done.clock.wall() <= "2026-01-01T21:00:00"
    assert done.end.time_s == 3000.0  # a fourth would have passed it
    assert done.bodies("run_started")[0]["finish_by"]["instant"] == "2026-01-01T21:00:00+00:00"


def test_time_left_is_the_shorter_of_budget_and_deadline():
    done = trial([spot(0)], 0, finish_by="21:00", time_s=7200.0)
    assert done.policy.views[0].budget.time_s == 3600.0


@AHEAD
def test_no_place_passes_its_dose_and_the_run_ends_where_nothing_else_is_wanted(ahead):
    # one electron a second; 20 s fill a cell of 1 um
    done = trial([spot(0, 10.0)] * 12, ahead, area_dose_e_per_m2=20.0 / 1e-12, area_cell_m=1e-6)
    statuses = [body["status"] for body in done.bodies("outcome")]
    assert statuses[:2] == ["done", "done"]
    assert set(statuses[2:]) == {"refused"}
    assert done.environment.dose_e == 20.0


def test_another_place_has_a_dose_of_its_own():
    plan = [spot(0, 20.0), MoveStage(x_m=5e-6), spot(0, 20.0)]
    done = trial(plan, 0, area_dose_e_per_m2=20.0 / 1e-12, area_cell_m=1e-6)
    assert [body["status"] for body in done.bodies("outcome")] == ["done"] * 3
    left = [view.budget.area.here_e_per_m2 for view in done.policy.views]
    assert left == pytest.approx([2e13, 0.0, 2e13, 0.0])


BUDGET = {"data_bytes": 100.0, "finish_by": "21:00", "area_dose_e_per_m2": 3.0 / 1e-12, "area_cell_m": 1e-6}


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_run_taken_up_goes_on_with_what_it_had_left(ahead):
    settings = {"budget": BUDGET, "engine": {"lookahead": ahead, "decision_time": "0 s"}}
    plan = [spot(0), spot(1), MoveStage(x_m=5e-6), spot(3), spot(4), spot(5)]
    whole = Tried(plan, **settings).run()
    for records in range(3, len(list(whole.journal.records())) - 1):
        again = whole.cut(records)
        history = read_history(again.journal)
        again.clock.wait(0.0)
        again.engine.take_up(history, again.journal)
        end = again.engine.go_on()
        assert (end.bytes, end.best, end.status) == (whole.end.bytes, whole.end.best, whole.end.status), records
        views = {view.step: view.budget for view in whole.policy.views if not view.pending}
        for view in again.policy.views:
            if not view.pending and view.step in views:
                assert view.budget.bytes == views[view.step].bytes, records
                assert view.budget.area == views[view.step].area, records


def test_the_best_so_far_is_in_the_record_before_the_next_act_begins(tmp_path):
    from autoscope.cli.running import read_config
    from autoscope.engine.assemble import assemble
    from autoscope.engine.loop import Engine
    from autoscope.journal import MemoryJournal
    from tests.fault.killing import CASES

    config = tmp_path / "small.yaml"
    config.write_text(CASES["random"])
    job = assemble(read_config(config, []))
    journal = MemoryJournal(clock=job.clock)
    end = Engine(job, journal).run()
    values = [v["value"] for r in journal.records("outcome") for v in r.body["values"]]
    (best,) = end.best
    assert (best.name, best.value) == ("plasmon", max(values))
    assert incumbents_of(read_history(journal)) == end.best
    journal._rows = journal._rows[:-1]  # cut off before its end: the best is known all the same
    assert incumbents_of(read_history(journal)) == end.best


@pytest.mark.parametrize(
    ("typed", "kept"),
    [('"7:30"', "07:30"), ("22:30", "22:30"), ("2026-01-02T07:30:00+01:00", "2026-01-02T07:30:00+01:00")],
)
def test_a_time_of_day_is_understood_as_typed(typed, kept):
    assert Document(f"finish_by: {typed}\n", "x").validate(BudgetConfig).finish_by == kept


@pytest.mark.parametrize("typed", ['"25:00"', "soon", "2026-01-02T07:30:00", "99999"])
def test_what_is_no_time_of_day_is_refused_with_its_line(typed):
    with pytest.raises(ConfigError, match="x:1: finish_by"):
        Document(f"finish_by: {typed}\n", "x").validate(BudgetConfig)


def test_budgets_survive_being_written_and_read_again():
    typed = "data: 20 GB\nfinish_by: 22:30\narea_dose: 1e5 e/nm^2\narea_cell: 50 nm\n"
    budget = Document(typed, "x").validate(BudgetConfig)
    assert (budget.data_bytes, budget.area_dose_e_per_m2, budget.area_cell_m) == (2e10, 1e23, 5e-8)
    assert BudgetConfig.model_validate(budget.plain()) == budget
    assert BudgetConfig().plain() == {"time": None, "dose": None, "steps": None}


def test_a_deadline_already_past_is_that_of_the_next_day():
    clock = SimClock("2026-01-01T23:00:00+00:00")
    done = Trial([spot(0)], clock=clock, budget={"finish_by": "22:30"}, engine={"lookahead": 0}).run()
    assert done.bodies("run_started")[0]["finish_by"]["instant"] == "2026-01-02T22:30:00+00:00"
