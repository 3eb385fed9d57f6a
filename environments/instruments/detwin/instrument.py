"""The twin behind the instrument protocol."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from autoscope.actions import CORRECTOR_FIELDS
from autoscope.errors import ConfigError
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
    SpectrumImage,
    SpectrumSignal,
    Timing,
)
from environments.instruments.detwin.acquisition import TwinAcquisition
from environments.instruments.detwin.config import DetwinConfig, ServerConfig
from environments.instruments.detwin.connection import REMEDY, Column, SoapConnection, TwinConnection
from environments.instruments.detwin.controller import ColumnController
from environments.instruments.detwin.deapi_acquisition import SMALLEST_GRID, DeapiAcquisition
from environments.instruments.detwin.geometry import plan
from environments.instruments.detwin.verbs import (
    ALPHA_RUNGS_RAD,
    COIL_LIMIT_V,
    COMA_RANGE_M,
    FULL_FIELD_V,
    SPHERICAL_RANGE_M,
    SPOTS,
    STEM,
    STIGMATOR_M,
    THREEFOLD_RANGE_M,
)
from environments.instruments.driving import DrivenInstrument, Reading, image_frame, point_frame, vendor_package

Array = NDArray[Any]
DEFOCUS_RANGE_M = 200e-6
LONGEST_DWELL_S = 10.0
CORRECTOR_TIMEOUT_S = 30.0
"""Of one aberration; it takes half a second."""
SHORTEST_DWELL_S = 1e-7
TOLERANCES = {"x_m": 1e-9, "y_m": 1e-9, "z_m": 1e-9, "alpha_rad": 1e-5, "beta_rad": 1e-5} | {
    "defocus_m": 1e-11,
    "stigmator_a_m": 1e-12,
    "stigmator_b_m": 1e-12,
    **dict.fromkeys(CORRECTOR_FIELDS, 1e-12),
}


class DetwinInstrument(DrivenInstrument):
    """de-twin as an instrument: STEM with virtual detectors, 4D-STEM, a stage with speed, a corrected probe.

    In process it runs on autoscope's clock, so a `SimClock` makes a night of it in minutes. Over its servers time is
    real, a scan is exposed frame by frame, and images are in the camera's units.

    Parameters
    ----------
    config : DetwinInstrument.Config
        The twin and how it is reached.
    clock : Clock
        Time.
    rng : numpy.random.Generator
        Seeds the twin, and counts electrons.
    """

    status: ClassVar[str] = "simulated by its makers; run in process and over its servers"

    class Config(DetwinConfig):
        """The twin and how it is reached."""

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator) -> None:
        self._config = config
        self._fields_m = _fields_m()
        seed = int(rng.integers(2**31))
        self._column: Column
        self._acquisition: TwinAcquisition | DeapiAcquisition
        if config.server is None:
            twin = TwinConnection(config, clock, seed)
            self._column, currents_a = twin, _currents_a(twin)
            self._controller = ColumnController(twin, currents_a)
            self._prepare(config)
            self._acquisition = TwinAcquisition(twin, config, self._fields_m, rng)
        else:
            self._column, currents_a = SoapConnection(config.server), {0: config.server.beam_current_a}
            self._controller = ColumnController(self._column, currents_a)
            self._prepare(config)
            self._acquisition = DeapiAcquisition(config, config.server, self._controller, self._fields_m, clock)
        can = _capabilities(config, self._controller.read(), self._fields_m, currents_a, self._acquisition.pixel_rad())
        super().__init__(can, clock, max_frame_bytes=config.max_frame_bytes)

    def _prepare(self, config: Config) -> None:
        self._controller.prepare(config.camera_length_m)
        reached_m = float(self._column.get("CameraLength")) / 100.0
        if not math.isclose(reached_m, config.camera_length_m, rel_tol=1e-6):
            raise ConfigError(
                "the column has no such camera length; it would take a neighbour",
                where="camera_length",
                value=config.camera_length_m,
                limit=f"nearest {reached_m:g} m",
                remedy="Choose a rung of its ladder: 15, 20, 25, 30, 40, 50, 60, 80, 100, ... 1000 mm",
            )

    # --- what a driver supplies --------------------------------------------------------------------

    def _read(self) -> Reading:
        return self._controller.read()

    def _admit(self, action: Action) -> None:
        if isinstance(action, Scan | SpectrumImage | Measure):
            plan(action, self._fields_m)

    def _set_blanked(self, blanked: bool) -> None:
        self._controller.blank(blanked)

    def _stop(self) -> None:
        self._column.stop()

    def _perform(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        match action:
            case MoveStage():
                self._controller.move(action)
                self._wait_until(lambda: not self._column.moving(), "the stage move", self._config.stage_timeout_s)
            case SetOptics():
                self._controller.set_optics(action, before)
                for _ in self._controller.corrections(action):
                    self._wait_until(lambda: not self._column.correcting(), "the corrector", CORRECTOR_TIMEOUT_S)
            case Scan() | SpectrumImage() | Measure():
                return self._expose(action, before)
        return ()

    def _expose(self, action: Scan | SpectrumImage | Measure, before: MicroscopeState) -> tuple[Frame, ...]:
        begin_s = self._clock.now_s()
        frames = self._frames(action, before, begin_s)
        if self._config.server is None:  # the twin answers at once; the exposure takes its time all the same
            pixels = 1 if isinstance(action, Measure) else action.width_px * action.height_px
            self._wait(action.dwell_s * pixels)
        self._check_stop()
        return frames

    def _frames(
        self, action: Scan | SpectrumImage | Measure, before: MicroscopeState, begin_s: float
    ) -> tuple[Frame, ...]:
        signal, unit = self._can.signals[0], self._acquisition_unit
        if isinstance(action, Measure):
            pattern = self._acquisition.patterns(action)[0, 0]
            return (point_frame(signal, pattern, action, before, time_s=begin_s, unit=unit),)
        cubes: tuple[Frame, ...] = ()
        if isinstance(action, Scan):
            images = self._acquisition.images(action, self._check_stop)
        else:
            cube, images = self._acquisition.cube(action, self._check_stop, self._sink)
            cubes = (image_frame(signal.name, cube, action, before, time_s=begin_s, signal=signal, unit=unit),)
        pictures = (image_frame(name, data, action, before, time_s=begin_s, unit=unit) for name, data in images.items())
        return (*cubes, *pictures)

    @property
    def _acquisition_unit(self) -> str:
        return "counts" if self._config.server is None else "ADU"

    @property
    def reproducible(self) -> bool:
        """Whether the twin lives in this process and, made anew, does the same again."""
        return self._config.server is None

    # --- what only a simulation can tell -------------------------------------------------------------

    def truth(self) -> Mapping[str, Any]:
        """Return the hidden truth about now; for benchmarks, never for policies. Empty over a server.

        ``probe_aberrations_m`` are the residual coefficients (CEOS names, complex), ``phase`` is the twin's ground
        truth (materials, grains, orientations, thickness) on 64 x 64 points of a 1 um field around the axis.
        """
        if not isinstance(self._acquisition, TwinAcquisition) or not isinstance(self._column, TwinConnection):
            return {}
        state = self._column.twin.column.state()
        field = Scan(fov_m=1e-6, width_px=64, height_px=64, dwell_s=1e-6, detectors=())
        return {
            "probe_aberrations_m": {name: complex(value) * 1e-9 for name, value in state.probe_aberrations.items()},
            "stage_error_m": (state.stage_error_um.x * 1e-6, state.stage_error_um.y * 1e-6),
            "phase": self._acquisition.truth(field),
        }

    def close(self) -> None:
        """Let go of the twin or its servers."""
        self.make_safe()
        with contextlib.suppress(Exception):
            if isinstance(self._column, TwinConnection):
                self._column.twin.close()
            elif isinstance(self._acquisition, DeapiAcquisition):
                self._acquisition.close()


def _fields_m() -> dict[float, float]:
    """Return the field that 2 V of the scan coils cover, in metres by magnification."""
    calibration = vendor_package("de_twin.optics", driver="detwin", remedy=REMEDY).Calibration.default()
    state = vendor_package("de_twin.state", driver="detwin", remedy=REMEDY).MicroscopeState
    ladder = vendor_package("de_twin.column.ladders", driver="detwin", remedy=REMEDY).STEM_MAGS
    base = state(tem_stem=STEM, mag_mode="LowMAG")
    return {m: calibration.stem_step_nm(dataclasses.replace(base, magnification=m), (1, 1)) * 1e-9 for m in ladder}


def _currents_a(connection: TwinConnection) -> dict[int, float]:
    """Return the probe current of each spot size, by the law of the twin's gun."""
    beam = vendor_package("de_twin.optics.beam", driver="detwin", remedy=REMEDY)
    state = dataclasses.replace(connection.twin.column.state(), tem_stem=STEM)
    config = connection.twin.optics_config
    return {spot: beam.beam_current_pa(dataclasses.replace(state, spot_size=spot), config) * 1e-12 for spot in SPOTS}


