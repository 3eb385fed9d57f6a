"""One step in full, read when somebody looks at it, and the pictures it refers to."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from autoscope.dashboard.columns import Steps
from autoscope.dashboard.source import Source
from autoscope.errors import JournalCorrupt
from autoscope.journal.chain import Record, corrupt, parse
from autoscope.journal.store import decode
from autoscope.records import Decision, Frame, FrameMeta, FrameRef, Outcome

Model = TypeVar("Model", bound=BaseModel)
Key = TypeVar("Key")
Held = TypeVar("Held")

KEPT_STEPS = 64
KEPT_FRAMES = 4
KEPT_PICTURES = 256
THUMBNAIL_PX = 128
"""Longest side of an image as the map keeps it."""
LARGEST_SHOWN = 1 << 24
"""Frames of more elements are not loaded for a look at them."""


@dataclass(frozen=True)
class StepDetail:
    """A decision, what it cost beforehand, and what came of it if that is known."""

    step: int
    decision: Decision
    act_id: str
    latency_s: float | None
    cost: dict[str, Any]
    outcome: Outcome | None


@dataclass(frozen=True)
class Picture:
    """An image, small enough for a map."""

    step: int
    meta: FrameMeta
    data: NDArray[np.float64]


class Details:
    """Reads steps and frames on demand and keeps the last ones; every record and frame is checked against its hash.

    Parameters
    ----------
    source : Source
        The run.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._steps: OrderedDict[tuple[int, int, int], StepDetail] = OrderedDict()
        self._pictures: OrderedDict[int, Picture | None] = OrderedDict()
        self._frames: OrderedDict[str, Frame] = OrderedDict()

    def step(self, steps: Steps, step: int) -> StepDetail | None:
        """Return a step, or None where its intent is not known.

        Raises
        ------
        JournalCorrupt
            A record does not match its hash, or cannot be understood.
        """
        if not 0 <= step < len(steps) or not steps.intent_seq[step]:
            return None
        key = (step, int(steps.intent_seq[step]), int(steps.outcome_seq[step]))
        if key not in self._steps:
            self._steps[key] = self._read(*key)
        return kept(self._steps, key, KEPT_STEPS)

    def frame(self, ref: FrameRef) -> Frame | None:
        """Return a frame, or None where it is too large to be looked at here.

        Raises
        ------
        JournalCorrupt
            It is absent, or not the one referred to.
        """
        if np.prod(ref.shape) > LARGEST_SHOWN:
            return None
        if ref.file not in self._frames:
            self._frames[ref.file] = self._source.frame(ref)
        return kept(self._frames, ref.file, KEPT_FRAMES)

    def picture(self, steps: Steps, step: int) -> Picture | None:
        """Return the first image of a step, reduced for a map; None where it has none that can be shown."""
        if step not in self._pictures:
            self._pictures[step] = self._reduced(self.step(steps, step))
        return kept(self._pictures, step, KEPT_PICTURES)

    def has_picture(self, step: int) -> bool:
        """Return whether the image of a step is here already."""
        return step in self._pictures

    def _reduced(self, detail: StepDetail | None) -> Picture | None:
        refs = detail.outcome.frames if detail and detail.outcome else ()
        ref = next((r for r in refs if is_image(r)), None)
        frame = self.frame(ref) if ref else None
        if detail is None or frame is None:
            return None
        by = max(1, -(-max(frame.data.shape) // THUMBNAIL_PX))
        rows, columns = (n // by * by or n for n in frame.data.shape)
        cut = frame.data[:rows, :columns].astype(np.float64)
        small = cut.reshape(max(1, rows // by), -1, max(1, columns // by), by).mean(axis=(1, 3)) if by > 1 else cut
        return Picture(detail.step, frame.meta, small)

    def _read(self, step: int, intent: int, outcome: int) -> StepDetail:
        asked = self._record(intent)
        came = _understood(Outcome, self._record(outcome).body, outcome) if outcome else None
        latency_s = asked.body.get("latency_s")
        return StepDetail(
            step=step,
            decision=_understood(Decision, asked.body.get("decision"), intent),
            act_id=str(asked.body.get("act_id")),
            latency_s=float(latency_s) if isinstance(latency_s, (int, float)) else None,
            cost=dict(asked.body.get("cost") or {}),
            outcome=came,
        )

    def _record(self, seq: int) -> Record:
        raw = self._source.row(seq)
        if raw is None:
            raise JournalCorrupt("the record is not there any more", where=f"{self._source.name}: record {seq}")
        return parse(decode(raw, self._source.name), self._source.name)


def is_image(ref: FrameRef) -> bool:
    """Return whether a frame is an image of a place."""
    return tuple(axis.name for axis in ref.meta.axes) == ("y", "x") and len(ref.shape) == 2


def kept(cache: OrderedDict[Key, Held], key: Key, most: int) -> Held:
    """Return what is held under a key, and forget what was asked for longest ago where there is more than enough."""
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
    return cache[key]


def _understood(model: type[Model], data: object, seq: int) -> Model:
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise corrupt(f"cannot be understood: {error.errors()[0]['msg']}", "the journal", seq) from error
