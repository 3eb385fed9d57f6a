"""Deciding while acquiring: the order of calls, what is promised at every end, and who stands in for a late policy."""

import threading
from types import SimpleNamespace

import pytest

from autoscope.clock import SimClock, SystemClock
from autoscope.config import Document, RunConfig
from autoscope.engine.assemble import resolve
from autoscope.engine.events import RunStatus
from autoscope.engine.steering import QueueInbox
from autoscope.errors import ConfigError, JournalFull, NotReached
from autoscope.records import Finish, Intervention, MoveStage, Wait
from tests.unit.engine.scripted import AnticipatingPolicy, Trial, spot

PATIENCE_S = 60.0
"""Longest wait of a test for another thread; reached only where the engine is broken."""


def stop(who="anna"):
    return Intervention(who=who, when="", why="lunch", command="stop")


def outcomes(trial):
    return {body["act_id"][-6:].lstrip("0") or "0": body["status"] for body in trial.bodies("outcome")}


def assert_promises(trial):
    """Every intent has one outcome, after it; nothing follows the end; frames and outcome precede the telling."""
    kinds = [record.kind for record in trial.journal.records()]
    assert kinds.count("run_ended") == 1
    assert kinds[-1] == "run_ended"
    intents = [body["act_id"] for body in trial.bodies("intent")]
    assert len(set(intents)) == len(intents)
    assert sorted(intents) == sorted(body["act_id"] for body in trial.bodies("outcome"))
    log, started = list(trial.log), len(trial.environment.acts)
    begun = [int(act.act_id[-6:]) for act in trial.environment.acts]
    for n in range(started):
        assert log.index(("intent", begun[n])) < log.index(("start", n))
    for event in log:
        if event[0] == "outcome":
            assert log.index(("intent", event[1])) < log.index(event)
        if event[0] == "tell":
            assert log.index(("outcome", event[1])) < log.index(event)
    assert trial.environment.safe >= 1
    assert trial.environment.closed


def test_on_a_simulated_clock_the_order_of_calls_is_fixed():
    trial = Trial([spot(0), spot(1), spot(2)]).run()
    assert trial.log == [
        ("run_started",),
        ("ask", 0, 0),
        ("intent", 0),
        ("ask", 1, 1),  # while act 0 runs
        ("intent", 1),
        ("start", 0),
        ("end", 0),
        ("outcome", 0),
        ("tell", 0),
        ("ask", 2, 1),  # while act 1 runs
        ("intent", 2),
        ("start", 1),
        ("end", 1),
        ("outcome", 1),
        ("tell", 1),
        ("ask", 3, 1),  # answers Finish: asked again when nothing is pending
        ("question", 3),
        ("start", 2),
        ("end", 2),
        ("outcome", 2),
        ("tell", 2),
        ("ask", 3, 0),
        ("run_ended",),
    ]
    assert_promises(trial)


def test_simulated_runs_are_the_same_to_the_bit():
    runs = [Trial([spot(k) for k in range(20)], troubles={7: NotReached("stuck")}).run() for _ in range(2)]
    first, second = ([record.hash for record in trial.journal.records()] for trial in runs)
    assert first == second


def test_a_policy_sees_the_running_act_as_pending_and_what_will_be_left_after_it():
    trial = Trial([MoveStage(x_m=5e-6), spot(1), spot(2)], budget={"time": "100 s", "dose": "50 e", "steps": 9}).run()
    _, ahead, after = trial.policy.views[:3]
    assert ahead.pending == (MoveStage(x_m=5e-6),)
    assert ahead.state.x_m == pytest.approx(5e-6)
    assert ahead.budget.steps == 8
    assert after.pending == (spot(1),)
    assert after.budget.dose_e == pytest.approx(50.0 - 1.0, rel=1e-2)
    done_s = next(body["state"]["time_s"] for body in trial.bodies("outcome")[1:])
    assert after.time_s == pytest.approx(done_s)