def _capabilities(
    config: DetwinConfig, now: Reading, fields_m: dict[float, float], currents_a: dict[int, float], pixel_rad: float
) -> Capabilities:
    ladders = vendor_package("de_twin.column.ladders", driver="detwin", remedy=REMEDY)
    x, y, z, a, b = ladders.STAGE_LIMITS
    reach_m = (COIL_LIMIT_V - FULL_FIELD_V / 2.0) * max(fields_m.values()) / FULL_FIELD_V
    bounds = {
        "x_m": x * 1e-6,
        "y_m": y * 1e-6,
        "z_m": z * 1e-6,
        "alpha_rad": math.radians(a),
        "beta_rad": math.radians(b),
        "defocus_m": DEFOCUS_RANGE_M,
        "stigmator_a_m": STIGMATOR_M,
        "stigmator_b_m": STIGMATOR_M,
        "centre_x_m": reach_m,
        "centre_y_m": reach_m,
        "rotation_rad": math.pi,
    }
    if now.spherical_m is not None:
        bounds |= dict.fromkeys(("coma_a_m", "coma_b_m"), COMA_RANGE_M)
        bounds |= dict.fromkeys(("threefold_a_m", "threefold_b_m"), THREEFOLD_RANGE_M)
        bounds["spherical_m"] = SPHERICAL_RANGE_M
    ranges = {name: Range(low=-bound, high=bound) for name, bound in bounds.items()}
    ranges |= {
        "convergence_rad": Range(low=min(ALPHA_RUNGS_RAD), high=max(ALPHA_RUNGS_RAD)),
        "fov_m": Range(low=min(fields_m.values()) / 10.0, high=max(fields_m.values())),
        "dwell_s": Range(low=_shortest_dwell_s(config.server), high=LONGEST_DWELL_S),
        "width_px": Range(low=1 if config.server is None else SMALLEST_GRID, high=4096),
        "height_px": Range(low=1 if config.server is None else SMALLEST_GRID, high=4096),
    }
    choices: dict[str, tuple[float, ...]] = {"convergence_rad": ALPHA_RUNGS_RAD}
    if len(currents_a) > 1:
        ranges["beam_current_a"] = Range(low=min(currents_a.values()), high=max(currents_a.values()))
        choices["beam_current_a"] = tuple(sorted(currents_a.values()))
    return Capabilities(
        instrument="de-twin",
        serial=config.specimen if config.server is None else f"{config.server.host}:{config.server.soap_port}",
        simulated=True,
        voltage_v=now.voltage_v,
        actions=("move_stage", "set_optics", "scan", "measure", "spectrum_image", "blank", "wait"),
        detectors=tuple(config.detectors),
        signals=(_signal(config, pixel_rad),),
        ranges=ranges,
        tolerances=TOLERANCES | {"convergence_rad": 1e-5},
        timing=Timing(stage_speed_m_per_s=ladders.STAGE_SPEED_UM_PER_S * 1e-6),
        choices=choices,
    )


def _shortest_dwell_s(server: ServerConfig | None) -> float:
    return SHORTEST_DWELL_S if server is None else 1e-6


def _signal(config: DetwinConfig, pixel_rad: float) -> SpectrumSignal:
    side = config.pattern.side_px
    ky, kx = (
        Axis(name=name, unit="rad", size=side, offset=-(side // 2) * pixel_rad, scale=pixel_rad)
        for name in ("ky", "kx")
    )
    return SpectrumSignal(name=config.pattern.name, axis=kx, rows=ky)
