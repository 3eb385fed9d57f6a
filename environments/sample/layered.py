"""A specimen from its structure: thickness of each material under the beam in, images and spectra out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoscope.config import ConfigModel
from autoscope.errors import Unsupported
from autoscope.records import SpectrumSignal
from environments.sample.core_loss import CoreLossConfig, CoreLossResponse
from environments.sample.cross_sections import mean_free_path_m
from environments.sample.damage import Damage, DamageConfig
from environments.sample.eds import EdsConfig, EdsResponse
from environments.sample.height import HeightConfig, HeightMap
from environments.sample.images import DetectorsConfig, ImageResponse
from environments.sample.kinematics import Electron
from environments.sample.low_loss import LossDensity, LowLossConfig, LowLossResponse
from environments.sample.materials import Element, Material, element, pure

Array = NDArray[np.float64]
Interaction = Literal["elastic", "core", "valence"]
"""What samples the structure: atoms are sharp to elastic, wider to core, spread out to valence losses."""


_ROWS_AT_ONCE = 64  # keeps the working arrays of an image in the processor's cache


class LayeredConfig(ConfigModel):
    """What all simulated specimens have in common."""

    detectors: DetectorsConfig = DetectorsConfig()
    eds: EdsConfig | None = EdsConfig()
    """Signal "EDS"; absent means no X-ray detector."""
    low_loss: LowLossConfig | None = LowLossConfig()
    """Signal "EELS": zero-loss peak and plasmons."""
    core_loss: CoreLossConfig | None = CoreLossConfig()
    """Signal "EELS_CORE": ionisation edges."""
    height: HeightConfig = HeightConfig()
    damage: DamageConfig = DamageConfig()


class Structure(Protocol):
    """Where the matter is: geometry only, no physics of detection."""

    @property
    def name(self) -> str:
        """Kind of specimen."""

    @property
    def extent_m(self) -> tuple[float, float]:
        """Width and height."""

    @property
    def materials(self) -> Sequence[Material]:
        """Materials, in the order of `thickness_m`."""

    @property
    def localised(self) -> bool:
        """Whether atoms are resolved, so that `thickness_m` depends on the interaction."""

    @property
    def modes(self) -> Sequence[LossDensity]:
        """Surface modes, in the order of `mode_events`."""

    def thickness_m(self, x_m: Array, y_m: Array, by: Interaction) -> Array:
        """Return the pristine thickness of each material, shape ``(materials,) + x_m.shape``."""

    def mode_events(self, x_m: Array, y_m: Array) -> Array:
        """Return the mean number of excitations per electron, shape ``(modes,) + x_m.shape``."""

    def truth(self) -> Mapping[str, Any]:
        """Return what is really there."""


class LayeredSpecimen:
    """A `Specimen`: independent scattering by the atoms of a `Structure` in projection.

    Parameters
    ----------
    structure : Structure
    config : LayeredConfig
    electron : Electron
    rng : numpy.random.Generator
        For the height map.
    """

    def __init__(
        self, structure: Structure, config: LayeredConfig, electron: Electron, rng: np.random.Generator
    ) -> None:
        self.structure = structure
        carbon = next((i for i, m in enumerate(structure.materials) if m.name == "C"), None)
        self._materials = tuple(structure.materials) + (() if carbon is not None else (pure("C"),))
        self._carbon = len(self._materials) - 1 if carbon is None else carbon
        self.elements = _elements(self._materials)
        """Elements, in the order of `areal_per_m2`."""
        self._per_m3 = np.array([[_density_per_m3(m, e) for m in self._materials] for e in self.elements])
        self._height = HeightMap(config.height, structure.extent_m, rng)
        self._damage = Damage(config.damage, self.elements)
        self._images = ImageResponse(config.detectors, electron, self.elements)
        self._eds = EdsResponse(config.eds, electron, self.elements) if config.eds else None
        self._set_losses(config, electron)

    def _set_losses(self, config: LayeredConfig, electron: Electron) -> None:
        self._low = self._core = None
        self._per_low_path = self._per_core_path = np.zeros(len(self._materials))
        if low := config.low_loss:
            bulk = [LossDensity.bulk(m.name, m.drude, electron, low.collection_rad) for m in self._materials]
            self._low = LowLossResponse(low, [*bulk, *self.structure.modes])
            self._per_low_path = self._inverse_paths(electron, low.collection_rad)
        if core := config.core_loss:
            self._core = CoreLossResponse(core, electron, self.elements, self._materials)
            self._per_core_path = self._inverse_paths(electron, core.collection_rad)

    def _inverse_paths(self, electron: Electron, collection_rad: float) -> Array:
        return np.array(
            [1.0 / mean_free_path_m(m.density_g_per_cm3, electron, collection_rad) for m in self._materials]
        )

    @property
    def name(self) -> str:
        """Kind of specimen."""
        return self.structure.name

    @property
    def extent_m(self) -> tuple[float, float]:
        """Width (x) and height (y)."""
        return self.structure.extent_m

    @property
    def signals(self) -> tuple[SpectrumSignal, ...]:
        """Spectrum signals with their energy axes."""
        return tuple(response.signal for response in (self._eds, self._low, self._core) if response)

    def height_m(self, x_m: ArrayLike, y_m: ArrayLike) -> Array:
        """Return the surface height, shape of ``x_m``."""
        return self._height(*_points(x_m, y_m))

    def image_yield(self, detector: str, x_m: ArrayLike, y_m: ArrayLike, dose_e_per_m2: ArrayLike) -> Array:
        """Return the fraction of incident electrons on a detector, in [0, 1], shape of ``x_m``.

        Raises
        ------
        Unsupported
            No such detector.
        """
        section_m2 = self._images.section_m2(detector)
        x, y, dose = _dosed_points(x_m, y_m, dose_e_per_m2)
        if x.ndim != 2:
            return self._image(detector, section_m2, x, y, dose)
        seen = np.empty(x.shape)
        for start in range(0, len(x), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            seen[rows] = self._image(detector, section_m2, x[rows], y[rows], dose[rows])
        return seen

    def _image(self, detector: str, section_m2: Array, x: Array, y: Array, dose: Array) -> Array:
        thickness = self._thickness_m(x, y, dose, "elastic")
        exponent = _weighted(section_m2 @ self._per_m3, thickness)
        for index in self._damage.sensitive if np.any(dose > 0.0) else ():
            lost = 1.0 - self._damage.survival(index, dose)
            exponent = exponent - lost * _weighted(section_m2[index] * self._per_m3[index], thickness)
        return self._images.yield_(detector, np.maximum(exponent, 0.0))

    def spectrum(self, signal: str, x_m: ArrayLike, y_m: ArrayLike, dose_e_per_m2: ArrayLike) -> Array:
        """Return expected counts per incident electron and channel, shape ``x_m.shape + (channels,)``.

        Raises
        ------
        Unsupported
            The specimen has no such signal.
        """
        x, y, dose = _dosed_points(x_m, y_m, dose_e_per_m2)
        if self._eds and signal == self._eds.signal.name:
            return self._eds.spectrum(np.moveaxis(self.areal_per_m2(x, y, dose), 0, -1))
        if self._low and signal == self._low.signal.name:
            return self._low_loss(self._low, x, y, dose)
        if self._core and signal == self._core.signal.name:
            return self._core_loss(self._core, x, y, dose)
        known = ", ".join(s.name for s in self.signals)
        raise Unsupported("the specimen has no such spectrum signal", value=signal, limit=known)

    def areal_per_m2(self, x_m: ArrayLike, y_m: ArrayLike, dose_e_per_m2: ArrayLike) -> Array:
        """Return atoms per square metre of each element as core losses meet them, shape ``(elements,) + x_m.shape``."""
        x, y, dose = _dosed_points(x_m, y_m, dose_e_per_m2)
        areal = np.tensordot(self._per_m3, self._thickness_m(x, y, dose, "core"), axes=1)
        for index in self._damage.sensitive:
            areal[index] *= self._damage.survival(index, dose)
        return areal

    def truth(self) -> Mapping[str, Any]:
        """Return what is really there (arrays in SI units); for benchmarks, never for policies."""
        return self.structure.truth()

    def _low_loss(self, response: LowLossResponse, x: Array, y: Array, dose: Array) -> Array:
        bulk = self._relative_thickness(x, y, dose, self._per_low_path)
        events = np.concatenate([bulk, self.structure.mode_events(x, y)])
        spectra = response.spectrum(events.reshape(len(events), -1).T)
        return spectra.reshape(*x.shape, -1)

    def _core_loss(self, response: CoreLossResponse, x: Array, y: Array, dose: Array) -> Array:
        areal = np.moveaxis(self.areal_per_m2(x, y, dose), 0, -1)
        relative = self._relative_thickness(x, y, dose, self._per_core_path)
        return response.spectrum(areal, np.moveaxis(relative, 0, -1))

    def _relative_thickness(self, x: Array, y: Array, dose: Array, per_path: Array) -> Array:
        """Return t / lambda of each material, shape ``(materials,) + x.shape``; lost atoms thin the material."""
        relative = self._thickness_m(x, y, dose, "valence") * per_path.reshape(-1, *(1,) * x.ndim)
        share = self._per_m3 / self._per_m3.sum(axis=0)
        for index in self._damage.sensitive:
            lost = 1.0 - self._damage.survival(index, dose)
            relative = relative * (1.0 - np.multiply.outer(share[index], lost))
        return relative

    def _thickness_m(self, x: Array, y: Array, dose: Array, by: Interaction) -> Array:
        thickness = self.structure.thickness_m(x, y, by)
        if len(thickness) < len(self._materials):
            thickness = np.concatenate([thickness, np.zeros((1, *x.shape))])
        if np.any(dose > 0.0):
            spread = self.structure.thickness_m(x, y, "valence") if self.structure.localised else thickness
            thickness[self._carbon] += np.where(spread.any(axis=0), self._damage.contamination_m(dose), 0.0)
        return thickness


def _elements(materials: Sequence[Material]) -> tuple[Element, ...]:
    symbols = dict.fromkeys(symbol for material in materials for symbol, _ in material.fractions)
    return tuple(element(symbol) for symbol in symbols)


def _density_per_m3(material: Material, of: Element) -> float:
    return material.atoms_per_m3 * sum(fraction for symbol, fraction in material.fractions if symbol == of.symbol)


def _weighted(weights: Array, thickness: Array) -> Array:
    """Return the weighted sum over materials, skipping those without weight."""
    total = np.zeros(thickness.shape[1:])
    for weight, one in zip(weights, thickness):
        if weight:
            total += weight * one
    return total


def _points(x_m: ArrayLike, y_m: ArrayLike) -> tuple[Array, Array]:
    x, y = np.broadcast_arrays(np.asarray(x_m, dtype=np.float64), np.asarray(y_m, dtype=np.float64))
    return x, y


def _dosed_points(x_m: ArrayLike, y_m: ArrayLike, dose_e_per_m2: ArrayLike) -> tuple[Array, Array, Array]:
    x, y = _points(x_m, y_m)
    return x, y, np.broadcast_to(np.asarray(dose_e_per_m2, dtype=np.float64), x.shape)
