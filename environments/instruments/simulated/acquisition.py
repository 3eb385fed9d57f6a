"""Exposures: what the detectors record when the probe is scanned or parked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.exposure import electrons
from autoscope.protocols import FrameSink
from autoscope.records import TIME, Axis, Measure, Scan, SpectrumImage, SpectrumSignal
from environments.instruments.simulated.blur import Blur
from environments.instruments.simulated.config import DetectorConfig, ScanConfig
from environments.instruments.simulated.dark import DarkSignals
from environments.instruments.simulated.detectors import detect, read_mean
from environments.instruments.simulated.exposure_map import ExposureMap
from environments.instruments.simulated.optics import STENCIL_WEIGHTS, Probe, stencil_m
from environments.instruments.simulated.scan import Raster, Tilt, View
from environments.instruments.simulated.spectrometer import shifted
from environments.sample.specimen import Specimen

Array = NDArray[np.float64]
Exposing = Scan | Measure | SpectrumImage

HEIGHT_NODES = 33
"""Heights over an image are sampled on at most this many rows and columns and interpolated."""
BLURRED_PX = 0.3
"""A spectrum image with a probe wider than this (sigma) averages each spectrum over the probe."""
EXPECTED_AT_ONCE = 256
"""Points whose expected spectra are computed together."""
POINT_READINGS = 16
"""How often an image detector is read at a parked probe, evenly over the dwell."""
READING_S = 2e-6
"""Time for which the counts of such a reading are told."""
CHUNK_BYTES = 32_000_000
"""Spectra of a spectrum image are computed in groups of rows of about this size."""


NO_DARK = DarkSignals((), {}, 0)


@dataclass(frozen=True)
class Record:
    """One detector's array, with its axes."""

    signal: str
    axes: tuple[Axis, ...]
    data: NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """Everything an exposure depends on, as it truly is when the exposure begins."""

    specimen: Specimen
    exposed: ExposureMap
    probe: Probe
    view: View
    """Specimen point under the optical axis at instrument times."""
    defocus_m: float
    """Effective defocus on a specimen of zero height: set value, hidden offset and stage z."""
    tilt: Tilt
    current_a: float
    start_s: float
    scanning: ScanConfig
    coils: Array
    """From asked to true deflection, (2, 2)."""
    stray_e: float = 0.0
    """Electrons that fall on the field during flyback because the beam was left on."""
    loss_shift_ev: float = 0.0
    """By how much energy losses appear shifted along their axis; minutes pass before it changes by a channel."""
    dark: DarkSignals = NO_DARK
    """What detectors give without beam."""


def acquire(
    action: Exposing,
    scene: Scene,
    detectors: tuple[DetectorConfig, ...],
    signals: tuple[SpectrumSignal, ...],
    rng: np.random.Generator,
    sink: FrameSink,
) -> list[Record]:
    """Record what the detectors and spectrometers give: of fields image detectors first, of points spectra first.

    The sink is told of spectrum images.
    """
    match action:
        case Scan():
            return scan(action, scene, detectors, rng)
        case SpectrumImage():
            return spectrum_image(action, scene, detectors, signals, rng, sink)
        case Measure():
            return [*measure(action, scene, signals, rng), *readings(action, scene, detectors, rng)]


def scan(action: Scan, scene: Scene, detectors: tuple[DetectorConfig, ...], rng: np.random.Generator) -> list[Record]:
    """Record one image per detector, (height, width) uint16."""
    raster = Raster(action, scene.scanning, scene.coils, scene.tilt, scene.start_s)
    x_m, y_m = raster.pixels_m(scene.view)
    fluence = _expose(action, scene, x_m, y_m)
    return _images(action, raster, scene, detectors, (x_m, y_m, fluence), rng)


