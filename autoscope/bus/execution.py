"""One act at the instrument: permitted, written down, done, read back, written down again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from autoscope.bus.arrays import Buffer
from autoscope.bus.ledger import Ledger, Status
from autoscope.bus.live import LiveFrames, Streams
from autoscope.bus.messages import Accepted, Answer, Done, Failed, Trouble
from autoscope.bus.wire import pack, trouble_of
from autoscope.clock import SimClock
from autoscope.delivery import deliver
from autoscope.errors import (
    AutoscopeError,
    GuardViolation,
    InstrumentError,
    NotReached,
    OutcomeUnknown,
    PluginError,
)
from autoscope.exposure import Cost
from autoscope.guard import AreaDose, Guard
from autoscope.protocols import Clock, Instrument
from autoscope.records import (
    Act,
    Action,
    Blank,
    Budget,
    LoadSample,
    MicroscopeState,
    MoveStage,
    Observation,
    SetOptics,
    SetValves,
)

T = TypeVar("T")
Respond = Callable[[Answer, list[Buffer]], None]
"""Sends an answer to whoever asked; may be called more than once, from any thread."""


@dataclass
class Running:
    """An act under way, and who waits for it."""

    act: Act
    session: str
    seq: int
    user: str
    clock_s: float | None
    respond: dict[str, Respond]
    """Who waits, by source and request."""
    started_s: float
    limit_s: float = math.inf
    """How long it may take on the server's monotonic clock."""
    begun: bool = False
    overruled: str = ""
    """Why it was aborted."""
    given_up: bool = False
    over: bool = False
    cost: Cost = field(default_factory=Cost)
    live: bool = False
    """Whether whoever asked would like frames while they are acquired."""
    frames: LiveFrames | None = None
    """What has come of them, once it is begun."""

    def is_overruled(self) -> bool:
        """Return whether it was aborted, perhaps by another thread just now."""
        return bool(self.overruled)

    def is_open(self) -> bool:
        """Return whether its answer is still to come."""
        return not self.over and not self.given_up

    def tell(self, answer: Answer, parts: list[Buffer]) -> None:
        """Answer everybody who waits."""
        for respond in list(self.respond.values()):
            respond(answer, parts)


class Doses:
    """Counts the electrons a sample receives, by the instrument's own count, over all runs.

    Parameters
    ----------
    ledger : Ledger
        Where the sums are durable.
    sample : str
        Name of the sample; slots are counted apart.
    max_dose_e : float, optional
        What one sample may receive.
    """

    def __init__(self, ledger: Ledger, sample: str, max_dose_e: float | None) -> None:
        self._ledger, self._sample, self.max_dose_e = ledger, sample, max_dose_e
        self._seen_e = 0.0
        self.area: AreaDose | None = None
        """What every place has received, where there is a limit for it."""

    def expose(self, action: Action, before: MicroscopeState, after: MicroscopeState, dose_e: float) -> None:
        """Charge an act to the place that it exposed."""
        if self.area is not None:
            self.area.charge(action, before, after, dose_e)

    def place(self, state: MicroscopeState) -> str:
        """Return under which name the sample in the beam is counted."""
        return f"{self._sample}/{state.sample_slot}"

    def spent_e(self, state: MicroscopeState) -> float:
        """Return what the sample in the beam has received, up to now."""
        return self._ledger.dose_e(self.place(state)) + max(state.dose_e - self._seen_e, 0.0)

    def left(self, state: MicroscopeState) -> Budget:
        """Return what the sample in the beam may still receive."""
        if self.max_dose_e is None:
            return Budget()
        return Budget(dose_e=max(self.max_dose_e - self.spent_e(state), 0.0))

    def since(self, state: MicroscopeState, cost: Cost) -> tuple[str, float]:
        """Return what to charge for an act: the instrument's count, or the prediction where it does not count."""
        counted = max(state.dose_e - self._seen_e, 0.0)
        self._seen_e = state.dose_e
        return self.place(state), counted if state.dose_e > 0.0 else cost.dose_e

    def begin(self, state: MicroscopeState) -> None:
        """Take the instrument's count for the one to start from."""
        self._seen_e = state.dose_e


