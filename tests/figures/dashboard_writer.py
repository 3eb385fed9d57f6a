"""``python -m tests.figures.dashboard_writer RUN RATE``: writes so many steps a second, with maps."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np

from autoscope.clock import SystemClock
from autoscope.engine.snapshots import LIVE, MAPS, is_watched, replace
from autoscope.journal import Journal, JournalReader
from autoscope.model_maps import ModelMaps
from tests.figures.dashboard_runs import CANDIDATES, _varied
from tests.unit.dashboard.lab import FOV_M, QuickDisk


def main() -> None:
    """Write until told to end; then print how many steps were written."""
    folder, rate_hz = Path(sys.argv[1]), float(sys.argv[2])
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    tail = [r for r in JournalReader.open(folder).records(after=70_000) if r.kind in ("intent", "outcome")][-2:]
    journal, rng = Journal.reopen(folder, clock=SystemClock(), disk=QuickDisk()), np.random.default_rng(2)
    clock = SystemClock()
    first, began, written, drawn = tail[-1].step + 1, clock.now_s(), 0, 0.0
    while not ended:
        clock.wait(max(0.0, began + written / rate_hz - clock.now_s()))
        for record in tail:
            journal.append(record.kind, _varied(record.body, record.kind, first + written, rng), step=first + written)
        written += 1
        if written == 1:
            print("writing", flush=True)
        if clock.now_s() > drawn + 1.0 and is_watched(folder / LIVE):
            drawn = clock.now_s()
            replace(folder / LIVE / MAPS, _maps(first + written, rng).encoded())
    journal.close()
    print(written)


def _maps(step: int, rng: np.random.Generator) -> ModelMaps:
    side = int(CANDIDATES**0.5)
    at = ((np.arange(side) + 0.5) / side - 0.5) * FOV_M
    x_m, y_m = (v.ravel().astype(np.float32) for v in np.meshgrid(at, at))
    layers = {name: rng.normal(size=len(x_m)).astype(np.float32) for name in ("mean", "std", "acquisition")}
    return ModelMaps(step, "plasmon", "counts", x_m, y_m, layers)


if __name__ == "__main__":
    main()
