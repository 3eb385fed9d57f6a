"""One cell: one campaign by the engine that runs at night, on simulated time, with its journal in memory."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from autoscope.benchmark.config import BenchEnvironment
from autoscope.benchmark.entrant import Entrant
from autoscope.benchmark.grid import Cell, made_by
from autoscope.benchmark.memory import lower_mark, peak_rss_bytes
from autoscope.benchmark.pool import Pool
from autoscope.benchmark.trace import Trace, Truth
from autoscope.benchmark.truths import truth_of
from autoscope.benchmark.watching import Watch
from autoscope.config import Document
from autoscope.engine.assemble import Resolved, assemble, resolve
from autoscope.engine.events import RunEnd, RunStatus
from autoscope.engine.loop import Engine
from autoscope.errors import DataError
from autoscope.journal import MemoryJournal
from autoscope.provenance import differences
from autoscope.quantities import FROM_FILE
from autoscope.surrogates.threads import one_thread


@dataclass(frozen=True)
class Campaign:
    """What came of a cell."""

    cell: Cell
    trace: Trace
    truth: Truth
    end: RunEnd
    seconds: float
    """Real time it took, the truth not included."""
    truth_seconds: float = 0.0
    """Real time the truth took; next to nothing where it was known."""

    @property
    def failed(self) -> bool:
        """Whether it could not go on before its budget was spent."""
        return self.end.status is RunStatus.FAILED


def run_cell(cell: Cell, stopwatch: Callable[[], float] = time.perf_counter) -> Campaign:
    """Run a campaign and tell what was true; numerical libraries use one thread.

    Raises
    ------
    AutoscopeError
        It cannot begin: data or a plug-in are absent, or nothing is known of the truth. A policy that breaks down is
        no error here, but a campaign that failed.
    """
    begun_s = stopwatch()
    truth = truth_for(cell)
    lower_mark()
    judged_s = stopwatch()
    with one_thread():
        trace, end = _run(cell, stopwatch)
    return Campaign(cell, trace, truth, end, stopwatch() - judged_s, judged_s - begun_s)


def truth_for(cell: Cell) -> Truth:
    """Return the truth that a cell is judged by; the same object for cells that share environment and chance."""
    environment = json.dumps([cell.run["environment"], cell.run["scalarizers"], cell.task], sort_keys=True)
    return _truth(_Question(cell.environment, environment, int(cell.run["seed"]), cell))


def resolved_of(cell: Cell) -> Resolved:
    """Return the validated configuration of a cell's run."""
    resolved = _resolved(_part(cell))
    return replace(resolved, config=resolved.config.replace(seed=cell.run["seed"]))


def made_differently(cell: Cell) -> list[str]:
    """Return how code, Python and libraries of this process differ from those the cell was named by, as phrases."""
    now = _made_here(_part(cell))
    return differences({name: cell.made_by.get(name) for name in now}, now)


@functools.lru_cache(maxsize=64)
def _made_here(text: str) -> dict[str, Any]:
    told = made_by(_resolved(text))
    return {name: told[name] for name in ("code_sha256", "python", "libraries")}


def _run(cell: Cell, stopwatch: Callable[[], float]) -> tuple[Trace, RunEnd]:
    resolved, task = resolved_of(cell), _task(cell)
    job = assemble(resolved)
    entrant = Entrant(job.policy, task.pool, cell.opening, resolved.config.seed, stopwatch)
    watch = Watch(task.wanted, job.policy, entrant, cell.measurements, cell.maps_at)
    journal = MemoryJournal(clock=job.clock, keep_frames=False, deferred=True)
    end = Engine(replace(job, policy=entrant), journal, inbox=watch, listener=watch, stopwatch=stopwatch).run()
    if entrant.capabilities is None:
        raise DataError(f"the campaign could not begin: {end.reason}", where=f"environment {cell.environment}")
    pool = Pool.of(task.pool, entrant.capabilities)
    notes = {"status": end.status.value, "reason": end.reason, "acts": end.steps, "faults": end.faults}
    return watch.trace(pool, peak_rss_bytes(), notes), end


def _task(cell: Cell) -> BenchEnvironment:
    return _task_of(json.dumps(cell.task, sort_keys=True))


@functools.lru_cache(maxsize=64)
def _task_of(text: str) -> BenchEnvironment:
    return BenchEnvironment.model_validate(json.loads(text), context=FROM_FILE)


def _part(cell: Cell) -> str:
    """Return the configuration without its seed, which many cells share."""
    return json.dumps({name: value for name, value in cell.run.items() if name != "seed"}, sort_keys=True)


@functools.lru_cache(maxsize=64)
def _resolved(text: str) -> Resolved:
    return resolve(Document.of(json.loads(text), "cell"))


@dataclass(frozen=True)
class _Question:
    name: str
    environment: str
    seed: int
    cell: Cell = field(compare=False)


@functools.lru_cache(maxsize=16)
def _truth(question: _Question) -> Truth:
    resolved = _resolved(_part(question.cell))
    return truth_of(question.name, resolved.environment, resolved.scalarizers, _task(question.cell), seed=question.seed)
