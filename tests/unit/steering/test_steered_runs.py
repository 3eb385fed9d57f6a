"""What orders do to a run, and that a run with orders is replayed and resumed exactly."""

import numpy as np
import pytest

from autoscope.engine.events import RunStatus
from autoscope.interventions import Receipt
from autoscope.steering.commands import (
    AcquisitionWish,
    Approve,
    Dequeue,
    Disc,
    EmergencyStop,
    Enqueue,
    Exclude,
    GiveWheel,
    Mark,
    Note,
    Pause,
    Pin,
    Rectangle,
    Resume,
    Retract,
    SendTo,
    SetAcquisition,
    SetAutonomy,
    SetBudget,
    SetDwell,
    SetScalarizer,
    Stop,
    TakeWheel,
    Undo,
    Veto,
)
from tests.unit.steering.steered import Run, Script, facts

LEFT = Rectangle(x_m=(-1e-6, 0.0), y_m=(-1e-6, 1e-6))
HERE = Disc(x_m=40e-9, y_m=-30e-9)


def act(number):
    return f"small-{number:06d}"


def waiting_act(make):
    """Return a function of a script that makes a command about the act that was decided last."""

    def command(script):
        intents = [r.body["act_id"] for r in script.journal.records("intent")]
        return make(intents[-1])

    return command


def last_order(make):
    """Return a function of a script that makes a command about the order that was accepted last."""

    def command(script):
        return make([r.body["order"]["id"] for r in script.journal.records("intervention")][-1])

    return command


@pytest.mark.parametrize("policy", ["random", "gp"])
def test_nothing_is_measured_where_somebody_excluded_it_and_undone_it_is_free_again(tmp_path, policy):
    script = Script({4: [Exclude(place=LEFT)], 8: [last_order(lambda order: Undo(order=order))]})
    run = Run(tmp_path, script, policy=policy, steps=24).run()
    xs = [p["x_m"] for p in run.points()]
    assert min(xs[3:7]) > 0.0  # the overview is act 0
    counts = [d["candidates"] for d in run.decisions()[1:]]
    assert counts[3] < counts[2] // 2 + 20
    assert counts[7] > counts[6] + 200
    assert run.statuses() == ["accepted", "accepted"]
    assert run.replayed().ok


def test_a_pinned_region_is_measured_first(tmp_path):
    box = Rectangle(x_m=(50e-9, 80e-9), y_m=(50e-9, 80e-9))
    run = Run(tmp_path, Script({3: [Pin(place=box)]}), steps=10).run()
    assert all(bool(box.contains(np.asarray(p["x_m"]), np.asarray(p["y_m"]), 5e-9)) for p in run.points()[2:])
    assert run.replayed().ok


def test_it_goes_where_it_is_sent_once_and_says_who_sent_it(tmp_path):
    run = Run(tmp_path, Script({3: [SendTo(place=HERE)]}), steps=8).run()
    sent = run.decisions()[3]
    assert abs(sent["action"]["x_m"] - HERE.x_m) < 5e-9
    assert abs(sent["action"]["y_m"] - HERE.y_m) < 5e-9
    assert [bool(d.get("order")) for d in run.decisions()].count(True) == 1
    assert sent["order"] == run.bodies("intervention")[0]["order"]["id"]
    assert run.replayed().ok


def test_where_the_policy_has_nothing_left_a_person_measures_all_the_same(tmp_path):
    script = Script({4: [SendTo(place=HERE)], 5: [SendTo(place=HERE)]})
    run = Run(tmp_path, script, steps=8).run()
    by_person = [d for d in run.decisions() if d["decided_by"] == "person"]
    assert len(by_person) == 1  # the first time the policy went there itself
    assert (by_person[0]["action"]["x_m"], by_person[0]["action"]["y_m"]) == (HERE.x_m, HERE.y_m)
    assert run.replayed().ok


