"""STEM images by TEM scripting: square FULL frames on a ladder of binnings, one blocking call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import InstrumentError, NotReached, OutOfRange
from autoscope.records import Scan
from environments.instruments.temscript.config import TemscriptConfig
from environments.instruments.temscript.connection import TemscriptConnection

CLOSE = 1e-3
"""Relative difference up to which magnification, rotation and dwell time count as reached."""


class StemAcquisition:
    """Sets a scan up, reads every setting back, and takes it.

    Parameters
    ----------
    line : TemscriptConnection
        The connection of acts.
    config : TemscriptConfig
        Field, frame, orientation.
    """

    def __init__(self, line: TemscriptConnection, config: TemscriptConfig) -> None:
        self._line, self._config = line, config

    def admit(self, action: Scan) -> None:
        """Return if TEM scripting can take this frame.

        Raises
        ------
        OutOfRange
            The frame is not square.
        """
        if action.width_px != action.height_px:
            raise OutOfRange(
                "TEM scripting scans square frames only; nothing was done",
                where="scan.height_px",
                value=action.height_px,
                limit=f"{action.width_px}, as wide",
                remedy="Ask for as many rows as columns",
            )

    def prepare(self, action: Scan) -> None:
        """Set magnification, rotation, frame and dwell time, and read them back, all with the beam still blanked.

        Raises
        ------
        InstrumentError
            The microscope is not in STEM mode.
        NotReached
            It rounded or clamped a setting.
        """
        mode = str(self._line.get("get_instrument_mode"))
        if mode != "STEM":
            remedy = "Switch to STEM at the microscope; a driver does not change modes by itself"
            raise InstrumentError(
                "the microscope is not in STEM mode", where="instrument_mode", value=mode, remedy=remedy
            )
        settings = {
            "stem_magnification": self._config.field_at_1x_m / action.fov_m,
            "stem_rotation": _turned(action.rotation_rad + self._config.scan_rotation_offset_rad),
        }
        for name, value in settings.items():
            self._line.do(f"set_{name}", value)
            _require(name, float(self._line.get(f"get_{name}")), value)
        frame: dict[str, Any] = {
            "image_size": "FULL",
            "binning": self._config.full_frame_px // action.width_px,
            "dwell_time(s)": action.dwell_s,
        }
        self._line.do("set_stem_acquisition_param", frame)
        read = self._line.get("get_stem_acquisition_param")
        if read["image_size"] != "FULL":
            raise NotReached(
                "the microscope took another frame", where="image_size", value=read["image_size"], limit="FULL"
            )
        for name in ("binning", "dwell_time(s)"):
            _require(name, float(read[name]), float(frame[name]))

    def take(self, action: Scan) -> dict[str, NDArray[Any]]:
        """Return one image per detector, (rows, columns), in the stage's orientation.

        Raises
        ------
        InstrumentError
            A detector sent nothing, or an image of another size.
        """
        expected_s = (action.dwell_s * action.width_px + self._config.line_flyback_s) * action.height_px
        timeout_s = 2.0 * expected_s + self._config.timeout_s
        images = self._line.do("acquire", *action.detectors, timeout_s=timeout_s)
        return {name: self._oriented(name, images.get(name), action) for name in action.detectors}

    def _oriented(self, name: str, image: NDArray[Any] | None, action: Scan) -> NDArray[Any]:
        shape = (action.height_px, action.width_px)
        if image is None or image.shape != shape:
            got = None if image is None else image.shape
            raise InstrumentError("the detector sent no such image", where=name, value=got, limit=shape)
        image = image[:, ::-1] if self._config.flip_x else image
        return np.ascontiguousarray(image[::-1] if self._config.flip_y else image)


def _turned(angle_rad: float) -> float:
    """Return an angle in [-pi, pi]."""
    return math.remainder(angle_rad, 2.0 * math.pi)


def _require(name: str, read: float, asked: float) -> None:
    if not math.isclose(read, asked, rel_tol=CLOSE, abs_tol=1e-6 if name == "stem_rotation" else 0.0):
        raise NotReached(
            "the microscope took another value",
            where=name,
            value=read,
            limit=asked,
            remedy="List the column's magnifications in the configuration, or look at the microscope",
        )
