"""The loop against an instrument whose every answer is scripted."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.config import ConfigModel, RunConfig
from autoscope.engine.assemble import Choice, Job, Resolved
from autoscope.engine.events import RunStatus
from autoscope.engine.loop import Engine, describe_action
from autoscope.engine.steering import QueueInbox
from autoscope.errors import DataError, FrameRejected, JournalFull, NotReached, OutOfRange, Unreachable
from autoscope.journal import MemoryJournal
from autoscope.records import (
    Act,
    Axis,
    Capabilities,
    Decision,
    Finish,
    Frame,
    FrameMeta,
    Intervention,
    MicroscopeState,
    MoveStage,
    Observation,
    Range,
    Scalar,
    Scan,
    Timing,
    Wait,
)

SCAN = Scan(fov_m=1e-6, width_px=4, height_px=4, dwell_s=1e-3)
SCOPE = Capabilities(
    instrument="scripted",
    serial="0",
    simulated=True,
    voltage_v=2e5,
    actions=("scan", "wait", "move_stage"),
    detectors=("HAADF",),
    ranges={"x_m": Range(low=-1e-3, high=1e-3), "fov_m": Range(low=1e-9, high=1e-3)},
    timing=Timing(),
)


class Options(ConfigModel):
    pass


class ScriptedEnvironment:
    """Takes one second an act; ``troubles`` maps an act's number to an exception or a frame."""

    def __init__(self, clock, troubles=None):
        self.clock, self.troubles = clock, troubles or {}
        self.acts, self.safe, self.dose_e, self.closed = [], 0, 0.0, False

    def reset(self, *, seed=None, options=None):
        return None, {}

    def describe(self):
        return SCOPE

    def read_state(self):
        return MicroscopeState(time_s=self.clock.now_s(), dose_e=self.dose_e, beam_current_a=1e-10)

    def step(self, act: Act):
        before = self.read_state()
        self.acts.append(act)
        trouble = self.troubles.get(len(self.acts) - 1)
        if isinstance(trouble, Exception):
            raise trouble
        self.clock.wait(1.0)
        self.dose_e += 10.0
        frames = ()
        if isinstance(act.action, Scan):
            data = trouble if trouble is not None else np.arange(16, dtype=np.uint16).reshape(4, 4) + 1
            frames = (Frame(meta(), data),)
        return None, 0.0, False, False, {"observation": Observation(act.act_id, before, self.read_state(), frames)}

    def make_safe(self):
        self.safe += 1

    def close(self):
        self.closed = True


def meta():
    axes = (Axis(name="y", unit="m", size=4), Axis(name="x", unit="m", size=4))
    return FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-3, x_m=0.0, y_m=0.0)


class ScriptedPolicy:
    """Asks for the given actions in turn, then finishes; remembers what it was told."""

    def __init__(self, actions):
        self.actions, self.told = iter(actions), []

    def ask(self, view):
        action = next(self.actions, None)
        if action is None:
            return Finish(reason="nothing left")
        if isinstance(action, Exception):
            raise action
        return action if not hasattr(action, "kind") else Decision(action=action, purpose="test", reason="scripted")

    def tell(self, decision, result):
        self.told.append(result.outcome)


class Sum:
    identity = "sum/1/0"

    def fits(self, frame):
        return True

    def scalarize(self, frame, name):
        if frame.data.sum() > 1e5:
            raise FrameRejected("too bright to believe")
        return Scalar(name=name, value=float(frame.data.sum()), std=1.0, unit="counts", scalarizer=self.identity)


def run(actions, *, troubles=None, recorder=None, inbox=None, listener=None, **settings):
    clock = SimClock()
    config = RunConfig.model_validate(
        {"name": "test", "environment": {"name": "e"}, "policy": {"name": "p"}} | settings
    )
    choice = Choice("x", None, Options())
    environment, policy = ScriptedEnvironment(clock, troubles), ScriptedPolicy(actions)
    job = Job(Resolved(config, choice, choice, {}), environment, policy, {"sum": Sum()}, clock)
    recorder = recorder or MemoryJournal(clock=clock)
    end = Engine(job, recorder, inbox=inbox, listener=listener).run()
    return SimpleNamespace(end=end, environment=environment, policy=policy, journal=recorder)


