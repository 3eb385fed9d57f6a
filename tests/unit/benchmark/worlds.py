"""A benchmark small enough for a test: one map of 12 x 12 pixels, policies that cost nothing."""

from pathlib import Path

import numpy as np
import yaml

from autoscope.benchmark.arena import Arena
from autoscope.benchmark.grid import Grid
from autoscope.config import Document


def small_map(folder: Path, *, noise: bool = False) -> Path:
    """Write a map whose spectra (4 channels, counts) follow its image."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:12, :12]
    height = np.exp(-((x - 8) ** 2 + (y - 3) ** 2) / 8.0)
    mean = 20.0 + 200.0 * height[..., None] * np.array([0.2, 1.0, 0.5, 0.1])
    spectra = rng.poisson(mean) if noise else np.rint(mean)
    image = (100.0 * height + rng.random((12, 12))).astype(np.float32)
    path = folder / "small.npz"
    np.savez(
        path,
        image=image,
        spectra=spectra.astype(np.float32),
        axis=np.arange(4.0),
        meta='{"px": "2 nm", "unit": "counts"}',
    )
    return path


def plain(folder: Path, **changed):
    """Return a benchmark of that map as it would be written in a file."""
    path = folder / "small.npz"
    environment = {
        "name": "replay",
        "options": {"data": {"path": str(path if path.exists() else small_map(folder)), "dwell": "50 ms"}},
    }
    task = {"environment": environment, "scalarizers": {"signal": {"name": "band_integral"}}, "dwell": "50 ms"}
    basis = {
        "job": "bench",
        "name": "small",
        "environments": {"hill": task},
        "policies": {"random": {"name": "random"}, "grid": {"name": "grid"}},
        "budgets": [{"measurements": 8}],
        "seeds": {"count": 2},
        "maps_at": [6],
    }
    return basis | changed


def grid(folder: Path, **changed) -> Grid:
    return Grid(Document(yaml.safe_dump(plain(folder, **changed), sort_keys=False), "bench.yaml"))


def arena(folder: Path, **changed) -> Arena:
    return Arena(grid(folder, **changed), folder / "bench")
