"""AutoScript TEM behind the instrument protocol."""

from __future__ import annotations

import contextlib
import math
from typing import ClassVar

import numpy as np

from autoscope.protocols import Clock
from autoscope.records import (
    Action,
    Axis,
    Capabilities,
    Frame,
    Measure,
    MicroscopeState,
    MoveStage,
    Range,
    Scan,
    SetOptics,
    SpectrumSignal,
    Timing,
)
from environments.instruments.autoscript.acquisition import AutoscriptAcquisition
from environments.instruments.autoscript.config import AutoscriptConfig, EdsConfig
from environments.instruments.autoscript.connection import AutoscriptConnection
from environments.instruments.autoscript.controller import AutoscriptController
from environments.instruments.driving import DrivenInstrument, Reading, image_frame, point_frame


class AutoscriptInstrument(DrivenInstrument):
    """A Thermo Fisher microscope by AutoScript TEM: stage, focus, blanker, STEM images, EDS at a point.

    Parameters
    ----------
    config : AutoscriptInstrument.Config
        Where the server runs, and the limits of the column.
    clock : Clock
        Time.
    rng : numpy.random.Generator, optional
        Unused: a driver has no chance of its own.
    """

    status: ClassVar[str] = "not yet run on hardware; checked against a contract of the documented calls"
    darkens: ClassVar[bool] = True

    class Config(AutoscriptConfig):
        """Where the server runs, and the limits of the column."""

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator | None = None) -> None:
        self._config = config
        self._line = AutoscriptConnection(config)
        self._controller = AutoscriptController(self._line, config)
        self._acquisition = AutoscriptAcquisition(self._line, config)
        super().__init__(
            _capabilities(config, self._controller.voltage_v()), clock, max_frame_bytes=config.max_frame_bytes
        )

    def _read(self) -> Reading:
        return self._controller.read()

    def _admit(self, action: Action) -> None:
        if isinstance(action, Scan):
            self._acquisition.prepare_scan(action)
        if isinstance(action, Measure):
            self._acquisition.park(action)

    def _perform(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        begin_s = self._clock.now_s()
        match action:
            case MoveStage():
                self._controller.move(action)
                self._check_stop()
            case SetOptics():
                self._controller.set_optics(action)
            case Scan():
                images = self._acquisition.take_images(action)
                self._check_stop()
                return tuple(image_frame(n, image, action, before, time_s=begin_s) for n, image in images.items())
            case Measure() if self._config.eds:
                counts = self._acquisition.take_spectrum(action, self._config.eds)
                self._check_stop()
                return (point_frame(self._can.signals[0], counts, action, before, time_s=begin_s),)
        return ()

    def _set_blanked(self, blanked: bool) -> None:
        self._controller.blank(blanked)

    def _stop(self) -> None:
        self._controller.make_safe()

    def close(self) -> None:
        """Blank and disconnect."""
        self.make_safe()
        with contextlib.suppress(Exception):
            self._line.close()


def _capabilities(config: AutoscriptConfig, voltage_v: float) -> Capabilities:
    eds = config.eds
    sides = Range(low=1, high=max(config.frame_sizes))
    # the scan reaches as far as half the largest field; what of it fits with a frame around it is decided act by act
    reach = Range(low=-config.fov_range_m[1] / 2.0, high=config.fov_range_m[1] / 2.0)
    dwells_s = (*config.dwell_range_s, *(eds.exposure_range_s if eds else ()))
    named = {
        "x_m": config.x_range_m,
        "y_m": config.y_range_m,
        "z_m": config.z_range_m,
        "alpha_rad": config.alpha_range_rad,
        "defocus_m": config.defocus_range_m,
        "fov_m": config.fov_range_m,
        "dwell_s": (min(dwells_s), max(dwells_s)),
        "rotation_rad": (-math.pi, math.pi),
    }
    if config.beta_range_rad is not None:
        named["beta_rad"] = config.beta_range_rad
    ranges = {name: Range(low=low, high=high) for name, (low, high) in named.items()}
    tolerances = dict.fromkeys(("x_m", "y_m", "z_m"), config.stage_tolerance_m)
    return Capabilities(
        instrument="AutoScript TEM",
        serial=config.serial,
        simulated=False,
        voltage_v=voltage_v,
        actions=("move_stage", "set_optics", "scan", *(("measure",) if eds else ()), "blank", "wait"),
        detectors=config.detectors,
        signals=(_signal(eds),) if eds else (),
        ranges=ranges | {"width_px": sides, "height_px": sides, "centre_x_m": reach, "centre_y_m": reach},
        tolerances=tolerances | {"alpha_rad": 1e-3, "beta_rad": 1e-3, "defocus_m": 1e-9},
        timing=Timing(stage_speed_m_per_s=config.stage_speed_m_per_s, line_flyback_s=config.line_flyback_s),
    )


def _signal(eds: EdsConfig) -> SpectrumSignal:
    axis = Axis(name="energy", unit="eV", size=eds.channels, offset=eds.offset_ev, scale=eds.dispersion_ev)
    return SpectrumSignal(name=eds.signal, axis=axis)