def kinds(journal):
    return [record.kind for record in journal.records()]


def test_every_act_is_written_down_before_and_after_it_happens():
    r = run([SCAN, Wait(duration_s=1.0)])
    assert kinds(r.journal) == ["run_started", "intent", "outcome", "intent", "outcome", "run_ended"]
    assert r.end.status is RunStatus.COMPLETED
    assert r.end.reason == "nothing left"


def test_the_policy_is_told_values_of_every_scalarizer():
    r = run([SCAN])
    assert [(v.name, v.value) for v in r.policy.told[0].values] == [("sum", float(np.arange(16).sum() + 16))]
    assert r.policy.told[0].quality["HAADF.mean"] == pytest.approx(8.5)


def test_the_instrument_is_made_safe_at_every_kind_of_end():
    for actions in ([], [SCAN], [ValueError("bug")], [OutOfRange("no")] * 9):
        r = run(actions)
        assert r.environment.safe >= 1
        assert r.environment.closed
        assert kinds(r.journal)[-1] == "run_ended"


@pytest.mark.parametrize(("error", "safe"), [(Unreachable("nobody answers"), False), (DataError("no such file"), True)])
def test_of_an_instrument_that_was_never_reached_nobody_says_that_its_beam_is_blanked(error, safe, monkeypatch):
    def refuse(self, **how):
        raise error

    monkeypatch.setattr(ScriptedEnvironment, "reset", refuse)
    r = run([SCAN])
    assert r.end.status is RunStatus.FAILED
    assert (r.end.safe, r.end.steps) == (safe, 0)


def test_a_refused_act_never_reaches_the_instrument_but_the_policy_hears_of_it():
    r = run([MoveStage(x_m=5e-3), SCAN])
    assert [o.status for o in r.policy.told] == ["refused", "done"]
    assert [a.action for a in r.environment.acts] == [SCAN]
    assert "LimitExceeded" in r.policy.told[0].fault.error


def test_a_failed_act_is_recorded_with_its_error_and_the_run_goes_on():
    r = run([SCAN, SCAN], troubles={0: NotReached("stage stuck", where="x_m", value=1.0, limit=2.0)})
    assert [o.status for o in r.policy.told] == ["failed", "done"]
    assert r.policy.told[0].fault.error == "NotReached"
    assert "stage stuck" in r.policy.told[0].fault.message
    assert r.end.faults == 1


def test_a_nan_frame_is_rejected_kept_and_never_scalarized():
    r = run([SCAN], troubles={0: np.full((4, 4), np.nan, np.float32)})
    outcome = r.policy.told[0]
    assert outcome.status == "rejected"
    assert outcome.values == ()
    assert len(outcome.frames) == 1
    assert outcome.fault.error == "FrameRejected"


def test_a_frame_its_scalarizer_refuses_is_rejected():
    r = run([SCAN], troubles={0: np.arange(16, dtype=np.uint16).reshape(4, 4) * 1000})
    assert r.policy.told[0].status == "rejected"
    assert "too bright" in r.policy.told[0].fault.message


def test_too_many_failures_in_a_row_end_the_run_as_failed():
    r = run([SCAN] * 9, troubles={k: OutOfRange("no") for k in range(9)}, engine={"max_consecutive_faults": 3})
    assert r.end.status is RunStatus.FAILED
    assert r.end.steps == 3
    assert "3 acts in a row" in r.end.reason


def test_failures_apart_from_each_other_do_not_end_the_run():
    r = run([SCAN] * 8, troubles={k: OutOfRange("no") for k in (0, 2, 4, 6)}, engine={"max_consecutive_faults": 2})
    assert r.end.status is RunStatus.COMPLETED
    assert r.end.faults == 4