class Execution:
    """Does acts with the instrument, on its driver's line.

    Parameters
    ----------
    ledger, guard, doses
        Where acts are written down, and what is permitted.
    clock : Clock
        The instrument's time.
    tolerances : dict of str to float
        By how much a read-back may differ, by field.
    limit : callable
        From the cost of an act to how long it may take.
    told : callable
        Called with an act and the state it has come to, for everybody who listens.
    streams : Streams, optional
        Where frames are offered while they are acquired.
    """

    def __init__(
        self,
        ledger: Ledger,
        guard: Guard,
        doses: Doses,
        clock: Clock,
        tolerances: dict[str, float],
        limit: Callable[[Act, Cost], float],
        told: Callable[[Running, str], None],
        streams: Streams | None = None,
    ) -> None:
        self._ledger, self._guard, self._doses, self._clock = ledger, guard, doses, clock
        self._tolerances, self._limit, self._told, self._streams = tolerances, limit, told, streams
        self._before: LiveFrames | None = None
        self.state: MicroscopeState | None = None
        """As last read."""

    def read(self, instrument: Instrument) -> MicroscopeState:
        """Read the instrument back."""
        self.state = guarded(instrument.state)
        return self.state

    def do(self, instrument: Instrument, running: Running) -> None:
        """Do an act once and answer everybody who waits for it; raises nothing."""
        try:
            self.follow(running.clock_s)
            if (state := self._permitted(instrument, running)) is not None:
                self._perform(instrument, running, state)
        except AutoscopeError as error:  # the ledger failed: whatever it is, it is not known to be written down
            running.over = True
            unknown = OutcomeUnknown(str(error), where=running.act.act_id) if running.begun else error
            running.tell(trouble_of(unknown), [])

    def follow(self, clock_s: float | None) -> None:
        """Let simulated time pass up to what the agent's clock says."""
        if clock_s is not None and isinstance(self._clock, SimClock):
            self._clock.wait(max(clock_s - self._clock.now_s(), 0.0))

    def _permitted(self, instrument: Instrument, running: Running) -> MicroscopeState | None:
        act = running.act
        try:
            state = self.read(instrument)
            running.cost = self._guard.permit(act.action, state, self._doses.left(state), self._doses.area)
        except (GuardViolation, InstrumentError, PluginError) as error:
            self._ledger.accept(running.session, running.seq, running.user, act)
            self._finish(running, "refused", trouble_of(error))
            return None
        self._ledger.accept(running.session, running.seq, running.user, act, running.cost.dose_e)
        running.tell(Accepted(act_id=act.act_id), [])
        return state

    def _perform(self, instrument: Instrument, running: Running, before: MicroscopeState) -> None:
        act = running.act
        if running.overruled:
            self._finish(running, "failed", self._aborted(running))
            return
        begun_s = self._clock.now_s()
        running.limit_s, running.begun = self._limit(act, running.cost), True
        live = running.frames = self._live(running)
        self._told(running, "running")
        try:
            observation = guarded(lambda: deliver(instrument, act, live))
            confirm(act.action, observation.state, self._tolerances)
        except AutoscopeError as error:
            if isinstance(error, PluginError):
                instrument.make_safe()
            self._settle(instrument, running, trouble_of(error), begun_s)
            return
        if running.is_overruled():
            self._settle(instrument, running, self._aborted(running), begun_s)
            return
        self.state = observation.state
        self._done(running, observation, begun_s)

    def _live(self, running: Running) -> LiveFrames:
        """Return what takes the frames of an act; those of the act before are offered no longer."""
        if self._before is not None:
            self._before.withdraw()
        streams = self._streams if running.live else None
        self._before = LiveFrames(
            running.act.act_id, streams, lambda told: running.tell(told, []), lambda: running.overruled
        )
        return self._before

    def _settle(self, instrument: Instrument, running: Running, trouble: Trouble, begun_s: float) -> None:
        """Write down an act that failed, with the electrons it cost all the same."""
        if running.overruled:
            instrument.make_safe()  # what the safe line blanked, the act may have unblanked since
            trouble = self._aborted(running)
        if running.frames is not None:
            running.frames.fail(trouble.what)
        self._finish(running, "failed", trouble, begun_s, self._cost(instrument, running))

    def _cost(self, instrument: Instrument, running: Running) -> tuple[str, float] | None:
        try:
            before = self.state
            state = self.read(instrument)
            charged = self._doses.since(state, running.cost)
            self._doses.expose(running.act.action, before or state, state, charged[1])
            return charged
        except AutoscopeError:  # an instrument that cannot be read back is charged what the act may have cost
            if self.state is None:
                return None
            self._doses.expose(running.act.action, self.state, self.state, running.cost.dose_e)
            return self._doses.place(self.state), running.cost.dose_e

    def _done(self, running: Running, observation: Observation, begun_s: float) -> None:
        dose = self._doses.since(observation.state, running.cost)
        if running.given_up:
            return  # told and written down as unknown, and charged
        self._doses.expose(running.act.action, observation.state_before, observation.state, dose[1])
        done, parts = pack(observation, running.frames.header_of) if running.frames else pack(observation)
        self._ledger.finish(running.act.act_id, "done", done, parts, begun_s=begun_s, dose=dose)
        self._end(running, "done", done, parts)

    def _finish(
        self,
        running: Running,
        status: Status,
        trouble: Trouble,
        begun_s: float | None = None,
        dose: tuple[str, float] | None = None,
    ) -> None:
        if running.given_up:
            return
        failed = Failed(act_id=running.act.act_id, trouble=trouble)
        self._ledger.finish(running.act.act_id, status, failed, begun_s=begun_s, dose=dose)
        self._end(running, "aborted" if running.overruled else status, failed, [])

    def _end(self, running: Running, word: str, answer: Done | Failed, parts: list[Buffer]) -> None:
        running.over = True
        self._told(running, word)
        running.tell(answer, parts)

    @staticmethod
    def _aborted(running: Running) -> Trouble:
        what = f"the act was aborted: {running.overruled}"
        remedy = "The instrument was made safe; read it back before going on"
        return trouble_of(InstrumentError(what, where=running.act.act_id, remedy=remedy))


