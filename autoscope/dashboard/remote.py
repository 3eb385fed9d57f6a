"""A run on another computer, read through the door of its agent (docs/steering.md)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from autoscope.bus.helm_client import HelmClient
from autoscope.bus.helm_messages import StoredRow
from autoscope.errors import BusError
from autoscope.journal import frames
from autoscope.journal.chain import corrupt
from autoscope.journal.store import RawRow
from autoscope.records import Frame, FrameRef

KEPT_ROWS = 2000
"""The newest rows, which are those looked at in detail, are not asked for twice."""


class AddressSource:
    """The record of a run over the network; see `autoscope.dashboard.source.Source`.

    Parameters
    ----------
    client : HelmClient
        The connection; nobody else may use it.
    """

    def __init__(self, client: HelmClient) -> None:
        self._client, self._lock = client, threading.Lock()
        self._rows: OrderedDict[int, RawRow] = OrderedDict()
        self._answers = True
        self.name = client.about().name

    def rows(self, after: int, limit: int) -> Sequence[RawRow]:
        """Return the next rows; see `Source.rows`."""
        found: list[RawRow] = []
        while len(found) < limit:
            answered = self._ask(after + len(found))
            found += answered
            if not answered:
                break
        return found

    def row(self, seq: int) -> RawRow | None:
        """Return one row; see `Source.row`."""
        if seq not in self._rows:
            self._ask(seq - 1)
        return self._rows.get(seq)

    def frame(self, ref: FrameRef) -> Frame:
        """Return a frame, verified; see `Source.frame`."""
        with self._lock:
            content = self._client.frame(ref.file)
        if content is None:
            raise corrupt(f"frame {ref.file} is absent", self.name, None)
        return frames.decode(ref, content, f"{self.name}: frame {ref.file}")

    def alive(self) -> bool:
        """Return whether the agent answered last."""
        return self._answers

    def close(self) -> None:
        """Let go of the network; the run does not notice."""
        with self._lock:
            self._client.close()

    def _ask(self, after: int) -> list[RawRow]:
        with self._lock:
            try:
                answered = [_raw(row) for row in self._client.rows(after)]
            except BusError:
                self._answers = False
                raise
        self._answers = True
        for row in answered:
            self._rows[int(str(row[0]))] = row
        while len(self._rows) > KEPT_ROWS:
            self._rows.popitem(last=False)
        return answered


def _raw(row: StoredRow) -> RawRow:
    texts = (row.wall, row.body, row.previous, row.hash)
    return (row.seq, row.kind.encode(), row.step, row.time_s, *(text.encode() for text in texts))
