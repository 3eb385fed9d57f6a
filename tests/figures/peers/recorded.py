"""Campaigns of the peers, one line each in ``recorded.jsonl``: run once, kept, never repeated."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.figures.arena.campaign import Campaign, digest, run_peer, score
from tests.figures.arena.sets import ROOT, ArenaSet, arena_set

HERE = Path(__file__).resolve().parent
FILE = HERE / "recorded.jsonl"


@dataclass(frozen=True)
class Method:
    """A peer: its worker, the environment it runs in (empty: ours), and the settings its documentation shows."""

    script: str
    venv: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def command(self, name: str) -> list[str]:
        """Return interpreter, script and the name it answers to."""
        python = ROOT / ".venv-peers" / self.venv / "bin" / "python" if self.venv else Path(sys.executable)
        return [str(python), str(HERE / self.script), name]

    @property
    def installed(self) -> bool:
        """Return whether its interpreter is there (``make peers`` builds it)."""
        return Path(self.command("")[0]).exists()


_START = {"initial": "10 random", "patch_px": 11}

METHODS: dict[str, Method] = {
    "random": Method("plain.py", settings={"map": "linear, nearest outside the hull"}),
    "grid": Method("plain.py", settings={"map": "linear, nearest outside the hull", "order": "rows"}),
    "sobol": Method("plain.py", settings={"map": "linear, nearest outside the hull"}),
    "botorch_xy": Method("botorch_gp.py", settings={"initial": "10 random", "acquisition": "LogEI"}),
    "botorch_pca10": Method("botorch_gp.py", settings=_START | {"acquisition": "LogEI"}),
    "gpytorch_dkl": Method(
        "gpytorch_dkl.py",
        settings=_START | {"network": "1000-500-50-2", "adam": 0.01, "iterations": 60, "acquisition": "EI"},
    ),
    "vidkl": Method(
        "gpax_vidkl.py",
        "gpax",
        _START | {"num_steps": 1000, "step_size": 0.005, "acquisition": "UCB", "beta": 0.25},
    ),
    "atomai_dklgpr": Method(
        "atomai_dkl.py", "atomai", _START | {"training_cycles": 200, "embedim": 2, "lr": 0.01, "acquisition": "EI"}
    ),
}
"""Every method, each with the settings its documentation shows."""


def settings_of(method: str, limit: int) -> dict[str, Any]:
    """Return the settings a campaign is known by; a raster also by how many points it was laid out for."""
    return METHODS[method].settings | ({"points": limit} if method == "grid" else {})


def read(path: Path = FILE) -> list[Campaign]:
    """Return all recorded campaigns; of two with the same key the longer."""
    kept: dict[tuple[str, str, str, int], Campaign] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            campaign = Campaign(**json.loads(line))
            if campaign.key not in kept or kept[campaign.key].n < campaign.n:
                kept[campaign.key] = campaign
    return list(kept.values())


def append(campaign: Campaign, path: Path = FILE) -> None:
    """Write one campaign at the end of the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(campaign.line() + "\n")


def missing(
    sets: Sequence[str], methods: Sequence[str], seeds: Sequence[int], limit: int, path: Path = FILE
) -> Iterator[tuple[str, str, int]]:
    """Yield (set, method, seed) not recorded yet with so many measurements: all sets at a seed before the next seed.

    What is recorded is looked up again each time, so that several runs can share the work.
    """
    for seed in seeds:
        for name in sets:
            for method in methods:
                key = name, method, digest(settings_of(method, limit), arena_set(name).recipe), seed
                if not any(c.key == key and c.n >= limit for c in read(path)):
                    yield name, method, seed


def run(name: str, method: str, seed: int, limit: int, path: Path = FILE) -> Campaign:
    """Run a peer on a set and record it."""
    arena: ArenaSet = arena_set(name)
    limit = min(limit, len(arena.rows))
    trace = run_peer(arena, METHODS[method].command(method), seed, limit)
    campaign = score(arena, method, settings_of(method, limit), seed, trace)
    append(campaign, path)
    return campaign