def test_the_queue_is_gone_through_in_its_order_as_it_was_edited(tmp_path):
    places = [Disc(x_m=x * 1e-9, y_m=0.0) for x in (-60, -20, 20, 60)]

    def given(script, number):
        return [r.body["order"]["id"] for r in script.journal.records("intervention")][number]

    edits = [
        Enqueue(place=places[0]),
        Enqueue(place=places[1]),
        lambda script: Enqueue(place=places[2], before=given(script, 1)),
        Enqueue(place=places[3]),
        lambda script: Dequeue(order=given(script, 2)),
        Resume(),
    ]
    run = Run(tmp_path, Script({3: [Pause()]}, while_waiting=edits), steps=9).run()
    xs = [round(p["x_m"] * 1e9 / 8.4) for p in run.points()[2:5]]
    assert xs == [round(x / 8.4) for x in (20, -60, 60)]
    assert run.replayed().ok


def test_a_retracted_measurement_leaves_the_model_and_its_frames_stay(tmp_path):
    run = Run(tmp_path, Script({12: [Retract(act_id=act(3))]}), policy="gp", steps=16).run()
    assert [b["asked"]["told"] for b in run.bodies("intent")] == list(range(16))
    values = [o["values"][0]["value"] for o in run.bodies("outcome")[1:]]
    assert run.job.policy.state()["values"] == [*values[:2], *values[3:]]  # act 0 is the overview
    assert len(run.bodies("outcome")[3]["frames"]) == 1
    assert run.replayed().ok


def test_with_another_scalarizer_everything_measured_is_computed_anew(tmp_path):
    order = SetScalarizer(target="plasmon", name="band_integral", options={"band": ["2.0 eV", "3.0 eV"]})
    changed = Run(tmp_path, Script({10: [order]}), policy="gp", steps=14).run()
    values = [b["values"][0] for b in changed.bodies("outcome")[1:]]
    assert len({v["scalarizer"] for v in values[:9]}) == len({v["scalarizer"] for v in values[9:]}) == 1
    assert values[8]["scalarizer"] != values[9]["scalarizer"]
    assert changed.replayed().ok
    undone = Run(
        tmp_path, Script({10: [order], 11: [last_order(lambda o: Undo(order=o))]}), policy="gp", steps=14
    ).run()
    assert undone.bodies("outcome")[13]["values"][0]["scalarizer"] == values[0]["scalarizer"]
    assert undone.replayed().ok


def test_acquisition_dwell_and_budget_change_at_the_next_step(tmp_path):
    script = Script(
        {
            8: [
                SetAcquisition(wish=AcquisitionWish(name="expected_improvement")),
                SetDwell(dwell_s=0.05),
                SetBudget(steps=11),
            ]
        }
    )
    run = Run(tmp_path, script, policy="gp", steps=20).run()
    assert [d["acquisition"] for d in run.decisions()][7:] == ["upper_confidence_bound"] + 3 * ["expected_improvement"]
    assert [d["action"]["dwell_s"] for d in run.decisions()][7:] == [0.02, 0.05, 0.05, 0.05]
    assert (run.end.steps, run.end.reason) == (11, "the budget of 11 steps is spent")
    assert run.replayed().ok


def test_marks_draw_the_policy_to_what_looks_alike_and_undone_do_not(tmp_path):
    box = Rectangle(x_m=(40e-9, 100e-9), y_m=(40e-9, 100e-9))
    inside = lambda p: bool(box.contains(np.asarray(p["x_m"]), np.asarray(p["y_m"])))  # noqa: E731
    plain = Run(tmp_path, policy="gp", steps=20).run()
    liked = Run(tmp_path, Script({8: [Mark(place=box)]}), policy="gp", steps=20).run()
    left = Run(tmp_path, Script({8: [Mark(place=box, interesting=False)]}), policy="gp", steps=20).run()
    count = [sum(map(inside, run.points()[7:])) for run in (left, plain, liked)]
    assert count[0] == 0 or count[0] < count[1]
    assert count[2] > 2 * count[1]
    assert liked.replayed().ok


def test_a_pause_makes_safe_and_nothing_begins_until_somebody_resumes(tmp_path):
    run = Run(tmp_path, Script({4: [Pause()]}, while_waiting=[Note(text="still looking"), Resume()]), steps=8).run()
    kinds = [r.kind for r in run.journal.records()]
    first = kinds.index("intervention")
    assert kinds[first : first + 4] == ["intervention", "intervention", "intervention", "intent"]
    assert run.end.status is RunStatus.COMPLETED
    assert run.replayed().ok