def test_deciding_costs_simulated_time_only_where_it_is_longer_than_the_act():
    def length_s(decision_s, dwell_s, lookahead):
        settings = {"engine": {"lookahead": lookahead, "decision_time": f"{decision_s} s"}}
        return Trial([spot(k, dwell_s) for k in range(10)], budget={"steps": 10}, **settings).run().end.time_s

    assert length_s(0.5, 2.0, 0) == pytest.approx(10 * 2.5)
    assert length_s(0.5, 2.0, 1) == pytest.approx(0.5 + 10 * 2.0)
    assert length_s(3.0, 2.0, 1) == pytest.approx(3.0 + 9 * 3.0 + 2.0)


def test_on_a_real_clock_the_next_decision_is_made_while_the_act_runs():
    decided = [threading.Event() for _ in range(5)]

    def during(n):
        if n < 4:
            assert decided[n + 1].wait(PATIENCE_S), "the act ended before the next was decided"

    trial = Trial(
        [spot(k) for k in range(5)], clock=SystemClock(), during=during, thinking=lambda n: decided[min(n, 4)].set()
    ).run()
    assert len(trial.environment.acts) == 5
    assert_promises(trial)


def test_instrument_calls_stay_on_the_callers_thread_and_policy_calls_on_one_other():
    trial = Trial([spot(k) for k in range(5)], clock=SystemClock()).run()
    assert trial.log.threads["instrument"] == {threading.get_ident()}
    assert len(trial.log.threads["policy"]) == 1
    assert trial.log.threads["policy"] != trial.log.threads["instrument"]
    assert not [thread for thread in threading.enumerate() if thread.name in {"policy", "clerk"}]


def test_both_clocks_call_a_policy_in_the_same_order():
    calls = []
    for clock in (SimClock(), SystemClock()):
        trial = Trial([spot(k) for k in range(40)], clock=clock, troubles={3: NotReached("stuck")}).run()
        calls.append([event for event in trial.log if event[0] in {"ask", "tell", "intent", "outcome"}])
    assert calls[0] == calls[1]


def test_an_act_that_ends_while_the_last_is_still_told_stays_pending_in_the_next_question():
    """However quick the instrument, the policy is never told of an act before it was asked with that act pending."""
    ended = [threading.Event() for _ in range(4)]
    trial = Trial([spot(k) for k in range(3)], clock=SystemClock())
    real, step = trial.policy.tell, trial.environment.step

    def tell(decision, result):
        if len(trial.policy.told) == 0:
            assert ended[1].wait(PATIENCE_S)
        real(decision, result)

    def quick_step(act):
        answer = step(act)
        ended[len(trial.environment.acts) - 1].set()
        return answer

    trial.policy.tell, trial.environment.step = tell, quick_step
    trial.run()
    calls = [event for event in trial.log if event[0] in {"ask", "tell"}]
    assert calls[:5] == [("ask", 0, 0), ("ask", 1, 1), ("tell", 0), ("ask", 2, 1), ("tell", 1)]


@pytest.mark.parametrize("clock", [SimClock, SystemClock])
def test_a_wait_answered_while_something_is_pending_is_asked_for_again(clock):
    trial = Trial([spot(0), Wait(duration_s=5.0), spot(1)], clock=clock()).run()
    assert [act.action for act in trial.environment.acts] == [spot(0), spot(1)]
    assert ("ask", 1, 0) in trial.log
    assert_promises(trial)


def test_finish_while_an_act_is_pending_is_no_end_if_the_act_fails():
    answers = [spot(0), Finish(reason="enough"), spot(0)]
    trial = Trial(answers, troubles={0: NotReached("stuck")}).run()
    assert [outcome.status for _, outcome in trial.policy.told] == ["failed", "done"]


def test_an_act_the_guard_would_refuse_is_refused_with_the_true_state():
    trial = Trial([spot(0), MoveStage(x_m=5e-3), MoveStage(x_m=5e-3), spot(1)]).run()
    assert [outcome.status for _, outcome in trial.policy.told] == ["done", "refused", "done"]
    assert [act.action for act in trial.environment.acts] == [spot(0), spot(1)]
    assert_promises(trial)


