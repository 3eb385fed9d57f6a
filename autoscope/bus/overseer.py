"""Who oversees the instrument: which act runs, whether somebody holds the lease, and when everything is overruled."""

from __future__ import annotations

import threading
from collections import deque

from autoscope.bus import messages as say
from autoscope.bus.driver import Line
from autoscope.bus.execution import Doses, Execution, Running
from autoscope.bus.lease import Lease
from autoscope.bus.ledger import Ledger
from autoscope.bus.recovery import SAFE
from autoscope.bus.serving import ServeConfig
from autoscope.bus.wire import trouble_of
from autoscope.clock import SimClock
from autoscope.errors import BusError, OutcomeUnknown
from autoscope.exposure import Cost
from autoscope.protocols import Clock
from autoscope.records import Act

PROGRESS_S = 1.0
"""How often the progress of a running act is published."""
EMERGENCY = "emergency"
"""The ledger's fact that an emergency stop holds, and whose."""


class Overseer:
    """Keeps watch over one instrument and overrules what runs; any thread may call it.

    Parameters
    ----------
    config : ServeConfig
        The protection.
    line : Line
        Where the instrument's calls are made.
    ledger : Ledger
        Where `tick` writes down what happened.
    clock : Clock
        Monotonic time.
    instrument_clock : Clock
        The instrument's time.
    """

    execution: Execution
    doses: Doses

    def __init__(
        self, config: ServeConfig, line: Line, ledger: Ledger, *, clock: Clock, instrument_clock: Clock
    ) -> None:
        self.config, self.line, self.ledger = config, line, ledger
        self._clock, self._instrument_clock = clock, instrument_clock
        self.lease = Lease(clock, config.watch.lease_s)
        self.lock = threading.Lock()
        self.running: Running | None = None
        self.hung: Running | None = None
        self.emergency = ""
        """Why no act may begin; empty where acts may."""
        self.asked_s = clock.now_s()
        """When an act or a read-back was last asked for."""
        self._events: deque[say.Event] = deque(maxlen=10_000)
        self._notes: deque[tuple[str, str, float | None]] = deque(maxlen=10_000)
        self._numbered, self._told_s = 0, 0.0

    def overrule(self, why: str, timeout_s: float | None = None) -> bool:
        """Make safe past everything, and let the running act come to nothing."""
        running = self.running
        if running is not None and not running.over:
            running.overruled = running.overruled or why
        done = self.line.make_safe(timeout_s)
        self.note(SAFE, why)
        return done

    def watch(self) -> None:
        """Make safe where a lease has lapsed or an act takes too long; touches no disk, any thread may call it."""
        lapsed = self.lease.lapsed()
        if lapsed is not None:
            self.overrule(f"the lease of {lapsed.user} lapsed")
        running = self.running
        if running is None:
            return
        if running.overruled:
            self.line.make_safe()  # again and again: the act may unblank behind our back
        if self._clock.now_s() - running.started_s > running.limit_s and self.hung is None and not running.over:
            self.hung = running
            self.overrule(f"the driver has not come back from {running.act.act_id} in time: it counts as hung")

    def tick(self) -> list[say.Event]:
        """Keep watch, write down what happened, and return what is to be published."""
        self.watch()
        hung = self.hung
        if hung is not None and not hung.given_up and not hung.over:
            self._give_up(hung)
        self._tell_progress()
        self._blank_idle()
        self.write_notes()
        return [self._events.popleft() for _ in range(len(self._events))]

    def _tell_progress(self) -> None:
        running, now_s = self.running, self._clock.now_s()
        if running is not None and running.begun and running.is_open() and now_s - self._told_s >= PROGRESS_S:
            self.told(running, "running")

    def _give_up(self, running: Running) -> None:
        running.given_up = True
        limit = f"{running.limit_s:g} s"
        error = OutcomeUnknown(
            "the driver has not come back from this act: nobody can say whether it was done",
            where=running.act.act_id,
            limit=limit,
            remedy="Look at the instrument; it was told to make itself safe over a line of its own",
        )
        failed = say.Failed(act_id=running.act.act_id, trouble=trouble_of(error))
        if running.begun:
            state = self.execution.state
            place = self.doses.place(state) if state else ""
            if state is not None:
                self.doses.expose(running.act.action, state, state, running.cost.dose_e)
            self.ledger.resolve(running.act.act_id, "unknown", failed, place)
        running.tell(failed, [])

    def _blank_idle(self) -> None:
        state, now_s = self.execution.state, self._clock.now_s()
        idle = now_s - self.asked_s > self.config.watch.idle_s
        if idle and self.running is None and state is not None and not state.blanked:
            self.overrule("nobody has asked for anything while the beam was on")
            self.asked_s = now_s

    def limit_s(self, act: Act, cost: Cost) -> float:
        """Return how long an act may take before its driver counts as hung."""
        watch = self.config.watch
        return min(act.deadline_s, watch.slack * cost.time_s + watch.grace_s)

    def told(self, running: Running, word: str) -> None:
        """Publish what an act has come to."""
        self._told_s = now_s = self._clock.now_s()
        more: dict[str, float] = {}
        if word == "running":
            more = {"elapsed_s": now_s - running.started_s, "expected_s": running.cost.time_s}
            if running.frames is not None and running.frames.done is not None:
                more |= dict(zip(("points_done", "points_total"), running.frames.done))
        self._publish("act", act_id=running.act.act_id, state=word, **more)

    def note(self, kind: str, text: str) -> None:
        """Publish what happened, and have it written down at the next tick."""
        self._notes.append((kind, text, self.clock_s()))
        self._publish(kind if kind in {"lease", "safe"} else "server", text=text[:500])

    def _publish(self, kind: str, **fields: str | float) -> None:
        number, self._numbered = self._numbered, self._numbered + 1
        values = {"kind": kind, "number": number, "time_s": self._clock.now_s()} | fields
        self._events.append(say.Event.model_validate(values))

    def write_notes(self) -> None:
        """Write down what happened; in the thread that owns the disk."""
        while self._notes:
            kind, text, clock_s = self._notes[0]
            try:
                self.ledger.note(kind, text, clock_s)
                if kind == SAFE:
                    self.ledger.set_fact(EMERGENCY, self.emergency)
            except BusError:
                return  # a full disk must not end the watch; the notes wait, and no act begins meanwhile
            self._notes.popleft()

    def under_way(self) -> Running | None:
        """Return the act that keeps the driver busy, or None."""
        if self.hung is not None:
            return self.hung
        return self.running if self.running is not None and not self.running.over else None

    def follow_idle(self, clock_s: float | None) -> None:
        """Let simulated time pass up to the agent's, where no act is under way."""
        if self.running is None and clock_s is not None and isinstance(self._instrument_clock, SimClock):
            self._instrument_clock.wait(max(clock_s - self._instrument_clock.now_s(), 0.0))

    def clock_s(self) -> float | None:
        """Return the instrument's time, where it is simulated."""
        return self._instrument_clock.now_s() if isinstance(self._instrument_clock, SimClock) else None
