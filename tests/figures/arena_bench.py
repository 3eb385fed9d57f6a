"""The arena itself: how long a standard grid takes, what it costs beside policies and instruments, and what is lost."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

from autoscope.benchmark import campaign as campaigns
from autoscope.benchmark import store as files
from autoscope.benchmark.arena import Arena, Tally
from autoscope.benchmark.farm import compute_cell, opened
from autoscope.benchmark.grid import Cell, Grid
from autoscope.config import Document
from tests.figures.arena_standard import ENVIRONMENTS, POLICIES, standard
from tests.figures.figure import Figure

SOME_POLICIES = ("random", "sobol", "gp", "deep kernel")
SOME_ENVIRONMENTS = ("plasmon", "vanadium at a tenth of the dose")
LIMIT_MINUTES, SEEDS = 20.0, 20


def figures(slow: bool) -> Iterator[Figure]:
    """Yield what the arena costs, whether it repeats, and what killing workers loses; with ``slow`` the whole grid."""
    yield from _overhead(seeds=3 if slow else 1)
    few = {"policies": _some(POLICIES, SOME_POLICIES), "environments": _some(ENVIRONMENTS, SOME_ENVIRONMENTS)}
    small = standard(4, 40, **few)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _repeated(small, folder)
        yield from _speed_up(standard(6, 60, policies=few["policies"]) if slow else small, folder)
        if slow:
            yield from _whole(folder)


def _some(known: dict[str, Any], chosen: tuple[str, ...]) -> dict[str, Any]:
    return {name: known[name] for name in chosen}


def _grid(plain: dict[str, Any]) -> Grid:
    return Grid(Document(yaml.safe_dump(plain, sort_keys=False), "standard"))


# --- what the arena costs --------------------------------------------------------------------------


class _Bare:
    """Adds up the processor time in calls of policies, environments and scalarizers."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._inside = False

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, timed; calls inside calls count once."""

        def run(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return call(*arguments, **named)
            self._inside, begun = True, time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                self.total_s += time.process_time() - begun
                self._inside = False

        return run

    def around(self, thing: Any, *names: str) -> Any:
        """Time methods of one object."""
        for name in names:
            if hasattr(thing, name):
                setattr(thing, name, self.timed(getattr(thing, name)))
        return thing


def _overhead(seeds: int) -> Iterator[Figure]:
    cells = list(_grid(standard(seeds, 100)).cells(range(seeds)))
    for cell in cells[: len(POLICIES) * len(ENVIRONMENTS)]:
        compute_cell(replace(cell, measurements=8).text())  # imports, and configurations validated once for all seeds
    bare, assemble = _Bare(), campaigns.assemble
    made = bare.timed(assemble)

    def watched(*arguments: Any) -> Any:
        job = made(*arguments)
        bare.around(job.policy, "ask", "tell", "estimate")
        bare.around(job.environment, "reset", "step", "read_state", "describe", "make_safe", "close")
        for scalarizer in job.scalarizers.values():
            bare.around(scalarizer, "fits", "scalarize")
        return job

    campaigns.assemble = watched
    truth_of = campaigns.truth_of
    campaigns.truth_of = bare.timed(truth_of)  # asked of the environment, by any comparison
    campaigns._truth.cache_clear()
    try:
        begun = time.process_time()
        for cell in cells:
            compute_cell(cell.text())
        total = time.process_time() - begun
    finally:
        campaigns.assemble, campaigns.truth_of = assemble, truth_of
    share = 100 * (total - bare.total_s) / bare.total_s
    steps = len(cells) * 101
    rest_ms = 1e3 * (total - bare.total_s) / steps
    how = (
        f"processor time of {len(cells)} campaigns ({len(POLICIES)} policies x {len(ENVIRONMENTS)} environments x "
        f"{seeds} seeds x 100 measurements): {total:.1f} s, of which {bare.total_s:.1f} s in policies, environments, "
        f"scalarizers and truth; the rest, {rest_ms:.2f} ms a step, is engine, journal, guard, trace and Parquet"
    )
    yield Figure("arena: overhead over bare calls", round(share, 1), "%", "<= 5", share <= 5.0, len(cells), how)
    minutes = total / 60 * SEEDS / seeds / 2
    how = f"{total:.1f} s of processor time for {seeds} of {SEEDS} seeds, extrapolated to all and divided by two cores"
    ok = minutes <= LIMIT_MINUTES
    yield Figure(
        "arena: standard grid, expected", round(minutes, 1), "min", f"<= {LIMIT_MINUTES:g}", ok, len(cells), how
    )


# --- repeated, in another order, with workers killed -----------------------------------------------------


class _Killing:
    """Kills a worker after every third cell, as often as asked."""

    def __init__(self, kills: int) -> None:
        self.killed, self._kills, self._seen = 0, kills, 0

    def planned(self, cells: int, kept: int) -> None:
        """Do nothing."""

    def finished(self, cell: Cell, error: str) -> None:
        """Kill, where it is time."""
        self._seen += 1
        alive = workers() if self._seen % 3 == 1 and self.killed < self._kills else []
        if alive:  # those killed before may still be on their way back
            os.kill(alive[0].pid, signal.SIGKILL)
            self.killed += 1


def workers() -> list[psutil.Process]:
    """Return the processes that Dask has started for us."""
    return [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


def _computed(plain: dict[str, Any], folder: Path, count: int, **how: Any) -> tuple[Tally, str]:
    grid = _grid(plain)
    arena = Arena(grid, folder)
    with opened(grid.config.cluster, workers=count) as farm:
        tally = arena.run(farm, **how)
    return tally, files.digest(pq.read_table(folder / "results.parquet"))


def _repeated(plain: dict[str, Any], folder: Path) -> Iterator[Figure]:
    _, first = _computed(plain, folder / "first", 0)
    _, again = _computed(plain, folder / "again", 2, arrange=lambda cells: cells[::-1])
    n = len(_grid(plain).combinations) * plain["seeds"]["count"]
    same = first == again
    how = "sha256 over all traces, maps and truths: one process in the order of the grid v. two workers backwards"
    yield Figure("arena: same grid twice", "identical" if same else "different", "", "identical", same, n, how)
    killing = _Killing(3)
    tally, killed = _computed(plain, folder / "killed", 2, progress=killing)
    lost = n - len(tally.cells) + (killed != first) * n
    how = f"{killing.killed} workers killed with SIGKILL while they computed; results compared with an undisturbed run"
    yield Figure("arena: campaigns lost or changed by killed workers", lost, "", "0", lost == 0, n, how)


def _speed_up(plain: dict[str, Any], folder: Path) -> Iterator[Figure]:
    """Compare one worker with two, started and warm: how long from the first cell handed out to the last one kept."""
    seconds = [_warm_seconds(plain, folder / f"workers{count}", count) for count in (1, 2)]
    ratio, load = seconds[0] / seconds[1], os.getloadavg()[0]
    n = len(_grid(plain).combinations) * plain["seeds"]["count"]
    how = f"{seconds[0]:.1f} s with one, {seconds[1]:.1f} s with two, processes started before; load average {load:.1f}"
    yield Figure("arena: two workers over one", round(ratio, 2), "x", ">= 1.8", ratio >= 1.8, n, how)


def _warm_seconds(plain: dict[str, Any], folder: Path, count: int) -> float:
    grid = _grid(plain)
    warm = _grid(plain | {"seed": 99, "seeds": {"count": 1}})
    with opened(grid.config.cluster, workers=count) as farm:
        for _ in range(2):
            Arena(warm, folder / f"warm{_}").run(farm)
        begun = time.perf_counter()
        Arena(grid, folder / "timed").run(farm)
        return time.perf_counter() - begun


# --- the whole grid ------------------------------------------------------------------------------------


def _whole(folder: Path) -> Iterator[Figure]:
    plain = standard(SEEDS, 100)
    begun, spent = time.perf_counter(), _processor_s()
    tally, _ = _computed(plain, folder / "whole", 2, progress=(meter := _Meter()))
    minutes = (time.perf_counter() - begun) / 60
    processor = (meter.processor_s + _processor_s() - spent) / 60
    failed = sum(row["status"] == "failed" for row in pq.read_table(folder / "whole" / "results.parquet").to_pylist())
    n, load = len(tally.cells), os.getloadavg()[0]
    how = (
        f"8 policies x 6 environments x 20 seeds x 100 measurements on 2 workers: {n} campaigns, {failed} failed; "
        f"{processor:.1f} min of processor time in all, load average {load:.1f} at the end"
    )
    ok = minutes <= LIMIT_MINUTES and n == 960 and not failed
    yield Figure("arena: standard grid", round(minutes, 1), "min", f"<= {LIMIT_MINUTES:g} on 2 cores", ok, n, how)


class _Meter:
    """Reads the processor time of the workers as they go."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    @property
    def processor_s(self) -> float:
        """Seconds of all workers by the last cell."""
        return sum(self._seen.values())

    def planned(self, cells: int, kept: int) -> None:
        """Do nothing."""

    def finished(self, cell: Cell, error: str) -> None:
        """Read the clocks."""
        for process in workers():
            times = process.cpu_times()
            self._seen[process.pid] = times.user + times.system


def _processor_s() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system