@pytest.mark.parametrize("bad", [ValueError("a bug"), "scan please", None.__class__])
def test_a_broken_policy_ends_in_a_safe_recorded_stop(bad):
    r = run([bad])
    assert r.end.status is RunStatus.FAILED
    assert "PluginError" in r.end.reason
    assert r.environment.safe == 1


def test_a_broken_driver_is_a_failed_act_not_a_crash():
    r = run([SCAN, SCAN], troubles={0: ZeroDivisionError("driver bug")})
    assert [o.status for o in r.policy.told] == ["failed", "done"]
    assert "ZeroDivisionError" in r.policy.told[0].fault.message


def test_the_step_budget_ends_the_run_exactly():
    r = run([SCAN] * 9, budget={"steps": 4})
    assert (r.end.steps, len(r.environment.acts), r.end.status) == (4, 4, RunStatus.COMPLETED)


def test_time_and_dose_budgets_end_the_run():
    assert run([SCAN] * 99, budget={"time": "5 s"}).end.steps <= 5
    r = run([Wait(duration_s=1.0)] * 99, budget={"dose": "45 e"})
    assert r.end.steps == 5
    assert "dose" in r.end.reason


def test_acts_too_large_for_what_is_left_end_the_run_as_completed():
    r = run([SCAN, Wait(duration_s=100.0), Wait(duration_s=100.0), SCAN], budget={"time": "20 s"})
    assert r.end.status is RunStatus.COMPLETED
    assert "budget spent" in r.end.reason
    assert [o.status for o in r.policy.told] == ["done", "refused", "refused"]


def test_a_policy_that_asks_for_less_after_a_refusal_goes_on():
    r = run([Wait(duration_s=100.0), SCAN, Wait(duration_s=100.0), SCAN], budget={"time": "20 s"})
    assert [o.status for o in r.policy.told] == ["refused", "done", "refused", "done"]
    assert r.end.faults == 0


def test_a_stop_takes_effect_at_the_step_boundary_and_is_recorded():
    inbox = QueueInbox()

    class PressStop:
        def on_step(self, event):
            if event.step == 1:
                inbox.post(Intervention(who="anna", when="now", why="lunch", command="stop"))

    r = run([SCAN] * 9, inbox=inbox, listener=PressStop())
    assert r.end.status is RunStatus.STOPPED
    assert "anna" in r.end.reason
    assert kinds(r.journal)[-2:] == ["intervention", "run_ended"]
    assert len(r.policy.told) == 2


def test_a_second_interrupt_inside_a_step_still_blanks_and_closes_the_record():
    r = run([SCAN, SCAN], listener=SimpleNamespace(on_step=_interrupt))
    assert r.end.status is RunStatus.STOPPED
    assert r.environment.safe == 1
    assert kinds(r.journal)[-1] == "run_ended"


def _interrupt(event):
    raise KeyboardInterrupt


class FullAt(MemoryJournal):
    """A recorder whose n-th write finds no space."""

    def __init__(self, clock, n):
        super().__init__(clock=clock)
        self.writes, self.n = itertools.count(), n

    def append(self, kind, body, *, step=None):
        if kind != "run_ended" and next(self.writes) == self.n:
            raise JournalFull("no space left")
        return super().append(kind, body, step=step)


@pytest.mark.parametrize("n", range(5))
def test_a_full_disk_at_any_record_stops_safely_before_the_next_act(n):
    r = run([SCAN, SCAN], recorder=FullAt(SimClock(), n))
    assert r.end.status is RunStatus.FAILED
    assert "no space left" in r.end.reason
    assert r.environment.safe == 1
    assert len(r.environment.acts) == n // 2


def test_no_act_is_executed_without_its_intent_in_the_journal():
    r = run([SCAN, Wait(duration_s=1.0), SCAN])
    intents = [record.body["act_id"] for record in r.journal.records() if record.kind == "intent"]
    assert [a.act_id for a in r.environment.acts] == intents
    assert len(set(intents)) == 3


def test_actions_are_described_in_words():
    assert describe_action(MoveStage(x_m=1e-6)) == "move stage (x_m 1e-06)"
