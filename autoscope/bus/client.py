"""The instrument at the other end of the bus, behind the same protocol as any other."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from autoscope.bus import messages as say
from autoscope.bus.authentication import ClientSecurity, CurveClient, OpenClient
from autoscope.bus.calling import Caller, Keeper
from autoscope.bus.conversation import Conversation, expect, unexpected
from autoscope.bus.following import Followers
from autoscope.bus.keys import KeyPair
from autoscope.bus.messages import Answer
from autoscope.bus.stream_client import StreamReceiver
from autoscope.bus.transport import Fetching, Following, Transport, ZmqTransport
from autoscope.bus.wire import Fetch, Parts, error_of, unpack
from autoscope.clock import SystemClock
from autoscope.config import ConfigModel
from autoscope.delivery import NoSink
from autoscope.errors import AutoscopeError, BusError, OutcomeUnknown, Unreachable
from autoscope.protocols import Clock, FrameSink
from autoscope.quantities import PositiveDuration
from autoscope.records import Act, Capabilities, MicroscopeState, Observation, SpectrumImage

ACKNOWLEDGED_AFTER = 4
"""An act is acknowledged when this many later ones have begun: its frames are in the record by then."""
FETCHES = 3
"""How often a large array is fetched before that counts as failed."""
TRIES = 20
"""How often an act may be asked for again after refusals that can be mended, besides waiting for another act."""
TOLD_S = 0.1
"""How often it is told how much of a frame has come."""


class BusInstrument:
    """An instrument on another computer, over the bus; its server has the last word on limits, dose and blanking.

    Holds the server's lease from the first act to `close`, and renews it from a thread of its own: as long as this
    process lives and can be heard, the agent counts as alive. Nothing is ever done twice: an act whose answer does not
    come is asked for again under the same identifier, and the server's ledger answers it.

    Parameters
    ----------
    config : BusInstrument.Config
        Where the server is, and how long to wait.
    clock : Clock
        The run's clock; a `SimClock` follows the server's simulated time.
    rng : numpy.random.Generator
        Not used: all chance is at the other end.
    transport : Transport, optional
        Another network.
    timer : Clock, optional
        Monotonic time for waiting.

    Raises
    ------
    Unreachable
        Nobody answers.
    ConfigError
        The run's clock is not of the server's kind.
    """

    class Config(ConfigModel):
        """Where the server is, who we are, and how long we wait."""

        address: str = "tcp://127.0.0.1:5560"
        """Of the server: ``tcp://host:port`` or ``ipc://path``."""
        key: Path | None = None
        """File of our key, made by 'autoscope keys new'; none where the server is served without keys."""
        who: str = "agent"
        """Our name, for people; the server knows us by our key."""
        take_over: str = ""
        """Why we take the instrument from whoever holds it, for the record; needs an operator's key. Empty: we wait."""
        connect_s: PositiveDuration = 10.0
        """How long the first answer may take."""
        answer_s: PositiveDuration = 5.0
        """How long the answer to a question may take."""
        resend_s: PositiveDuration = 2.0
        """An act that is not answered is asked for again, under its identifier, after this time."""
        patience_s: PositiveDuration = 60.0
        """How long the server may be silent, e.g. while it is restarted, before an act's outcome counts as unknown."""
        max_frame_bytes: PositiveInt = 4 * 1024**3
        """A larger frame is refused before memory is taken for it."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        rng: np.random.Generator | None = None,
        transport: Transport | None = None,
        timer: Clock | None = None,
    ) -> None:
        self._config = config
        self._timer = timer or SystemClock()
        self._transport = transport or ZmqTransport(config.address, _security(config.key))
        self._acting = Caller(self._transport, "act", self._timer)
        self._control, self._control_lock = Caller(self._transport, "control", self._timer), threading.Lock()
        self._recent: deque[str] = deque()
        self._unsettled: set[str] = set()
        self._closed = False
        asking = Caller(self._transport, "ask", self._timer)
        keeper = Keeper(Caller(self._transport, "renew", self._timer), self._timer, threaded=timer is None)
        try:
            self._talk = Conversation(config, asking, keeper, clock, self._timer)
            described = self._talk.question(say.Describe(), config.connect_s)
            self._capabilities = expect(described, say.Described).capabilities
        except BaseException:
            self._transport.close()
            raise

    # --- the protocol -------------------------------------------------------------------------------

    def describe(self) -> Capabilities:
        """Return what the instrument can do; constant during its life."""
        return self._capabilities

    def state(self) -> MicroscopeState:
        """Read the instrument back.

        Raises
        ------
        Unreachable
            The server does not answer, or the driver is busy, for longer than may be waited: as with acts, a server
            that is started again meanwhile does no harm. No old state is given out.
        """
        until_s = self._timer.now_s() + self._config.patience_s
        while True:
            left_s = max(until_s - self._timer.now_s(), self._config.answer_s)
            read = expect(self._talk.question(say.ReadState(), left_s), say.StateRead)
            if not read.busy:
                return read.state
            if self._timer.now_s() >= until_s:
                what = "the instrument cannot be read back while its driver is busy"
                raise Unreachable(what, where=read.busy, limit=f"{self._config.patience_s:g} s")
            self._timer.wait(min(self._config.resend_s, 0.2))

    def execute(self, act: Act) -> Observation:
        """Have one act done at most once, and return the state really reached and the frames; see `execute_into`."""
        return self.execute_into(act, NoSink())

    def execute_into(self, act: Act, sink: FrameSink) -> Observation:
        """Have one act done at most once, and return the state really reached and the frames.

        Large frames of a scan are received while they are acquired, where the instrument tells of them, and the sink is
        told of what has come, on this thread. Where the sink wants no more, the act is aborted.

        Raises
        ------
        OutcomeUnknown
            The act may or may not have been done; it is not done again, read the instrument back.
        Unreachable
            The server is gone; the act was not begun.
        Refused
            Somebody else holds the instrument, or an emergency stop holds.
        AutoscopeError
            Whatever the server's guard and the instrument say, as the class they raised.
        """
        followers = Followers(self._receiver, sink, self._config.max_frame_bytes)
        try:
            return self._execute(act, followers)
        except Unreachable as error:
            if act.act_id in self._unsettled:
                raise self._unknown(act) from error
            raise
        finally:
            followers.close()

    def abort(self, act_id: str) -> bool:
        """Have an act under way aborted, past everything else; return whether the server did so. It comes to an error.

        Any thread may call it, and any client whose role permits it.
        """
        with self._control_lock:
            reply = self._control.call(say.Abort(act_id=act_id), self._config.answer_s, self._talk.clock_s())
        return reply is not None and isinstance(reply[0].answer, say.Fine)

    def recall(self, act_id: str) -> Observation | None:
        """Return what came of an act asked for before, perhaps by an agent that died; None if it was never begun.

        Takes the lease first, so that nobody else can begin it afterwards, and waits while it is still under way.

        Raises
        ------
        OutcomeUnknown
            Nobody can say whether it was done.
        AutoscopeError
            It was refused or failed with this error.
        """
        self._talk.hold()
        until_s = self._timer.now_s() + self._config.patience_s
        while True:
            answer, parts = self._talk.ask(self._talk.asking, say.Recall(act_id=act_id), self._config.answer_s)
            if isinstance(answer, say.NotBegun):
                return None
            if not isinstance(answer, say.Accepted):
                return self._result(act_id, answer, parts)
            if self._timer.now_s() >= until_s:
                raise OutcomeUnknown("the act is still under way", where=act_id, remedy="Ask again later")
            self._timer.wait(0.2)

    def make_safe(self) -> None:
        """Have the beam blanked and scan and stage stopped, past everything else. Never raises."""
        if self._closed:
            return  # the lease was given back, which makes safe
        try:
            with self._control_lock:
                for _ in range(3):
                    reply = self._control.call(say.MakeSafe(), self._config.answer_s / 2, self._talk.clock_s())
                    if reply is not None and isinstance(reply[0].answer, say.Fine):
                        return
        except (AutoscopeError, OSError):  # whoever needs to know reads the state back
            return

    def emergency_stop(self, why: str) -> bool:
        """Blank at once and let no act begin until a person clears it; return whether the server confirmed it."""
        with self._control_lock:
            reply = self._control.call(say.EmergencyStop(why=why[:500]), self._config.answer_s)
        return reply is not None and isinstance(reply[0].answer, say.Fine)

    def close(self) -> None:
        """Give the lease back, which makes the instrument safe, and let go of the network. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        lease = self._talk.keeper.stop()
        try:
            if lease:
                self._talk.ask(self._talk.asking, say.Release(lease=lease), self._config.answer_s / 2)
        except Unreachable:  # it lapses by itself
            return
        finally:
            self._transport.close()

    @property
    def late_replies(self) -> int:
        """How many replies came after their question had been given up, and were not used."""
        callers = (self._talk.asking, self._acting, self._control)
        return sum(caller.late for caller in callers)

    # --- acts ---------------------------------------------------------------------------------------

    def _execute(self, act: Act, followers: Followers) -> Observation:
        until_s = self._timer.now_s() + act.deadline_s + self._config.patience_s
        tries = 0
        while True:
            self._talk.hold()
            answer, parts = self._ask_for(act, until_s, followers)
            tries += not (isinstance(answer, say.Trouble) and answer.code == "busy")
            again = tries < TRIES and self._timer.now_s() < until_s
            if not (again and isinstance(answer, say.Trouble) and self._mend(answer)):
                return self._observation(act, answer, parts, followers)

    def _ask_for(self, act: Act, until_s: float, followers: Followers) -> tuple[Answer, Parts]:
        """Ask until there is an answer that settles the act, always under the same identifier."""
        ask = say.Execute(
            session=self._talk.welcome.session,
            seq=self._talk.seq,
            act=act.replace(lease=self._talk.keeper.lease),
            acknowledge=tuple(self._recent)[: max(len(self._recent) - ACKNOWLEDGED_AFTER, 0)][-16:],
            live=isinstance(act.action, SpectrumImage) and isinstance(self._transport, Following),
        )
        request = self._acting.request(ask, self._talk.clock_s())
        self._unsettled.add(act.act_id)
        heard_s = self._timer.now_s()
        while self._timer.now_s() < min(until_s, heard_s + self._config.patience_s):
            self._talk.keeper.renew_if_due()
            self._acting.send(request)
            got = self._acting.wait(request.id, self._config.resend_s)
            if got is None:
                continue
            heard_s = self._timer.now_s()
            while got is not None and isinstance(got[0].answer, (say.Accepted, say.Delivering)):
                if isinstance(got[0].answer, say.Delivering):
                    followers.take(got[0].answer)
                self._talk.keeper.renew_if_due()
                got = self._wait_and_tell(act, request.id, followers)
            if got is not None:
                return self._talk.taken(got)
        return self._give_up(act)

    def _wait_and_tell(self, act: Act, identifier: str, followers: Followers) -> tuple[say.Reply, Parts] | None:
        """Wait for what comes next, telling of frames meanwhile; where they are not wanted, have the act aborted."""
        until_s = self._timer.now_s() + self._config.resend_s
        while followers and (left_s := until_s - self._timer.now_s()) > 0.0:
            if (got := self._acting.wait(identifier, min(left_s, TOLD_S))) is not None:
                return got
            try:
                followers.tell()
            except AutoscopeError:  # the act's answer says that it was aborted, or that it was done all the same
                followers.close()
                self.abort(act.act_id)
        return self._acting.wait(identifier, max(until_s - self._timer.now_s(), 0.0))

    def _receiver(self) -> StreamReceiver:
        assert isinstance(self._transport, Following), "only asked for where it can"  # noqa: S101
        return self._transport.receiver()

    def _give_up(self, act: Act) -> tuple[Answer, Parts]:
        """End the session, so that the act can never begin any more, and ask what has come of it."""
        self._talk.burnt = True
        try:
            self._talk.renew_session()
            answer, parts = self._talk.ask(self._talk.asking, say.Recall(act_id=act.act_id), self._config.answer_s)
        except BusError as error:
            raise self._unknown(act) from error
        if isinstance(answer, say.Accepted):
            raise self._unknown(act)
        return answer, parts

    def _unknown(self, act: Act) -> OutcomeUnknown:
        return OutcomeUnknown(
            "the server has not said what came of this act",
            where=act.act_id,
            limit=f"{self._config.patience_s:g} s",
            remedy="Look at the server and the instrument; the act is not repeated",
        )

    def _mend(self, trouble: say.Trouble) -> bool:
        """Return whether the act may be asked for again, after mending what it was refused for."""
        match trouble.code:
            case "sequence" if trouble.next_seq is not None:
                self._talk.seq = trouble.next_seq
            case "session":
                self._talk.renew_session()
            case "lease":
                self._talk.keeper.lose()
            case "busy":
                self._timer.wait(min(self._config.resend_s, 0.5))
            case _:
                return False
        return True

    def _observation(self, act: Act, answer: Answer, parts: Parts, followers: Followers) -> Observation:
        if isinstance(answer, say.NotBegun):
            what = "the act was not begun: the server could not be reached in time"
            raise Unreachable(what, where=act.act_id, remedy="Look at the server and the network")
        if isinstance(answer, say.Trouble):
            self._talk.burn()
        elif not (isinstance(answer, say.Failed) and answer.trouble.error == OutcomeUnknown.__name__):
            self._unsettled.discard(act.act_id)
        if isinstance(answer, (say.Done, say.Failed)):
            self._talk.seq += 1
            self._recent.append(act.act_id)
            while len(self._recent) > ACKNOWLEDGED_AFTER + 16:
                self._recent.popleft()
        return self._result(act.act_id, answer, parts, followers)

    def _result(self, act_id: str, answer: Answer, parts: Parts, followers: Followers | None = None) -> Observation:
        match answer:
            case say.Done() if answer.act_id != act_id:
                raise BusError("an answer to another act", where=act_id, value=answer.act_id)
            case say.Done() if not answer.kept:
                what = "the act was done, but so long ago that its frames are no longer kept"
                raise OutcomeUnknown(what, where=act_id, remedy="Read the instrument back; it is not done again")
            case say.Done():
                return self._unpacked(answer, parts, followers)
            case say.Failed():
                raise error_of(answer.trouble)
            case say.Trouble():
                raise error_of(answer)
            case _:
                raise unexpected(answer)

    def _unpacked(self, answer: say.Done, parts: Parts, followers: Followers | None) -> Observation:
        """Return an observation; its large arrays are fetched, and laid out again where that does not succeed."""
        fetch: Fetch | None = None
        verify = True
        if isinstance(self._transport, Fetching):
            fetch, verify = self._transport.fetch, not self._transport.authenticates
        if fetch is not None and followers:
            fetch = followers.before(fetch)
        failed: BusError | None = None
        for _ in range(FETCHES):
            try:
                return unpack(answer, parts, max_bytes=self._config.max_frame_bytes, fetch=fetch, verify=verify)
            except BusError as error:
                if all(frame.stream is None for frame in answer.frames):
                    raise
                failed = error
            again, parts = self._talk.ask(self._talk.asking, say.Recall(act_id=answer.act_id), self._config.answer_s)
            if not isinstance(again, say.Done):
                break
            answer = again
        what = "the act was done, but its frames could not be fetched"
        raise OutcomeUnknown(what, where=answer.act_id, remedy="Ask for it again; it is not repeated") from failed


def _security(key: Path | None) -> ClientSecurity:
    return CurveClient(KeyPair.load(key)) if key else OpenClient()
