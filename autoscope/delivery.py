"""Frames while they are acquired: the call that every instrument takes, and the sink that wants nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscope.protocols import Delivering, FrameSink, Instrument
from autoscope.records import Act, Observation


class NoSink:
    """A `FrameSink` for acts whose frames nobody waits for."""

    def begin(self, signal: str, data: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Take no notice."""

    def advance(self, signal: str, points: int) -> None:
        """Take no notice."""


def deliver(instrument: Instrument, act: Act, sink: FrameSink) -> Observation:
    """Have an instrument do an act, telling a sink of its frames meanwhile if it can; the observation is the same.

    Raises
    ------
    AutoscopeError
        Whatever the instrument, or the sink, says.
    """
    if isinstance(instrument, Delivering):
        return instrument.execute_into(act, sink)
    return instrument.execute(act)
