"""Asking for acts: what was answered before is answered again, what is out of order refused, the rest done once."""

from __future__ import annotations

from autoscope.bus import messages as say
from autoscope.bus.execution import Respond, Running
from autoscope.bus.ledger import Entry, Ledger, digest_of
from autoscope.bus.overseer import Overseer
from autoscope.bus.roles import Peer
from autoscope.bus.wire import trouble_of
from autoscope.errors import AutoscopeError, OutcomeUnknown, Refused
from autoscope.protocols import Clock, Instrument
from autoscope.records import Act

READY_S = 60.0
"""How long the first read-back may take."""


class CodedRefusal(Exception):
    """A refusal with a code for programs."""

    def __init__(self, error: AutoscopeError, code: str, next_seq: int | None = None) -> None:
        super().__init__(str(error))
        self.trouble = trouble_of(error, code, next_seq)


class Acts:
    """Takes acts and read-backs to the instrument.

    Parameters
    ----------
    overseer : Overseer
        Who may begin what.
    ledger : Ledger
        What was begun before.
    clock : Clock
        Monotonic time.
    """

    def __init__(self, overseer: Overseer, ledger: Ledger, clock: Clock) -> None:
        self._overseer, self._ledger, self._clock = overseer, ledger, clock

    def execute(self, ask: say.Execute, request: say.Request, peer: Peer, respond: Respond, key: str) -> None:
        """Have an act done at most once.

        Raises
        ------
        CodedRefusal
            The act was not begun, and is not in the ledger.
        OutcomeUnknown
            It was begun before, and nobody knows what came of it.
        """
        if self._answered_before(ask, respond, key):
            return
        self._refuse_unless_next(ask, peer)
        self._overseer.watch()
        if self._overseer.emergency:
            raise CodedRefusal(Refused("an emergency stop holds", where="emergency", value=self._overseer.emergency,
                                 remedy="A person must look at the instrument and clear it"), "emergency")  # fmt: skip
        try:
            self._overseer.lease.require(ask.act.lease, ask.session)
        except Refused as error:
            raise CodedRefusal(error, "lease") from error
        now_s, waiting = self._clock.now_s(), {key: respond}
        limit_s = READY_S + self._overseer.config.watch.grace_s  # until the driver has begun
        running = Running(
            ask.act, ask.session, ask.seq, peer.user, request.clock_s, waiting, now_s, limit_s, live=ask.live
        )
        with self._overseer.lock:
            if self._overseer.under_way() is not None:
                raise self._busy()
            self._overseer.running = running
        if ask.acknowledge:
            self._ledger.acknowledge([a for a in ask.acknowledge if a != ask.act.act_id])
        self._overseer.told(running, "accepted")
        self._overseer.line.submit(lambda instrument: self._do(instrument, running))

    def _answered_before(self, ask: say.Execute, respond: Respond, key: str) -> bool:
        """Answer an act that is known; whoever asks, it is never done again."""
        act_id = ask.act.act_id
        running = self._overseer.running
        if running is not None and running.act.act_id == act_id and running.is_open():
            self._refuse_other(digest_of(running.act), ask.act)
            running.respond[key] = respond
            respond(say.Accepted(act_id=act_id), [])
            for announced in running.frames.announced if running.frames else ():
                respond(announced, [])  # in case it was lost
            return True
        entry = self._ledger.find(act_id)
        if entry is None or entry.status == "void":
            return False
        self._refuse_other(entry.digest, ask.act)
        self._repeat_answer(entry, respond)
        return True

    def _refuse_other(self, digest: str, act: Act) -> None:
        if digest != digest_of(act):
            what = "another act was asked for under this identifier"
            raise CodedRefusal(Refused(what, where=act.act_id, remedy="Give every act its own"), "identity")

    def _repeat_answer(self, entry: Entry, respond: Respond) -> None:
        stored = self._ledger.stored(entry.act_id)
        if stored is None:  # accepted, and the ledger could not be written afterwards
            raise OutcomeUnknown("what came of this act was never written down", where=entry.act_id)
        respond(*stored)

    def recall(self, act_id: str, respond: Respond) -> None:
        """Answer what came of an act."""
        running = self._overseer.running
        if running is not None and running.act.act_id == act_id and running.is_open():
            respond(say.Accepted(act_id=act_id), [])
            return
        entry = self._ledger.find(act_id)
        if entry is None or entry.status == "void":
            respond(say.NotBegun(act_id=act_id), [])
            return
        self._repeat_answer(entry, respond)

    def session(self, session: str, peer: Peer) -> int:
        """Return the number of the last act of a session of the peer's.

        Raises
        ------
        CodedRefusal
            It has none of that name, or it has ended.
        """
        known = self._ledger.session(session)
        if known is None or known.ended or known.user != peer.user:
            what = "this session is unknown or has ended"
            raise CodedRefusal(Refused(what, where="session", remedy="Say hello to open a new one"), "session")
        return known.last_seq

    def _refuse_unless_next(self, ask: say.Execute, peer: Peer) -> None:
        last = self.session(ask.session, peer)
        if ask.seq != last + 1:
            what = "the act is out of order: " + ("its number was used" if ask.seq <= last else "one before is missing")
            error = Refused(what, where=ask.act.act_id, value=ask.seq, limit=last + 1, remedy="Ask again in order")
            raise CodedRefusal(error, "sequence", last + 1)

    def _busy(self) -> CodedRefusal:
        running = self._overseer.under_way()
        what = "the driver hangs" if self._overseer.hung else "another act is under way"
        where = running.act.act_id if running else ""
        remedy = "Look at the instrument" if self._overseer.hung else "Wait for it, or abort it"
        return CodedRefusal(Refused(what, where=where, remedy=remedy), "hung" if self._overseer.hung else "busy")

    def _do(self, instrument: Instrument, running: Running) -> None:
        try:
            self._look_again(running)
            if not running.given_up:
                self._overseer.execution.do(instrument, running)
        finally:
            running.over = True
            if running.overruled or running.given_up:
                instrument.make_safe()
            with self._overseer.lock:
                self._overseer.running = None if self._overseer.running is running else self._overseer.running
                self._overseer.hung = None if self._overseer.hung is running else self._overseer.hung

    def _look_again(self, running: Running) -> None:
        """Catch what changed between the check of an act and the moment from which it can be overruled."""
        if self._overseer.emergency:
            running.overruled = running.overruled or f"emergency stop by {self._overseer.emergency}"
        try:
            self._overseer.lease.require(running.act.lease, running.session)
        except Refused:
            running.overruled = running.overruled or "its lease lapsed"

    def read_state(self, clock_s: float | None, respond: Respond) -> None:
        """Answer a read-back, or the last one before the act that keeps the driver busy."""
        busy = self._overseer.under_way()
        if busy is not None:
            if self._overseer.execution.state is None:
                raise self._busy()
            respond(say.StateRead(state=self._overseer.execution.state, busy=busy.act.act_id), [])
            return

        def read(instrument: Instrument) -> None:
            try:
                self._overseer.execution.follow(clock_s)
                respond(say.StateRead(state=self._overseer.execution.read(instrument)), [])
            except AutoscopeError as error:
                respond(trouble_of(error), [])

        self._overseer.line.submit(read)
