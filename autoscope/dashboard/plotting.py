"""Charts of braille dots: eight dots a cell, so that a curve keeps its shape in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Floats = NDArray[np.float64]

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Braille dots by (row, column) within a cell, as Unicode numbers them."""
_BLANK = 0x2800


@dataclass(frozen=True)
class Series:
    """Points (n,) in a colour; joined by lines or not."""

    x: Floats
    y: Floats
    colour: str
    joined: bool = True


@dataclass(frozen=True)
class Chart:
    """What is drawn: later series over earlier ones, bands behind them."""

    series: Sequence[Series]
    x_label: str = ""
    y_label: str = ""
    bands: Sequence[tuple[float, float, str]] = field(default_factory=tuple)
    """Intervals of x with a background colour."""
    y_limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None


def draw(chart: Chart, columns: int, lines: int, text: str) -> list[Strip]:
    """Return a chart as lines, with its limits written at its edges in the colour ``text``."""
    gutter, plain = 10, Style(color=text)
    wide, high = columns - gutter, lines - 1
    if wide < 4 or high < 1:
        return [Strip.blank(columns)] * lines
    limits = _limits(chart)
    if limits is None:
        said = [Strip([Segment(" " * gutter + "no data yet"[:wide].ljust(wide), plain)])]
        return said + [Strip.blank(columns)] * (lines - 1)
    left, right, low, high_y = limits
    dots, colours = np.zeros((high, wide), dtype=np.int64), np.full((high, wide), "", dtype=object)
    for one in chart.series:
        _scatter(one, (left, right, low, high_y), dots, colours)
    backs = _backs(chart, left, right, wide)
    body = []
    for i in range(high):
        edge = _tick(high_y) if i == 0 else _tick(low) if i == high - 1 else chart.y_label if i == high // 2 else ""
        label = Segment(f"{edge[: gutter - 1]:>{gutter - 1}}\N{BOX DRAWINGS LIGHT VERTICAL}", plain)
        body.append(Strip([label, *_cells(dots[i], colours[i], backs)]))
    return [*body, Strip([Segment(_axis_text(chart, left, right, gutter, wide), plain)])]


def _limits(chart: Chart) -> tuple[float, float, float, float] | None:
    x, y = (np.concatenate([np.zeros(0), *(getattr(s, name) for s in chart.series)]) for name in "xy")
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return None
    left, right = chart.x_limits or (float(x[known].min()), float(x[known].max()))
    low, high = chart.y_limits or (float(y[known].min()), float(y[known].max()))
    right, high = (right if right > left else left + 1.0), (high if high > low else low + 1.0)
    return left, right, low, high


def _scatter(one: Series, limits: tuple[float, float, float, float], dots: NDArray[np.int64], colours: Floats) -> None:
    left, right, low, high = limits
    rows, columns = dots.shape[0] * 4, dots.shape[1] * 2
    x, y = (one.x - left) / (right - left) * (columns - 1), (high - one.y) / (high - low) * (rows - 1)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if one.joined and len(x) > 1:
        x, y = _between(x, y)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    row, column = row[inside], column[inside]
    np.bitwise_or.at(dots, (row // 4, column // 2), _DOTS[row % 4, column % 2])
    colours[row // 4, column // 2] = one.colour


def _between(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return points so close together that a line through them has no gaps."""
    steps = np.maximum(np.ceil(np.maximum(np.abs(np.diff(x)), np.abs(np.diff(y)))).astype(np.int64), 1)
    steps = np.minimum(steps, 4000)
    start = np.repeat(np.arange(len(steps)), steps)
    share = (np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)) / np.repeat(steps, steps)
    return np.append(x[start] + share * np.diff(x)[start], x[-1]), np.append(
        y[start] + share * np.diff(y)[start], y[-1]
    )


def _backs(chart: Chart, left: float, right: float, wide: int) -> list[str | None]:
    backs: list[str | None] = [None] * wide
    for begin, end, colour in chart.bands:
        edges = np.array([begin, end])
        first, last = np.clip((edges - left) / (right - left) * wide, 0, wide).round().astype(int)
        for k in range(first, max(last, first + 1) if end >= left and begin <= right else first):
            backs[min(k, wide - 1)] = colour
    return backs


def _cells(dots: NDArray[np.int64], colours: NDArray[np.object_], backs: list[str | None]) -> list[Segment]:
    return [
        Segment(chr(_BLANK + int(dot)) if dot else " ", Style(color=colour or None, bgcolor=back))
        for dot, colour, back in zip(dots, colours, backs, strict=True)
    ]


def _axis_text(chart: Chart, left: float, right: float, gutter: int, wide: int) -> str:
    begin, end = _tick(left), _tick(right)
    middle = chart.x_label.center(max(0, wide - len(begin) - len(end)))
    return (" " * gutter + begin + middle + end)[: gutter + wide].ljust(gutter + wide)


def _tick(value: float) -> str:
    return f"{value:.4g}"