def spectrum_image(
    action: SpectrumImage,
    scene: Scene,
    detectors: tuple[DetectorConfig, ...],
    signals: tuple[SpectrumSignal, ...],
    rng: np.random.Generator,
    sink: FrameSink,
) -> list[Record]:
    """Record one image per detector and one (height, width, channel) uint16 array per signal."""
    raster = Raster(action, scene.scanning, scene.coils, scene.tilt, scene.start_s)
    x_m, y_m = raster.pixels_m(scene.view)
    fluence = _expose(action, scene, x_m, y_m)
    records = _images(action, raster, scene, detectors, (x_m, y_m, fluence), rng)
    for signal in signals:
        cube = _cube(action, raster, scene, signal, (x_m, y_m, fluence), rng, sink)
        records.append(Record(signal.name, (*_axes(raster), signal.axis), cube))
    return records


def measure(
    action: Measure, scene: Scene, signals: tuple[SpectrumSignal, ...], rng: np.random.Generator
) -> list[Record]:
    """Record one spectrum per signal, (channel,) uint32, averaged over the probe and its drift during the dwell."""
    begin, middle, end = scene.view(scene.start_s + np.array([0.0, 0.5, 1.0]) * action.dwell_s)
    offset = scene.coils @ np.array([action.x_m, action.y_m])
    place = middle + scene.tilt.stretch * offset
    height = scene.specimen.height_m(place[:1], place[1:]) + scene.tilt.height_m(offset[:1], offset[1:])
    xx, xy, yy = _on_specimen(scene, scene.defocus_m + height)
    drift = end - begin
    # a straight path of length d traversed uniformly has variance d^2 / 12
    dx, dy = stencil_m(xx + drift[0] ** 2 / 12.0, xy + drift[0] * drift[1] / 12.0, yy + drift[1] ** 2 / 12.0)
    x_m, y_m = (place[0] + dx).ravel(), (place[1] + dy).ravel()
    dose_e = electrons(scene.current_a, action.dwell_s)
    fluence = scene.exposed.expose(x_m, y_m, (dose_e + scene.stray_e) * STENCIL_WEIGHTS)
    records = []
    for signal in signals:
        yields = STENCIL_WEIGHTS @ scene.specimen.spectrum(signal.name, x_m, y_m, fluence)
        yields = shifted(yields, signal.axis, scene.loss_shift_ev)
        spectrum = scene.dark.spectra(signal.name, dose_e * yields, action.dwell_s, scene.start_s, rng, np.uint32)
        records.append(Record(signal.name, (signal.axis,), spectrum))
    return records


def unexposed(
    action: Scan | Measure,
    begin_s: float,
    dark: DarkSignals,
    detectors: tuple[DetectorConfig, ...],
    signals: tuple[SpectrumSignal, ...],
    pixel_axes: tuple[Axis, Axis] | None,
    rng: np.random.Generator,
) -> list[Record]:
    """Record what detectors and spectrometers give without beam at a time since the start."""
    records = []
    for signal in signals:
        nothing = np.zeros(signal.axis.size)
        spectrum = dark.spectra(signal.name, nothing, action.dwell_s, begin_s, rng, np.uint32)
        records.append(Record(signal.name, (signal.axis,), spectrum))
    for detector in detectors if pixel_axes else ():
        shape = tuple(axis.size for axis in pixel_axes or ())
        mean = np.full(shape, dark.dark_events(detector.name, action.dwell_s)[0], np.float32)
        records.append(Record(detector.name, pixel_axes or (), detect(mean, dark.detector(detector, begin_s), rng)))
    return records


