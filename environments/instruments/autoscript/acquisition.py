"""Scans as regions of a square base frame, and EDS spectra at a parked probe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import InstrumentError, NotReached, OutOfRange
from autoscope.records import Measure, Scan
from environments.instruments.autoscript.config import AutoscriptConfig, EdsConfig
from environments.instruments.autoscript.connection import AutoscriptConnection

CLOSE = 1e-3
WHOLE_PX = 1e-6
"""Pixels by which an edge may miss the base frame's grid through rounding."""


@dataclass(frozen=True)
class BaseFrame:
    """A square frame, and the part of it that is scanned, in fractions from its left top corner."""

    field_m: float
    size_px: int
    left: float
    top: float
    width: float
    height: float


def base_frame(action: Scan, config: AutoscriptConfig) -> BaseFrame:
    """Return the smallest base frame that holds a scan, on the same grid of pixels.

    The scan's centre is an offset in the specimen's axes; AutoScript's region lies along the scan's, so the offset is
    turned back by the rotation. Images that the driver mirrors have their region mirrored too.

    Raises
    ------
    OutOfRange
        No base frame is large enough, or its field is outside the column's.
    """
    pixel_m = action.fov_m / action.width_px
    across_px, down_px = (offset / pixel_m for offset in _along_scan(action, config))
    reach_px = 2.0 * max(abs(across_px) + action.width_px / 2.0, abs(down_px) + action.height_px / 2.0)
    for size in sorted(config.frame_sizes):
        field_m = size * pixel_m
        low, high = config.fov_range_m
        if size >= reach_px - WHOLE_PX and field_m <= high * (1.0 + CLOSE):
            if field_m < low * (1.0 - CLOSE):
                continue
            left = (size / 2.0 + across_px - action.width_px / 2.0) / size
            top = (size / 2.0 + down_px - action.height_px / 2.0) / size
            return BaseFrame(
                field_m,
                size,
                _snapped(left, size),
                _snapped(top, size),
                action.width_px / size,
                action.height_px / size,
            )
    raise OutOfRange(
        "no frame of this microscope holds such a scan; nothing was done",
        where="scan",
        value=reach_px,
        limit=f"{max(config.frame_sizes)} px, fields of {config.fov_range_m[0]:g} to {config.fov_range_m[1]:g} m",
        remedy="Take fewer or larger pixels, or move the stage instead of the scan",
    )


def _along_scan(action: Scan, config: AutoscriptConfig) -> tuple[float, float]:
    """Return the scan's centre along its own lines and columns, in metres, as the vendor draws them."""
    cosine, sine = math.cos(action.rotation_rad), math.sin(action.rotation_rad)
    across = cosine * action.centre_x_m + sine * action.centre_y_m
    down = -sine * action.centre_x_m + cosine * action.centre_y_m
    return (-across if config.flip_x else across), (-down if config.flip_y else down)


def _snapped(edge: float, size: int) -> float:
    """Return a fraction as the nearest whole pixel where it misses one by rounding only, else as it is."""
    pixel = round(edge * size)
    return pixel / size if abs(edge * size - pixel) < WHOLE_PX else edge


