"""Pictures for paper: a find with its image and spectrum, and the map of the survey, as PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from autoscope.report.figures import round_length_m
from autoscope.report.finds import Find, Spectrum
from autoscope.report.mosaic import Bounds, Mosaic
from autoscope.report.wording import length

DPI = 150
SMALL = 7
BLUE, ORANGE = "#2f6f9f", "#f3b56a"


def find_plate(find: Find) -> bytes:
    """Return image and spectrum of a find side by side."""
    figure = Figure(figsize=(4.6, 1.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    left.set_axis_off()
    if find.crop is not None:
        left.imshow(_decoded(find.crop.uri), cmap="gray")
        _scale_bar(left, find.crop.side_m)
    if find.spectrum is None:
        right.set_axis_off()
    else:
        _spectrum(right, find.spectrum)
    return _png(figure)


def map_plate(picture: Mosaic | None, around: Bounds, places_m: NDArray[np.float64], best: Sequence[Find]) -> bytes:
    """Return the overviews as one picture with all measured places (n, 2) and the ranks of the best."""
    figure = Figure(figsize=(6.3, 6.3 * min(1.2, around.height_m / around.width_m) + 0.4), layout="constrained")
    axes = figure.subplots()
    um = 1e6
    if picture is not None:
        box = picture.bounds
        right_m, bottom_m = box.left_m + box.width_m, box.top_m + box.height_m
        extent = (box.left_m * um, right_m * um, bottom_m * um, box.top_m * um)
        axes.imshow(_decoded(picture.uri), cmap="gray", extent=extent)
    if len(places_m):
        axes.plot(*(places_m.T * um), ".", ms=2.5, color=ORANGE, alpha=0.6)
    for find in best:
        at = find.measurement.x_m * um, find.measurement.y_m * um
        axes.plot(*at, "o", ms=8, mfc="none", mec="#d9480f", mew=1.2)
        axes.annotate(str(find.rank), at, (4, 4), textcoords="offset points", fontsize=SMALL, color="#d9480f")
    axes.set_xlim(around.left_m * um, (around.left_m + around.width_m) * um)
    axes.set_ylim((around.top_m + around.height_m) * um, around.top_m * um)
    axes.set_aspect("equal")
    axes.set_xlabel("stage x / µm", fontsize=SMALL)
    axes.set_ylabel("stage y / µm", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    return _png(figure)


def _spectrum(axes: Any, spectrum: Spectrum) -> None:
    axes.fill_between(spectrum.energy, spectrum.level, step="mid", color=BLUE, alpha=0.25, lw=0)
    axes.step(spectrum.energy, spectrum.level, where="mid", color=BLUE, lw=0.7)
    for band in spectrum.bands:
        axes.axvspan(band.low, band.high, color="#b9c4cf" if band.background else ORANGE, alpha=0.5, lw=0)
    wide = [edge for band in spectrum.bands for edge in (band.low, band.high)]
    if wide:
        margin = 1.5 * (max(wide) - min(wide))
        low, high = max(min(wide) - margin, spectrum.energy[0]), min(max(wide) + margin, spectrum.energy[-1])
        axes.set_xlim(low, high)
        inside = spectrum.level[(spectrum.energy >= min(wide)) & (spectrum.energy <= max(wide))]
        axes.set_ylim(0, 1.6 * max(float(inside.max(initial=0.0)), 1e-30))
    axes.set_xlabel(f"{spectrum.axis} / {spectrum.unit}", fontsize=SMALL)
    axes.set_ylabel(spectrum.level_unit, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL - 1)


def _scale_bar(axes: Any, side_m: float) -> None:
    (left, right), bottom = axes.get_xlim(), max(axes.get_ylim())
    bar_m = round_length_m(0.45 * side_m)
    long = (right - left) * bar_m / side_m
    start, down = left + 0.06 * (right - left), bottom - 0.07 * (right - left)
    axes.plot([start, start + long], [down, down], color="white", lw=2)
    axes.annotate(length(bar_m), (start, down), (0, 3), textcoords="offset points", color="white", fontsize=SMALL)


def _decoded(uri: str) -> NDArray[Any]:
    data = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("LA" if "A" in picture.getbands() else "L").convert("RGBA"))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
