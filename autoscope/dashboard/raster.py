"""Pictures of half blocks: two pixels a cell, the upper in the foreground, the lower in the background colour."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from autoscope.dashboard.colour import Bytes

UPPER = "\N{UPPER HALF BLOCK}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A character on a picture, in a colour of its own."""

    text: str
    colour: tuple[int, int, int]
    bold: bool = True


def strips(pixels: Bytes, marks: Mapping[tuple[int, int], Mark] | None = None) -> list[Strip]:
    """Return the lines of a picture.

    Parameters
    ----------
    pixels : array of uint8
        Colours (2 * lines, columns, 3).
    marks : mapping, optional
        What stands in a cell (line, column) instead of its two pixels, on their mean colour.
    """
    if not pixels.size:
        return []
    upper, lower = pixels[0::2], pixels[1::2]
    marks = marks or {}
    return [Strip(_line(upper[i], lower[i], i, marks), pixels.shape[1]) for i in range(len(lower))]


def _line(upper: Bytes, lower: Bytes, line: int, marks: Mapping[tuple[int, int], Mark]) -> list[Segment]:
    codes = (_packed(upper) << 24) | _packed(lower)
    edges = np.flatnonzero(np.diff(codes)) + 1
    marked = sorted(column for row, column in marks if row == line)
    cuts = sorted({0, *edges.tolist(), *marked, *(c + 1 for c in marked), len(codes)})
    segments = []
    for begin, end in itertools.pairwise(cuts):
        mark = marks.get((line, begin))
        code = int(codes[begin])
        if mark is not None:
            segments.append(Segment(mark.text, _marked(mark, code)))
        else:
            segments.append(Segment(UPPER * (end - begin), _style(code)))
    return segments


def _packed(colours: Bytes) -> NDArray[np.int64]:
    wide = colours.astype(np.int64)
    return np.asarray((wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2])


@functools.lru_cache(maxsize=16384)
def _style(code: int) -> Style:
    return Style(color=_colour(code >> 24), bgcolor=_colour(code & 0xFFFFFF))


@functools.lru_cache(maxsize=4096)
def _marked(mark: Mark, code: int) -> Style:
    both = np.array([[(part >> shift) & 0xFF for shift in (16, 8, 0)] for part in (code >> 24, code & 0xFFFFFF)])
    red, green, blue = (int(v) for v in both.mean(axis=0) * 0.5)
    background = Color.from_triplet(ColorTriplet(red, green, blue))
    return Style(color=Color.from_triplet(ColorTriplet(*mark.colour)), bgcolor=background, bold=mark.bold)


@functools.lru_cache(maxsize=16384)
def _colour(code: int) -> Color:
    return Color.from_triplet(ColorTriplet((code >> 16) & 0xFF, (code >> 8) & 0xFF, code & 0xFF))
