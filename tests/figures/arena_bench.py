"""The arena itself: how long a standard grid takes, what it costs beside policies and instruments, and what is lost."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pyarrow.parquet as pq
import yaml

from autoscope.benchmark import campaign as campaigns
from autoscope.benchmark import store as files
from autoscope.benchmark.arena import Arena, Tally
from autoscope.benchmark.farm import Farm, compute_cell, opened
from autoscope.benchmark.grid import Cell, Grid
from autoscope.benchmark.memory import devote
from autoscope.config import Document
from tests.figures.arena_bare import bare_campaign
from tests.figures.arena_standard import ENVIRONMENTS, POLICIES, standard
from tests.figures.figure import Figure

SOME_POLICIES = ("random", "sobol", "gp", "deep kernel")
SOME_ENVIRONMENTS = ("plasmon", "vanadium at a tenth of the dose")
LIMIT_MINUTES, SEEDS = 20.0, 20
T = TypeVar("T")


def figures(slow: bool) -> Iterator[Figure]:
    """Yield what the arena costs, whether it repeats, and what killing workers loses; with ``slow`` the whole grid."""
    few = {"policies": _some(POLICIES, SOME_POLICIES), "environments": _some(ENVIRONMENTS, SOME_ENVIRONMENTS)}
    small = standard(4, 40, **few)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _overhead(5 if slow else 3, folder)
        yield from _repeated(small, folder)
        yield from _speed_up(standard(6, 60, policies=few["policies"]) if slow else small, folder)
        if slow:
            yield from _whole(folder)


def _some(known: dict[str, Any], chosen: tuple[str, ...]) -> dict[str, Any]:
    return {name: known[name] for name in chosen}


def _grid(plain: dict[str, Any]) -> Grid:
    return Grid(Document(yaml.safe_dump(plain, sort_keys=False), "standard"))


# --- what the arena costs --------------------------------------------------------------------------


def _overhead(seeds: int, folder: Path) -> Iterator[Figure]:
    """Compare each campaign of the arena with the same calls in a plain loop: in turns, one process, caches warm."""
    devote()  # as a worker is, for both sides
    grid = _grid(standard(seeds, 100))
    arena, cells = Arena(grid, folder / "overhead"), list(grid.cells(range(seeds)))
    for cell in cells[: len(grid.combinations)]:
        _pair(replace(cell, measurements=8), arena, arena_first=True)  # imports, and configurations validated once
    shares, arena_s, bare_s = [], 0.0, 0.0
    for seed in range(seeds):
        mine = [cell for cell in cells if cell.repetition == seed]
        pairs = [_pair(cell, arena, arena_first=(k + seed) % 2 == 0) for k, cell in enumerate(mine)]
        results_s, _ = _timed(functools.partial(arena.write_results, Tally(cells=mine)))
        with_arena, bare = sum(pair[0] for pair in pairs) + results_s, sum(pair[1] for pair in pairs)
        shares.append(100 * (with_arena / bare - 1.0))
        arena_s, bare_s = arena_s + with_arena, bare_s + bare
    share, load = float(np.median(shares)), os.getloadavg()[0]
    rest_ms = 1e3 * (arena_s - bare_s) / len(cells) / 101
    how = (
        f"median over {seeds} seeds ({min(shares):.1f} to {max(shares):.1f}), {len(grid.combinations)} campaigns each "
        f"({len(POLICIES)} policies x {len(ENVIRONMENTS)} environments x 100 measurements): processor time of cells, "
        f"engine, guard, journal, traces, files and metrics ({arena_s:.1f} s) over that of the same calls of policies, "
        f"environments and scalarizers in a plain loop ({bare_s:.1f} s), in turns, all places the same; "
        f"{rest_ms:.2f} ms a step; load average {load:.1f}"
    )
    yield Figure("arena: overhead over bare calls", round(share, 1), "%", "<= 5", share <= 5.0, len(cells), how)
    minutes = arena_s / 60 * SEEDS / seeds / 2
    how = f"{arena_s:.1f} s of processor time for {seeds} of {SEEDS} seeds, extrapolated to all, divided by two cores"
    ok = minutes <= LIMIT_MINUTES
    yield Figure(
        "arena: standard grid, expected", round(minutes, 1), "min", f"<= {LIMIT_MINUTES:g}", ok, len(cells), how
    )


def _pair(cell: Cell, arena: Arena, *, arena_first: bool) -> tuple[float, float]:
    """Return seconds of the processor with the arena and without, for the same campaign.

    The truth is known before, and so is the map of a simulated specimen that campaigns of one seed share: else whoever
    came first would pay for both.
    """
    truth = campaigns.truth_for(cell)
    bare_campaign(replace(cell, measurements=8))

    def whole() -> None:
        done = compute_cell(cell.text(), elsewhere=True)  # as a worker does it
        arena.store.put(done.key, done.cell, done.truth_name, done.truth)

    if arena_first:
        (with_s, _), (bare_s, places) = _timed(whole), _timed(lambda: bare_campaign(cell))
    else:
        (bare_s, places), (with_s, _) = _timed(lambda: bare_campaign(cell)), _timed(whole)
    chosen = arena.store.row(cell.key)["chosen"]
    if not np.allclose(truth.xy_m[chosen], places, rtol=0.0, atol=1e-12):
        raise AssertionError(f"{cell.policy} on {cell.environment} measured other places in the plain loop")
    return with_s, bare_s


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    begun = time.process_time()
    found = call()
    return time.process_time() - begun, found


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
    """Return the processes that Dask has started for us; one that was killed has no command line any more."""
    started = psutil.Process().children(recursive=True)
    return [p for p in started if "spawn_main" in " ".join(p.as_dict(["cmdline"], ad_value=())["cmdline"])]


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


def _speed_up(plain: dict[str, Any], folder: Path, rounds: int = 3) -> Iterator[Figure]:
    """Compare one worker with two, warm, in turns: from the first cell handed out to the results written."""
    cluster, taken, ratios = _grid(plain).config.cluster, {1: 0.0, 2: 0.0}, []
    with opened(cluster, workers=1) as one, opened(cluster, workers=2) as two:
        farms = {1: one, 2: two}
        for count, farm in farms.items():
            for k in range(2):  # twice, so that each of two has met every policy
                _seconds(plain | {"seed": 90 + k, "seeds": {"count": 1}}, folder / f"warm{count}-{k}", farm)
        for k in range(rounds):
            order = (1, 2) if k % 2 == 0 else (2, 1)
            found = {n: _seconds(plain | {"seed": k}, folder / f"timed{n}-{k}", farms[n]) for n in order}
            ratios.append(found[1] / found[2])
            taken = {n: taken[n] + found[n] for n in taken}
    ratio, load = float(np.median(ratios)), os.getloadavg()[0]
    n = rounds * len(_grid(plain).combinations) * plain["seeds"]["count"]
    how = (
        f"median of {rounds} rounds in turns ({min(ratios):.2f} to {max(ratios):.2f}); {taken[1]:.1f} s with one, "
        f"{taken[2]:.1f} s with two, processes started and warm before; load average {load:.1f}"
    )
    yield Figure("arena: two workers over one", round(ratio, 2), "x", ">= 1.8", ratio >= 1.8, n, how)


def _seconds(plain: dict[str, Any], folder: Path, farm: Farm) -> float:
    arena, begun = Arena(_grid(plain), folder), time.perf_counter()
    arena.run(farm)
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
    return float(times.user + times.system)
