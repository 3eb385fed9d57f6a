"""A person chooses, the model suggests: who decided is recorded, and resumes and replays say the same."""

import pytest

from autoscope.config import Document
from autoscope.engine.assemble import resolve
from autoscope.engine.events import RunStatus
from autoscope.errors import ConfigError
from autoscope.interventions import Approve, Exclude, Note, SendTo, SetAutonomy, Stop, Veto
from autoscope.quantities import FROM_FILE
from autoscope.steering.commands import Disc
from autoscope.testing import check_policy
from tests.unit.steering.steered import SMALL, Run, Script, facts

HERE = Disc(x_m=40e-9, y_m=-30e-9)
ELSEWHERE = Disc(x_m=-40e-9, y_m=30e-9)
RANDOM = "advisor: {name: random}"


def measured(run):
    return [d for d in run.decisions() if d["action"]["kind"] == "measure"]


def suggested(make):
    """Return a function of a script that makes a command about the suggestion that waits."""

    def command(script):
        notes = [r.body for r in script.journal.records("note") if r.body.get("event") == "awaiting"]
        return make(notes[-1])

    return command


def take_it(note):
    return Approve(act_id=note["act_id"])


def human(tmp_path, answers, steps=5, more=RANDOM, **given):
    return Run(tmp_path, Script(while_waiting=answers), policy="human", steps=steps, more=more, **given)


@pytest.mark.parametrize("advisor", ["random", "gp"])
def test_what_a_person_chooses_is_measured_and_says_who_chose(tmp_path, advisor):
    answers = [SendTo(place=HERE), suggested(take_it), ("bert", SendTo(place=ELSEWHERE))]
    run = human(tmp_path, answers, more=f"advisor: {{name: {advisor}}}").run()
    first, second, third, fourth = measured(run)
    assert abs(first["action"]["x_m"] - HERE.x_m) < 5e-9
    assert first["decided_by"] == "person"
    assert first["reason"].startswith("Chosen by anna, not what the advisor suggested.")
    waiting = [n["suggestion"] for n in run.bodies("note") if n.get("event") == "awaiting"]
    assert first["runners_up"][0]["action"] == waiting[0]["action"]  # what the person declined
    assert second["action"] == waiting[1]["action"]
    assert second["reason"].startswith("Chosen by anna, as the advisor suggested.")
    assert third["reason"].startswith("Chosen by bert")
    assert fourth["reason"].startswith("The advisor's, after 60 s of silence.")
    assert fourth["decided_by"] == "policy"
    assert [i["who"] for i in run.bodies("intervention")] == ["anna", "anna", "bert"]
    assert run.statuses() == ["accepted"] * 3
    assert all(o["status"] == "done" for o in run.bodies("outcome"))
    assert run.replayed().ok


def test_a_place_that_the_advisor_would_not_take_again_is_measured_without_asking_twice(tmp_path):
    run = human(tmp_path, [SendTo(place=HERE), SendTo(place=HERE)], steps=3).run()
    second = measured(run)[1]
    assert abs(second["action"]["x_m"] - HERE.x_m) < 5e-9
    assert second["decided_by"] == "person"
    assert run.script.clock.now_s() == 0.0
    assert run.replayed().ok


def test_a_veto_brings_another_suggestion_and_no_refused_act(tmp_path):
    answers = [suggested(lambda note: Veto(act_id=note["act_id"], radius_m=30e-9)), suggested(take_it)]
    run = human(tmp_path, answers, steps=2).run()
    before, after = (n["suggestion"]["action"] for n in run.bodies("note") if n.get("event") == "awaiting")
    assert before != after
    assert measured(run)[0]["action"] == after
    assert [o["status"] for o in run.bodies("outcome")] == ["done", "done"]
    assert run.replayed().ok


def test_an_order_that_chooses_nothing_begins_the_wait_anew(tmp_path):
    run = human(tmp_path, [Note(text="let me think"), Exclude(place=HERE)], steps=2).run()
    assert sum(n.get("event") == "awaiting" for n in run.bodies("note")) == 3
    assert run.script.clock.now_s() == pytest.approx(60.0)
    assert run.job.clock.now_s() < 60.0  # a simulated run stands still while people think
    assert run.replayed().ok


def test_nobody_there_waits_in_steps_with_the_beam_blanked(tmp_path):
    run = human(tmp_path, [], steps=4, more=f"{RANDOM}, wait: 20 s, on_silence: wait, pause: 7 s").run()
    waits = run.decisions()[1:]
    assert [w["action"] for w in waits] == [{"kind": "wait", "duration_s": 7.0}] * 3
    assert "waiting after 20 s of silence" in waits[0]["reason"]
    assert run.script.clock.now_s() == pytest.approx(60.0)
    assert all(o["state"]["blanked"] for o in run.bodies("outcome")[1:])
    assert run.replayed().ok


def test_the_suggestion_stays_the_same_while_nobody_answers(tmp_path):
    run = human(tmp_path, [], steps=4, more=f"{RANDOM}, on_silence: wait").run()
    suggestions = [n["suggestion"]["action"] for n in run.bodies("note") if n.get("event") == "awaiting"]
    assert suggestions == [suggestions[0]] * 3


