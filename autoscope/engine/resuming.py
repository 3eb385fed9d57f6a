"""Taking up a run that was cut off: the policy hears everything again, the instrument is read back and asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from autoscope.clock import ResumedClock, SimClock
from autoscope.engine.acting import came_to
from autoscope.engine.asking import Evidence
from autoscope.engine.assemble import Job
from autoscope.engine.checkpoints import Checkpoint
from autoscope.engine.comparing import NUMERICS, Difference, compare
from autoscope.engine.desk import Desk
from autoscope.engine.events import Ended
from autoscope.engine.history import History, PastAct
from autoscope.engine.past import Past
from autoscope.engine.rebuilding import Rebuilt, Stored
from autoscope.engine.stand_in import StandIns
from autoscope.engine.walking import Retold, Said, Told, walk
from autoscope.errors import AutoscopeError, BusError, NotRepeatable, OutcomeUnknown
from autoscope.journal import Readable
from autoscope.protocols import Remembering, Reproducible
from autoscope.records import Budget, MicroscopeState, Observation, Outcome, Result, View

Walked = Callable[[Said | Told | Retold], None]

IGNORED = frozenset({"time_s", "dose_e"})
"""Fields of a state that go on while nobody looks; electrons are counted elsewhere."""


@dataclass(frozen=True)
class TakenUp:
    """What was found when a run was taken up.

    Attributes
    ----------
    past : Past
        What the loop needs to go on.
    state : MicroscopeState
        The instrument as it reads back.
    differs : tuple of Difference
        Where that is not what was last recorded, beyond the instrument's own tolerances.
    spent : Budget
        Time, electrons and acts of the run so far.
    open : mapping
        For each act whose outcome was not known: what the instrument tells of it.
    """

    past: Past
    state: MicroscopeState
    differs: tuple[Difference, ...]
    spent: Budget
    because: str
    open: dict[str, str] = field(default_factory=dict)
    restarted: bool = False
    rebuilt: bool = False
    unlike: int = 0
    decisions: int = 0
    checkpoint: int = 0
    """Outcomes that the policy was not told again, since it took up its state after them."""
    last: MicroscopeState = field(default_factory=lambda: MicroscopeState(time_s=0.0))
    """As last recorded by an act of the run."""
    left: bool = False
    """Whether the run had ended with closing actions since."""

    def plain(self) -> dict[str, Any]:
        """Return what is written down of it."""
        return {
            "because": self.because,
            "state": self.state.model_dump(mode="json"),
            "differences": [str(d) for d in self.differs],
            "spent": self.spent.model_dump(mode="json"),
            "open": self.open,
            "instrument": "made anew" if self.rebuilt else "restarted" if self.restarted else "found as it was left",
            "unlike": self.unlike,
            "decisions_made_again": self.decisions,
            "checkpoint": self.checkpoint,
        }


def take_up(
    desk: Desk, history: History, journal: Readable, walked: Walked | None = None, begin: Checkpoint | None = None
) -> TakenUp:
    """Walk a run again to the end of its record, and find out what became of the acts it was cut off at.

    Writes nothing.

    Raises
    ------
    NotRepeatable
        The policy decides otherwise than recorded, or a simulated instrument made anew does.
    BusError
        The instrument cannot be reached.
    JournalCorrupt
        A frame that the policy must see again is not the one recorded.
    """
    job = desk.job
    environment = job.environment
    rebuilt = isinstance(environment, Reproducible) and environment.reproducible
    stored = Stored(journal)
    source = Rebuilt(job, history, stored, exact=isinstance(job.clock, SimClock)) if rebuilt else stored
    counted = _Counted(desk, history, begin)
    job.darks.recall(((past.intent.act.action, o) for past, o in history.outcomes()), journal.load_frame)
    for event in walk(history, job.policy, source, begin):
        counted.take(event)
        if walked is not None:
            walked(event)
    _stand_at_the_end(job, history, source)
    state = environment.read_state()
    start_dose_e, restarted = _start_dose(history, state, rebuilt=rebuilt)
    counted.finish(start_dose_e)
    other_budget = job.resolved.plain()["budget"] != (history.config.get("budget") or {})
    desk.adopt(history.standing.taken_up(other_budget=other_budget))
    known = {} if rebuilt else {act.intent.step: _recall(job, history, act) for act in history.open}
    if not rebuilt:
        state = environment.read_state()  # what was asked may have settled meanwhile
    return TakenUp(
        past=_past(history, counted, {k: v for k, v in known.items() if v is not None}, rebuilt=rebuilt),
        state=state,
        differs=_differences(history, state, desk.capabilities.tolerances),
        spent=Budget(time_s=desk.elapsed_s(), dose_e=max(desk.dose_e(state), 0.0), steps=desk.steps),
        because=f"it had ended: {history.ended.get('status')}" if history.ended else "it was cut off",
        open={act.intent.act.act_id: _say(known.get(act.intent.step)) for act in history.open},
        restarted=restarted,
        rebuilt=rebuilt,
        unlike=source.unlike if isinstance(source, Rebuilt) else 0,
        decisions=counted.decisions,
        checkpoint=begin.evidence.told if begin else 0,
        last=history.last_state(),
        left=history.left,
    )


class _Counted:
    """Counts what is walked, and insists that every decision is the recorded one."""

    def __init__(self, desk: Desk, history: History, begin: Checkpoint | None) -> None:
        self._desk, self._history = desk, history
        self._ends = {end.after for end in history.interruptions if end.ended is not None}
        self._evidence = begin.evidence if begin else Evidence()
        self._outcomes = list(islice(history.outcomes(), self._evidence.told))
        self.decisions = 0
        self.ended: Ended | None = None

    def take(self, event: Said | Told | Retold) -> None:
        if isinstance(event, Retold):
            self._evidence = event.evidence
            return
        if isinstance(event, Told):
            self._evidence = event.evidence
            self._outcomes.append((event.past, event.result.outcome))
            return
        self.decisions += 1
        recorded = event.past.intent.decision
        differences = compare(recorded, event.now, NUMERICS)
        if differences:
            raise NotRepeatable(
                "the policy, told everything again, decides otherwise than recorded",
                where=f"step {event.past.intent.step}",
                value="; ".join(str(d) for d in differences[:3]),
                remedy="Resume with the version of autoscope that made the run; 'autoscope replay' tells more",
            )

    def finish(self, start_dose_e: float) -> None:
        desk, history = self._desk, self._history
        desk.suspenders.count = history.suspensions
        desk.take_up(self._evidence, begun_s=history.begun_s, start_dose_e=start_dose_e, decided=len(history.acts))
        desk.restore_deadline(history.deadline())
        for number, (past, outcome) in enumerate(self._outcomes, start=1):
            left = self._left(past, outcome)
            desk.spend(past.intent.act.action, Result(outcome))
            self.ended = desk.count(past.intent, outcome, left) or self.ended
            if number in self._ends:
                desk.forgive()
                self.ended = None
        if history.ended is not None:
            self.ended = None

    def _left(self, past: PastAct, outcome: Outcome) -> Budget:
        if past.asked is not None and not past.asked.view.get("pending"):
            return Budget.model_validate(past.asked.view["budget"])
        before = outcome.state_before
        return self._desk.left_at(before, past.intent.step, before.time_s - self._history.first_state.time_s)


def _stand_at_the_end(job: Job, history: History, source: Rebuilt | Stored) -> None:
    if isinstance(source, Rebuilt):
        source.finish(history.last_s)
    elif isinstance(job.clock, (SimClock, ResumedClock)):
        job.clock.go_to(history.last_s)
    if isinstance(job.clock, ResumedClock):
        job.clock.go_on()


def _start_dose(history: History, state: MicroscopeState, *, rebuilt: bool) -> tuple[float, bool]:
    """Return what the electron counter would have read when the run began, and whether the instrument was restarted.

    A counter that reads less than was recorded began anew: the run has spent what was recorded. One that reads more
    has counted while nobody looked: that counts too.
    """
    start_e, last = history.first_state.dose_e, history.last_state()
    for end in history.interruptions:
        if end.state is not None and end.spent is not None and end.spent.dose_e is not None:
            start_e = end.state.dose_e - end.spent.dose_e
            last = end.state if end.after == len(history.told) else last
    if rebuilt or state.dose_e >= last.dose_e:
        return start_e, False
    return state.dose_e - (last.dose_e - start_e), True


def _recall(job: Job, history: History, act: PastAct) -> Observation | Result | None:
    environment, intent = job.environment, act.intent
    try:
        if isinstance(environment, Remembering):
            return environment.recall(intent.act.act_id)
        raise OutcomeUnknown("nobody can say whether the act was done", where=intent.act.act_id)
    except AutoscopeError as error:
        if isinstance(error, BusError) and not isinstance(error, OutcomeUnknown):
            raise  # the instrument cannot be reached: nothing is known, and nothing is written
        return came_to("failed", intent.act, history.last_state(), environment.read_state(), error)


def _say(answer: Observation | Result | None) -> str:
    if answer is None:
        return "never begun"
    if isinstance(answer, Observation):
        return "done, and remembered by the instrument"
    fault = answer.outcome.fault
    return f"failed: {fault.error}: {fault.message}" if fault else "failed"


def _past(history: History, counted: _Counted, known: dict[int, Observation | Result], *, rebuilt: bool) -> Past:
    stand_ins, purpose = StandIns(), ""
    for act in history.acts:
        stand_ins.note(act.intent.decision, act.intent.step)
        purpose = act.intent.decision.purpose
    capabilities, actions = history.capabilities, history.actions()
    views: dict[int, View] = {}
    if rebuilt:
        standing = history.standing
        views = {
            a.intent.step: a.asked.again(capabilities, actions, standing) for a in history.open if a.asked is not None
        }
    return Past(
        open=tuple(act.intent for act in history.open),
        known=known,
        views=views,
        fruitless=_fruitless(history),
        stand_ins=stand_ins,
        purpose=purpose,
        ended=counted.ended,
    )


def _fruitless(history: History) -> int | None:
    pending = history.unused[-1][1].view.get("pending", []) if history.unused else []
    return next((act.intent.step for act in history.open if act.intent.act.act_id in pending), None)


def _differences(history: History, state: MicroscopeState, tolerances: dict[str, float]) -> tuple[Difference, ...]:
    recorded, found = history.last_state(), []
    for name in type(state).model_fields:
        old, new = getattr(recorded, name), getattr(state, name)
        if name in IGNORED or old == new:
            continue
        if isinstance(old, float) and isinstance(new, float):
            if abs(old - new) > max(tolerances.get(name, 0.0), NUMERICS * max(abs(old), abs(new))):
                found.append(Difference(name, old, new))
        else:
            found.append(Difference(name, old, new))
    return tuple(found)
