"""A Thermo Fisher microscope behind the instrument protocol."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from autoscope.protocols import Clock
from autoscope.records import Action, Capabilities, Frame, MicroscopeState, MoveStage, Range, Scan, SetOptics, Timing
from environments.instruments.driving import DrivenInstrument, Reading, image_frame
from environments.instruments.temscript.acquisition import StemAcquisition
from environments.instruments.temscript.config import TemscriptConfig
from environments.instruments.temscript.connection import TemscriptConnection
from environments.instruments.temscript.controller import STIGMATOR_UNITS, TemscriptController

TOLERANCES = {"x_m": 50e-9, "y_m": 50e-9, "z_m": 200e-9, "alpha_rad": 2e-3, "beta_rad": 2e-3, "defocus_m": 1e-9}
NULL_FAMILY = "NULL"


class TemscriptInstrument(DrivenInstrument):
    """TEM scripting over HTTP: stage, focus, blanker, and STEM images where the microscope has STEM.

    Parameters
    ----------
    config : TemscriptInstrument.Config
        Where the server runs, and calibrations.
    clock : Clock
        Time.
    rng : numpy.random.Generator, optional
        Unused: a driver has no chance of its own.
    """

    status: ClassVar[str] = "run against temscript's null server; not yet run on hardware"
    darkens: ClassVar[bool] = True

    class Config(TemscriptConfig):
        """Where the server runs, and calibrations."""

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator | None = None) -> None:
        self._config = config
        self._line = TemscriptConnection(config.host, config.port, config.timeout_s)
        self._beside = TemscriptConnection(config.host, config.emergency_port or config.port, config.timeout_s)
        self._controller = TemscriptController(self._line, config)
        self._acquisition = StemAcquisition(self._line, config)
        super().__init__(self._capabilities(), clock, max_frame_bytes=config.max_frame_bytes)

    # --- what a driver supplies --------------------------------------------------------------------

    def _read(self) -> Reading:
        return self._controller.read()

    def _admit(self, action: Action) -> None:
        if isinstance(action, Scan):
            self._acquisition.admit(action)
            self._acquisition.prepare(action)

    def _perform(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        match action:
            case MoveStage():
                self._controller.move(action)
                self._wait_until(self._controller.arrived, "the stage move", self._config.stage_timeout_s)
            case SetOptics():
                self._controller.set_optics(action, before)
            case Scan():
                begin_s = self._clock.now_s()
                images = self._acquisition.take(action)
                self._check_stop()
                return tuple(image_frame(n, image, action, before, time_s=begin_s) for n, image in images.items())
        return ()

    def _set_blanked(self, blanked: bool) -> None:
        self._controller.blank(blanked)

    def _stop(self) -> None:
        self._beside.do("set_beam_blanked", True)
        if self._config.close_valves_when_safe:
            self._beside.do("set_column_valves_open", False)

    # --- what it can do ------------------------------------------------------------------------------

    def _capabilities(self) -> Capabilities:
        config, line = self._config, self._line
        detectors = self._controller.stem_detectors()
        ranges = self._controller.stage_ranges() | {
            "defocus_m": Range(low=config.defocus_range_m[0], high=config.defocus_range_m[1])
        }
        if (unit_m := config.stigmator_m_per_unit) is not None:
            bound = Range(low=-STIGMATOR_UNITS * unit_m, high=STIGMATOR_UNITS * unit_m)
            ranges |= {"stigmator_a_m": bound, "stigmator_b_m": bound}
        choices: dict[str, tuple[float, ...]] = {}
        if detectors:
            scan_ranges, choices = _scanning(config)
            ranges |= scan_ranges
        family = str(line.get("get_family"))
        return Capabilities(
            instrument=f"TEM scripting, {family}",
            serial=config.serial or str(line.get("get_microscope_id")),
            simulated=family == NULL_FAMILY,
            voltage_v=float(line.get("get_voltage")) * 1e3,
            actions=("move_stage", "set_optics", *(("scan",) if detectors else ()), "blank", "wait"),
            detectors=detectors,
            ranges=ranges,
            tolerances={name: TOLERANCES.get(name, 1e-12) for name in ranges if name in TOLERANCES or "stig" in name},
            timing=Timing(stage_speed_m_per_s=config.stage_speed_m_per_s, line_flyback_s=config.line_flyback_s),
            choices=choices,
        )


def _scanning(config: TemscriptConfig) -> tuple[dict[str, Range], dict[str, tuple[float, ...]]]:
    """Return the ranges and choices of scans."""
    sizes = tuple(sorted(config.full_frame_px / b for b in config.binnings))
    size = Range(low=sizes[0], high=sizes[-1])
    rungs = config.magnifications or config.magnification_range
    fields_m = tuple(sorted(config.field_at_1x_m / m for m in rungs))
    ranges = {
        "fov_m": Range(low=fields_m[0], high=fields_m[-1]),
        "width_px": size,
        "height_px": size,
        "dwell_s": Range(low=config.dwell_range_s[0], high=config.dwell_range_s[1]),
        "rotation_rad": Range(low=-math.pi, high=math.pi),
    }
    choices = {"width_px": sizes, "height_px": sizes}
    return ranges, choices | ({"fov_m": fields_m} if config.magnifications else {})