def readings(
    action: Measure, scene: Scene, detectors: tuple[DetectorConfig, ...], rng: np.random.Generator
) -> list[Record]:
    """Record what image detectors read while the probe is parked, (`POINT_READINGS`,) float32 each.

    Each reading is the mean of its share of the dwell, in counts for every `READING_S` so that it compares with an
    image of that dwell; the place is where drift has taken the probe in the middle of the share. The specimen is as
    the whole dwell has left it.
    """
    if not detectors:
        return []
    share_s = action.dwell_s / POINT_READINGS
    times_s = np.asarray(scene.start_s + (np.arange(POINT_READINGS) + 0.5) * share_s, dtype=np.float64)
    view = scene.view(times_s)
    offset = scene.coils @ np.array([action.x_m, action.y_m])
    place = view + scene.tilt.stretch * offset
    height = scene.specimen.height_m(place[:, 0], place[:, 1]) + scene.tilt.height_m(offset[:1], offset[1:])
    dx, dy = stencil_m(*_on_specimen(scene, scene.defocus_m + height))
    x_m, y_m = place[:, 0] + dx, place[:, 1] + dy
    fluence = scene.exposed.expose(x_m, y_m, 0.0)
    axis = Axis(name=TIME, unit="s", size=POINT_READINGS, offset=share_s / 2.0, scale=share_s)
    records = []
    for detector in detectors:
        yields = STENCIL_WEIGHTS @ scene.specimen.image_yield(detector.name, x_m, y_m, fluence)
        mean = np.maximum(electrons(scene.current_a, READING_S) * yields, 0.0)
        now = scene.dark.detector(detector, scene.start_s)
        records.append(Record(detector.name, (axis,), read_mean(mean, share_s / READING_S, now, rng)))
    return records


