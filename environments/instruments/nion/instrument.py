"""A Nion STEM behind the instrument protocol."""

from __future__ import annotations

import threading

import numpy as np

from autoscope.actions import CORRECTOR_FIELDS
from autoscope.errors import ConfigError, OutOfRange, Unsupported
from autoscope.protocols import Clock
from autoscope.records import (
    Action,
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
from environments.instruments.driving import DrivenInstrument, Reading, image_frame, point_frame
from environments.instruments.nion.acquisition import Acquisition
from environments.instruments.nion.config import AttachConfig, NionConfig, UsimConfig
from environments.instruments.nion.connection import connect
from environments.instruments.nion.controller import Controller

READING = "ADU"
"""Unit of what cameras and scan channels give: a reading less its dark level, which may fall below zero."""
ACTIONS = ("move_stage", "set_optics", "scan", "measure", "spectrum_image", "blank", "wait")


class NionInstrument(DrivenInstrument):
    """A Nion STEM through nionswift: simulated by nionswift-usim, or real inside Nion Swift's process.

    Time is real time whatever clock is given: exposures sleep as long as they dwell. The dose is beam current times
    the time the beam was open, read back before and after each act.

    Parameters
    ----------
    config : NionInstrument.Config
        Which column, ranges, axes.
    clock : Clock
        The run's clock; use ``clock: system``.
    rng : numpy.random.Generator, optional
        Unused: the column has its own chance.

    Raises
    ------
    PluginError
        nionswift is not installed.
    ConfigError
        No controller, hardware source or channel of a name that the configuration gives.
    """

    status = "runs against nionswift-usim 5.4.2; not yet run on hardware"

    class Config(NionConfig):
        """Which column, ranges, axes."""

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator | None = None) -> None:
        column = connect(config)
        self._config = config
        self._stops = self._begun_at_stop = 0
        self._controller = Controller(column, config)
        self._acquisition = Acquisition(column, config, lambda: self._stops != self._begun_at_stop)
        self._line = threading.RLock()
        physics = isinstance(config.connection, UsimConfig) and config.connection.physics
        self._image_unit = "counts" if physics else READING
        _require_channels(config, self._acquisition.channels)
        self._controller.blank(True)
        signals = tuple(self._acquisition.signal(camera) for camera in config.cameras)
        voltage_v = self._controller.read().voltage_v
        super().__init__(
            capabilities(config, signals, voltage_v, simulated=column.simulated),
            clock,
            max_frame_bytes=config.max_frame_bytes,
        )

    def _read(self) -> Reading:
        return self._controller.read()

    def _set_blanked(self, blanked: bool) -> None:
        self._controller.blank(blanked)

    def _stop(self) -> None:
        try:
            self._controller.blank(True)
        finally:
            self._acquisition.stop()

    def _perform(self, action: Action, before: MicroscopeState) -> tuple[Frame, ...]:
        with self._line:
            match action:
                case MoveStage():
                    self._controller.move(action)
                case SetOptics():
                    self._controller.set_optics(action)
                case Scan() | Measure() | SpectrumImage():
                    return self._record(action, before)
        return ()

    def _record(self, action: Scan | Measure | SpectrumImage, before: MicroscopeState) -> tuple[Frame, ...]:
        self._admit_exposure(action)
        time_s = self._clock.now_s()
        match action:
            case Scan():
                images = self._acquisition.scan(action)
                frames = tuple(
                    image_frame(n, image, action, before, time_s=time_s, unit=self._image_unit)
                    for n, image in zip(action.detectors, images)
                )
            case Measure():
                frames = tuple(
                    point_frame(self._signal(name), data, action, before, time_s=time_s, unit=READING)
                    for name, data in zip(action.signals, self._acquisition.measure(action))
                )
            case SpectrumImage():
                images, data = self._acquisition.spectrum_image(action, self._sink)
                signal = self._signal(action.signals[0])
                frames = (
                    *(
                        image_frame(n, i, action, before, time_s=time_s, unit=self._image_unit)
                        for n, i in zip(action.detectors, images)
                    ),
                    image_frame(signal.name, data, action, before, time_s=time_s, signal=signal, unit=READING),
                )
        self._check_stop()  # what was recorded while it was made safe is no frame
        return frames

    def _signal(self, name: str) -> SpectrumSignal:
        return next(signal for signal in self._can.signals if signal.name == name)

    def _admit_exposure(self, action: Scan | Measure | SpectrumImage) -> None:
        """Refuse a dwell time that the detector cannot have, and two cameras in one scan.

        Raises
        ------
        OutOfRange
            The dwell time is not one of that detector.
        Unsupported
            A spectrum image of two signals.
        """
        if isinstance(action, Scan):
            _require_dwell(action, "images", self._config.scan.dwell_range_s)
            return
        if isinstance(action, SpectrumImage) and len(action.signals) > 1:
            raise Unsupported("one camera at a time can be synchronised", where="signals", value=action.signals)
        for camera in self._config.cameras:
            if camera.name in action.signals:
                _require_dwell(action, camera.name, camera.exposure_range_s)


