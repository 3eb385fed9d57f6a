"""Simulated specimens as maps: what an ideal probe would count on a raster, and what is expected there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autoscope.quantities import FROM_FILE
from environments.datasets import SpectrumImageData
from environments.specimen_map import SpecimenMapConfig, expected_map

SIDE_PX = 64
VOLTAGE_V = 200e3
CURRENT_A = 50e-12
IMAGE_DWELL_S = 20e-6


@dataclass(frozen=True)
class SpecimenRecipe:
    """A specimen, the raster over its middle, and the value wanted of each spectrum."""

    config: Mapping[str, Any]
    seed: int
    fov_m: float
    signal: str
    dwell_s: float
    keep: tuple[str, str]
    """Part of the axis that is stored."""
    scalarizer: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return everything the map depends on as JSON data."""
        common = {"side_px": SIDE_PX, "voltage_v": VOLTAGE_V, "current_a": CURRENT_A, "image_dwell_s": IMAGE_DWELL_S}
        return asdict(self) | common


SPECIMENS: dict[str, SpecimenRecipe] = {
    "plasmon": SpecimenRecipe(
        config={"kind": "nanoparticles", "extent": ["600 nm", "600 nm"], "count": 10},
        seed=2,
        fov_m=400e-9,
        signal="EELS",
        dwell_s=0.05,
        keep=("1.2 eV", "2.6 eV"),
        scalarizer={"name": "peak_height", "options": {"band": ["1.6 eV", "2.2 eV"], "fit_channels": 9}},
    ),
    "catalyst": SpecimenRecipe(
        config={
            "kind": "catalyst",
            "extent": ["4 um", "4 um"],
            "density": "60 um^-2",
            "radius": "20 nm",
            "rare": {"fraction": 0.12},
        },
        seed=3,
        fov_m=1.2e-6,
        signal="EDS",
        dwell_s=4.0,
        keep=("6.2 keV", "7.6 keV"),
        scalarizer={
            "name": "band_integral",
            "options": {
                "band": ["6.80 keV", "7.06 keV"],
                "background": [["6.40 keV", "6.66 keV"], ["7.20 keV", "7.40 keV"]],
            },
        },
    ),
    "crystal": SpecimenRecipe(
        config={"kind": "crystal2d", "extent": ["8 nm", "8 nm"], "dopant_fraction": 0.03},
        seed=5,
        fov_m=4e-9,
        signal="EDS",
        dwell_s=2.0,
        keep=("4.4 keV", "5.8 keV"),
        scalarizer={"name": "band_integral", "options": {"band": ["4.80 keV", "5.10 keV"]}},
    ),
}


def simulated(recipe: SpecimenRecipe) -> tuple[SpectrumImageData, SpectrumImageData]:
    """Return the counted map and the expected one: images and spectra of a sharp probe, without damage."""
    specimen_rng, image_rng, spectra_rng = np.random.default_rng(recipe.seed).spawn(3)
    written = {"specimen": dict(recipe.config), "signal": recipe.signal, "band": list(recipe.keep), "side_px": SIDE_PX}
    written |= {"fov": f"{recipe.fov_m!r} m", "dwell": f"{recipe.dwell_s!r} s", "beam_current": f"{CURRENT_A!r} A"}
    written |= {"image_dwell": f"{IMAGE_DWELL_S!r} s", "voltage": f"{VOLTAGE_V!r} V"}
    expected = expected_map(SpecimenMapConfig.model_validate(written, context=FROM_FILE), specimen_rng)
    return expected.counted(image_rng, spectra_rng), expected.as_data()
