"""An instrument, a policy and a journal that write down the order in which they are called."""

import threading

import numpy as np

from autoscope.clock import SimClock
from autoscope.config import ConfigModel, RunConfig
from autoscope.engine.assemble import Choice, Job, Resolved
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import (
    Axis,
    Candidate,
    Capabilities,
    Decision,
    Finish,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    MoveStage,
    Observation,
    Range,
    SpectrumSignal,
    Timing,
)

AXIS = Axis(name="energy", unit="eV", size=4)
SCOPE = Capabilities(
    instrument="scripted",
    serial="0",
    simulated=True,
    voltage_v=2e5,
    actions=("scan", "wait", "move_stage", "measure"),
    detectors=("HAADF",),
    signals=(SpectrumSignal(name="EDS", axis=AXIS),),
    ranges={"x_m": Range(low=-1e-3, high=1e-3), "fov_m": Range(low=1e-9, high=1e-3)},
    timing=Timing(),
)


def spot(k, dwell_s=1.0):
    """Return the measurement number k, each at its own place."""
    return Measure(x_m=k * 1e-9, y_m=0.0, dwell_s=dwell_s, signals=("EDS",))


class Options(ConfigModel):
    pass


class Log(list):
    """What was called, in order; also on which threads."""

    def __init__(self):
        super().__init__()
        self.threads = {}

    def note(self, who, *what):
        self.append((*what,))
        self.threads.setdefault(who, set()).add(threading.get_ident())


class Environment:
    """Takes the dwell of an act on the clock; ``troubles`` maps an act's number to an exception."""

    def __init__(self, clock, log, troubles=None, during=None):
        self.clock, self.log, self.troubles, self.during = clock, log, troubles or {}, during or (lambda n: None)
        self.acts, self.safe, self.dose_e, self.closed, self.x_m = [], 0, 0.0, False, 0.0

    def reset(self, *, seed=None, options=None):
        return None, {}

    def describe(self):
        self.log.threads.setdefault("instrument", set()).add(threading.get_ident())
        return SCOPE

    def read_state(self):
        self.log.threads.setdefault("instrument", set()).add(threading.get_ident())
        return MicroscopeState(
            time_s=self.clock.now_s(), dose_e=self.dose_e, x_m=self.x_m, beam_current_a=1.6e-19, blanked=self.safe > 0
        )

    def step(self, act):
        before, n = self.read_state(), len(self.acts)
        self.acts.append(act)
        self.log.note("instrument", "start", n)
        self.during(n)
        if n in self.troubles:
            raise self.troubles[n]
        if isinstance(self.clock, SimClock):
            self.clock.wait(getattr(act.action, "dwell_s", 1.0))
        self.dose_e += getattr(act.action, "dwell_s", 0.0)
        if isinstance(act.action, MoveStage):
            self.x_m = act.action.x_m
        frames = ()
        if isinstance(act.action, Measure):
            meta = FrameMeta(signal="EDS", axes=(AXIS,), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
            frames = (Frame(meta, np.arange(4, dtype=np.uint16)),)
        self.log.note("instrument", "end", n)
        return None, 0.0, False, False, {"observation": Observation(act.act_id, before, self.read_state(), frames)}

    def make_safe(self):
        self.log.threads.setdefault("instrument", set()).add(threading.get_ident())
        self.safe += 1

    def close(self):
        self.closed = True


class Policy:
    """Asks for the given answers in turn, then finishes; calls ``during(n)`` inside its n-th answer."""

    def __init__(self, answers, log, during=None, runners_up=()):
        self.answers, self.log, self.during = list(answers), log, during or (lambda n: None)
        self.runners_up, self.told, self.views, self.asked = runners_up, [], [], 0
        self.tell_trouble = None

    def ask(self, view):
        self.log.note("policy", "ask", view.step, len(view.pending))
        n, self.asked = self.asked, self.asked + 1
        self.views.append(view)
        self.during(n)
        answer = self.answers.pop(0) if self.answers else Finish(reason="nothing left")
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Finish):
            return answer
        others = tuple(Candidate(action=action, mean=1.0, std=0.5, value=0.25) for action in self.runners_up)
        return Decision(action=answer, purpose="spectrum", reason="scripted", runners_up=others)

    def tell(self, decision, result):
        self.log.note("policy", "tell", int(result.outcome.act_id[-6:]))
        self.told.append((decision, result.outcome))
        if self.tell_trouble and len(self.told) == self.tell_trouble[0]:
            raise self.tell_trouble[1]


class AnticipatingPolicy(Policy):
    """Also works ahead while an act runs."""

    def prepare(self, view):
        self.log.note("policy", "prepare", view.step, len(view.pending))
        self.views.append(view)


class LoggingJournal(MemoryJournal):
    """A journal in memory that notes its writes; ``full_at`` of them finds no space."""

    def __init__(self, clock, log, trouble=None):
        super().__init__(clock=clock)
        self.log, self.trouble, self.writes = log, trouble, 0

    def append(self, kind, body, *, step=None):
        self.writes += 1
        if self.trouble and self.writes == self.trouble[0]:
            raise self.trouble[1]
        seq = super().append(kind, body, step=step)
        self.log.append((kind, step) if step is not None else (kind,))
        return seq


class Trial:
    """One run of scripted parts."""

    def __init__(self, answers, *, clock=None, policy=Policy, inbox=None, journal=None, listener=None, **settings):
        parts = {name: settings.pop(name) for name in ("troubles", "during") if name in settings}
        script = {name: settings.pop(name) for name in ("thinking", "runners_up") if name in settings}
        self.clock, self.log = clock or SimClock(), Log()
        self.environment = Environment(self.clock, self.log, **parts)
        self.policy = policy(answers, self.log, script.get("thinking"), script.get("runners_up", ()))
        plain = {"name": "test", "environment": {"name": "e"}, "policy": {"name": "p"}}
        config = RunConfig.model_validate(plain | {"engine": {"lookahead": 1}} | settings)
        choice = Choice("x", None, Options())
        job = Job(Resolved(config, choice, choice, {}), self.environment, self.policy, {}, self.clock)
        self.journal = LoggingJournal(self.clock, self.log, journal)
        self.engine = Engine(job, self.journal, inbox=inbox, listener=listener, stopwatch=lambda: 0.0)
        self.end = None

    def run(self):
        """Run to the end and return this trial."""
        self.end = self.engine.run()
        return self

    def bodies(self, kind):
        """Return the bodies of all records of a kind."""
        return [record.body for record in self.journal.records() if record.kind == kind]
