"""A column that is a file: it outlives its drivers, keeps a log of what physically happened, and hangs on request.

Every line of the file is something that happened, with the monotonic time that all processes of a computer share.
"""

import json
import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from autoscope.config import ConfigModel
from autoscope.delivery import NoSink
from autoscope.errors import AutoscopeError
from autoscope.records import (
    Axis,
    Blank,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    MoveStage,
    Observation,
    Range,
    SpectrumImage,
    SpectrumSignal,
)

AXIS = Axis(name="energy", unit="eV", size=2)
ROWS, COLUMNS = Axis(name="ky", unit="rad", size=64), Axis(name="kx", unit="rad", size=64)
HANGS_ABOVE_S = 1000.0
"""A measurement with such a dwell unblanks and never comes back."""


def now_s():
    return time.monotonic_ns() / 1e9


class Column:
    """The file."""

    def __init__(self, path):
        self.path = Path(path)

    def note(self, what, act_id="", **more):
        line = json.dumps({"t": now_s(), "what": what, "act_id": act_id, "pid": os.getpid()} | more) + "\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def log(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def times(self, act_id):
        return sum(entry["act_id"] == act_id and entry["what"] == "begin" for entry in self.log())

    def last(self, *kinds):
        return next((entry for entry in reversed(self.log()) if entry["what"] in kinds), None)

    @property
    def blanked(self):
        last = self.last("blank", "unblank")
        return last is None or last["what"] == "blank"

    def beam_on(self):
        """Return the spans of time in which the beam was on; the last may still go on."""
        changes = [entry for entry in self.log() if entry["what"] in {"blank", "unblank"}]
        spans, begun = [], None
        for entry in changes:
            if entry["what"] == "unblank" and begun is None:
                begun = entry["t"]
            elif entry["what"] == "blank" and begun is not None:
                spans.append((begun, entry["t"]))
                begun = None
        return spans if begun is None else [*spans, (begun, now_s())]

    def acts(self):
        return [entry["act_id"] for entry in self.log() if entry["what"] == "begin"]


class Hardware:
    """The driver of a column that is a file."""

    status = "for rehearsals of faults"

    class Config(ConfigModel):
        file: Path
        second: bool = True
        """Whether it offers a second line."""
        serial: str = "H-1"
        begin_s: float = 0.0

    def __init__(self, config, *, clock, rng):
        self.column, self._clock, self._serial, self._begin_s = (
            Column(config.file),
            clock,
            config.serial,
            config.begin_s,
        )

    @classmethod
    def second_line(cls, config):
        return (lambda: Column(config.file).note("blank", by="second line")) if config.second else None

    def describe(self):
        return Capabilities(
            instrument="a column that is a file",
            serial=self._serial,
            simulated=False,
            voltage_v=2e5,
            actions=("move_stage", "measure", "spectrum_image", "blank", "wait"),
            detectors=("HAADF",),
            signals=(SpectrumSignal(name="EELS", axis=AXIS), SpectrumSignal(name="4D", axis=COLUMNS, rows=ROWS)),
            ranges={"x_m": Range(low=-1.0, high=1.0)},
            tolerances={"x_m": 1e-9},
        )

    def state(self):
        moved = self.column.last("move")
        return MicroscopeState(
            time_s=self._clock.now_s(),
            x_m=moved["x_m"] if moved else 0.0,
            blanked=self.column.blanked,
            beam_current_a=1e-12,
        )

    def execute(self, act):
        return self.execute_into(act, NoSink())

    def execute_into(self, act, sink):
        before = self.state()
        self.column.note("begin", act.act_id, kind=act.action.kind)
        if self._begin_s:
            self._clock.wait(self._begin_s)
        frames = ()
        match act.action:
            case MoveStage():
                self.column.note("move", act.act_id, x_m=act.action.x_m)
            case Blank():
                self.column.note("blank" if act.action.blanked else "unblank", act.act_id)
            case Measure():
                self.column.note("unblank", act.act_id)
                while act.action.dwell_s > HANGS_ABOVE_S:
                    self._clock.wait(0.05)
                self._clock.wait(act.action.dwell_s)
                self.column.note("blank", act.act_id)
                meta = FrameMeta(signal="EELS", axes=(AXIS,), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
                frames = (Frame(meta, np.array([len(act.act_id), round(act.action.x_m * 1e9)], dtype=np.int64)),)
            case SpectrumImage():
                frames = (self._patterns(act, sink),)
        self.column.note("end", act.act_id)
        return Observation(act.act_id, before, self.state(), frames)

    def _patterns(self, act, sink):
        """Acquire a 4D scan row by row, each as long as its points dwell."""
        scan = act.action
        data = np.zeros((scan.height_px, scan.width_px, ROWS.size, COLUMNS.size), np.uint16)
        self.column.note("unblank", act.act_id)
        sink.begin("4D", data)
        try:
            for row in range(scan.height_px):
                self._clock.wait(scan.dwell_s * scan.width_px)
                data[row] = patterns(scan, row)
                sink.advance("4D", (row + 1) * scan.width_px)
        except AutoscopeError:
            self.column.note("stopped", act.act_id, row=row)
            raise
        finally:
            self.column.note("blank", act.act_id)
        axes = tuple(Axis(name=name, unit="m", size=size) for name, size in zip("yx", data.shape))
        meta = FrameMeta(signal="4D", axes=(*axes, ROWS, COLUMNS), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
        return Frame(meta, data)

    def make_safe(self):
        self.column.note("blank", by="make_safe")


def patterns(scan, row):
    """Return what the column records in one row of a scan, (column, ky, kx)."""
    place = np.arange(scan.width_px * ROWS.size * COLUMNS.size, dtype=np.uint32)
    return (place * 7919 + row * 104729).astype(np.uint16).reshape(scan.width_px, ROWS.size, COLUMNS.size)


def longest_without(column, leases):
    """Return the longest time the beam was on outside all spans of leases, in seconds."""
    worst = 0.0
    for begun, ended in column.beam_on():
        edges = sorted({begun, ended, *(edge for span in leases for edge in span if begun < edge < ended)})
        for low, high in pairwise(edges):
            if not any(start <= low and high <= stop for start, stop in leases):
                worst = max(worst, high - low)
    return worst
