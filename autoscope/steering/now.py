"""How a run stands, from its journal alone, in a form for scripts and screen readers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from autoscope.engine.boundary import AWAITING, WENT_ON
from autoscope.engine.history import read_interventions
from autoscope.engine.standing import Standing
from autoscope.journal import JournalReader
from autoscope.journal.chain import Record
from autoscope.journal.layout import LOCK
from autoscope.journal.lock import is_held

RUNNING, AWAITED, PAUSED, ENDED, CUT_OFF = "running", "waits for approval", "paused", "over", "cut off"


@dataclass(frozen=True)
class Now:
    """How a run stands.

    Attributes
    ----------
    state : str
        ``running``, ``waits for approval``, ``paused``, ``over`` or ``cut off``.
    ended : str
        Status with which it ended.
    reason : str
        Why it ended, or what is waited for.
    awaited : str
        Id of the act that waits for a person's word.
    """

    name: str
    run_id: str
    state: str
    ended: str
    reason: str
    awaited: str
    acts: int
    faults: int
    time_s: float
    last: str
    """The last act that was decided, in words of its purpose and target."""
    standing: Standing

    @property
    def needs_a_person(self) -> bool:
        """Whether nothing goes on until a person says something."""
        return self.state in (AWAITED, PAUSED)

    @property
    def is_trouble(self) -> bool:
        """Whether it failed, or was cut off."""
        return self.state == CUT_OFF or self.ended == "failed"


def how_it_stands(folder: Path) -> Now:
    """Return how the run of a folder stands.

    Raises
    ------
    JournalError
        There is no run.
    """
    reader = JournalReader.open(folder)
    started = reader.started()
    counted = {"outcome": 0, "faults": 0}
    for record in reader.records("outcome"):
        counted["outcome"] += 1
        counted["faults"] += record.body.get("status") in ("failed", "rejected")
    last = deque(reader.records("intent"), maxlen=1)
    ended, standing = reader.ended(), read_interventions(reader)
    begun = next(reader.records("run_started"))
    tail = deque(reader.records(after=max((last[0].seq if last else 1) - 1, 0)), maxlen=50)
    awaited = _awaited(tail)
    state = _state(folder, ended is not None, standing, awaited)
    return Now(
        name=str(started.get("name", folder.name)),
        run_id=str(started.get("run_id", "")),
        state=state,
        ended=str(ended.get("status", "")) if ended else "",
        reason=str(ended.get("reason", "")) if ended else _why(standing, tail, state),
        awaited=awaited if state == AWAITED else "",
        acts=counted["outcome"],
        faults=counted["faults"],
        time_s=(tail[-1].time_s if tail else begun.time_s) - begun.time_s,
        last=_words(last[0]) if last else "",
        standing=standing,
    )


def _state(folder: Path, is_over: bool, standing: Standing, awaited: str) -> str:
    if is_over:
        return ENDED
    if not is_held(folder / LOCK):
        return CUT_OFF
    if standing.paused is not None:
        return PAUSED
    return AWAITED if awaited else RUNNING


def _awaited(tail: deque[Record]) -> str:
    """Return the act that waits: the last note says so, and nothing came of it since."""
    waits = ""
    for record in tail:
        event, command = record.body.get("event"), record.body.get("command")
        if record.kind == "note" and event == AWAITING:
            waits = str(record.body.get("act_id"))
        elif record.kind in ("outcome", "run_ended", "run_resumed") or event == WENT_ON or command == "approve":
            waits = ""
    return waits


def _why(standing: Standing, tail: deque[Record], state: str) -> str:
    if state == PAUSED and standing.paused is not None:
        return f"paused by {standing.paused.who}: {standing.paused.why or 'no reason given'}"
    if state == AWAITED:
        notes = [record.body for record in tail if record.body.get("event") == AWAITING]
        return str(notes[-1].get("because", ""))
    return ""


def _words(intent: Record) -> str:
    decision = intent.body.get("decision") or {}
    words = " ".join(str(decision.get(name) or "") for name in ("purpose", "target")).strip()
    return f"step {intent.step}: {words}"
