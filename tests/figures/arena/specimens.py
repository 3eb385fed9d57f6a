"""Simulated specimens as maps: what an ideal probe would count on a raster, and what is expected there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from autoscope.exposure import electrons
from autoscope.perception.bands import channels
from autoscope.quantities import FROM_FILE
from environments.datasets import SpectrumImageData
from environments.sample import SpecimenConfig, build_specimen

Array = NDArray[np.float64]

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
    config = TypeAdapter(SpecimenConfig).validate_python(dict(recipe.config), context=FROM_FILE)
    specimen = build_specimen(config, rng=specimen_rng, voltage_v=VOLTAGE_V)
    centres = ((np.arange(SIDE_PX) + 0.5) / SIDE_PX - 0.5) * recipe.fov_m
    y_m, x_m = np.meshgrid(centres, centres, indexing="ij")
    fresh = np.zeros_like(x_m)
    axis = next(s.axis for s in specimen.signals if s.name == recipe.signal)
    kept = channels(_band(recipe.keep), axis)
    expected = specimen.spectrum(recipe.signal, x_m, y_m, fresh)[..., kept] * electrons(CURRENT_A, recipe.dwell_s)
    image = specimen.image_yield("HAADF", x_m, y_m, fresh) * electrons(CURRENT_A, IMAGE_DWELL_S)
    axis = axis.replace(size=len(kept), offset=float(axis.values()[kept[0]]))

    def data(seen: Array, spectra: Array) -> SpectrumImageData:
        return SpectrumImageData(
            image=seen.astype(np.float32),
            spectra=spectra.astype(np.float32),
            axis=axis,
            pixel_m=recipe.fov_m / SIDE_PX,
            meta={},
            signal=recipe.signal,
        )

    counted = data(image_rng.poisson(image).astype(float), spectra_rng.poisson(expected).astype(float))
    return counted, data(image, expected)


def _band(text: tuple[str, str]) -> Any:
    from autoscope.perception.bands import Band

    return TypeAdapter(Band).validate_python(list(text), context=FROM_FILE)
