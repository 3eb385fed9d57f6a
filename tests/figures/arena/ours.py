"""Our policies on a set of the arena, by the very engine that runs at night, on a replay of the set."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from autoscope import __version__
from autoscope.config import Document
from autoscope.engine.assemble import Job, assemble, resolve
from autoscope.engine.events import RunStatus, StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Measure
from tests.figures.arena.campaign import CHECKPOINTS, Campaign, Trace, cpu_s, digest, score
from tests.figures.arena.sets import ROOT, ArenaSet, arena_set
from tests.figures.peers.recorded import append, read

Array = NDArray[np.float64]

DWELL = "50 ms"


def run_ours(name: str, method: str, options: Mapping[str, Any], seed: int, limit: int) -> Campaign:
    """Return one campaign of a policy; ``method`` labels it, ``options`` hold ``policy`` and its own options.

    Raises
    ------
    RuntimeError
        The engine ended before all measurements were taken.
    """
    arena = arena_set(name)
    settings = dict(options)
    job = assemble(resolve(Document(yaml.safe_dump(_config(arena, settings, seed, limit)), name)))
    watch = _Watch(arena, job)
    end = Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), listener=watch, stopwatch=cpu_s).run()
    if end.status is RunStatus.FAILED or len(watch.order) < min(limit, len(arena.rows)):
        raise RuntimeError(f"{method} on {name}, seed {seed}: {end.status} after {len(watch.order)}: {end.reason}")
    trace = Trace(np.array(watch.order), np.array(watch.seconds), watch.maps, 0, {"autoscope": __version__})
    return score(arena, method, settings, seed, trace)


def remembered(name: str, method: str, options: Mapping[str, Any], seed: int, limit: int) -> Campaign:
    """Return one campaign of a policy, from the file of those already run by this very code where it is there.

    Kept under ``data/figures``, which is not part of the project; any change of the code or of the set is a new key.
    """
    place = ROOT / "data" / "figures" / f"ours-{_code()}-{method}.jsonl"
    wanted = (name, method, digest(options, arena_set(name).recipe), seed)
    for campaign in read(place):
        if campaign.key == wanted and campaign.n == min(limit, len(arena_set(name).rows)):
            return campaign
    campaign = run_ours(name, method, options, seed, limit)
    place.parent.mkdir(parents=True, exist_ok=True)
    append(campaign, place)
    return campaign


@functools.cache
def _code() -> str:
    """Return a digest of everything a campaign of ours runs through."""
    rooms = [ROOT / room for room in ("autoscope", "policies", "environments")]
    files = sorted(path for room in rooms for path in room.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _config(arena: ArenaSet, settings: Mapping[str, Any], seed: int, limit: int) -> dict[str, Any]:
    options = {k: v for k, v in settings.items() if k != "policy"}
    common = {"target": "target", "dwell": DWELL, "points": limit, "stride_px": arena.stride}
    return {
        "name": f"arena {arena.name}",
        "seed": seed,
        "environment": {"name": "replay", "options": {"data": {"path": str(stored(arena.name)), "dwell": DWELL}}},
        "policy": {"name": settings["policy"], "options": common | options},
        "scalarizers": {"target": dict(arena.scalarizer)},
        "budget": {"steps": limit + 5},
    }


@functools.lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="arena-")


@functools.lru_cache(maxsize=16)
def stored(name: str) -> Path:
    """Return the set as a file that the replay reads."""
    data = arena_set(name).data
    meta = {
        "modality": data.signal,
        "unit": data.unit,
        "axis_unit": data.axis.unit or "none",
        "px": f"{data.pixel_m * 1e9:.9g} nm",
    }
    path = Path(_folder().name) / f"{name}.npz"
    axis = data.axis.values()
    np.savez(path, image=data.image, spectra=data.spectra, axis=axis, meta=np.array(json.dumps(meta)))
    return path


class _Watch:
    """Notes which candidate each spectrum was taken at, CPU seconds, and the policy's map at the checkpoints."""

    def __init__(self, arena: ArenaSet, job: Job) -> None:
        self._arena, self._policy = arena, job.policy
        places = arena.rows * arena.truth.shape[1] + arena.columns
        self._index = {int(place): i for i, place in enumerate(places)}
        self._fov_m = arena.data.fov_m
        self.order: list[int] = []
        self.seconds: list[float] = []
        self.maps: dict[int, tuple[Array, Array]] = {}

    def on_step(self, event: StepEvent) -> None:
        """Note a measurement."""
        action = event.decision.action
        if not isinstance(action, Measure) or event.outcome.status != "done":
            return
        height, width = self._arena.truth.shape
        j = round((action.x_m / self._fov_m + 0.5) * width - 0.5)
        i = round((action.y_m / (self._fov_m * height / width) + 0.5) * height - 0.5)
        self.order.append(self._index[i * width + j])
        self.seconds.append(event.latency_s)
        if len(self.order) in CHECKPOINTS and hasattr(self._policy, "estimate"):
            self._keep(self._policy.estimate())

    def _keep(self, belief: tuple[Array, Array] | None) -> None:
        """Keep a map (mean, std of what is true); measurement noise is added as the scalarizer states it."""
        if belief is not None:
            mean, std = (np.asarray(each, dtype=np.float64) for each in belief)
            self.maps[len(self.order)] = mean, np.hypot(std, self._arena.pool(self._arena.noise_std))