def test_an_act_decided_ahead_is_checked_again_when_its_turn_comes():
    """A stage that drifts out of its limits during act 0 makes the path of act 1 forbidden."""
    trial = Trial([spot(0), MoveStage(x_m=1e-6), spot(2)])
    trial.environment.during = lambda n: setattr(trial.environment, "x_m", 5e-3)
    trial.run()
    assert outcomes(trial)["1"] == "refused"
    assert "outside what is permitted" in trial.policy.told[1][1].fault.message
    assert MoveStage(x_m=1e-6) not in [act.action for act in trial.environment.acts]
    assert_promises(trial)


def test_an_act_decided_ahead_is_not_started_when_more_was_spent_than_expected():
    trial = Trial([spot(0), spot(1), spot(2)], budget={"dose": "10 e"})
    trial.environment.during = lambda n: setattr(trial.environment, "dose_e", 9.5)
    trial.run()
    assert len(trial.environment.acts) == 1
    assert trial.end.status is RunStatus.COMPLETED
    assert "dose" in trial.end.reason
    assert_promises(trial)


@pytest.mark.parametrize("clock", [SimClock, SystemClock])
def test_a_stop_takes_effect_before_the_next_start_and_says_what_was_never_started(clock):
    inbox = QueueInbox()
    trial = Trial([spot(k) for k in range(9)], inbox=inbox, clock=clock())
    trial.environment.during = lambda n: inbox.post(stop()) if n == 2 else None
    trial.run()
    assert trial.end.status is RunStatus.STOPPED
    assert "anna" in trial.end.reason
    assert trial.end.steps == len(trial.environment.acts) == 3
    last = trial.bodies("outcome")[-1]
    assert (last["act_id"], last["status"]) == ("test-000003", "refused")
    assert "never started" in last["fault"]["message"]
    assert len(trial.policy.told) == 3
    assert_promises(trial)


@pytest.mark.parametrize("clock", [SimClock, SystemClock])
def test_a_policy_that_fails_while_an_act_runs_lets_it_end_and_be_recorded(clock):
    trial = Trial([spot(0), spot(1), ValueError("a bug")], clock=clock()).run()
    assert trial.end.status is RunStatus.FAILED
    assert "a bug" in trial.end.reason
    assert outcomes(trial) == {"0": "done", "1": "done"}
    assert trial.end.steps == 2
    assert_promises(trial)


@pytest.mark.parametrize("clock", [SimClock, SystemClock])
@pytest.mark.parametrize("write", range(1, 9))
def test_a_full_disk_at_any_record_ends_the_run_safely_once(clock, write):
    trial = Trial([spot(k) for k in range(9)], clock=clock(), journal=(write, JournalFull("no space left"))).run()
    assert trial.end.status is RunStatus.FAILED
    assert "no space left" in trial.end.reason
    assert [record.kind for record in trial.journal.records()].count("run_ended") == 1
    assert trial.environment.safe >= 1
    assert len(trial.environment.acts) <= len(trial.bodies("intent"))


def test_frames_that_cannot_be_kept_leave_an_outcome_that_says_so(monkeypatch):
    trial = Trial([spot(k) for k in range(9)])

    def no_space(frame, *, step, index):
        raise JournalFull("no space left for frames")

    monkeypatch.setattr(trial.journal, "write_frame", no_space)
    trial.run()
    assert trial.end.status is RunStatus.FAILED
    first = trial.bodies("outcome")[0]
    assert (first["status"], first["fault"]["error"]) == ("failed", "JournalFull")
    assert_promises(trial)


def test_an_interrupt_inside_an_act_ends_at_once_and_claims_nothing_about_it():
    trial = Trial([spot(k) for k in range(9)], clock=SystemClock(), troubles={1: KeyboardInterrupt()}).run()
    assert trial.end.status is RunStatus.STOPPED
    assert outcomes(trial)["0"] == "done"
    assert "1" not in outcomes(trial)
    assert trial.environment.safe >= 1
    assert [record.kind for record in trial.journal.records()][-1] == "run_ended"


