"""When a simulated acquisition may tell of its rows: as they fall due in real time, at once in simulated time."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscope.clock import SimClock
from autoscope.errors import AutoscopeError
from autoscope.protocols import Clock, FrameSink


class Pace:
    """Passes on what a sink is to be told, no row before the beam has left it.

    In real time the exposure is stopped where the sink wants no more. In simulated time, in which an exposure takes
    none, it goes on to its end and fails then, so that all chance is drawn as if nobody had watched.

    Parameters
    ----------
    sink : FrameSink
        Who is told.
    clock : Clock
        The instrument's.
    begin_s, row_s : float
        When the first row begins, and how long each takes.
    """

    def __init__(self, sink: FrameSink, clock: Clock, begin_s: float, row_s: float) -> None:
        self._sink, self._clock, self._begin_s, self._row_s = sink, clock, begin_s, row_s
        self._simulated = isinstance(clock, SimClock)
        self._widths: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._unwanted: AutoscopeError | None = None

    def begin(self, signal: str, data: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Pass on that a frame has begun."""
        self._widths[signal], self._told[signal] = data.shape[1], 0
        if self._unwanted is None:
            self._sink.begin(signal, data)

    def advance(self, signal: str, points: int) -> None:
        """Pass on, row by row and each in its time, that rows are there.

        Raises
        ------
        AutoscopeError
            The sink wants no more, in real time.
        """
        width = self._widths[signal]
        for row in range(self._told[signal] + 1, points // width + 1):
            if not self._simulated:
                self._clock.wait(max(self._begin_s + row * self._row_s - self._clock.now_s(), 0.0))
            self._told[signal] = row
            self._tell(signal, row * width)

    def _tell(self, signal: str, points: int) -> None:
        if self._unwanted is not None:
            return
        try:
            self._sink.advance(signal, points)
        except AutoscopeError as error:
            if not self._simulated:
                raise
            self._unwanted = error

    def end(self) -> None:
        """Raise what the sink said, where the exposure went on all the same."""
        if self._unwanted is not None:
            raise self._unwanted
