"""Follows a journal, record by record, into a `RunModel`; what it costs does not grow with the run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from autoscope.dashboard.columns import StepColumns
from autoscope.dashboard.model import RunModel
from autoscope.dashboard.remarks import Remark, remark
from autoscope.dashboard.skimming import Concluded, Intended, skim_intent, skim_outcome
from autoscope.dashboard.source import Source
from autoscope.dashboard.wheel import Wheel
from autoscope.errors import AutoscopeError, BusError, JournalCorrupt
from autoscope.journal.chain import parse, unpack
from autoscope.journal.store import RawRow, decode

BATCH = 4000
"""Rows read at a time."""
REMEMBERED = 4000
"""Remarks kept; older ones are in the journal."""
CHECKED_AT_ONCE = 400
"""Of more rows than this in one reading, as when a long run is opened, hashes are left to ``autoscope verify``."""


class Follower:
    """Reads what is new and tells what the run is like now.

    Rows that arrive while a run is followed are checked against their hashes, as is everything shown in detail. The
    hash chain of a long past is not walked: that is what ``autoscope verify`` is for.

    Parameters
    ----------
    source : Source
        The run.
    stopwatch : callable
        Real seconds; tells how long nothing has come.
    """

    def __init__(self, source: Source, stopwatch: Callable[[], float]) -> None:
        self.source, self._stopwatch = source, stopwatch
        self._columns = StepColumns()
        self._remarks: deque[Remark] = deque(maxlen=REMEMBERED)
        self._header: dict[str, Any] = {}
        self._state: Mapping[str, Any] | bytes = {}
        self._place_m, self._slot = (0.0, 0.0), 0
        self._ended: Mapping[str, Any] | None = None
        self._wheel = Wheel()
        self._first_s = self._last_s = self._start_dose_e = 0.0
        self._wall: object = ""
        self._damage = ""
        self._seq = 0
        self._alive = self._whole = False
        self._since_s = stopwatch()

    def poll(self) -> bool:
        """Read at most a batch of what is new; return whether the picture changed.

        Raises
        ------
        BusError
            The run is elsewhere and nobody answers; nothing is lost, ask again.
        """
        before = (self._seq, self._alive, self._damage, self._whole)
        if not self._damage:
            try:
                rows = self.source.rows(self._seq, BATCH)
                self._take(rows)
                self._whole = len(rows) < BATCH
            except BusError:
                raise
            except AutoscopeError as error:
                self._damage = str(error)
        self._alive = self.source.alive()
        if self._seq != before[0]:
            self._since_s = self._stopwatch()
        return before != (self._seq, self._alive, self._damage, self._whole)

    def model(self) -> RunModel:
        """Return the run as it is known now; costs the same however long it is."""
        return RunModel(
            name=self.source.name,
            header=self._header,
            steps=self._columns.steps(),
            remarks=tuple(self._remarks),
            state=self._state_now(),
            wheel=self._wheel,
            first_s=self._first_s,
            last_s=self._last_s,
            last_wall=_text(self._wall),
            start_dose_e=self._start_dose_e,
            records=self._seq,
            ended=self._ended,
            alive=self._alive,
            idle_s=self._stopwatch() - self._since_s,
            whole=self._whole or bool(self._damage),
            damage=self._damage,
        )

    def _state_now(self) -> Mapping[str, Any]:
        if isinstance(self._state, bytes):
            self._state = from_json(self._state)
        return self._state  # type: ignore[return-value]

    def _take(self, rows: Any) -> None:
        checked = len(rows) <= CHECKED_AT_ONCE
        for raw in rows:
            where = f"record {raw[0]}"
            if raw[0] != self._seq + 1:
                raise JournalCorrupt("records are missing before it", where=where, remedy="Run 'autoscope verify'")
            if checked:
                parse(decode(raw, where), where)
            try:
                self._take_row(raw)
            except (ValueError, TypeError, KeyError) as error:
                raise JournalCorrupt(
                    f"cannot be understood: {error}", where=where, remedy="Run 'autoscope verify'"
                ) from error
            self._seq = raw[0]

    def _take_row(self, raw: RawRow) -> None:
        seq, kind, step, time_s, wall, body = raw[:6]
        stored, name = _bytes(body), kind.decode() if isinstance(kind, bytes) else str(kind)
        if name == "annotation":  # written when the run was over, on another clock
            self._remark(seq, name, step, time_s, wall, unpack(stored))
            return
        self._last_s, self._wall, self._ended = float(time_s), wall, None  # type: ignore[arg-type]
        if name == "intent":
            self._intend(int(step), seq, skim_intent(unpack(stored)))  # type: ignore[call-overload, arg-type]
        elif name == "outcome":
            self._conclude(int(step), seq, skim_outcome(unpack(stored)))  # type: ignore[call-overload, arg-type]
        elif name != "question":
            self._notice(self._remark(seq, name, step, time_s, wall, unpack(stored)))

    def _intend(self, step: int, seq: int, said: Intended) -> None:
        place_m, purpose = _place_m(said.action, self._place_m), said.purpose or str(said.action.get("kind", ""))
        self._columns.intend(step, seq, self._last_s, place_m, self._slot, said.mean, said.std, purpose)
        self._wheel = self._wheel.decided(said.order)

    def _conclude(self, step: int, seq: int, said: Concluded) -> None:
        self._state, self._place_m, self._slot = said.state, (said.x_m, said.y_m), said.slot
        self._wheel = self._wheel.concluded()
        self._columns.conclude(step, seq, self._last_s, said)

    def _remark(self, seq: Any, kind: str, step: Any, time_s: Any, wall: Any, text: bytes) -> Remark:
        said = remark(seq, kind, step, float(time_s), _text(wall), from_json(text))
        self._remarks.append(said)
        self._wheel = self._wheel.after(said)
        return said

    def _notice(self, said: Remark) -> None:
        body = said.body
        if said.kind == "run_started" and not self._header:
            self._header, self._first_s = dict(body), said.time_s
            state = body.get("state") or {}
            self._state, self._slot = state, int(state.get("sample_slot") or 0)
            self._place_m = float(state.get("x_m") or 0.0), float(state.get("y_m") or 0.0)
            self._start_dose_e = float(state.get("dose_e") or 0.0)
        elif said.kind == "run_resumed":
            self._header |= {"config": body.get("config") or self._header.get("config")}
        elif said.kind == "run_ended":
            self._ended = body


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else str(body).encode()


def _place_m(action: Mapping[str, Any], stage_m: tuple[float, float]) -> tuple[float, float]:
    """Return the stage-frame point an action is about when the stage stands there; NaN where it has none."""
    x_m, y_m = stage_m
    match action.get("kind"):
        case "measure":
            return x_m + action["x_m"], y_m + action["y_m"]
        case "scan" | "spectrum_image":
            return x_m + action.get("centre_x_m", 0.0), y_m + action.get("centre_y_m", 0.0)
        case "move_stage":
            to = action.get("x_m"), action.get("y_m")
            return (x_m if to[0] is None else to[0]), (y_m if to[1] is None else to[1])
        case _:
            return math.nan, math.nan
