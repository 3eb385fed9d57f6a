"""The cheapest look of all: a fast spectrum image over the field, each of its pixels a very noisy measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PositiveInt, model_validator

from autoscope.config import ConfigModel, PluginConfig
from autoscope.errors import FrameRejected
from autoscope.quantities import FROM_FILE, PositiveDuration
from autoscope.records import Capabilities, Frame, Result, Scalar, Scan, SpectrumImage
from autoscope.registry import load
from policies.field import all_signals
from policies.pixels import PixelGrid

MOST_PIXELS = 500
"""The model takes in every pixel of the survey, and its cost grows with their cube."""


class SurveyConfig(ConfigModel):
    """A fast spectrum image over the field of the overview."""

    width_px: PositiveInt = 16
    height_px: PositiveInt = 16
    dwell_s: PositiveDuration = 1e-3
    """Of each pixel."""
    scalarizer: PluginConfig
    """What makes the target of a spectrum, as under ``scalarizers``: a spectrum image has a value at every pixel."""

    @model_validator(mode="after")
    def _small(self) -> SurveyConfig:
        if self.width_px * self.height_px > MOST_PIXELS:
            raise ValueError(f"the survey has more than {MOST_PIXELS} pixels; take fewer")
        return self

    def action(self, overview: Scan, signals: tuple[str, ...], capabilities: Capabilities) -> SpectrumImage:
        """Return the spectrum image to take: the field of the overview."""
        return SpectrumImage(
            fov_m=overview.fov_m,
            width_px=self.width_px,
            height_px=self.height_px,
            dwell_s=self.dwell_s,
            centre_x_m=overview.centre_x_m,
            centre_y_m=overview.centre_y_m,
            signals=all_signals(signals, capabilities),
        )


def survey_places(action: SpectrumImage) -> list[tuple[float, float]]:
    """Return the offsets (x_m, y_m) of the pixels of a survey, row by row."""
    grid = PixelGrid(Scan(**action.model_dump(exclude={"kind", "signals", "detectors"})))
    return [grid.position(pixel) for pixel in range(grid.size)]


def _spectrum_image(made_by: PluginConfig, result: Result) -> tuple[Any, Frame] | None:
    """Return the scalarizer and the spectrum image it is for; None where there is none."""
    if result.outcome.status != "done":
        return None
    plugin: Any = load("scalarizers", made_by.name)
    scalarizer = plugin(plugin.Config.model_validate(made_by.options, context=FROM_FILE))
    wanted = made_by.options.get("signal")
    frame = next((f for f in result.frames if f.data.ndim == 3 and wanted in (None, f.meta.signal)), None)
    return None if frame is None else (scalarizer, frame)


def summed_value(made_by: PluginConfig | None, result: Result, name: str) -> Scalar | None:
    """Return the value of the sum of all spectra of a spectrum image; None where it has none."""
    found = None if made_by is None else _spectrum_image(made_by, result)
    if found is None:
        return None
    scalarizer, frame = found
    total = Frame(
        frame.meta.replace(axes=frame.meta.axes[-1:]), np.asarray(frame.data, dtype=np.float64).sum(axis=(0, 1))
    )
    try:
        scalar: Scalar = scalarizer.scalarize(total, name)
    except FrameRejected:  # undefined for this sum: the look counts as one without a value
        return None
    return scalar


def survey_values(config: SurveyConfig, result: Result) -> list[tuple[int, float, float]] | None:
    """Return index, value and std of every pixel that has one; None where there is none at all."""
    found = _spectrum_image(config.scalarizer, result)
    if found is None:
        return None
    scalarizer, frame = found
    try:
        values, stds = scalarizer.map_scalar(frame.data, frame.meta.axes[-1], frame.meta.unit)
    except FrameRejected:  # a band beyond the axis: single looks are rejected with the same message, and reported
        return None
    rows = zip(values.ravel().tolist(), stds.ravel().tolist(), strict=True)
    finite = [(k, value, std) for k, (value, std) in enumerate(rows) if np.isfinite(value) and np.isfinite(std)]
    return finite or None
