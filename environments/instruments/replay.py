"""Stored data as an instrument: every answer is the stored spectrum of exactly the pixel asked for, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from autoscope.chance import stream
from autoscope.config import ConfigModel
from autoscope.errors import OutOfRange, Unsupported
from autoscope.exposure import electrons, predict
from autoscope.protocols import Clock
from autoscope.quantities import Duration, NonNegativeSpeed, PositiveCurrent, PositiveDuration, PositiveVoltage
from autoscope.records import (
    TIME,
    Act,
    Action,
    Axis,
    Blank,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Observation,
    Range,
    Scan,
    SpectrumImage,
    SpectrumSignal,
    Timing,
    Wait,
    dark_frames,
)
from environments.alterations import AlterationConfig
from environments.datasets import DatasetOptions, SpectrumImageData
from environments.recorded_maps import recorded_map
from environments.specimen_map import SpecimenMapConfig

ACTIONS = ("scan", "measure", "spectrum_image", "blank", "wait")
DETECTOR = "HAADF"
DUST_PX = 1e-6
"""Pixels by which a position may pass the edge of its pixel through rounding."""


class ReplayInstrument:
    """A microscope whose sample is one stored spectrum image; it knows nothing that was not recorded.

    Parameters
    ----------
    config : ReplayInstrument.Config
        Which data, and the nominal conditions that time and dose are counted with.
    clock : Clock
        Waits as long as the act would have taken.
    rng : numpy.random.Generator, optional
        One number is drawn, from which all chance of alterations and drift follows.

    Notes
    -----
    The stage stands at the origin, the centre of the image. The only image is ``describe().native_scan``.
    A dwell time other than the stored one is refused, since no stored data can answer it.
    """

    reproducible: ClassVar[bool] = True
    """Stored data answer the same for ever."""

    class Config(ConfigModel):
        """The data and their nominal conditions."""

        path: Path | None = None
        """File with the spectrum image (docs/data.md)."""
        specimen: SpecimenMapConfig | None = None
        """In place of a file: a simulated specimen, counted on a raster."""
        read: DatasetOptions = DatasetOptions()
        """How the file is read: binning, part of the axis, where the image is."""
        dwell_s: PositiveDuration = 0.05
        """Nominal dwell time of one spectrum: the only one that `Measure` and `SpectrumImage` accept."""
        image_dwell_s: PositiveDuration = 10e-6
        """Nominal dwell time of an image pixel: the one of ``native_scan``."""
        point_overhead_s: Duration = 0.0
        """Time to place the probe, added to each `Measure`."""
        beam_current_a: PositiveCurrent = 100e-12
        voltage_v: PositiveVoltage = 200e3
        alter: AlterationConfig = AlterationConfig()
        """Fewer counts, more noise, or negative controls."""
        drift_m_per_s: NonNegativeSpeed = 0.0
        """So fast the specimen moves away under the probe, in a direction that follows from the seed of the run."""

        @model_validator(mode="after")
        def _one_source(self) -> Self:
            if (self.path is None) == (self.specimen is None):
                raise ValueError("give either 'path', a file, or 'specimen', a simulated one")
            return self

    def __init__(self, config: Config, *, clock: Clock, rng: np.random.Generator | None = None) -> None:
        self._config, self._clock = config, clock
        root = 0 if rng is None else int(rng.integers(2**63))
        self._recorded = recorded_map(config, root)
        self._data = self._recorded.data
        turned = stream(root, "drift").uniform(0.0, 2.0 * np.pi)
        self._drift_m_per_s = config.drift_m_per_s * np.array([np.cos(turned), np.sin(turned)])
        self._born_s = clock.now_s()
        self._capabilities = _capabilities(self._data, config)
        self._done: dict[str, Observation] = {}
        self._blanked, self._dose_e = True, 0.0

    def describe(self) -> Capabilities:
        """Return the only image there is, and the signal of the stored spectra."""
        return self._capabilities

    def state(self) -> MicroscopeState:
        """Return the nominal state: the stage stands at the origin."""
        return MicroscopeState(
            time_s=self._clock.now_s(),
            beam_current_a=self._config.beam_current_a,
            voltage_v=self._config.voltage_v,
            blanked=self._blanked,
            dose_e=self._dose_e,
        )

    def make_safe(self) -> None:
        """Blank the (nominal) beam."""
        self._blanked = True

    def truth(self) -> Mapping[str, Any]:
        """Return the stored image, its pixel size, and the recommended ``target`` map (h, w) if the file has one."""
        known: dict[str, Any] = {"image": self._data.image, "pixel_m": self._data.pixel_m}
        return known if self._data.target is None else known | {"target": self._data.target}

    @property
    def expectation(self) -> str:
        """Where `expected` comes from, as a phrase."""
        return self._recorded.expectation

    def expected(self, signal: str, xy_m: NDArray[np.float64], dwell_s: float) -> Frame:
        """Return the spectra of pixels without the noise of this draw; see `Foretelling`.

        Raises
        ------
        OutOfRange
            A point outside the field.
        Unsupported
            The data hold no such signal.
        """
        _must_have(signal, (self._data.signal,), "signal")
        height, width = self._data.image.shape
        j = [_pixel(float(x_m), self._data.pixel_m, width, "x_m") for x_m in xy_m[:, 0]]
        i = [_pixel(float(y_m), self._data.pixel_m, height, "y_m") for y_m in xy_m[:, 1]]
        axes = (Axis(name="point", unit="", size=len(xy_m)), self._data.axis)
        return Frame(self._meta(signal, axes, dwell_s, unit=self._data.unit), self._recorded.expected[i, j])

    def execute(self, act: Act) -> Observation:
        """Return the stored frames; the same ``act_id`` again returns the first observation.

        Raises
        ------
        OutOfRange
            A point outside the field, or a field, size or dwell time that was not recorded.
        Unsupported
            An action, detector or signal that stored data cannot answer.
        """
        if act.act_id not in self._done:
            self._done[act.act_id] = self._execute(act)
        return self._done[act.act_id]

    def recall(self, act_id: str) -> Observation | None:
        """Return the observation of an act that was done, or None if it never was."""
        return self._done.get(act_id)

    def _execute(self, act: Act) -> Observation:
        before, action = self.state(), act.action
        frames = self._frames(action)
        cost = predict(action, before, self._capabilities)
        self._clock.wait(cost.time_s)
        self._dose_e += cost.dose_e
        if isinstance(action, Blank):
            self._blanked = action.blanked
        return Observation(act.act_id, before, self.state(), frames)

    def _frames(self, action: Action) -> tuple[Frame, ...]:
        if dark_frames(action):
            raise Unsupported("stored data hold no dark frames", where=f"{action.kind}.dark_frames")
        match action:
            case Scan():
                self._check_field(action)
                return self._images(action.detectors, action.dwell_s)
            case SpectrumImage():
                self._check_field(action)
                cubes = tuple(self._cube(name) for name in action.signals)
                return cubes + self._images(action.detectors, action.dwell_s)
            case Measure():
                spectra = tuple(self._spectrum(action, name) for name in action.signals)
                return spectra + tuple(self._reading(action, name) for name in action.detectors)
            case Blank() | Wait():
                return ()
            case _:
                raise Unsupported("stored data cannot do this", where=action.kind, limit=", ".join(ACTIONS))

    def _check_field(self, action: Scan | SpectrumImage) -> None:
        """Refuse every field but the stored one."""
        native = _native(self._data, self._config)
        dwell_s = native.dwell_s if isinstance(action, Scan) else self._config.dwell_s
        for name in ("width_px", "height_px"):
            _must_match(action, name, getattr(native, name), 0.0)
        _must_match(action, "dwell_s", dwell_s, 1e-9 * dwell_s)
        for name in ("fov_m", "centre_x_m", "centre_y_m"):
            _must_match(action, name, getattr(native, name), DUST_PX * self._data.pixel_m)
        _must_match(action, "rotation_rad", 0.0, 1e-12)

    def _images(self, detectors: tuple[str, ...], dwell_s: float) -> tuple[Frame, ...]:
        for name in detectors:
            _must_have(name, (DETECTOR,), "detector")
        meta = self._meta(DETECTOR, self._plane(), dwell_s, unit="")
        return tuple(Frame(meta, self._data.image) for _ in detectors)

    def _cube(self, signal: str) -> Frame:
        _must_have(signal, (self._data.signal,), "signal")
        axes = (*self._plane(), self._data.axis)
        return Frame(self._meta(signal, axes, self._config.dwell_s, unit=self._data.unit), self._data.spectra)

    def _spectrum(self, action: Measure, signal: str) -> Frame:
        _must_have(signal, (self._data.signal,), "signal")
        _must_match(action, "dwell_s", self._config.dwell_s, 1e-9 * self._config.dwell_s)
        i, j, x_m, y_m = self._place(action)
        meta = self._meta(signal, (self._data.axis,), action.dwell_s, unit=self._data.unit, x_m=x_m, y_m=y_m)
        return Frame(meta, self._data.spectra[i, j])

    def _reading(self, action: Measure, detector: str) -> Frame:
        """Return the value of the stored image at the pixel of a spectrum: the only reading there is."""
        _must_have(detector, (DETECTOR,), "detector")
        i, j, x_m, y_m = self._place(action)
        axis = Axis(name=TIME, unit="s", size=1, offset=action.dwell_s / 2.0, scale=action.dwell_s)
        meta = self._meta(detector, (axis,), action.dwell_s, unit="", x_m=x_m, y_m=y_m)
        return Frame(meta, np.array([self._data.image[i, j]]))

    def _place(self, action: Measure) -> tuple[int, int, float, float]:
        """Return row and column of the pixel now under a point, and where its centre is (x, y)."""
        height, width = self._data.image.shape
        away_m = self._drift_m_per_s * (self._clock.now_s() - self._born_s)
        j = _pixel(action.x_m - float(away_m[0]), self._data.pixel_m, width, "x_m")
        i = _pixel(action.y_m - float(away_m[1]), self._data.pixel_m, height, "y_m")
        x_m, y_m = _centre(j, width, self._data.pixel_m), _centre(i, height, self._data.pixel_m)
        return i, j, x_m + float(away_m[0]), y_m + float(away_m[1])

    def _plane(self) -> tuple[Axis, Axis]:
        """Return the axes of the image: y first, coordinates of pixel centres from the middle of the field."""
        y, x = (
            Axis(name=name, unit="m", size=size, offset=_centre(0, size, self._data.pixel_m), scale=self._data.pixel_m)
            for name, size in zip("yx", self._data.image.shape)
        )
        return y, x

    def _meta(
        self, signal: str, axes: tuple[Axis, ...], dwell_s: float, *, unit: str, x_m: float = 0.0, y_m: float = 0.0
    ) -> FrameMeta:
        return FrameMeta(
            signal=signal,
            axes=axes,
            unit=unit,
            time_s=self._clock.now_s(),
            dwell_s=dwell_s,
            x_m=x_m,
            y_m=y_m,
            beam_current_a=self._config.beam_current_a,
            dose_e_per_m2=electrons(self._config.beam_current_a, dwell_s) / self._data.pixel_m**2,
        )


def _native(data: SpectrumImageData, config: ReplayInstrument.Config) -> Scan:
    height, width = data.image.shape
    return Scan(fov_m=data.fov_m, width_px=width, height_px=height, dwell_s=config.image_dwell_s, detectors=(DETECTOR,))


def _capabilities(data: SpectrumImageData, config: ReplayInstrument.Config) -> Capabilities:
    half_y_m, half_x_m = (size * data.pixel_m / 2 for size in data.image.shape)
    dwells = (config.dwell_s, config.image_dwell_s)
    return Capabilities(
        instrument="replay",
        serial=config.path.stem if config.path else f"{data.meta['title']} map",
        simulated=False,
        voltage_v=config.voltage_v,
        actions=ACTIONS,
        detectors=(DETECTOR,),
        signals=(SpectrumSignal(name=data.signal, axis=data.axis),),
        ranges={
            "x_m": Range(low=-half_x_m, high=half_x_m),
            "y_m": Range(low=-half_y_m, high=half_y_m),
            "fov_m": Range(low=data.fov_m, high=data.fov_m),
            "dwell_s": Range(low=min(dwells), high=max(dwells)),
        },
        choices={"dwell_s": tuple(sorted(set(dwells)))},
        tolerances={"x_m": data.pixel_m / 2, "y_m": data.pixel_m / 2},
        timing=Timing(point_overhead_s=config.point_overhead_s),
        native_scan=_native(data, config),
        point_readings=1,
    )


def _must_match(action: Action, field: str, stored: float, tolerance: float) -> None:
    asked = getattr(action, field)
    if abs(asked - stored) > tolerance:
        raise OutOfRange(
            "was not recorded",
            where=f"{action.kind}.{field}",
            value=asked,
            limit=f"{stored!r} only",
            remedy="Ask for describe().native_scan, and for spectra with the dwell of the replay's configuration",
        )


def _must_have(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise Unsupported(f"the data hold no such {what}", value=name, limit=", ".join(known))


def _pixel(offset_m: float, pixel_m: float, size: int, field: str) -> int:
    """Return the index of the pixel whose centre lies within half a pixel of an offset from the middle of the field.

    Raises
    ------
    OutOfRange
        No pixel of the field is that near.

    Examples
    --------
    >>> [_pixel(x, 1.0, 4, "x_m") for x in (-2.0, -1.5, -0.6, 0.1, 2.0)]
    [0, 0, 1, 2, 3]
    """
    place = offset_m / pixel_m + (size - 1) / 2
    if not -0.5 - DUST_PX <= place <= size - 0.5 + DUST_PX:
        half_m = size * pixel_m / 2
        raise OutOfRange(
            "the point lies outside the recorded field",
            where=f"measure.{field}",
            value=offset_m,
            limit=f"[{-half_m:g}, {half_m:g}] m",
        )
    return min(max(round(place), 0), size - 1)


def _centre(index: int, size: int, pixel_m: float) -> float:
    return (index - (size - 1) / 2) * pixel_m