def test_nobody_there_ends_the_run_where_that_is_wanted(tmp_path):
    run = human(tmp_path, [suggested(take_it)], steps=9, more=f"{RANDOM}, wait: 20 s, on_silence: finish").run()
    assert run.end.status is RunStatus.COMPLETED
    assert run.end.reason == "Nobody chose: finished after 20 s of silence."
    assert len(measured(run)) == 1


def test_a_stop_is_heard_while_a_suggestion_waits(tmp_path):
    run = human(tmp_path, [Stop()]).run()
    assert run.end.status is RunStatus.STOPPED
    assert run.end.safe


@pytest.mark.parametrize(
    ("turns", "asked"),
    [
        ("{when: every, every: 3}", [3, 6]),
        ("{when: first, first: 2}", [1, 2]),
        ("{when: always}", [1, 2, 3, 4, 5, 6]),
        ("{when: unsure}", [1, 2, 3, 4, 5, 6]),  # chance expects nothing
    ],
)
def test_the_person_is_asked_when_it_is_their_turn(tmp_path, turns, asked):
    run = human(tmp_path, [], steps=7, more=f"{RANDOM}, turns: {turns}").run()
    steps = [r.step for r in run.journal.records("note") if r.body.get("event") == "awaiting"]
    assert steps == asked
    others = [d for k, d in enumerate(run.decisions()) if k and k not in asked]
    assert all("The advisor's own: the person chooses" in d["reason"] for d in others)


@pytest.mark.parametrize(("limits", "asks"), [("std_above: 1e9, gap_below: 0", False), ("std_above: 1e-9", True)])
def test_the_person_is_asked_where_the_advisor_is_unsure(tmp_path, limits, asks):
    more = f"advisor: {{name: gp, options: {{initial: 3}}}}, turns: {{when: unsure, {limits}}}"
    run = human(tmp_path, [], steps=10, more=more).run()
    modelled = [k for k, d in enumerate(run.decisions()) if d.get("predicted_std") is not None]
    steps = {r.step for r in run.journal.records("note") if r.body.get("event") == "awaiting"}
    assert modelled
    assert {k in steps for k in modelled} == {asks}
    assert {1, 2, 3} <= steps  # before there is a model, nothing is expected


def test_the_advisor_learns_from_what_the_person_measured(tmp_path):
    run = human(tmp_path, [SendTo(place=HERE)], steps=4, more="advisor: {name: gp, options: {initial: 2}}").run()
    assert measured(run)[2]["fit"]["n"] == 2


def test_a_choice_can_still_need_approval_by_the_rules_of_autonomy(tmp_path):
    script = Script({1: [SetAutonomy(level="each_step", timeout_s=5.0, on_timeout="skip")]}, [SendTo(place=HERE)])
    run = Run(tmp_path, script, policy="human", steps=2, more=RANDOM).run()
    assert run.bodies("outcome")[1]["fault"]["error"] == "Overruled"


@pytest.mark.parametrize("every", [0, 2])
def test_cut_off_anywhere_after_the_last_order_the_same_is_decided(tmp_path, every):
    answers = [SendTo(place=HERE), suggested(take_it), Note(text="hm")]
    more = "advisor: {name: gp, options: {initial: 2}}"
    run = human(tmp_path, answers, steps=5, checkpoint_every=every, more=more).run()
    records = list(run.journal.records())
    last = max(r.seq for r in records if r.kind == "intervention")
    waits = {r.seq for r in records if r.kind in ("question", "note")}
    for cut in range(last, len(records)):  # nobody is there any more
        again = run.cut(cut)
        assert again.decisions() == run.decisions()
        assert again.replayed().ok
        if cut not in waits and cut + 1 not in waits:  # else it is suggested a second time
            assert facts(again.journal) == facts(run.journal)


def test_an_advisor_is_checked_before_anything_begins():
    text = SMALL.format(policy="human", steps=3, lookahead=0, more=", advisor: {name: gp, options: {initail: 3}}",
                        checkpoint_every=0)  # fmt: skip
    with pytest.raises(ConfigError, match="initail"):
        resolve(Document(text, "small.yaml"))
    for wrong, told in [("human", "cannot be advised"), ("gq", "gp")]:
        with pytest.raises(ConfigError, match=told):
            resolve(Document(text.replace("name: gp", f"name: {wrong}").replace("initail", "initial"), "small.yaml"))


def test_a_resolved_configuration_parses_to_itself_with_the_advisors_options():
    text = SMALL.format(policy="human", steps=3, lookahead=0, more="", checkpoint_every=0)
    options = resolve(Document(text, "small.yaml")).policy.options
    assert options.advisor.options["target"] == "plasmon"
    assert options.advisor.options["dwell"] == options.plain()["dwell"]
    assert type(options).model_validate(options.plain(), context=FROM_FILE) == options


def test_deciding_ahead_is_refused_because_a_person_needs_the_last_outcome():
    text = SMALL.format(policy="human", steps=3, lookahead=1, more="", checkpoint_every=0)
    with pytest.raises(ConfigError, match="cannot decide while an act is still running"):
        resolve(Document(text, "small.yaml"))


@pytest.mark.parametrize("policy", ["human", "preference"])
def test_it_keeps_the_promises_of_a_policy(policy):
    report = check_policy(policy)  # where nobody attends, nobody is waited for
    assert report.ok, str(report)
