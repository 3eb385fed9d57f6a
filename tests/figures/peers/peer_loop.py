"""The loop every peer runs in: ten random pixels, then one decision after another until enough is measured.

Run as a script beside this file: ``python gpytorch_dkl.py job.npz answer.npz seed n``. The job holds the image, the
candidates and what each would return; a peer is shown the values of measured candidates alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

PATCH_PX = 11
INITIAL = 10
CHECKPOINTS = (50, 100, 200)


class Job(NamedTuple):
    """What a peer knows before it begins."""

    image: Array
    rows: Indices
    columns: Indices
    seed: int
    limit: int

    def places(self) -> Array:
        """Return coordinates (m, 2) of the candidates, scaled to the unit square."""
        height, width = self.image.shape
        return np.column_stack([self.rows / (height - 1), self.columns / (width - 1)])

    def patches(self) -> Array:
        """Return image patches (m, 121) around the candidates, the image scaled to 0..1 and mirrored at its edges."""
        image = (self.image - self.image.min()) / np.ptp(self.image)
        half = PATCH_PX // 2
        padded = np.pad(image, half, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (PATCH_PX, PATCH_PX))
        return np.ascontiguousarray(windows[self.rows, self.columns].reshape(len(self.rows), -1))

    def random_order(self) -> Indices:
        """Return the candidates in a random order, the same for every method with this seed."""
        return np.random.default_rng(self.seed).permutation(len(self.rows)).astype(np.int64)


class Peer(Protocol):
    """A method: fits to what is measured and scores every candidate."""

    starts_random: bool

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return the worth (m,) of measuring each candidate next, from a model fitted now."""

    def belief(self) -> tuple[Array, Array]:
        """Return the last model's map: mean (m,) and standard deviation (m,) of a measurement."""


def campaign(peer: Peer, job: Job, returned: Array) -> dict[str, Any]:
    """Return the candidates in the order taken, seconds of CPU a decision, and maps at the checkpoints."""
    taken = list(job.random_order()[:INITIAL]) if peer.starts_random else []
    seconds: list[float] = []
    answer: dict[str, Any] = {}
    failures = 0
    while True:
        seen = np.array(taken, dtype=np.int64)
        started = time.process_time()
        try:
            scores = peer.scores(seen, returned[seen])
        except Exception as error:  # each library fails in ways of its own: a random pixel stands in, and is counted
            print(f"decision {len(taken)}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            scores, failures = np.random.default_rng((job.seed, len(taken))).random(len(returned)), failures + 1
        else:
            if len(taken) in CHECKPOINTS:
                answer[f"mean_{len(taken)}"], answer[f"std_{len(taken)}"] = peer.belief()
        seconds.append(time.process_time() - started)
        if len(taken) >= job.limit:
            break
        scores = np.where(np.isfinite(scores), scores, -np.inf)
        scores[seen] = -np.inf
        open_ = np.setdiff1d(np.arange(len(returned)), seen) if not np.isfinite(scores).any() else None
        taken.append(int(np.argmax(scores)) if open_ is None else int(open_[0]))
    return answer | {"order": np.array(taken), "seconds": np.array(seconds), "failures": failures}


def main(make: Callable[[Job], Peer], packages: tuple[str, ...]) -> None:
    """Read the job named on the command line, run it, and write the answer."""
    given, to, seed, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with np.load(given) as stored:
        job = Job(stored["image"], stored["rows"], stored["columns"], seed, limit)
        returned = stored["measured"]
    versions = json.dumps({name: version(name) for name in packages})
    np.savez(to, versions=np.array(versions), **campaign(make(job), job, returned))
