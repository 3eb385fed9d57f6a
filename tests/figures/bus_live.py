"""``bus_live``: what it brings to receive a 4D scan while it is acquired, between real processes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from autoscope.bus.client import BusInstrument
from autoscope.bus.shared_memory import Window
from autoscope.errors import BusError
from autoscope.records import Act, SpectrumImage
from tests.fault.hardware import now_s
from tests.fault.served import Served, serving
from tests.figures.figure import Figure

SCAN = SpectrumImage(fov_m=1e-7, width_px=64, height_px=64, dwell_s=5e-4, signals=("4D",), detectors=())
"""4,096 patterns of 64 x 64 uint16, 34 MB, in 2 s."""


class _First:
    """A sink that notes when the first points had come."""

    def __init__(self) -> None:
        self.first_s = 0.0

    def begin(self, signal: str, data: Any) -> None:
        """Take no notice."""

    def advance(self, signal: str, points: int) -> None:
        """Note the time."""
        if points and not self.first_s:
            self.first_s = now_s()


def figures(slow: bool) -> Iterator[Figure]:
    """Yield, with and without shared memory, how much sooner a scan is there."""
    rounds = 9 if slow else 3
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        for share in (True, False):
            yield _sooner(server, share, rounds)


def _sooner(server: Served, share: bool, rounds: int) -> Figure:
    way = "shared memory" if share else "socket"
    after: dict[bool, list[float]] = {True: [], False: []}
    first: list[float] = []
    with ExitStack() as stack:
        if not share:
            stack.enter_context(mock.patch.object(Window, "create", _none))
        bus = server.client()
        stack.callback(bus.close)
        for number in range(2 * rounds):
            live = number % 2 == 0
            name, sink = f"{way}-{number}", _First()
            _take(bus, name, sink, live)
            got_s, log = now_s(), {e["what"]: e["t"] for e in server.column.log() if e["act_id"] == name}
            after[live].append(got_s - log["end"])
            if live:
                first.append(sink.first_s - log["unblank"])
    live_s, fetched_s = statistics.median(after[True]), statistics.median(after[False])
    how = (
        f"{rounds} scans each way in turn, 64 x 64 patterns of 64 x 64 uint16 (34 MB) in 2 s, no keys, {way}; median "
        f"from the driver's last point to the observation in hand: {live_s * 1e3:.0f} ms received while acquired, "
        f"{fetched_s * 1e3:.0f} ms fetched afterwards (both with the ledger's durable copy); first points "
        f"after {statistics.median(first) * 1e3:.0f} ms"
    )
    ratio = fetched_s / live_s
    return Figure(f"bus_live_{way.replace(' ', '_')}", round(ratio, 2), "x sooner", "> 1", ratio > 1.0, rounds, how)


def _take(bus: BusInstrument, name: str, sink: _First, live: bool) -> None:
    act = Act(act_id=name, action=SCAN)
    if live:
        bus.execute_into(act, sink)
        return
    with mock.patch("autoscope.bus.client.Following", _Nothing):  # as with a server that cannot
        bus.execute(act)


class _Nothing:
    """No transport is an instance of this."""


def _none(size: int) -> Window:
    raise BusError("no shared memory in this measurement", value=size)