def expected(offsets_m: Array, dwell_s: float, scene: Scene, signal: str) -> Array:
    """Return mean counts (n, channel) of measurements at offsets (n, 2) of a specimen that nothing damages or moves.

    The same average over the probe as `measure`, at the instant the scene begins.
    """
    view = scene.view(np.array([scene.start_s]))[0]
    parts = max(1, -(-offsets_m.shape[0] // EXPECTED_AT_ONCE))
    return np.concatenate([_expected(part, dwell_s, scene, signal, view) for part in np.array_split(offsets_m, parts)])


def _expected(offsets_m: Array, dwell_s: float, scene: Scene, signal: str, view: Array) -> Array:
    offsets = offsets_m @ scene.coils.T
    places = view + offsets * np.asarray(scene.tilt.stretch)
    height = scene.specimen.height_m(places[:, 0], places[:, 1]) + scene.tilt.height_m(offsets[:, 0], offsets[:, 1])
    dx, dy = stencil_m(*_on_specimen(scene, scene.defocus_m + height))
    x_m, y_m = places[:, 0] + dx, places[:, 1] + dy
    yields = scene.specimen.spectrum(signal, x_m, y_m, np.zeros_like(x_m))
    mean: Array = np.tensordot(STENCIL_WEIGHTS, yields, axes=1) * electrons(scene.current_a, dwell_s)
    return mean


def _expose(action: Scan | SpectrumImage, scene: Scene, x_m: Array, y_m: Array) -> Array:
    each = electrons(scene.current_a, action.dwell_s) + scene.stray_e / x_m.size
    return scene.exposed.expose(x_m, y_m, each)


def _axes(raster: Raster) -> tuple[Axis, Axis]:
    return image_axes(raster.shape, raster.pixel_m)


def image_axes(shape: tuple[int, int], pixel_m: float) -> tuple[Axis, Axis]:
    """Return the y and x axes of a frame, zero at its centre."""
    y, x = (
        Axis(name=name, unit="m", size=size, offset=(0.5 - size / 2.0) * pixel_m, scale=pixel_m)
        for name, size in zip("yx", shape, strict=True)
    )
    return y, x


def _images(
    action: Scan | SpectrumImage,
    raster: Raster,
    scene: Scene,
    detectors: tuple[DetectorConfig, ...],
    places: tuple[Array, Array, Array],
    rng: np.random.Generator,
) -> list[Record]:
    if not detectors:
        return []
    each = electrons(scene.current_a, action.dwell_s)
    blur = Blur(scene.probe, _defocus_of_pixels(raster, scene), raster.pixel_matrix_m, raster.shape)
    records = []
    for detector in detectors:
        sharp = scene.specimen.image_yield(detector.name, *places)
        mean = blur(sharp)
        mean *= np.float32(each)
        np.maximum(mean, np.float32(0.0), out=mean)  # Fourier round-off may leave -1e-9 in vacuum
        dark = np.float32(scene.dark.dark_events(detector.name, action.dwell_s)[0])
        mean += dark
        now = scene.dark.detector(detector, scene.start_s)
        records.append(Record(detector.name, _axes(raster), detect(mean, now, rng)))
    return records


def _defocus_of_pixels(raster: Raster, scene: Scene) -> Array:
    """Return the effective defocus of all pixels, (height, width), or (1, 1) where it hardly varies."""
    nodes = [np.linspace(0.0, n - 1.0, min(n, HEIGHT_NODES)) for n in raster.shape]
    coarse = _effective_defocus(scene, raster, nodes[0], nodes[1])
    if np.ptp(coarse) == 0.0:
        return coarse[:1, :1]
    rows, columns = (_upsampling(n, len(k)) for n, k in zip(raster.shape, nodes, strict=True))
    fine: Array = (rows @ coarse @ columns.T).astype(np.float64, copy=False)
    return fine


def _effective_defocus(scene: Scene, raster: Raster, rows: Array, columns: Array) -> Array:
    x_m, y_m = raster.points_m(rows, columns, scene.view)
    height: Array = scene.specimen.height_m(x_m, y_m)
    return scene.defocus_m + height + scene.tilt.height_m(*raster.deflection_m(rows, columns))


def _upsampling(size: int, nodes: int) -> Array:
    """Return the matrix (size, nodes) of linear interpolation from evenly spaced nodes to all pixels."""
    position = np.linspace(0.0, nodes - 1.0, size)[:, None]
    return np.maximum(1.0 - np.abs(position - np.arange(nodes)[None, :]), 0.0)


def _on_specimen(scene: Scene, defocus_m: Any) -> tuple[Any, Any, Any]:
    """Return the probe's second moments along the tilted specimen."""
    fx, fy = scene.tilt.stretch
    xx, xy, yy = scene.probe.moments_m2(defocus_m)
    return xx * fx**2, xy * fx * fy, yy * fy**2


def _cube(
    action: SpectrumImage,
    raster: Raster,
    scene: Scene,
    signal: SpectrumSignal,
    places: tuple[Array, Array, Array],
    rng: np.random.Generator,
    sink: FrameSink,
) -> NDArray[np.uint16]:
    each = electrons(scene.current_a, action.dwell_s)
    channels = signal.axis.size
    cube = np.empty((*raster.shape, channels), dtype=np.uint16)
    sink.begin(signal.name, cube)
    step = max(1, CHUNK_BYTES // (8 * channels * raster.shape[1]))
    for top in range(0, raster.shape[0], step):
        part = slice(top, min(top + step, raster.shape[0]))
        yields = shifted(_spectra(raster, scene, signal, part, places), signal.axis, scene.loss_shift_ev)
        yields *= each
        cube[part] = scene.dark.spectra(signal.name, yields, action.dwell_s, scene.start_s, rng, np.uint16)
        sink.advance(signal.name, part.stop * raster.shape[1])
    return cube


def _spectra(
    raster: Raster, scene: Scene, signal: SpectrumSignal, part: slice, places: tuple[Array, Array, Array]
) -> Array:
    """Return expected counts per electron for some rows, (rows, width, channels)."""
    x_m, y_m, fluence = (values[part] for values in places)
    rows = np.arange(part.start, part.stop, dtype=float)
    defocus = _effective_defocus(scene, raster, rows, np.arange(raster.shape[1], dtype=float))
    xx, xy, yy = _on_specimen(scene, defocus)
    if math.sqrt(max(float(xx.max()), float(yy.max()))) < BLURRED_PX * raster.pixel_m:
        return np.array(scene.specimen.spectrum(signal.name, x_m, y_m, fluence))
    dx, dy = stencil_m(xx, xy, yy)
    total = np.zeros((*x_m.shape, signal.axis.size))
    for k, weight in enumerate(STENCIL_WEIGHTS):
        total += weight * scene.specimen.spectrum(signal.name, x_m + dx[k], y_m + dy[k], fluence)
    return total
