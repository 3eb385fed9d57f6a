"""What the server answers: requests in, answers out. Knows no socket, so that tests can put any network before it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from autoscope.bus import messages as say
from autoscope.bus.acts import Acts, CodedRefusal
from autoscope.bus.area import area_of
from autoscope.bus.driver import Line
from autoscope.bus.execution import Doses, Execution, Respond
from autoscope.bus.lease import Hold
from autoscope.bus.ledger import Ledger
from autoscope.bus.live import Streams
from autoscope.bus.overseer import EMERGENCY, Overseer
from autoscope.bus.recovery import do_again, settle_unanswered, void_unanswered
from autoscope.bus.roles import Peer, require
from autoscope.bus.serving import ServeConfig
from autoscope.bus.wire import trouble_of
from autoscope.clock import SimClock
from autoscope.errors import AutoscopeError, BusError, ConfigError, Refused
from autoscope.guard import Guard
from autoscope.protocols import Clock, Instrument
from autoscope.records import Capabilities

SAFE_S = 2.0
"""How long a command to make safe waits to hear that it is done."""


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
    streams : Streams, optional
        Where frames are offered while they are acquired.
    """

    def __init__(
        self,
        config: ServeConfig,
        line: Line,
        ledger: Ledger,
        *,
        clock: Clock,
        instrument_clock: Clock,
        streams: Streams | None = None,
    ) -> None:
        self.config, self.ledger, self._streams = config, ledger, streams
        self._clock, self._instrument_clock = clock, instrument_clock
        self._overseer = Overseer(config, line, ledger, clock=clock, instrument_clock=instrument_clock)
        self._acts = Acts(self._overseer, ledger, clock)
        self.lease = self._overseer.lease
        self.server = secrets.token_hex(8)
        self.watchdog: Callable[[], str] = lambda: "none"
        self.stopping = ""
        self._verbs: dict[str, Callable[[Any, say.Request, Peer], say.Answer]] = {
            "hello": self._hello, "ping": self._ping, "describe": self._describe, "limits": self._limits,
            "ledger": self._account, "holder": self._holder, "acquire": self._acquire, "renew": self._renew,
            "release": self._release, "take_over": self._take_over, "abort": self._abort, "make_safe": self._make_safe,
            "emergency_stop": self._emergency_stop, "clear_emergency": self._clear, "stop": self._stop,
        }  # fmt: skip
        self._later: dict[str, Callable[[Any, say.Request, Peer, Respond, str], None]] = {
            "execute": self._execute, "state": self._state, "recall": self._recall,
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
        self.capabilities = scope = self._overseer.line.start()
        self._check(scope)
        guard = Guard(self.config.limits, scope, saturated_fraction=1.0)
        self._ranges = guard.ranges
        self._overseer.doses = Doses(self.ledger, self.config.dose.sample or scope.serial, self.config.dose.max_dose_e)
        self._overseer.execution = Execution(
            self.ledger,
            guard,
            self._overseer.doses,
            self._instrument_clock,
            scope.tolerances,
            self._overseer.limit_s,
            self._overseer.told,
            self._streams,
        )
        self._overseer.emergency = self.ledger.fact(EMERGENCY, str)
        lines: list[str] = []
        self._on_line(lambda instrument: lines.extend(self._settle(instrument)), None)
        self._overseer.doses.area = area_of(self.config.dose, self.config.dose.sample or scope.serial, self.ledger)
        for line in lines:
            self._overseer.note("server", line)
        self._overseer.note("server", f"started: {scope.instrument} ({scope.serial})")
        return lines

    def _settle(self, instrument: Instrument) -> list[str]:
        lines: list[str] = []
        if self.capabilities.simulated:
            lines += void_unanswered(self.ledger)
            again = do_again(self.ledger, instrument, self._instrument_clock)
            lines += [f"the simulated instrument was made again: {again} acts done again on it"] if again else []
            instrument.make_safe()
            self._overseer.doses.begin(self._overseer.execution.read(instrument))
        else:
            instrument.make_safe()
            state = self._overseer.execution.read(instrument)
            lines += settle_unanswered(self.ledger, state, self.capabilities.tolerances, self._overseer.doses)
            self._overseer.doses.begin(state)
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
        self._overseer.line.make_safe(SAFE_S)
        self._overseer.note("server", f"ended: {self.stopping or 'asked to'}")
        self._overseer.write_notes()
        self._overseer.line.close()

    # --- requests -----------------------------------------------------------------------------------

    def handle(self, request: say.Request, peer: Peer, respond: Respond, source: str = "") -> None:
        """Answer a request, at once or, for acts and read-backs, when the instrument has; raises nothing.

        A request that comes twice from one source while its act is under way is answered once when that is over.
        """
        ask, verb = request.ask, request.ask.verb  # the word is looked up: asking for the type of a value is slow
        try:
            require(peer.role, verb, who=peer.user)
        except Refused as error:
            respond(trouble_of(error, "role"), [])
            return
        try:
            if verb in self._verbs:
                respond(self._verbs[verb](ask, request, peer), [])
            else:
                self._later[verb](ask, request, peer, respond, source)
        except CodedRefusal as coded:
            respond(coded.trouble, [])
        except AutoscopeError as error:
            respond(trouble_of(error), [])

    def _execute(self, ask: say.Execute, request: say.Request, peer: Peer, respond: Respond, source: str) -> None:
        self._overseer.asked_s = self._clock.now_s()
        self._acts.execute(ask, request, peer, respond, f"{source}/{request.id}")

    def _state(self, ask: say.ReadState, request: say.Request, peer: Peer, respond: Respond, source: str) -> None:
        self._overseer.asked_s = self._clock.now_s()
        self._acts.read_state(request.clock_s, respond)

    def _recall(self, ask: say.Recall, request: say.Request, peer: Peer, respond: Respond, source: str) -> None:
        self._acts.recall(ask.act_id, respond)

    def _hello(self, ask: say.Hello, request: say.Request, peer: Peer) -> say.Answer:
        if ask.replaces is not None and self.lease.drop(ask.replaces):
            self._overseer.overrule(f"the session of {peer.user} was replaced")
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
        driver = "hung" if self._overseer.hung else "busy" if self._overseer.under_way() else "idle"
        return _pong(driver, self.watchdog(), bool(self._overseer.emergency), hold.user if hold else "")

    def _describe(self, ask: say.Describe, request: say.Request, peer: Peer) -> say.Answer:
        return say.Described(capabilities=self.capabilities)

    def _limits(self, ask: say.ReadLimits, request: say.Request, peer: Peer) -> say.Answer:
        state = self._overseer.execution.state
        dose_e = self._overseer.doses.spent_e(state) if state else 0.0
        return say.Limits(
            ranges=self._ranges,
            max_dose_e=self._overseer.doses.max_dose_e,
            dose_e=dose_e,
            max_area_e_per_m2=self.config.dose.max_area_e_per_m2,
        )

    def _account(self, ask: say.ReadLedger, request: say.Request, peer: Peer) -> say.Answer:
        events = tuple(f"{wall} {kind}: {text}" for wall, _, kind, text in self.ledger.events())
        return say.Account(acts=self.ledger.counts(), events=events)

    # --- control ------------------------------------------------------------------------------------

    def _holder(self, ask: say.AskHolder, request: say.Request, peer: Peer) -> say.Answer:
        hold = self.lease.holder()
        return say.Holder(user=hold.user, left_s=self.lease.left_s(hold)) if hold else say.Holder()

    def _acquire(self, ask: say.Acquire, request: say.Request, peer: Peer) -> say.Answer:
        self._overseer.watch()  # a lease that has just lapsed must make safe before it is granted again
        self._acts.session(ask.session, peer)
        hold = self.lease.acquire(peer.user, ask.session, request.id)
        self._overseer.note("lease", f"{peer.user} holds the lease")
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
        self._overseer.overrule(f"{hold.user} gave the lease back")
        return say.Fine()

    def _take_over(self, ask: say.TakeOver, request: say.Request, peer: Peer) -> say.Answer:
        self._acts.session(ask.session, peer)
        hold, before = self.lease.take_over(peer.user, ask.session, request.id)
        if hold == before:
            return self._leased(hold)  # the same request again
        self._overseer.overrule(f"{peer.user} took over from {before.user if before else 'nobody'}: {ask.why}")
        return self._leased(hold)

    def _leased(self, hold: Hold) -> say.Answer:
        return say.Leased(lease=hold.lease, left_s=self.lease.left_s(hold))

    def _abort(self, ask: say.Abort, request: say.Request, peer: Peer) -> say.Answer:
        running = self._overseer.running
        if running is None or running.act.act_id != ask.act_id:
            raise Refused("this act is not under way", where=ask.act_id, remedy="Recall it to learn what came of it")
        self._overseer.overrule(f"{peer.user} aborted it")
        return say.Fine()

    def _make_safe(self, ask: say.MakeSafe, request: say.Request, peer: Peer) -> say.Answer:
        self._overseer.follow_idle(request.clock_s)
        return self._safe_now(f"{peer.user} made safe")

    def _emergency_stop(self, ask: say.EmergencyStop, request: say.Request, peer: Peer) -> say.Answer:
        self._overseer.emergency = f"{peer.user}: {ask.why or 'no reason given'}"  # first: no further act begins
        return self._safe_now(f"emergency stop by {self._overseer.emergency}")

    def _safe_now(self, why: str) -> say.Answer:
        if self._overseer.overrule(why, SAFE_S):
            return say.Fine()
        what = "nobody has confirmed that the instrument is safe"
        remedy = "Blank the beam at the instrument; close the column valves"
        raise BusError(what, where="safe line", limit=f"{SAFE_S:g} s", remedy=remedy)

    def _clear(self, ask: say.ClearEmergency, request: say.Request, peer: Peer) -> say.Answer:
        self._overseer.emergency = ""
        self._overseer.note("safe", f"{peer.user} cleared the emergency: {ask.why}")
        return say.Fine()

    def _stop(self, ask: say.Stop, request: say.Request, peer: Peer) -> say.Answer:
        self.stopping = f"{peer.user}: {ask.why or 'no reason given'}"
        self._overseer.overrule(f"the server is ended by {self.stopping}", SAFE_S)
        return say.Fine()

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

        self._overseer.line.submit(work)
        done.wait(timeout_s)
        if failures:
            raise failures[0]

    # --- keeping watch ------------------------------------------------------------------------------

    def clock_s(self) -> float | None:
        """Return the instrument's time, where it is simulated."""
        return self._overseer.clock_s()

    def watch(self) -> None:
        """Make safe where a lease has lapsed or an act takes too long; touches no disk, any thread may call it."""
        self._overseer.watch()

    def tick(self) -> list[say.Event]:
        """Keep watch, write down what happened, and return what is to be published."""
        return self._overseer.tick()

    def distrust(self) -> None:
        """Make safe because the watchdog is silent."""
        self._overseer.overrule("the watchdog is silent")


@lru_cache(maxsize=16)
def _pong(driver: str, watchdog: str, emergency: bool, holder: str) -> say.Pong:
    """Return how the server's parts are; mostly as they were the last time."""
    said = {"driver": driver, "watchdog": watchdog, "emergency": emergency, "holder": holder}
    return say.Pong.model_validate(said)