def test_failures_in_a_row_end_the_run_before_the_next_start():
    troubles = {k: NotReached("stuck") for k in range(9)}
    settings = {"engine": {"lookahead": 1, "max_consecutive_faults": 3}}
    trial = Trial([spot(k) for k in range(9)], troubles=troubles, **settings).run()
    assert trial.end.status is RunStatus.FAILED
    assert "3 acts in a row" in trial.end.reason
    assert len(trial.environment.acts) == 4, "the fourth had begun when the third was found to have failed"
    assert_promises(trial)


def test_an_error_of_the_last_telling_makes_the_end_a_failure():
    inbox = QueueInbox()
    trial = Trial([spot(k) for k in range(9)], inbox=inbox)
    trial.environment.during = lambda n: inbox.post(stop()) if n == 1 else None
    trial.policy.tell_trouble = (2, ValueError("cannot learn"))
    trial.run()
    assert trial.end.status is RunStatus.FAILED
    assert "cannot learn" in trial.end.reason
    assert_promises(trial)


# --- the deadline -----------------------------------------------------------------------------------

AT_ONCE = {"engine": {"lookahead": 1, "decision_deadline": "1 ns"}}


def late_policy(answers, *, until_act, at_answer=1, **more):
    """Return a run whose policy holds one answer back until an act with a certain number has begun."""
    begun = threading.Event()
    trial = Trial(answers, clock=SystemClock(), **AT_ONCE, **more)
    real = trial.policy.ask

    def ask(view):
        if trial.policy.asked == at_answer:
            answer = real(view)
            assert begun.wait(PATIENCE_S)
            return answer
        return real(view)

    trial.policy.ask = ask
    trial.environment.during = lambda n: begun.set() if n == until_act else None
    return trial


def test_a_runner_up_stands_in_for_a_policy_that_is_late():
    trial = late_policy([spot(0), spot(1), spot(2)], until_act=1, runners_up=(spot(0), spot(7), spot(8))).run()
    stand_in = trial.bodies("intent")[1]["decision"]
    assert trial.environment.acts[1].action == spot(7), "the best runner-up nobody has decided for"
    assert stand_in["decided_by"] == "runner_up"
    assert "runner-up 2 of step 0" in stand_in["reason"]
    assert (stand_in["predicted_mean"], stand_in["predicted_std"], stand_in["acquisition_value"]) == (1.0, 0.5, 0.25)
    assert_promises(trial)


def test_the_late_answer_is_for_the_next_decision():
    trial = late_policy([spot(0), spot(1), spot(2)], until_act=1, runners_up=(spot(7),)).run()
    actions = [act.action for act in trial.environment.acts]
    assert actions.index(spot(1)) > actions.index(spot(7))
    assert actions.count(spot(1)) == 1
    assert [(decision.action, outcome.status) for decision, outcome in trial.policy.told][:2] == [
        (spot(0), "done"),
        (spot(7), "done"),
    ]


def test_a_late_answer_is_dropped_when_a_stand_in_did_the_same():
    trial = late_policy([spot(0), spot(7), spot(2)], until_act=1, runners_up=(spot(7),)).run()
    assert [act.action for act in trial.environment.acts].count(spot(7)) == 1
    assert_promises(trial)


def test_a_policy_late_by_several_acts_is_stood_in_for_at_each():
    others = (spot(7), spot(8), spot(9))
    trial = late_policy([spot(0), spot(1)], until_act=3, runners_up=others)
    recorded, append, released = threading.Event(), trial.journal.append, trial.environment.during

    def note(kind, body, *, step=None):
        seq = append(kind, body, step=step)
        if (kind, step) == ("outcome", 0):
            recorded.set()
        return seq

    def during(n):
        if n == 2:
            assert recorded.wait(PATIENCE_S), "what is over is written down though the policy does not listen yet"
        released(n)

    trial.journal.append, trial.environment.during = note, during
    trial.run()
    assert [act.action for act in trial.environment.acts][:4] == [spot(0), *others]
    log = list(trial.log)
    assert log.index(("tell", 0)) < log.index(("tell", 1)) < log.index(("tell", 2))
    assert_promises(trial)