def _require_dwell(action: Scan | Measure | SpectrumImage, what: str, bounds: tuple[float, float]) -> None:
    if not bounds[0] <= action.dwell_s <= bounds[1]:
        raise OutOfRange(
            f"the dwell time is outside the range of {what}; nothing was done",
            where=f"{action.kind}.dwell_s",
            value=action.dwell_s,
            limit=f"[{bounds[0]:g}, {bounds[1]:g}] s",
        )


def _require_channels(config: NionConfig, known: tuple[str, ...]) -> None:
    for name in config.scan.channels:
        if name not in known:
            raise ConfigError(
                "the scan unit has no such channel", where="scan.channels", value=name, limit=", ".join(known)
            )


def capabilities(
    config: NionConfig, signals: tuple[SpectrumSignal, ...], voltage_v: float, *, simulated: bool
) -> Capabilities:
    """Return what a column can do under a configuration."""
    scan, stage, optics = config.scan, config.stage, config.optics
    dwells = [scan.dwell_range_s, *(camera.exposure_range_s for camera in config.cameras)]
    bounds = {
        "x_m": stage.range_m,
        "y_m": stage.range_m,
        "defocus_m": optics.defocus_range_m,
        "stigmator_a_m": optics.stigmator_range_m,
        "stigmator_b_m": optics.stigmator_range_m,
        "fov_m": scan.fov_range_m,
        "centre_x_m": scan.offset_range_m,
        "centre_y_m": scan.offset_range_m,
        "rotation_rad": (-np.pi, np.pi),
        "dwell_s": (min(low for low, _ in dwells), max(high for _, high in dwells)),
        "width_px": (1.0, float(scan.max_pixels)),
        "height_px": (1.0, float(scan.max_pixels)),
    }
    if optics.current_range_a is not None:
        bounds["beam_current_a"] = optics.current_range_a
    if optics.energy_shift_range_ev is not None:
        bounds["energy_offset_ev"] = optics.energy_shift_range_ev
    if optics.corrector is not None:
        bounds |= optics.corrector.ranges
    attached = config.connection if isinstance(config.connection, AttachConfig) else None
    return Capabilities(
        instrument="Nion STEM" if attached else "Nion STEM (nionswift-usim)",
        serial=attached.serial or attached.controller if attached else "usim",
        simulated=simulated,
        voltage_v=voltage_v,
        actions=ACTIONS if signals else tuple(a for a in ACTIONS if a not in ("measure", "spectrum_image")),
        detectors=scan.channels,
        signals=signals,
        ranges={name: Range(low=float(low), high=float(high)) for name, (low, high) in bounds.items()},
        tolerances={
            "x_m": stage.tolerance_m,
            "y_m": stage.tolerance_m,
            "defocus_m": optics.defocus_tolerance_m,
            "stigmator_a_m": optics.stigmator_tolerance_m,
            "stigmator_b_m": optics.stigmator_tolerance_m,
            "energy_offset_ev": optics.energy_tolerance_ev,
            **({} if optics.corrector is None else dict.fromkeys(CORRECTOR_FIELDS, optics.corrector.tolerance_m)),
        },
        timing=Timing(
            stage_speed_m_per_s=stage.speed_m_per_s,
            frame_overhead_s=scan.frame_overhead_s,
            point_overhead_s=max((camera.point_overhead_s for camera in config.cameras), default=0.0),
        ),
    )