class AutoscriptAcquisition:
    """Sets a scan up, reads it back, and takes it; parks the probe for spectra.

    Parameters
    ----------
    line : AutoscriptConnection
        The clients.
    config : AutoscriptConfig
        Frames, detectors, orientation.
    """

    def __init__(self, line: AutoscriptConnection, config: AutoscriptConfig) -> None:
        self._line, self._config = line, config

    def require_stem(self) -> None:
        """Return if the microscope is in STEM mode.

        Raises
        ------
        InstrumentError
            It is not; a driver does not change modes by itself.
        """
        mode = self._line.read("optics.optical_mode", lambda m: m.optics.optical_mode)
        if mode != self._line.choice("OpticalMode", "STEM"):
            remedy = "Switch to STEM at the microscope"
            raise InstrumentError(
                "the microscope is not in STEM mode", where="optics.optical_mode", value=mode, remedy=remedy
            )

    def prepare_scan(self, action: Scan) -> None:
        """Set field and rotation, with the beam still blanked.

        Raises
        ------
        OutOfRange
            No frame holds the scan.
        NotReached
            The microscope took another value.
        """
        _require_dwell("scan", action.dwell_s, self._config.dwell_range_s)
        frame = base_frame(action, self._config)
        self.require_stem()
        self._set("scan_field_of_view", frame.field_m)
        self._set(
            "scan_rotation", math.remainder(action.rotation_rad + self._config.scan_rotation_offset_rad, math.tau)
        )

    def take_images(self, action: Scan) -> dict[str, NDArray[Any]]:
        """Return one image per detector, (rows, columns), in the stage's orientation."""
        frame, structures = base_frame(action, self._config), self._line.structures
        rectangle = structures.Rectangle(frame.left, frame.top, frame.width, frame.height)
        settings = structures.StemAcquisitionSettings(
            dwell_time=action.dwell_s,
            detector_types=[self._line.choice("DetectorType", name) for name in action.detectors],
            size=frame.size_px,
            region=structures.Region(self._line.choice("RegionCoordinateSystem", "RELATIVE"), rectangle),
        )
        images = self._line.act(
            "acquire_stem_images_advanced", lambda m: m.acquisition.acquire_stem_images_advanced(settings)
        )
        arrays = [np.asarray(image.data) for image in (images if isinstance(images, list | tuple) else [images])]
        shape = (action.height_px, action.width_px)
        if len(arrays) != len(action.detectors) or any(array.shape != shape for array in arrays):
            got = [array.shape for array in arrays]
            raise InstrumentError("AutoScript sent other images than asked", where="acquire", value=got, limit=shape)
        return {name: self._oriented(array) for name, array in zip(action.detectors, arrays)}

    def park(self, action: Measure) -> None:
        """Put the paused beam on a point, as a fraction of a field that holds it, with the beam still blanked.

        Raises
        ------
        OutOfRange
            No field reaches that far.
        NotReached
            The microscope took another value.
        """
        if self._config.eds:
            _require_dwell("measure", action.dwell_s, self._config.eds.exposure_range_s)
        self.require_stem()
        turned_back = Scan(
            fov_m=1.0, width_px=1, height_px=1, dwell_s=1.0, centre_x_m=action.x_m, centre_y_m=action.y_m
        )
        across_m, down_m = _along_scan(turned_back, self._config)
        self._set("scan_rotation", math.remainder(self._config.scan_rotation_offset_rad, math.tau))
        low, high = self._config.fov_range_m
        field_m = max(low, 4.0 * max(abs(across_m), abs(down_m)))
        if field_m > high:
            raise OutOfRange(
                "no field reaches this point; nothing was done", where="measure", value=field_m, limit=high
            )
        self._set("scan_field_of_view", field_m)
        wanted = [0.5 + across_m / field_m, 0.5 + down_m / field_m]
        self._line.act("paused_scan_beam_position", lambda m: setattr(m.optics, "paused_scan_beam_position", wanted))
        read = self._line.read("paused_scan_beam_position", lambda m: m.optics.paused_scan_beam_position)
        x, y = (read.x, read.y) if hasattr(read, "x") else read
        for value, asked in zip((x, y), wanted):
            _require("paused_scan_beam_position", float(value), asked)

    def take_spectrum(self, action: Measure, eds: EdsConfig) -> NDArray[np.uint32]:
        """Return the EDS spectrum at the parked probe, (channel,) counts.

        Raises
        ------
        InstrumentError
            The spectrum has another number of channels than configured.
        """
        settings = self._line.structures.EdsAcquisitionSettings()
        settings.eds_detector = self._line.choice("EdsDetectorType", eds.detector)
        settings.dispersion = round(eds.dispersion_ev)
        settings.shaping_time = eds.shaping_time_s
        settings.exposure_time = action.dwell_s
        settings.exposure_time_type = self._line.choice("ExposureTimeType", "LIVE_TIME")
        answer = self._line.act("analysis.eds.acquire_spectrum", lambda m: m.analysis.eds.acquire_spectrum(settings))
        counts = np.asarray(answer.data)
        if counts.shape != (eds.channels,):
            raise InstrumentError(
                "the spectrum has other channels than configured", value=counts.shape, limit=eds.channels
            )
        return counts.astype(np.uint32)

    def _oriented(self, image: NDArray[Any]) -> NDArray[Any]:
        image = image[:, ::-1] if self._config.flip_x else image
        return np.ascontiguousarray(image[::-1] if self._config.flip_y else image)

    def _set(self, name: str, value: float) -> None:
        self._line.act(f"optics.{name}", lambda m: setattr(m.optics, name, value))
        _require(name, float(self._line.read(f"optics.{name}", lambda m: getattr(m.optics, name))), value)


def _require_dwell(where: str, dwell_s: float, bounds_s: tuple[float, float]) -> None:
    low, high = bounds_s
    if not low <= dwell_s <= high:
        what = "the dwell time is outside the range of this kind of exposure; nothing was done"
        raise OutOfRange(what, where=f"{where}.dwell_s", value=dwell_s, limit=f"[{low!r}, {high!r}]")


def _require(name: str, read: float, asked: float) -> None:
    if not math.isclose(read, asked, rel_tol=CLOSE, abs_tol=0.0 if name == "scan_field_of_view" else 1e-6):
        raise NotReached("the microscope took another value", where=f"optics.{name}", value=read, limit=asked)
