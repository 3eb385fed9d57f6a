"""One decision of a peer at given numbers of measurements, timed; run as a script by the peer's own interpreter.

``python latency_peer_worker.py job.npz module class 50 100 200`` prints CPU and wall seconds of each as a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP_N = 9
"""One decision at this number comes first and is not counted: it loads and compiles what needs that once."""


def main() -> int:
    """Time the decisions named on the command line."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
    given, module, name, *counts = sys.argv[1:]
    peer_loop: Any = importlib.import_module("peer_loop")
    with np.load(given) as stored:
        job = peer_loop.Job(stored["image"], stored["rows"], stored["columns"], 0, 200)
        returned = stored["measured"]
    peer, order = getattr(importlib.import_module(module), name)(job), job.random_order()
    answer: dict[str, tuple[float, float]] = {}
    for n in (WARM_UP_N, *(int(c) for c in counts)):
        taken = order[:n]
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        peer.scores(taken, returned[taken])
        answer[str(n)] = time.process_time() - cpu_s, time.perf_counter() - wall_s
    del answer[str(WARM_UP_N)]
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
