"""Checks of frames that are handed over while they are acquired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from autoscope.errors import InstrumentError
from autoscope.protocols import Delivering
from autoscope.records import Observation
from autoscope.testing.conformance.bench import Bench, line
from autoscope.testing.conformance.report import Check

GROUP = "deliveries"


class Copying:
    """A sink that copies what is final, as whoever receives it would, and wants no more after some points."""

    def __init__(self, enough: int | None = None) -> None:
        self._enough = enough
        self._data: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
        self.copies: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
        self.told: dict[str, list[int]] = {}

    def begin(self, signal: str, data: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Keep where the frame will be."""
        self._data[signal], self.told[signal] = data, []
        self.copies[signal] = np.zeros(data.shape, data.dtype)

    def advance(self, signal: str, points: int) -> None:
        """Copy the points that are new."""
        before = self.told[signal][-1] if self.told[signal] else 0
        self.told[signal].append(points)
        shape = self._data[signal].shape
        flat = (shape[0] * shape[1], *shape[2:])
        self.copies[signal].reshape(flat)[before:points] = self._data[signal].reshape(flat)[before:points]
        if self._enough is not None and points >= self._enough:
            raise InstrumentError("the check wants no more", where=signal)


def check_deliveries(bench: Bench) -> Iterator[Check]:
    """Check that frames told of while they are acquired are those of the observation; that a sink can end an act."""
    promise = "frames handed over while acquired are those of the observation"
    if not isinstance(bench.instrument, Delivering) or not bench.can_do("spectrum_image"):
        yield line(GROUP, promise, "not applicable", "frames come with the observation only")
        return
    sink = Copying()
    seen = bench.do(bench.spectrum_image(), sink)
    if not sink.told:
        yield line(GROUP, promise, "not applicable", "nothing is told of a data set of this size")
        return
    faults = list(_faults(sink, seen))
    told = ", ".join(f"{signal} in {len(points)} parts" for signal, points in sink.told.items())
    remedy = "Tell of points in the order of the scan, only when they are final, and of all at the end"
    yield line(GROUP, promise, not faults, "; ".join(faults) or told, remedy)
    yield _ended(bench)


def _faults(sink: Copying, seen: Observation) -> Iterator[str]:
    frames = {frame.meta.signal: frame.data for frame in seen.frames}
    for signal, points in sink.told.items():
        data = frames.get(signal)
        if data is None:
            yield f"{signal} was told of and is not in the observation"
        elif not points or points[-1] != data.shape[0] * data.shape[1] or points != sorted(points):
            yield f"{signal}: points told of were {points}"
        elif data.dtype != sink.copies[signal].dtype or not np.array_equal(data, sink.copies[signal], equal_nan=True):
            yield f"{signal}: what was told to be final changed afterwards"


def _ended(bench: Bench) -> Check:
    promise = "a sink that wants no more ends the act with its own error"
    try:
        bench.do(bench.spectrum_image(), Copying(enough=1))
    except InstrumentError as error:
        return line(GROUP, promise, "wants no more" in str(error), str(error), "Let the sink's error through")
    return line(GROUP, promise, False, "the act was done all the same", "Let the sink's error through")