def guarded(call: Callable[[], T]) -> T:
    """Call an instrument.

    Raises
    ------
    PluginError
        It raised something that is no error of ours.
    """
    try:
        return call()
    except AutoscopeError:
        raise
    except Exception as error:
        raise PluginError(f"the instrument raised {type(error).__name__}: {error}", where="driver") from error


def confirm(action: Action, state: MicroscopeState, tolerances: dict[str, float]) -> bool:
    """Compare what was asked with what was reached.

    Returns
    -------
    bool
        Whether everything asked could be compared.

    Raises
    ------
    NotReached
        A value differs by more than its tolerance.
    """
    match action:
        case MoveStage() | SetOptics():
            asked = action.model_dump(exclude={"kind"}, exclude_none=True)
        case Blank():
            asked = {"blanked": action.blanked}
        case LoadSample():
            asked = {"sample_slot": action.slot}
        case SetValves():
            asked = {"valves_open": action.valves_open}
        case _:
            return False
    for name, value in asked.items():
        reached = getattr(state, name)
        if reached is None:
            what = f"{name} is not read back"
            raise NotReached(what, where=action.kind, value=None, limit=value, remedy="Declare no range for it")
        tolerance = tolerances.get(name)
        exact = isinstance(value, int)
        if (exact and reached != value) or (tolerance is not None and abs(reached - value) > tolerance * (1 + 1e-9)):
            remedy = "Read the instrument back and look why it did not get there"
            what = f"{name} was not reached: the read-back differs by more than the tolerance"
            limit = "exactly" if exact else f"{value:g} within {tolerance:g}"
            raise NotReached(what, where=action.kind, value=reached, limit=limit, remedy=remedy)
    return all(isinstance(value, int) or name in tolerances for name, value in asked.items())
