"""The map of the survey: the mosaic and every measured point, as data for the page's script and as a still picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from numpy.typing import NDArray

from autoscope.report.mosaic import Bounds, Mosaic, bounds, busiest_slot, mosaic, overviews
from autoscope.report.pictures import Archive
from autoscope.report.story import Measurement, RunStory

SHADES = 32
COLOURS = tuple(
    "#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in colormaps["viridis"](k / (SHADES - 1))[:3]))
    for k in range(SHADES)
)
"""Viridis: even in lightness, and readable without colour vision."""
NM = 1e9


@dataclass(frozen=True)
class SurveyMap:
    """All that the map shows; positions in nanometres from the centre of ``bounds``."""

    bounds: Bounds
    mosaic: Mosaic | None
    data: Mapping[str, Any]
    still: Markup
    """The map before anybody touches it, as the content of an SVG element."""
    left_out: int
    """Points on other samples of the carousel, which have no place on this map."""


def survey_map(story: RunStory, ranks: Mapping[int, int], archive: Archive) -> SurveyMap | None:
    """Return the map of a run, or None where nothing was seen or measured.

    Parameters
    ----------
    story : RunStory
        The run.
    ranks : mapping
        Rank of each of the best finds by step.
    archive : Archive
        Gives the overview images.
    """
    slot = busiest_slot(story)
    points = [m for m in story.measurements if m.slot == slot]
    places = np.array([(m.x_m, m.y_m) for m in points], dtype=np.float64).reshape(-1, 2)
    tiles = overviews(story, slot)
    around = bounds(tiles, places)
    if around is None:
        return None
    picture = mosaic(tiles, archive, around) if tiles else None
    data = _data(story, points, around, ranks)
    still = _image(picture, around) + _points(data)
    return SurveyMap(around, picture, data, still, len(story.measurements) - len(points))


def _data(story: RunStory, points: Sequence[Measurement], around: Bounds, ranks: Mapping[int, int]) -> dict[str, Any]:
    centre = (around.left_m + around.width_m / 2, around.top_m + around.height_m / 2)
    return {
        "centre": [centre[0] * NM, centre[1] * NM],
        "size": [around.width_m * NM, around.height_m * NM],
        "colours": COLOURS,
        "step": [m.step for m in points],
        "x": [round((m.x_m - centre[0]) * NM, 2) for m in points],
        "y": [round((m.y_m - centre[1]) * NM, 2) for m in points],
        "time": [story.clock.at(m.time_s) for m in points],
        "name": [m.target for m in points],
        "reason": [m.reason for m in points],
        "mean": [_short(m.predicted_mean) for m in points],
        "std": [_short(m.predicted_std) for m in points],
        "rank": [ranks.get(m.step, 0) for m in points],
        "targets": [_target(name, points) for name in story.targets()],
    }


def _target(name: str, points: Sequence[Measurement]) -> dict[str, Any]:
    readings = [m.reading(name) for m in points]
    values = np.array([r.value for r in readings if r], dtype=np.float64)
    low, high = np.percentile(values, (1, 99.5)) if values.size else (0.0, 1.0)
    return {
        "name": name,
        "unit": next((r.unit for r in readings if r), ""),
        "value": [_short(r.value) if r else None for r in readings],
        "std": [_short(r.std) if r else None for r in readings],
        "low": _short(float(low)),
        "high": _short(float(high)),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _image(picture: Mosaic | None, around: Bounds) -> Markup:
    if picture is None:
        return Markup("")
    covered = picture.bounds
    return Markup('<image id="mosaic" href="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
        picture.uri,
        -around.width_m * NM / 2,
        -around.height_m * NM / 2,
        covered.width_m * NM,
        covered.height_m * NM,
    )


def _points(data: Mapping[str, Any]) -> Markup:
    """Return the points in one path for each colour, lowest first, so that the highest lie on top."""
    if not data["targets"]:
        return Markup('<g id="points"></g>')
    shades = shade(data["targets"][0])
    x, y = data["x"], data["y"]
    paths = Markup("").join(
        Markup('<path stroke="{}" d="{}"/>').format(COLOURS[k], "".join(f"M{x[i]:g} {y[i]:g}h0" for i in mine))
        for k in range(SHADES)
        if (mine := np.flatnonzero(shades == k)).size
    )
    every = "".join(f"M{x[i]:g} {y[i]:g}h0" for i in np.flatnonzero(shades >= 0))
    return Markup('<g id="points"><path class="casing" d="{}"/>').format(every) + paths + Markup("</g>")


def shade(target: Mapping[str, Any]) -> NDArray[np.intp]:
    """Return the index of each point's colour, (n,); -1 where the target has no value.

    Examples
    --------
    >>> shade({"value": [0.0, None, 9.0], "low": 0.0, "high": 4.0}).tolist() == [0, -1, SHADES - 1]
    True
    """
    extent = (target["high"] - target["low"]) or 1.0
    values = np.array([np.nan if v is None else v for v in target["value"]], dtype=np.float64)
    share = np.clip((values - target["low"]) / extent, 0.0, 1.0)
    index = np.where(np.isnan(share), -1.0, np.floor(share * (SHADES - 1) + 0.5))
    return index.astype(np.intp)
