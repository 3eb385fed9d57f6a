"""The maps of the arena: real ones where their files are at hand, and simulated specimens with a known truth."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from autoscope.quantities import FROM_FILE
from autoscope.records import Axis
from autoscope.registry import load
from environments.datasets import DatasetOptions, SpectrumImageData, read_dataset
from tests.figures.arena.specimens import SPECIMENS, simulated

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

ROOT = Path(__file__).resolve().parents[3]
MANY = 5000
"""Maps with more pixels offer every second one only, in both directions and to every method."""


@dataclass(frozen=True, eq=False)
class ArenaSet:
    """One map: what every method sees, what a measurement returns, and what is true. Maps are (H, W)."""

    name: str
    data: SpectrumImageData
    scalarizer: Mapping[str, Any]
    truth: Array
    measured: Array
    """The value one measurement returns."""
    noise_std: Array
    """Standard uncertainty of `measured` as the scalarizer states it; zero where measurements are the truth."""
    derived: bool
    """The image was made from the spectra, so it leaks the answer."""
    stride: int
    recipe: str
    """Digest of all that defines this set."""

    @property
    def image(self) -> Array:
        """Return the structural image (H, W)."""
        return np.asarray(self.data.image, dtype=np.float64)

    @functools.cached_property
    def rows(self) -> Indices:
        """Return the row of each candidate, row by row."""
        return self._lattice()[0]

    @functools.cached_property
    def columns(self) -> Indices:
        """Return the column of each candidate, row by row."""
        return self._lattice()[1]

    def _lattice(self) -> tuple[Indices, Indices]:
        start = (self.stride - 1) // 2
        lines = (np.arange(start, size, self.stride, dtype=np.int64) for size in self.truth.shape)
        rows, columns = np.meshgrid(*lines, indexing="ij")
        return rows.ravel(), columns.ravel()

    def pool(self, values: Array) -> Array:
        """Return the values (m,) of a map at the candidates."""
        return np.asarray(values[self.rows, self.columns])


def names() -> list[str]:
    """Return the sets whose files are here; simulated ones always are."""
    return [name for name, make in RECIPES.items() if make[0] is None or make[0]().exists()]


@functools.lru_cache(maxsize=16)
def arena_set(name: str) -> ArenaSet:
    """Return a set by its name; the same each time."""
    return RECIPES[name][1](name)


def shared() -> Path:
    """Return the folder of the stored sets."""
    return Path(os.environ.get("AUTOSCOPE_DATA", ROOT.parent / "shared" / "data"))


def make_set(
    name: str,
    data: SpectrumImageData,
    scalarizer: Mapping[str, Any],
    *,
    recipe: Mapping[str, Any],
    truth: Array | None = None,
    derived: bool = False,
) -> ArenaSet:
    """Return a set from its data; without a truth, the measured map smoothed by one pixel stands for it."""
    measured, noise_std = scalarize(data, scalarizer)
    if truth is None:
        truth = gaussian_filter(measured, 1.0) if data.target is None else np.asarray(data.target, dtype=np.float64)
    text = json.dumps([name, dict(recipe), dict(scalarizer)], sort_keys=True, default=str)
    return ArenaSet(
        name=name,
        data=data,
        scalarizer=scalarizer,
        truth=truth,
        measured=measured,
        noise_std=noise_std,
        derived=derived,
        stride=2 if measured.size > MANY else 1,
        recipe=hashlib.sha256(text.encode()).hexdigest()[:8],
    )


def scalarize(data: SpectrumImageData, scalarizer: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return value and standard uncertainty of every spectrum (H, W)."""
    plugin = load("scalarizers", scalarizer["name"])
    made = plugin(plugin.Config.model_validate(scalarizer["options"], context=FROM_FILE))
    values, stds = made.map_scalar(data.spectra, data.axis, data.unit)
    return np.asarray(values, dtype=np.float64), np.asarray(stds, dtype=np.float64)


