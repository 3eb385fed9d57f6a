"""What the server answers: requests in, answers out. Knows no socket, so that tests can put any network before it."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autoscope.bus import messages as say
from autoscope.bus.driver import Line
from autoscope.bus.execution import Doses, Execution, Respond, Running
from autoscope.bus.lease import Hold, Lease
from autoscope.bus.ledger import Entry, Ledger, digest_of
from autoscope.bus.recovery import SAFE, do_again, settle_unanswered, void_unanswered
from autoscope.bus.roles import Role, Verb, require
from autoscope.bus.serving import ServeConfig
from autoscope.bus.wire import trouble_of
from autoscope.clock import SimClock
from autoscope.errors import AutoscopeError, BusError, ConfigError, OutcomeUnknown, Refused
from autoscope.exposure import Cost
from autoscope.guard import Guard
from autoscope.protocols import Clock, Instrument
from autoscope.records import Act, Capabilities, MicroscopeState

SAFE_S = 2.0
"""How long a command to make safe waits to hear that it is done."""
EMERGENCY = "emergency"
READY_S = 60.0
"""How long the first read-back may take."""


@dataclass(frozen=True)
class Peer:
    """Who asks: the name of the key and its role, as the authenticator says."""

    user: str
    role: Role


class Service:
    """Answers for one instrument, enforces its limits, and keeps it safe when nobody holds it.

    `handle` may be called from any thread; what touches the disk is `tick`'s and the driver's.

    Parameters
    ----------
    config : ServeConfig
        What is served, and the protection.
    line : Line
        Where the instrument's calls are made.
    ledger : Ledger
        Opened.
    clock : Clock
        Monotonic time, for leases and deadlines.
    instrument_clock : Clock
        The instrument's time; a `SimClock` where it is simulated.
    """

    def __init__(
        self, config: ServeConfig, line: Line, ledger: Ledger, *, clock: Clock, instrument_clock: Clock
    ) -> None:
        self.config, self._line, self.ledger = config, line, ledger
        self._clock, self._instrument_clock = clock, instrument_clock
        self.lease = Lease(clock, config.watch.lease_s)
        self.server = secrets.token_hex(8)
        self.watchdog: Callable[[], str] = lambda: "none"
        self.stopping = ""
        self._emergency = ""
        self._running: Running | None = None
        self._hung: Running | None = None
        self._lock = threading.Lock()
        self._events: deque[say.Event] = deque(maxlen=10_000)
        self._notes: deque[tuple[str, str, float | None]] = deque()
        self._numbered = 0
        self._asked_s = clock.now_s()
        self._verbs: dict[str, Callable[[Any, say.Request, Peer], say.Answer]] = {
            "hello": self._hello, "ping": self._ping, "describe": self._describe, "limits": self._limits,
            "ledger": self._account, "holder": self._holder, "acquire": self._acquire, "renew": self._renew,
            "release": self._release, "take_over": self._take_over, "abort": self._abort, "make_safe": self._make_safe,
            "emergency_stop": self._emergency_stop, "clear_emergency": self._clear, "stop": self._stop,
        }  # fmt: skip

    # --- a life -------------------------------------------------------------------------------------

    def open(self) -> list[str]:
        """Make the instrument, check that these limits are its own, make it safe and settle what was left unanswered.

        Returns
        -------
        list of str
            What was found, for people.

        Raises
        ------
        ConfigError
            The limits belong to another instrument, or leave nothing of its range.
        AutoscopeError
            Whatever the instrument says.
        """
        self.capabilities = scope = self._line.start()
        self._check(scope)
        guard = Guard(self.config.limits, scope, saturated_fraction=1.0)
        self._ranges = guard.ranges
        self._doses = Doses(self.ledger, self.config.dose.sample or scope.serial, self.config.dose.max_dose_e)
        self._execution = Execution(
            self.ledger, guard, self._doses, self._instrument_clock, scope.tolerances, self._limit_s, self._told
        )
        self._emergency = self.ledger.fact(EMERGENCY, str)
        lines: list[str] = []
        self._on_line(lambda instrument: lines.extend(self._settle(instrument)), None)
        for line in lines:
            self._note("server", line)
        self._note("server", f"started: {scope.instrument} ({scope.serial})")
        return lines

    def _settle(self, instrument: Instrument) -> list[str]:
        lines: list[str] = []
        if self.capabilities.simulated:
            lines += void_unanswered(self.ledger)
            again = do_again(self.ledger, instrument, self._instrument_clock)
            lines += [f"the simulated instrument was made again: {again} acts done again on it"] if again else []
            instrument.make_safe()
            self._doses.begin(self._execution.read(instrument))
        else:
            instrument.make_safe()
            state = self._execution.read(instrument)
            lines += settle_unanswered(self.ledger, state, self.capabilities.tolerances, self._doses)
            self._doses.begin(state)
        return lines

    def _check(self, scope: Capabilities) -> None:
        if self.config.serial is not None and self.config.serial != scope.serial:
            raise ConfigError(
                "these limits belong to another instrument",
                where="serial",
                value=scope.serial,
                limit=self.config.serial,
                remedy="Serve the instrument with its own configuration",
            )
        if isinstance(self._instrument_clock, SimClock) and not scope.simulated:
            raise ConfigError("a real instrument has real time", where="clock", remedy="Write 'clock: system'")
        known = self.ledger.fact("instrument", lambda: f"{scope.instrument}/{scope.serial}")
        if known != f"{scope.instrument}/{scope.serial}":
            what = "this ledger belongs to another instrument"
            raise ConfigError(what, where="ledger", value=known, remedy="Give each its own folder with --ledger")

    def close(self) -> None:
        """Make safe, write down what happened and let go of the instrument."""
        self._line.make_safe(SAFE_S)
        self._note("server", f"ended: {self.stopping or 'asked to'}")
        self._write_notes()
        self._line.close()

    # --- requests -----------------------------------------------------------------------------------

    def handle(self, request: say.Request, peer: Peer, respond: Respond, source: str = "") -> None:
        """Answer a request, at once or, for acts and read-backs, when the instrument has; raises nothing.

        A request that comes twice from one source while its act is under way is answered once when that is over.
        """
        ask = request.ask
        try:
            require(peer.role, Verb(ask.verb), who=peer.user)
        except Refused as error:
            respond(trouble_of(error, "role"), [])
            return
        try:
            if isinstance(ask, say.Execute):
                self._asked_s = self._clock.now_s()
                self._execute(ask, request, peer, respond, f"{source}/{request.id}")
            elif isinstance(ask, say.ReadState):
                self._asked_s = self._clock.now_s()
                self._read_state(request.clock_s, respond)
            elif isinstance(ask, say.Recall):
                self._recall(ask.act_id, respond)
            else:
                respond(self._verbs[ask.verb](ask, request, peer), [])
        except _Coded as coded:
            respond(coded.trouble, [])
        except AutoscopeError as error:
            respond(trouble_of(error), [])

    def clock_s(self) -> float | None:
        """Return the instrument's time, where it is simulated."""
        return self._instrument_clock.now_s() if isinstance(self._instrument_clock, SimClock) else None

    def _hello(self, ask: say.Hello, request: say.Request, peer: Peer) -> say.Answer:
        if ask.replaces is not None and self.lease.drop(ask.replaces):
            self._overrule(f"the session of {peer.user} was replaced")
        session = self.ledger.open_session(peer.user, ask.client, ask.replaces)
        return say.Welcome(
            session=session,
            server=self.server,
            user=peer.user,
            role=peer.role.value,
            clock="simulated" if isinstance(self._instrument_clock, SimClock) else "system",
            lease_s=self.config.watch.lease_s,
            instrument=self.capabilities.instrument,
            serial=self.capabilities.serial,
        )

    def _ping(self, ask: say.Ping, request: say.Request, peer: Peer) -> say.Answer:
        hold = self.lease.holder()
        driver = "hung" if self._hung else "busy" if self._under_way() else "idle"
        return say.Pong.model_validate(
            {"driver": driver, "watchdog": self.watchdog(), "emergency": bool(self._emergency)}
            | {"holder": hold.user if hold else ""}
        )

    def _describe(self, ask: say.Describe, request: say.Request, peer: Peer) -> say.Answer:
        return say.Described(capabilities=self.capabilities)

    def _limits(self, ask: say.ReadLimits, request: say.Request, peer: Peer) -> say.Answer:
        state = self._execution.state
        dose_e = self._doses.spent_e(state) if state else 0.0
        return say.Limits(ranges=self._ranges, max_dose_e=self._doses.max_dose_e, dose_e=dose_e)

    def _account(self, ask: say.ReadLedger, request: say.Request, peer: Peer) -> say.Answer:
        events = tuple(f"{wall} {kind}: {text}" for wall, _, kind, text in self.ledger.events())
        return say.Account(acts=self.ledger.counts(), events=events)

    # --- control ------------------------------------------------------------------------------------

    def _holder(self, ask: say.AskHolder, request: say.Request, peer: Peer) -> say.Answer:
        hold = self.lease.holder()
        return say.Holder(user=hold.user, left_s=self.lease.left_s(hold)) if hold else say.Holder()

    def _acquire(self, ask: say.Acquire, request: say.Request, peer: Peer) -> say.Answer:
        self.watch()  # a lease that has just lapsed must make safe before it is granted again
        self._session(ask.session, peer)
        hold = self.lease.acquire(peer.user, ask.session)
        self._note("lease", f"{peer.user} holds the lease")
        return self._leased(hold)

    def _renew(self, ask: say.Renew, request: say.Request, peer: Peer) -> say.Answer:
        try:
            return self._leased(self.lease.renew(ask.lease))
        except Refused as error:
            return trouble_of(error, "lease")

    def _release(self, ask: say.Release, request: say.Request, peer: Peer) -> say.Answer:
        try:
            hold = self.lease.release(ask.lease)
        except Refused as error:
            return trouble_of(error, "lease")
        self._overrule(f"{hold.user} gave the lease back")
        return say.Fine()

    def _take_over(self, ask: say.TakeOver, request: say.Request, peer: Peer) -> say.Answer:
        self._session(ask.session, peer)
        hold, before = self.lease.take_over(peer.user, ask.session)
        self._overrule(f"{peer.user} took over from {before.user if before else 'nobody'}: {ask.why}")
        return self._leased(hold)

    def _leased(self, hold: Hold) -> say.Answer:
        return say.Leased(lease=hold.lease, left_s=self.lease.left_s(hold))

    def _abort(self, ask: say.Abort, request: say.Request, peer: Peer) -> say.Answer:
        running = self._running
        if running is None or running.act.act_id != ask.act_id:
            raise Refused("this act is not under way", where=ask.act_id, remedy="Recall it to learn what came of it")
        self._overrule(f"{peer.user} aborted it")
        return say.Fine()

    def _make_safe(self, ask: say.MakeSafe, request: say.Request, peer: Peer) -> say.Answer:
        self._follow_idle(request.clock_s)
        return self._safe_now(f"{peer.user} made safe")

    def _emergency_stop(self, ask: say.EmergencyStop, request: say.Request, peer: Peer) -> say.Answer:
        self._emergency = f"{peer.user}: {ask.why or 'no reason given'}"  # first: no further act begins
        return self._safe_now(f"emergency stop by {self._emergency}")

    def _safe_now(self, why: str) -> say.Answer:
        if self._overrule(why, SAFE_S):
            return say.Fine()
        what = "nobody has confirmed that the instrument is safe"
        remedy = "Blank the beam at the instrument; close the column valves"
        raise BusError(what, where="safe line", limit=f"{SAFE_S:g} s", remedy=remedy)

    def _clear(self, ask: say.ClearEmergency, request: say.Request, peer: Peer) -> say.Answer:
        self._emergency = ""
        self._note("safe", f"{peer.user} cleared the emergency: {ask.why}")
        return say.Fine()

    def _stop(self, ask: say.Stop, request: say.Request, peer: Peer) -> say.Answer:
        self.stopping = f"{peer.user}: {ask.why or 'no reason given'}"
        self._overrule(f"the server is ended by {self.stopping}", SAFE_S)
        return say.Fine()

    def _overrule(self, why: str, timeout_s: float | None = None) -> bool:
        """Make safe past everything, and let the running act come to nothing."""
        running = self._running
        if running is not None and not running.over:
            running.overruled = running.overruled or why
        done = self._line.make_safe(timeout_s)
        self._note(SAFE, why)
        return done

    # --- acts ---------------------------------------------------------------------------------------

    def _execute(self, ask: say.Execute, request: say.Request, peer: Peer, respond: Respond, key: str) -> None:
        if self._answered_before(ask, respond, key):
            return
        self._refuse_unless_next(ask, peer)
        self.watch()
        if self._emergency:
            raise _Coded(Refused("an emergency stop holds", where="emergency", value=self._emergency,
                                 remedy="A person must look at the instrument and clear it"), "emergency")  # fmt: skip
        try:
            self.lease.require(ask.act.lease, ask.session)
        except Refused as error:
            raise _Coded(error, "lease") from error
        now_s, waiting = self._clock.now_s(), {key: respond}
        limit_s = READY_S + self.config.watch.grace_s  # until the driver has begun
        running = Running(ask.act, ask.session, ask.seq, peer.user, request.clock_s, waiting, now_s, limit_s)
        with self._lock:
            if self._under_way() is not None:
                raise self._busy()
            self._running = running
        if ask.acknowledge:
            self.ledger.acknowledge([a for a in ask.acknowledge if a != ask.act.act_id])
        self._told(running, "accepted")
        self._line.submit(lambda instrument: self._do(instrument, running))

    def _answered_before(self, ask: say.Execute, respond: Respond, key: str) -> bool:
        """Answer an act that is known; whoever asks, it is never done again."""
        act_id = ask.act.act_id
        running = self._running
        if running is not None and running.act.act_id == act_id and running.is_open():
            self._refuse_other(digest_of(running.act), ask.act)
            running.respond[key] = respond
            respond(say.Accepted(act_id=act_id), [])
            return True
        entry = self.ledger.find(act_id)
        if entry is None or entry.status == "void":
            return False
        self._refuse_other(entry.digest, ask.act)
        self._repeat_answer(entry, respond)
        return True

    def _refuse_other(self, digest: str, act: Act) -> None:
        if digest != digest_of(act):
            what = "another act was asked for under this identifier"
            raise _Coded(Refused(what, where=act.act_id, remedy="Give every act its own"), "identity")

    def _repeat_answer(self, entry: Entry, respond: Respond) -> None:
        stored = self.ledger.stored(entry.act_id)
        if stored is None:  # accepted, and the ledger could not be written afterwards
            raise OutcomeUnknown("what came of this act was never written down", where=entry.act_id)
        respond(*stored)

    def _recall(self, act_id: str, respond: Respond) -> None:
        running = self._running
        if running is not None and running.act.act_id == act_id and running.is_open():
            respond(say.Accepted(act_id=act_id), [])
            return
        entry = self.ledger.find(act_id)
        if entry is None or entry.status == "void":
            respond(say.NotBegun(act_id=act_id), [])
            return
        self._repeat_answer(entry, respond)

    def _session(self, session: str, peer: Peer) -> int:
        known = self.ledger.session(session)
        if known is None or known.ended or known.user != peer.user:
            what = "this session is unknown or has ended"
            raise _Coded(Refused(what, where="session", remedy="Say hello to open a new one"), "session")
        return known.last_seq

    def _refuse_unless_next(self, ask: say.Execute, peer: Peer) -> None:
        last = self._session(ask.session, peer)
        if ask.seq != last + 1:
            what = "the act is out of order: " + ("its number was used" if ask.seq <= last else "one before is missing")
            error = Refused(what, where=ask.act.act_id, value=ask.seq, limit=last + 1, remedy="Ask again in order")
            raise _Coded(error, "sequence", last + 1)

    def _under_way(self) -> Running | None:
        if self._hung is not None:
            return self._hung
        return self._running if self._running is not None and not self._running.over else None

    def _busy(self) -> _Coded:
        running = self._under_way()
        what = "the driver hangs" if self._hung else "another act is under way"
        where = running.act.act_id if running else ""
        remedy = "Look at the instrument" if self._hung else "Wait for it, or abort it"
        return _Coded(Refused(what, where=where, remedy=remedy), "hung" if self._hung else "busy")

    def _do(self, instrument: Instrument, running: Running) -> None:
        try:
            self._look_again(running)
            if not running.given_up:
                self._execution.do(instrument, running)
        finally:
            running.over = True
            if running.overruled or running.given_up:
                instrument.make_safe()
            with self._lock:
                self._running = None if self._running is running else self._running
                self._hung = None if self._hung is running else self._hung

    def _look_again(self, running: Running) -> None:
        """Catch what changed between the check of an act and the moment from which it can be overruled."""
        if self._emergency:
            running.overruled = running.overruled or f"emergency stop by {self._emergency}"
        try:
            self.lease.require(running.act.lease, running.session)
        except Refused:
            running.overruled = running.overruled or "its lease lapsed"

    def _read_state(self, clock_s: float | None, respond: Respond) -> None:
        busy = self._under_way()
        if busy is not None:
            if self._execution.state is None:
                raise self._busy()
            respond(say.StateRead(state=self._execution.state, busy=busy.act.act_id), [])
            return

        def read(instrument: Instrument) -> None:
            try:
                self._execution.follow(clock_s)
                respond(say.StateRead(state=self._execution.read(instrument)), [])
            except AutoscopeError as error:
                respond(trouble_of(error), [])

        self._line.submit(read)

    def _follow_idle(self, clock_s: float | None) -> None:
        if self._running is None and clock_s is not None and isinstance(self._instrument_clock, SimClock):
            self._instrument_clock.wait(max(clock_s - self._instrument_clock.now_s(), 0.0))

    def _on_line(self, job: Callable[[Instrument], None], timeout_s: float | None) -> None:
        """Do a job on the instrument's line and wait for it; its error is raised here."""
        done, failures = threading.Event(), list[Exception]()

        def work(instrument: Instrument) -> None:
            try:
                job(instrument)
            except Exception as error:  # raised again by whoever waits
                failures.append(error)
            finally:
                done.set()

        self._line.submit(work)
        done.wait(timeout_s)
        if failures:
            raise failures[0]

    # --- keeping watch ------------------------------------------------------------------------------

    def watch(self) -> None:
        """Make safe where a lease has lapsed or an act takes too long; touches no disk, any thread may call it."""
        lapsed = self.lease.lapsed()
        if lapsed is not None:
            self._overrule(f"the lease of {lapsed.user} lapsed")
        running = self._running
        if running is None:
            return
        if running.overruled:
            self._line.make_safe()  # again and again: the act may unblank behind our back
        if self._clock.now_s() - running.started_s > running.limit_s and self._hung is None and not running.over:
            self._hung = running
            self._overrule(f"the driver has not come back from {running.act.act_id} in time: it counts as hung")

    def distrust(self) -> None:
        """Make safe because somebody who should watch is silent."""
        self._overrule("the watchdog is silent")

    def tick(self) -> list[say.Event]:
        """Keep watch, write down what happened, and return what is to be published."""
        self.watch()
        hung = self._hung
        if hung is not None and not hung.given_up and not hung.over:
            self._give_up(hung)
        self._blank_idle()
        self._write_notes()
        return [self._events.popleft() for _ in range(len(self._events))]

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
            place = self._doses.place(self._execution.state) if self._execution.state else ""
            self.ledger.resolve(running.act.act_id, "unknown", failed, place)
        running.tell(failed, [])

    def _blank_idle(self) -> None:
        state, now_s = self._execution.state, self._clock.now_s()
        idle = now_s - self._asked_s > self.config.watch.idle_s
        if idle and self._running is None and state is not None and not state.blanked:
            self._overrule("nobody has asked for anything while the beam was on")
            self._asked_s = now_s

    def _limit_s(self, act: Act, cost: Cost) -> float:
        watch = self.config.watch
        return min(act.deadline_s, watch.slack * cost.time_s + watch.grace_s)

    def _told(self, running: Running, word: str) -> None:
        self._publish("act", act_id=running.act.act_id, state=word)

    def _note(self, kind: str, text: str) -> None:
        self._notes.append((kind, text, self.clock_s()))
        self._publish(kind if kind in {"lease", "safe"} else "server", text=text[:500])

    def _publish(self, kind: str, **fields: str) -> None:
        number, self._numbered = self._numbered, self._numbered + 1
        values = {"kind": kind, "number": number, "time_s": self._clock.now_s()} | fields
        self._events.append(say.Event.model_validate(values))

    def _write_notes(self) -> None:
        while self._notes:
            kind, text, clock_s = self._notes.popleft()
            self.ledger.note(kind, text, clock_s)
            if kind == SAFE:
                self.ledger.set_fact(EMERGENCY, self._emergency)

    def state_known(self) -> MicroscopeState | None:
        """Return the state as last read."""
        return self._execution.state


class _Coded(Exception):
    """A refusal with a code for programs."""

    def __init__(self, error: AutoscopeError, code: str, next_seq: int | None = None) -> None:
        super().__init__(str(error))
        self.trouble = trouble_of(error, code, next_seq)
