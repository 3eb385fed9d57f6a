"""One campaign on one map, by the engine that runs at night or by a peer's own process, scored into one flat line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.figures.arena.metrics import calibration, map_error, measurements_to_level, rank_correlation, share_of_top
from tests.figures.arena.sets import ROOT, ArenaSet

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

CHECKPOINTS = (50, 100, 200)


@dataclass(frozen=True)
class Trace:
    """What a method did: candidates in the order taken, CPU seconds a decision, and its maps (mean, std of a
    measurement) at the checkpoints it reached."""

    order: Indices
    seconds: Array
    maps: Mapping[int, tuple[Array, Array]]
    failures: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Campaign:
    """One scored campaign; numbers are rounded, absent ones None."""

    set: str
    method: str
    digest: str
    seed: int
    n: int
    to_95: int | None
    top: dict[str, float]
    nrmse: dict[str, float]
    rho: dict[str, float]
    z_std: dict[str, float]
    coverage: dict[str, float]
    cpu_s: float
    failures: int
    order: list[int]
    settings: dict[str, Any]
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Return what tells this campaign from others."""
        return self.set, self.method, self.digest, self.seed

    def line(self) -> str:
        """Return the campaign as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    def value(self, metric: str) -> float | None:
        """Return a number by its name: ``to_95`` (censored: one more than were taken), ``top@100``, ``nrmse@50``."""
        if metric == "to_95":
            return float(self.n + 1 if self.to_95 is None else self.to_95)
        name, n = metric.split("@")
        found = getattr(self, name).get(n)
        return None if found is None else float(found)


def digest(settings: Mapping[str, Any], recipe: str) -> str:
    """Return eight hex digits that change with the settings of a method and with the definition of the set."""
    text = json.dumps([dict(settings), recipe], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def score(
    arena: ArenaSet, method: str, settings: Mapping[str, Any], seed: int, trace: Trace, limit: int | None = None
) -> Campaign:
    """Return a trace scored against the truth of its set."""
    truth, measured = arena.pool(arena.truth), arena.pool(arena.measured)
    reached = [n for n in CHECKPOINTS if n <= len(trace.order)]
    maps = {str(n): trace.maps[n] for n in reached if n in trace.maps and np.isfinite(trace.maps[n][0]).all()}
    honest = {n: m for n, m in maps.items() if np.isfinite(m[1]).all()}
    z = {n: calibration(*m, measured, trace.order[: int(n)]) for n, m in honest.items()}
    return Campaign(
        set=arena.name,
        method=method,
        digest=digest(settings, arena.recipe),
        seed=seed,
        n=len(trace.order) if limit is None else limit,
        to_95=measurements_to_level(trace.order, truth),
        top={str(n): _short(share_of_top(trace.order[:n], truth)) for n in reached},
        nrmse={n: _short(map_error(mean, truth)) for n, (mean, _) in maps.items()},
        rho={n: _short(rank_correlation(mean, truth)) for n, (mean, _) in maps.items()},
        z_std={n: _short(each[0]) for n, each in z.items()},
        coverage={n: _short(each[1]) for n, each in z.items()},
        cpu_s=_short(float(np.median(trace.seconds))) if len(trace.seconds) else 0.0,
        failures=trace.failures,
        order=trace.order.tolist(),
        settings=dict(settings),
        versions=dict(trace.versions),
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def run_peer(arena: ArenaSet, command: list[str], seed: int, limit: int) -> Trace:
    """Return what a worker did, in its own process: one thread, low priority.

    Raises
    ------
    RuntimeError
        The worker ended without an answer; the end of what it said is in the message.
    """
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    one["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    with tempfile.TemporaryDirectory() as folder:
        job, answer = Path(folder) / "job.npz", Path(folder) / "answer.npz"
        measured = arena.pool(arena.measured)
        np.savez(job, image=arena.image, rows=arena.rows, columns=arena.columns, measured=measured)
        interpreter, script, *names = command
        words = ["nice", "-n", "10", interpreter, "-W", "ignore", script, str(job), str(answer), str(seed), str(limit)]
        done = subprocess.run([*words, *names], env=os.environ | one, cwd=ROOT, capture_output=True, text=True)
        if done.returncode or not answer.exists():
            raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
        with np.load(answer) as found:
            maps = {n: (found[f"mean_{n}"], found[f"std_{n}"]) for n in CHECKPOINTS if f"mean_{n}" in found.files}
            versions = json.loads(str(found["versions"]))
            return Trace(found["order"], found["seconds"], maps, int(found["failures"]), versions)


def cpu_s() -> float:
    """Return CPU seconds of this process: what one idle core would have taken."""
    return time.process_time()