def _band(*background: list[str], band: list[str] | None = None) -> dict[str, Any]:
    options: dict[str, Any] = {} if band is None else {"band": band}
    return {"name": "band_integral", "options": options | ({"background": list(background)} if background else {})}


def _stored(
    file: str, scalarizer: dict[str, Any], *, own_target: bool = True
) -> tuple[Callable[[], Path], Callable[[str], ArenaSet]]:
    """Return a set of our own files; without ``own_target`` its target has another scale than what is measured."""

    def make(name: str) -> ArenaSet:
        data = read_dataset(shared() / file)
        data = data if own_target else replace(data, target=None)
        return make_set(name, data, scalarizer, recipe={"file": file, "own_target": own_target})

    return lambda: shared() / file, make


def _vendor(
    file: str, read: dict[str, Any], scalarizer: dict[str, Any]
) -> tuple[Callable[[], Path], Callable[[str], ArenaSet]]:
    def make(name: str) -> ArenaSet:
        given = read | ({"image": str(ROOT / read["image"])} if "image" in read else {})
        options = DatasetOptions.model_validate(given, context=FROM_FILE)
        return make_set(name, read_dataset(ROOT / file, options), scalarizer, recipe={"file": file} | read)

    return lambda: ROOT / file, make


def _loops(name: str) -> ArenaSet:
    """Return the hysteresis loops' area as one exact channel: their image was made from the loops."""
    file = "beps_pto_50x50.npz"
    stored = read_dataset(shared() / file)
    if stored.target is None:
        raise ValueError(f"{file} has no target")
    data = SpectrumImageData(
        image=np.array(stored.image),
        spectra=np.array(stored.target)[..., None],
        axis=Axis(name="channel", unit="", size=1),
        pixel_m=stored.pixel_m,
        meta={},
        target=np.array(stored.target),
        signal="BEPS",
        unit="a.u.",
    )
    return make_set(name, data, _band(), recipe={"file": file}, derived=True)


def _specimen(name: str) -> ArenaSet:
    recipe = SPECIMENS[name]
    data, expected = simulated(recipe)
    truth, _ = scalarize(expected, recipe.scalarizer)
    return make_set(name, data, recipe.scalarizer, recipe=recipe.plain(), truth=truth)


def _cu_l() -> dict[str, Any]:
    return {"name": "edge", "options": {"background": ["800 eV", "925 eV"], "band": ["931 eV", "1010 eV"]}}


RECIPES: dict[str, tuple[Callable[[], Path] | None, Callable[[str], ArenaSet]]] = {
    "nanocubes": _stored("eels_nanocubes_dkl_scalar.npz", _band()),
    "CuZn": _stored("eels_cuzn_coreloss.npz", _cu_l()),
    "BEPS": (lambda: shared() / "beps_pto_50x50.npz", _loops),
    "SiO2": _stored("eds_stem_sio2_128x128.npz", _band(band=["1.66 keV", "1.88 keV"])),
    "JEOL": _vendor(
        "data/jeol/View000_0000006.pts",
        {
            "bin_px": 4,
            "bin_channels": 4,
            "band": ["0.2 keV", "10 keV"],
            "image": "data/jeol/View000_0000000.img",
        },
        _band(["5.6 keV", "6.1 keV"], ["7.3 keV", "7.8 keV"], band=["6.2 keV", "6.6 keV"]),
    ),
    "plasmon": (None, _specimen),
    "catalyst": (None, _specimen),
    "crystal": (None, _specimen),
    "P45": _vendor(
        "data/bruker/P45_the_default_job.bcf",
        {"band": ["0.2 keV", "10 keV"], "bin_channels": 4},
        _band(["0.75 keV", "0.9 keV"], ["1.98 keV", "2.2 keV"], band=["1.40 keV", "1.60 keV"]),
    ),
    "AgAl": _stored(
        "eds_sem_agal_50x50.npz",
        _band(["2.2 keV", "2.6 keV"], ["3.6 keV", "4.0 keV"], band=["2.85 keV", "3.1 keV"]),
        own_target=False,
    ),
}
"""Every set: the file it needs (none: simulated) and how it is made."""