def test_without_a_runner_up_the_beam_waits_for_the_policy():
    entered, released = threading.Event(), threading.Event()

    def think(n):
        if n == 1:
            entered.set()
            assert released.wait(PATIENCE_S)

    def release():
        assert entered.wait(PATIENCE_S)
        released.set()

    other = threading.Thread(target=release)
    other.start()
    trial = Trial([spot(0), spot(1)], clock=SystemClock(), thinking=think, **AT_ONCE).run()
    other.join()
    assert [act.action for act in trial.environment.acts] == [spot(0), spot(1)]
    assert {intent["decision"]["decided_by"] for intent in trial.bodies("intent")} == {"policy"}


def test_an_error_of_a_late_policy_is_not_lost():
    trial = late_policy([spot(0), ValueError("slow bug")], until_act=1, runners_up=(spot(7), spot(8)))
    trial.run()
    assert trial.end.status is RunStatus.FAILED
    assert "slow bug" in trial.end.reason
    assert_promises(trial)


# --- preparing, settings ----------------------------------------------------------------------------


@pytest.mark.parametrize("clock", [SimClock, SystemClock])
def test_a_policy_that_anticipates_works_before_it_is_told(clock):
    engine = {"lookahead": 0}
    trial = Trial([spot(0), spot(1)], clock=clock(), policy=AnticipatingPolicy, engine=engine).run()
    calls = [event for event in trial.log if event[0] in {"ask", "prepare", "tell"}]
    assert calls[:3] == [("ask", 0, 0), ("prepare", 1, 1), ("tell", 0)]
    assert len(trial.log.threads["policy"]) == 1
    assert_promises(trial)


def test_an_error_while_preparing_ends_the_run_after_the_outcome_is_recorded():
    trial = Trial([spot(0), spot(1)], policy=AnticipatingPolicy, engine={"lookahead": 0}, clock=SystemClock())
    trial.policy.prepare = lambda view: 1 / 0
    trial.run()
    assert trial.end.status is RunStatus.FAILED
    assert "policy.prepare" in trial.end.reason
    assert outcomes(trial) == {"0": "done"}


def test_without_lookahead_nothing_runs_on_another_thread():
    trial = Trial([spot(0), spot(1)], clock=SystemClock(), engine={"lookahead": 0}).run()
    assert trial.log.threads["policy"] == trial.log.threads["instrument"] == {threading.get_ident()}


def document(policy, **engine):
    lines = [
        "name: x",
        "environment: {name: simulated}",
        f"policy: {{name: {policy}, options: {{target: t}}}}",
        "scalarizers: {t: {name: band_integral, options: {band: [1 keV, 2 keV]}}}",
        f"engine: {engine}",
    ]
    return Document("\n".join(lines), "x.yaml")


def test_lookahead_with_a_policy_that_needs_every_outcome_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr("policies.random.RandomPolicy.lookahead", False, raising=False)
    with pytest.raises(ConfigError, match=r"x.yaml:5: engine.lookahead: this policy cannot decide while.*Leave"):
        resolve(document("random", lookahead=1))


def test_lookahead_with_a_policy_that_counts_with_pending_acts_is_accepted(monkeypatch):
    monkeypatch.setattr("policies.random.RandomPolicy.lookahead", True, raising=False)
    assert resolve(document("random", lookahead=1)).config.engine.lookahead == 1


def test_a_deadline_without_lookahead_is_refused():
    plain = {"name": "x", "environment": {"name": "e"}, "policy": {"name": "p"}}
    with pytest.raises(ValueError, match="lookahead: 1"):
        RunConfig.model_validate(plain | {"engine": {"decision_deadline": "1 s"}})


def test_a_listener_hears_of_every_step_once_in_order():
    heard = []
    listener = SimpleNamespace(on_step=lambda event: heard.append((event.step, event.spent.steps)))
    Trial([spot(k) for k in range(5)], listener=listener, clock=SystemClock()).run()
    assert heard == [(k, k + 1) for k in range(5)]