def test_a_pause_that_nobody_can_end_stops_the_run(tmp_path):
    run = Run(tmp_path, Script({4: [Pause()]}), steps=8).run()
    assert (run.end.status, run.end.steps, run.end.safe) == (RunStatus.STOPPED, 4, True)


@pytest.mark.parametrize("command", [Stop(), EmergencyStop()], ids=["stop", "emergency"])
def test_a_person_ends_the_run_safely(tmp_path, command):
    run = Run(tmp_path, Script({4: [("bert", command, "fire alarm")]}), steps=8).run()
    assert (run.end.status, run.end.steps, run.end.safe) == (RunStatus.STOPPED, 4, True)
    assert "bert" in run.end.reason
    assert "fire alarm" in run.end.reason


def test_each_step_is_approved_or_vetoed_and_a_veto_excludes_the_site(tmp_path):
    wait = [waiting_act(lambda a: Approve(act_id=a)), waiting_act(lambda a: Veto(act_id=a))]
    script = Script(
        {2: [SetAutonomy(level="each_step")]}, while_waiting=[*wait, *wait, SetAutonomy(level="autonomous")]
    )
    run = Run(tmp_path, script, steps=10).run()
    outcomes = run.bodies("outcome")
    assert [o["status"] for o in outcomes] == ["done", "done", "done", "refused", "done", "refused"] + 4 * ["done"]
    assert outcomes[3]["fault"] == {"error": "Overruled", "message": "vetoed by anna: because"}
    vetoed = run.points()[2]
    assert vetoed not in run.points()[3:]
    assert run.end.faults == 0
    assert run.replayed().ok


@pytest.mark.parametrize(
    ("then", "statuses"),
    [("proceed", ["done"] * 6), ("skip", ["done", "done", *["refused"] * 4]), ("pause", ["done", "done", "refused"])],
)
def test_where_nobody_answers_the_rule_of_the_time_out_holds(tmp_path, then, statuses):
    order = SetAutonomy(level="each_step", timeout_s=60.0, on_timeout=then)
    run = Run(tmp_path, Script({2: [order]}), steps=6).run()
    assert [o["status"] for o in run.bodies("outcome")] == statuses
    assert run.end.status is (RunStatus.STOPPED if then == "pause" else RunStatus.COMPLETED)
    assert run.replayed().ok


def test_only_hazardous_acts_wait_where_that_is_wanted(tmp_path):
    run = Run(tmp_path, Script({0: [SetAutonomy(level="hazardous_only")]}), steps=5).run()
    assert run.end.status is RunStatus.COMPLETED
    assert not run.bodies("note")


def test_one_wheel_is_taken_over_only_with_a_reason_and_everybody_may_halt(tmp_path):
    script = Script(
        {
            1: [("anna", TakeWheel())],
            2: [("bert", SetDwell(dwell_s=0.05)), ("bert", TakeWheel()), ("bert", TakeWheel(over=True), " ")],
            3: [("bert", TakeWheel(over=True), "anna went home"), ("anna", SetDwell(dwell_s=0.03))],
            4: [("bert", SetDwell(dwell_s=0.05)), ("bert", GiveWheel()), ("anna", SetDwell(dwell_s=0.04))],
            5: [("anna", Note(text="fine")), ("anna", Stop())],
        }
    )
    run = Run(tmp_path, script, steps=9).run()
    accepted, refused = "accepted", "refused"
    expected = [
        accepted,
        refused,
        refused,
        refused,
        accepted,
        refused,
        accepted,
        accepted,
        accepted,
        accepted,
        accepted,
    ]
    assert run.statuses() == expected
    assert "anna has the wheel" in script.receipts[1].reason
    assert script.receipts[4].reason == "taken over from anna"
    assert [b["who"] for b in run.bodies("intervention") if b["command"] == "take_wheel"] == ["anna", "bert"]


