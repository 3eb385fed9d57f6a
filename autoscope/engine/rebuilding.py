"""Where the results of past acts come from when a run is walked again: the disk, or the instrument made anew."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Protocol, runtime_checkable

from autoscope.engine.acting import execute
from autoscope.engine.asking import Asked
from autoscope.engine.assemble import Job
from autoscope.engine.checkpoints import Checkpoint
from autoscope.engine.dark import Darks
from autoscope.engine.history import History, Interruption, PastAct, read_history
from autoscope.errors import AutoscopeError, NotRepeatable
from autoscope.journal import Readable
from autoscope.journal.frames import encode
from autoscope.protocols import Restorable
from autoscope.records import Frame, FrameRef, MicroscopeState, Observation, Outcome, Result

UNKEPT = frozenset({"JournalError", "JournalFull"})
"""Faults of acts that were done, but whose frames could not be kept."""


@runtime_checkable
class Settable(Protocol):
    """A clock that can be put to an instant of the past of its run."""

    def go_to(self, time_s: float) -> None:
        """Stand at exactly this instant, or stay where that is past already."""


class Stored:
    """Results with the frames on the disk, each verified against its hash, less the dark reference that was subtracted
    when they were learnt from; no instrument is asked.

    Parameters
    ----------
    journal : Readable
        The run's journal.
    """

    recorded = True

    def __init__(self, journal: Readable) -> None:
        self._journal = journal
        self._darks: Darks | None = None

    def before(self, asked: Asked) -> None:
        """Do nothing."""

    def begin(self, checkpoint: Checkpoint) -> bool:
        """Return true: a result on the disk needs none before it."""
        return True

    def result(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act.

        Raises
        ------
        JournalCorrupt
            A frame is absent or does not match its hash.
        """
        return self.told(outcome, tuple(self._journal.load_frame(ref) for ref in outcome.frames))

    def told(self, outcome: Outcome, frames: tuple[Frame, ...]) -> Result:
        """Return an outcome with recorded frames as they were learnt from."""
        if not outcome.dark:
            return Result(outcome, frames)
        if self._darks is None:
            self._darks = Darks()
            done = ((past.intent.act.action, o) for past, o in read_history(self._journal).outcomes())
            self._darks.recall(done, self._journal.load_frame)
        return Result(outcome, self._darks.told(frames, outcome.dark))

    def again(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act a second time."""
        return self.result(past, outcome)


class Rebuilt:
    """Results of a simulated instrument that died with its process: made anew, it does the recorded acts again.

    The instrument is read back wherever the loop had done so, since with the beam on even that divides an exposure.

    Parameters
    ----------
    job : Job
        With a fresh instrument and a clock that can be set.
    history : History
        The past.
    stored : Stored
        The recorded frames.
    exact : bool
        Whether frames and states must be those recorded; not so on a real clock, whose instants never come again: then
        the policy is told the recorded frames.
    """

    recorded = True

    def __init__(self, job: Job, history: History, stored: Stored, *, exact: bool) -> None:
        self._job, self._stored, self._exact = job, stored, exact
        self._interruptions = deque(history.interruptions)
        self._done = 0
        self._odd = False
        self.unlike = 0
        """Acts whose frames were not those recorded."""

    def before(self, asked: Asked) -> None:
        """Bring the instrument to where it stood when a question was put with nothing pending, and read it back."""
        state = MicroscopeState.model_validate(asked.view["state"])
        self._interrupt(state.time_s)
        if not asked.view.get("pending"):
            self._go_to(state.time_s)
            self._compare(self._job.environment.read_state(), state, f"step {asked.view['step']}")

    def begin(self, checkpoint: Checkpoint) -> bool:
        """Put the instrument where it stood at a checkpoint, and return whether it could be put there."""
        environment = self._job.environment
        if checkpoint.environment is None or not (self._exact and isinstance(environment, Restorable)):
            return False
        while self._interruptions and self._interruptions[0].seq < checkpoint.seq:
            self._interruptions.popleft()
        self._done = checkpoint.evidence.told
        self._go_to(checkpoint.clock_s)
        environment.restore(checkpoint.environment)
        return True

    def result(self, past: PastAct, outcome: Outcome) -> Result:
        """Do an act again and return what came of it.

        Raises
        ------
        NotRepeatable
            Something else came of it than was recorded.
        """
        frames: tuple[Frame, ...] = ()
        if outcome.begun_s is not None:
            self._interrupt(outcome.begun_s)
            self._go_to(outcome.begun_s)
            self._odd = False
            frames = self._repeat(past, outcome)
            self.unlike += self._odd
        self._done += 1
        return self._stored.told(outcome, frames) if self._exact else self._stored.result(past, outcome)

    def again(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act that was done again already, from the disk."""
        return self._stored.result(past, outcome)

    def finish(self, last_s: float) -> None:
        """Bring the instrument to the end of the record."""
        self._interrupt(last_s)
        self._go_to(last_s)

    def _repeat(self, past: PastAct, outcome: Outcome) -> tuple[Frame, ...]:
        where = f"step {past.intent.step} ({outcome.act_id})"
        try:
            seen = execute(self._job, past.intent.act)
        except AutoscopeError as error:
            if outcome.fault is None or outcome.fault.error != type(error).__name__:
                raise _differs(where, f"{type(error).__name__}: {error}", outcome.status) from error
            self._compare(self._job.environment.read_state(), outcome.state, where)
            return ()
        fault = outcome.fault
        if outcome.status == "failed" and (fault is None or fault.error not in UNKEPT):
            self._note(where, "done", f"failed: {fault.message if fault else ''}")
        self._compare(seen.state, outcome.state, where)
        if outcome.status == "failed":
            return ()
        self._compare_frames(seen, outcome, where)
        return seen.frames

    def _compare_frames(self, seen: Observation, outcome: Outcome, where: str) -> None:
        for frame, ref in zip(seen.frames, outcome.frames, strict=False):
            if not _is(frame, ref):
                self._note(f"{where}, frame {ref.file}", "other content or calibration", "that of the record")
        if len(seen.frames) != len(outcome.frames):
            self._note(where, f"{len(seen.frames)} frames", f"{len(outcome.frames)} frames")

    def _compare(self, seen: MicroscopeState, recorded: MicroscopeState, where: str) -> None:
        if self._exact and seen != recorded:
            names = [n for n in type(seen).model_fields if getattr(seen, n) != getattr(recorded, n)]
            said = [", ".join(f"{n} {getattr(s, n)}" for n in names) for s in (seen, recorded)]
            self._note(where, *said)

    def _note(self, where: str, now: str, recorded: str) -> None:
        self._odd = True
        if self._exact:
            raise _differs(where, now, recorded)

    def _interrupt(self, time_s: float) -> None:
        """Make the instrument safe where a run ended before it was taken up again, or waited for a person."""
        while self._interruptions and self._due(self._interruptions[0], time_s):
            end = self._interruptions.popleft()
            if end.ended is not None or end.safe:
                self._go_to(end.time_s)
                self._job.environment.make_safe()
                self._job.environment.read_state()

    def _due(self, end: Interruption, time_s: float) -> bool:
        return end.after <= self._done and end.time_s <= time_s

    def _go_to(self, time_s: float) -> None:
        if isinstance(self._job.clock, Settable):
            self._job.clock.go_to(time_s)


def _is(frame: Frame, ref: FrameRef) -> bool:
    same = hashlib.sha256(encode(frame)).hexdigest() == ref.sha256
    return same and frame.meta.model_dump() == ref.meta.model_dump()


def _differs(where: str, now: str, recorded: str) -> NotRepeatable:
    return NotRepeatable(
        "the simulated instrument, made anew, does not do again what is recorded",
        where=where,
        value=now,
        limit=f"recorded: {recorded}",
        remedy="Resume with the version of autoscope that made the run (see 'made_by' in its first record)",
    )
