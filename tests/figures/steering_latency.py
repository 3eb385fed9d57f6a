"""From a person's order to the record of it, in a run of another process; and an emergency stop from inside a fit."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autoscope.clock import SystemClock
from autoscope.config import RunConfig
from autoscope.engine.assemble import Job
from autoscope.engine.steering import QueueInbox
from autoscope.engine.urgency import Urgency
from autoscope.identity import load_or_make
from autoscope.interventions import EmergencyStop, Note, Pause, Resume
from autoscope.journal import JournalReader
from autoscope.steering.helm import Writer
from autoscope.steering.spool import Spool, SpoolWatch
from autoscope.surrogates.gp import GaussianProcess
from tests.figures.figure import Figure
from tests.figures.steering_world import steered_run

GOAL_ORDER_MS, GOAL_STOP_MS = 50.0, 100.0
FIT_POINTS = 400
GAP_S = 0.03


def figures(slow: bool) -> Iterator[Figure]:
    """Yield how soon an order is written down, and how soon an emergency stop reaches the instrument."""
    yield from _orders(1000 if slow else 300)
    yield from _stops(2000 if slow else 500)


# --- orders ----------------------------------------------------------------------------------------


def _orders(times: int) -> Iterator[Figure]:
    rng, clock = np.random.default_rng(0), SystemClock()
    with steered_run() as (folder, helm):
        helm.post(Pause(), why="to stand at a boundary")
        took_s = []
        for number in range(times):
            clock.wait(float(rng.uniform(0.0, 0.02)))
            begun_s = clock.now_s()
            assert helm.post(Note(text=f"order {number}")).status == "accepted"
            took_s.append(clock.now_s() - begun_s)
        helm.post(Resume())
        for _ in range(times // 4):
            clock.wait(float(rng.uniform(0.0, 0.3)))
            assert helm.post(Note(text="while it measures")).status == "accepted"
        after_s = _after_boundaries(folder)
    how = (
        "SpoolHelm.post in this process, run of the same computer in another, at a step boundary: signed, "
        "taken in, verified, judged, journalled durably, receipt read back (looked for every 2.5 ms)"
    )
    yield _quantile("steering_order_to_record_p99", took_s, GOAL_ORDER_MS, how)
    how = "acts of 0.1 s and a random policy: from the outcome of the act that was running to the record of the order"
    yield _quantile("steering_boundary_to_record_p99", after_s, GOAL_ORDER_MS, how)


def _after_boundaries(folder: Path) -> list[float]:
    """Return how long after the outcome before it each order was written down, where a run was under way."""
    found, before = [], None
    for record in JournalReader.open(folder).records():
        if record.kind == "intervention" and before is not None and before.kind == "outcome":
            found.append(record.time_s - before.time_s)
        before = record
    return found


# --- stops -----------------------------------------------------------------------------------------


class _Beam:
    """An environment of which only the blanker matters."""

    def __init__(self) -> None:
        self.blanked_s: list[float] = []

    def make_safe(self) -> None:
        """Note when it was called."""
        self.blanked_s.append(time.perf_counter())


def _stops(times: int) -> Iterator[Figure]:
    beam, inbox, over = _Beam(), QueueInbox(), threading.Event()
    inbox.on_urgent(Urgency(_job(beam)).take)
    with tempfile.TemporaryDirectory(prefix="autoscope-steering-") as name:
        watch = SpoolWatch(Spool(Path(name)), inbox)
        context = multiprocessing.get_context("spawn")
        queue: Any = context.Queue()
        poster = context.Process(target=_post_stops, args=(name, times, queue))
        poster.start()
        fitting = threading.Thread(target=_wait_for, args=(queue, over, posted := []))
        fitting.start()
        fits = 0
        while not over.is_set():
            _fit(fits)
            fits += 1
        fitting.join()
        poster.join()
        watch.close()
    took_s = [blanked - sent for sent, blanked in zip(posted, beam.blanked_s, strict=True)]
    how = (
        f"in a run's folder, by another process, while this one fits Gaussian processes of {FIT_POINTS} points without "
        f"a pause ({fits} of them); to the call that blanks; over the bus see bus_emergency_to_blank_p999"
    )
    yield _quantile("steering_emergency_to_blank_p999", took_s, GOAL_STOP_MS, how, 0.999)


def _job(beam: _Beam) -> Job:
    config = RunConfig.model_validate({"name": "stops", "environment": {"name": "x"}, "policy": {"name": "y"}})
    resolved: Any = type("Resolved", (), {"config": config})()
    environment: Any = beam
    policy: Any = None
    return Job(resolved, environment, policy, {}, SystemClock())


def _post_stops(folder: str, times: int, queue: Any) -> None:
    clock = SystemClock()
    writer = Writer("stops", "anna", load_or_make(Path(folder) / "anna"), clock)
    spool, rng = Spool(Path(folder)), np.random.default_rng(1)
    clock.wait(1.0)
    for _ in range(times):
        clock.wait(float(rng.uniform(GAP_S, 2 * GAP_S)))
        order, sent_s = writer.write(EmergencyStop()), time.perf_counter()
        spool.put(order)
        queue.put(sent_s)
    clock.wait(0.5)
    queue.put(None)


def _wait_for(queue: Any, over: threading.Event, posted: list[float]) -> None:
    while (sent_s := queue.get()) is not None:
        posted.append(sent_s)
    over.set()


def _fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(FIT_POINTS, 4)).astype(np.float32)
    GaussianProcess(((0, 1, 2, 3),), "matern52").fit(x, np.sin(x[:, 0]), np.full(FIT_POINTS, 0.1))


def _quantile(name: str, took_s: list[float], goal_ms: float, how: str, q: float = 0.99) -> Figure:
    value = round(float(np.quantile(took_s, q)) * 1e3, 1)
    load = f"; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    spread = f"; median {np.median(took_s) * 1e3:.1f}, largest {max(took_s) * 1e3:.1f}"
    return Figure(name, value, "ms", f"<= {goal_ms:g}", value <= goal_ms, len(took_s), how + spread + load)