def test_stale_repeated_altered_and_strange_orders_change_nothing(tmp_path):
    old, kept = {}, {}

    def keep(script):
        kept["order"] = script.writers["anna"].write(SetDwell(dwell_s=0.05))
        return kept["order"]

    def stale(script):
        return script.writers["anna"].write(Pause(), lasts_s=-1.0)

    def altered(script):
        return script.writers["anna"].write(SetDwell(dwell_s=0.05)).replace(command=SetDwell(dwell_s=5.0))

    def strange(script):
        return script.writers["anna"].write(Pause()).replace(run_id="other")

    def early(script):
        old["order"] = script.writers["bert"].write(Note(text="first"))
        return script.writers["bert"].write(Note(text="second"))

    def future(script):
        return script.writers["anna"].write(Pause(), seen_step=99)

    script = Script(
        {
            2: [keep, lambda s: kept["order"]],
            3: [stale, altered, strange, early, lambda s: old["order"], future],
            4: [Approve(act_id=act(1)), Retract(act_id=act(99)), Undo(order="0" * 32), Resume(), GiveWheel()],
            5: [SetScalarizer(target="gold", name="band_integral"), SetScalarizer(target="plasmon", name="bend")],
            6: [SetAcquisition(wish=AcquisitionWish(kappa=1.0)), SetDwell(dwell_s=1e9), Mark(place=HERE)],
        }
    )
    run = Run(tmp_path, script, steps=9).run()
    assert [(r.status, r.command) for r in script.receipts if r.status == "accepted"] == [
        ("accepted", "set_dwell"),
        ("accepted", "note"),
    ]
    assert len(script.receipts) == 18
    assert all(isinstance(r, Receipt) and r.reason for r in script.receipts if r.status == "refused")
    assert len(run.bodies("intervention")) == 2
    assert run.end.status is RunStatus.COMPLETED
    assert run.replayed().ok


def busy():
    """Return a script in which much is said."""
    return Script(
        {
            3: [Mark(place=LEFT), TakeWheel()],
            7: [Pause(), SendTo(place=HERE)],
            9: [Retract(act_id=act(4)), SetAcquisition(wish=AcquisitionWish(kappa=4.0))],
            10: [SetAutonomy(level="each_step", timeout_s=5.0, on_timeout="proceed")],
            12: [SetAutonomy(level="autonomous"), Exclude(place=Disc(x_m=0.0, y_m=0.0, radius_m=30e-9))],
            13: [SetScalarizer(target="plasmon", name="band_integral", options={"band": ["2.0 eV", "3.0 eV"]})],
        },
        while_waiting=[Resume(), waiting_act(lambda a: Veto(act_id=a))],
    )


@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_run_with_many_orders_is_replayed_to_the_bit_and_repeats(tmp_path, lookahead):
    run = Run(tmp_path, busy(), policy="gp", steps=18, lookahead=lookahead).run()
    assert set(run.statuses()) == {"accepted"}, run.script.receipts
    replayed = run.replayed()
    assert replayed.ok, str(replayed.divergences[0])
    assert run.end.status is RunStatus.COMPLETED
    again = Run(tmp_path, busy(), policy="gp", steps=18, lookahead=lookahead).run()
    assert again.decisions() == run.decisions()


@pytest.mark.parametrize("lookahead", [0, 1])
def test_cut_off_anywhere_after_the_last_order_a_run_goes_on_as_if_it_had_not_been(tmp_path, lookahead):
    run = Run(tmp_path, busy(), policy="gp", steps=18, lookahead=lookahead).run()
    records = list(run.journal.records())
    last = max(r.seq for r in records if r.kind == "intervention")
    for cut in {last, last + 1, last + 2, len(records) - 1}:
        again = run.cut(cut)
        assert facts(again.journal) == facts(run.journal), cut
        assert again.replayed().ok


def test_a_run_with_checkpoints_between_its_orders_is_replayed_to_the_bit(tmp_path):
    run = Run(tmp_path, busy(), policy="gp", steps=18, checkpoint_every=4).run()
    assert set(run.statuses()) == {"accepted"}
    replayed = run.replayed()
    assert replayed.ok, str(replayed.divergences[0])


def test_a_policy_that_decides_nothing_but_what_people_do_not_want_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("autoscope.engine.desk.OVERRULED_THAT_END", 3)
    everything = Rectangle(x_m=(-1.0, 1.0), y_m=(-1.0, 1.0))
    monkeypatch.setattr("policies.field.wanted", lambda view, grid, candidates, forbidden: (forbidden, False))
    run = Run(tmp_path, Script({2: [Exclude(place=everything)]}), steps=30).run()
    assert (run.end.status, run.end.faults) == (RunStatus.STOPPED, 0)
    assert "3 acts in a row were overruled" in run.end.reason
    assert len(run.points()) == 1 + 3
