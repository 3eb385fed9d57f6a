"""What one decision costs the deep kernels of other tools, retrained at each step, on the same field of view."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.figures.arena.sets import ROOT
from tests.figures.latency_case import ONE_THREAD
from tests.figures.latency_world import synthetic
from tests.figures.peers.recorded import METHODS

COUNTS = (10, 50, 100, 200)
CLASSES = {"gpytorch_dkl": ("gpytorch_dkl", "GPyTorchDeepKernel"), "vidkl": ("gpax_vidkl", "ViDKL")}
WORKER = ROOT / "tests" / "figures" / "latency_peer_worker.py"


@dataclass(frozen=True)
class PeerCost:
    """CPU seconds of a decision by the number of measurements, and their mean over a run."""

    seconds: Mapping[int, float]

    @property
    def mean_s(self) -> float:
        """Mean over all decisions of a run from the fewest measurements to the most, by the trapezoidal rule."""
        return mean_over_run(self.seconds)

    def words(self) -> str:
        """Return the seconds for people."""
        return ", ".join(f"{s:.2f} s at {n}" for n, s in sorted(self.seconds.items()))


def mean_over_run(seconds: Mapping[int, float]) -> float:
    """Return the mean of a quantity known at some numbers of measurements, linear in between.

    Examples
    --------
    >>> mean_over_run({10: 1.0, 20: 3.0, 40: 3.0})
    2.6666666666666665
    """
    counts = np.array(sorted(seconds), dtype=np.float64)
    return float(np.trapezoid([seconds[int(n)] for n in counts], counts) / np.ptp(counts))


def installed(method: str) -> bool:
    """Return whether this peer can be run here."""
    return METHODS[method].installed


def measure(method: str, side: int) -> PeerCost:
    """Run one decision of a peer at each of `COUNTS`, in a process of its own with one thread.

    Raises
    ------
    RuntimeError
        The worker ended without an answer; the end of what it said is in the message.
    """
    field = synthetic(side, side)
    rows, columns = np.divmod(np.arange(side * side), side)
    one = ONE_THREAD | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    measured = field.target.ravel() + field.noise_std * field.rng.normal(size=side * side)
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        np.savez(job, image=field.image, rows=rows, columns=columns, measured=measured)
        interpreter = METHODS[method].command(method)[0]
        words = [interpreter, "-W", "ignore", str(WORKER), str(job), *CLASSES[method], *map(str, COUNTS)]
        done = subprocess.run(words, env=os.environ | one, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{method} ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return PeerCost({int(n): cpu_s for n, (cpu_s, _) in found.items()})
