"""The peers of `policies.peers` in the recorded loop, each campaign a process: ``judged.py job answer seed n NAME``."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from peer_loop import Array, Indices, Job, main

from policies.peers.botorch_gp import BoTorchJudge
from policies.peers.gpytorch_dkl import GPyTorchJudge
from policies.peers.inputs import components, patches, places
from policies.peers.peer import Judge
from policies.peers.process import WorkerJudge, interpreter

PATCH_PX = 11


class Judged:
    """A judge as the loop asks it, with the seconds that a worker process of its own took."""

    starts_random = True

    def __init__(self, judge: Judge, seed: int) -> None:
        self._judge, self._seed = judge, seed

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return the worth of measuring each candidate next."""
        self._judged = self._judge.judge(taken, values, np.zeros(len(values)), self._seed + 1000 * len(taken))
        return self._judged.scores

    def belief(self) -> tuple[Array, Array]:
        """Return the map of the last judgement."""
        return self._judged.mean, self._judged.std

    def cpu_s(self) -> float:
        """Return CPU seconds spent in another process so far."""
        return float(getattr(self._judge, "cpu_s", 0.0))


def _patches(job: Job) -> Array:
    pixels = job.rows * job.image.shape[1] + job.columns
    return patches(job.image, pixels, PATCH_PX)


def _places(job: Job) -> Array:
    return places(job.image.shape, job.rows * job.image.shape[1] + job.columns)


def _vidkl(job: Job) -> WorkerJudge:
    settings = {"steps": 1000, "rate": 0.005, "beta": 0.25}
    return WorkerJudge(interpreter("gpax", None), "gpax_vidkl.py", _patches(job), settings)


def _atomai(job: Job) -> WorkerJudge:
    return WorkerJudge(interpreter("atomai", None), "atomai_dkl.py", _patches(job), {"cycles": 200, "dimensions": 2})


JUDGES: dict[str, Callable[[Job], Judge]] = {
    "botorch_xy": lambda job: BoTorchJudge(_places(job)),
    "botorch_pca10": lambda job: BoTorchJudge(components(_patches(job))),
    "gpytorch_dkl": lambda job: GPyTorchJudge(_patches(job), iterations=60, rate=0.01),
    "vidkl": _vidkl,
    "atomai_dklgpr": _atomai,
}
PACKAGES = {
    "botorch_xy": ("botorch", "gpytorch", "torch"),
    "botorch_pca10": ("botorch", "gpytorch", "torch", "scikit-learn"),
    "gpytorch_dkl": ("gpytorch", "torch"),
}


def judged(name: str, job: Job) -> Judged:
    """Return a peer for a job."""
    return Judged(JUDGES[name](job), job.seed)


if __name__ == "__main__":
    main(lambda job: judged(sys.argv[5], job), PACKAGES.get(sys.argv[5], ()))
