"""A microscope behind instamatic, behind the instrument protocol."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from autoscope.errors import InstrumentError
from autoscope.protocols import Clock
from autoscope.records import Action, Capabilities, Frame, MicroscopeState, MoveStage, Range, SetOptics, Timing
from environments.instruments.driving import DrivenInstrument, Reading
from environments.instruments.instamatic.config import InstamaticConfig
from environments.instruments.instamatic.connection import InstamaticConnection
from environments.instruments.instamatic.controller import InstamaticController

TOLERANCES = {"x_m": 20e-9, "y_m": 20e-9, "z_m": 20e-9, "alpha_rad": 1e-3, "beta_rad": 1e-3}


class InstamaticInstrument(DrivenInstrument):
    """Stage, blanker and, where calibrated, focus and stigmator of a microscope behind ``instamatic.temserver``.

    Parameters
    ----------
    config : InstamaticInstrument.Config
        Where the server runs, and calibrations.
    clock : Clock
        Time.
    rng : numpy.random.Generator, optional
        Unused: a driver has no chance of its own.
    """

    status: ClassVar[str] = "run against instamatic's simulated JEOL; not yet run on hardware"

    class Config(InstamaticConfig):
        """Where the server runs, and calibrations."""

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator | None = None) -> None:
        self._config = config
        self._line = InstamaticConnection(config.host, config.port, config.timeout_s)
        self._controller = InstamaticController(self._line, config)
        try:
            now = self._controller.read()
            if now.voltage_v <= 0.0:
                raise InstrumentError("the high tension is off", where="getHTValue", value=now.voltage_v)
        except BaseException:
            self._line.close()
            raise
        super().__init__(_capabilities(config, now), clock, max_frame_bytes=0)

    def _read(self) -> Reading:
        return self._controller.read()

    def _perform(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        if isinstance(action, MoveStage):
            self._controller.move(action)
            self._wait_until(lambda: not self._controller.moving(), "the stage move", self._config.stage_timeout_s)
        if isinstance(action, SetOptics):
            self._controller.set_optics(action, before)
        return ()

    def _set_blanked(self, blanked: bool) -> None:
        self._controller.blank(blanked)

    def _stop(self) -> None:
        self._controller.stop()

    def close(self) -> None:
        """Blank and hang up."""
        self.make_safe()
        self._line.close()


def _capabilities(config: InstamaticConfig, now: Reading) -> Capabilities:
    bounds = {
        "x_m": config.x_range_m,
        "y_m": config.y_range_m,
        "z_m": config.z_range_m,
        "alpha_rad": config.alpha_range_rad,
        "beta_rad": config.beta_range_rad,
    }
    tolerances = dict(TOLERANCES)
    if config.focus:
        bounds["defocus_m"] = config.focus.bounds_m()
        tolerances["defocus_m"] = 0.51 * abs(config.focus.m_per_unit)
    if config.stigmator:
        calibrations = {"stigmator_a_m": config.stigmator, "stigmator_b_m": config.stigmator.second()}
        bounds |= {name: calibration.bounds_m() for name, calibration in calibrations.items()}
        tolerances |= dict.fromkeys(calibrations, 0.51 * abs(config.stigmator.m_per_unit))
    optics = ("set_optics",) if config.focus or config.stigmator else ()
    return Capabilities(
        instrument="instamatic",
        serial=config.serial,
        simulated=config.simulated,
        voltage_v=now.voltage_v,
        actions=("move_stage", *optics, "blank", "wait"),
        detectors=(),
        ranges={name: Range(low=low, high=high) for name, (low, high) in bounds.items()},
        tolerances=tolerances,
        timing=Timing(stage_speed_m_per_s=config.stage_speed_m_per_s),
    )
