"""The map of a run: images where they were taken, what was measured there, what comes next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autoscope.actions import Action, Measure, MoveStage, Scan, SpectrumImage
from autoscope.dashboard.colour import IMAGE, NEXT, OUTLIERS, VALUE, Bytes, coloured, dimmed, limits
from autoscope.dashboard.columns import Steps
from autoscope.dashboard.details import Picture
from autoscope.dashboard.raster import Mark
from autoscope.dashboard.sampling import Window, sampled
from autoscope.dashboard.sight import Sight
from autoscope.records import MicroscopeState
from autoscope.wishes import Disc, Region

RUNNER_UP = (255, 255, 255)
SIGNS = {
    "excluded": Mark("\N{MULTIPLICATION SIGN}", (255, 112, 67)),
    "pinned": Mark("\N{WHITE CIRCLE}", (86, 180, 233)),
    "interesting": Mark("+", (240, 228, 66)),
    "not interesting": Mark("-", (240, 228, 66)),
    "queued": Mark("\N{WHITE DIAMOND}", NEXT),
}
"""What people said of a place; drawn around it."""
RING = 64
"""Points of a border."""
SMALL = 0.3
"""Images with a field below this share of the widest are details, not ground to stand on."""
FEWEST_COLUMNS_PER_SITE = 60
"""On a picture at least so wide a measured site is two pixels wide."""


@dataclass(frozen=True)
class Scene:
    """What a map shows: pixels (2 * lines, columns, 3), marks by (line, column), and which part of the world."""

    pixels: Bytes
    marks: dict[tuple[int, int], Mark]
    window: Window
    low: float
    high: float


def scene(sight: Sight, columns: int, lines: int, ground: tuple[int, int, int]) -> Scene:
    """Return the map at a moment, in so many cells."""
    steps = sight.model.steps.until(sight.step + 1)
    grounds = _grounds(sight.pictures)
    rows = 2 * lines
    window = _whole(grounds, steps).fitted(columns, rows)
    pixels = _backdrop(grounds, window, columns, rows, ground)
    low, high = _sites(pixels, steps, sight.model.target, window)
    return Scene(pixels, _marks(sight, steps, window, columns, rows), window, low, high)


def place_m(action: Action, state: MicroscopeState | None) -> tuple[float, float] | None:
    """Return the stage-frame point an action is about; None where it is about no place."""
    x_m, y_m = (state.x_m, state.y_m) if state else (0.0, 0.0)
    match action:
        case Measure():
            return x_m + action.x_m, y_m + action.y_m
        case Scan() | SpectrumImage():
            return x_m + action.centre_x_m, y_m + action.centre_y_m
        case MoveStage():
            return (x_m if action.x_m is None else action.x_m), (y_m if action.y_m is None else action.y_m)
        case _:
            return None


def _grounds(pictures: Iterable[Picture]) -> list[tuple[Picture, Window]]:
    found = [(picture, Window.of_frame(picture.meta)) for picture in pictures]
    widest = max((window.width_m for _, window in found), default=0.0)
    return [(picture, window) for picture, window in found if window.width_m >= SMALL * widest]


def _whole(grounds: list[tuple[Picture, Window]], steps: Steps) -> Window:
    if not grounds:
        return Window.around(steps.x_m, steps.y_m)
    whole = grounds[0][1]
    for _, window in grounds[1:]:
        whole = whole.joined(window)
    return whole


def _backdrop(
    grounds: list[tuple[Picture, Window]], shown: Window, columns: int, rows: int, ground: tuple[int, int, int]
) -> Bytes:
    mixed = np.full((rows, columns), np.nan)
    for picture, window in grounds:
        part = sampled(picture.data, window, shown, columns, rows)
        low, high = limits(part, OUTLIERS)
        mixed = np.where(np.isfinite(part), (part - low) / (high - low), mixed)
    return dimmed(coloured(mixed, IMAGE, 0.0, 1.0, ground), ground, 0.25)


def _sites(pixels: Bytes, steps: Steps, target: str, window: Window) -> tuple[float, float]:
    rows, columns, _ = pixels.shape
    values = steps.values.get(target, np.zeros(0))
    row, column = window.pixels(steps.x_m, steps.y_m, columns, rows)
    measured = np.flatnonzero(np.isfinite(values[: len(row)]) & (row[: len(values)] >= 0))
    low, high = limits(values)
    colours = coloured(values[measured], VALUE, low, high, (0, 0, 0))
    pixels[row[measured], column[measured]] = colours
    if columns >= FEWEST_COLUMNS_PER_SITE and measured.size < rows * columns / 50:
        pixels[row[measured], np.minimum(column[measured] + 1, columns - 1)] = colours
    return low, high


def _marks(sight: Sight, steps: Steps, window: Window, columns: int, rows: int) -> dict[tuple[int, int], Mark]:
    detail, marks = sight.detail, _wished(sight, window, columns, rows)
    suggestion = sight.model.wheel.suggested() if sight.at is None else None
    if suggestion is not None:
        decision, before = suggestion, _stage(sight)
    elif detail is not None:
        decision, before = detail.decision, detail.outcome.state_before if detail.outcome else _stage(sight)
    else:
        return marks
    places = [(c.action, Mark(str(k + 1), RUNNER_UP)) for k, c in enumerate(decision.runners_up[:9])][::-1]
    places.append((decision.action, Mark("\N{BLACK DIAMOND}" if isinstance(decision.action, Measure) else "+", NEXT)))
    for action, mark in places:
        place = place_m(action, before)
        if place is not None:
            row, column = (int(v[0]) for v in window.pixels(np.array(place[:1]), np.array(place[1:]), columns, rows))
            if row >= 0:
                marks[row // 2, column] = mark
    return marks | _compared(sight, steps, window, columns, rows)


def _compared(sight: Sight, steps: Steps, window: Window, columns: int, rows: int) -> dict[tuple[int, int], Mark]:
    """Return the two measurements that people are asked to compare, marked with the keys that prefer them."""
    marks: dict[tuple[int, int], Mark] = {}
    pair = sight.model.wheel.pair if sight.at is None else None
    for act_id, sign in zip(pair or (), "[]"):
        step = act_id.rpartition("-")[2]
        if not step.isdigit() or int(step) >= len(steps):
            continue
        at = slice(int(step), int(step) + 1)
        row, column = (int(v[0]) for v in window.pixels(steps.x_m[at], steps.y_m[at], columns, rows))
        if row >= 0:
            marks[row // 2, column] = Mark(sign, NEXT)
    return marks


def ring(place: Region, window: Window, columns: int, rows: int, mark: Mark) -> dict[tuple[int, int], Mark]:
    """Return the border of a region as marks on a map; its middle where it is smaller than a cell."""
    turn = np.linspace(0.0, 2 * np.pi, RING, endpoint=False)
    if isinstance(place, Disc):
        x_m, y_m = place.x_m + place.radius_m * np.cos(turn), place.y_m + place.radius_m * np.sin(turn)
    else:
        share = np.linspace(0.0, 1.0, RING // 4)
        (x0, x1), (y0, y1) = place.x_m, place.y_m
        along_x, along_y, one = x0 + share * (x1 - x0), y0 + share * (y1 - y0), np.ones(len(share))
        x_m, y_m = (
            np.concatenate([along_x, along_x, one * x0, one * x1]),
            np.concatenate([one * y0, one * y1, along_y, along_y]),
        )
    row, column = window.pixels(x_m, y_m, columns, rows)
    return {(int(r) // 2, int(c)): mark for r, c in zip(row, column, strict=True) if r >= 0}


def _wished(sight: Sight, window: Window, columns: int, rows: int) -> dict[tuple[int, int], Mark]:
    """Return what people want of places, as marks."""
    wheel, marks = sight.model.wheel, dict[tuple[int, int], Mark]()
    wishes = wheel.wishes
    said = [(place, "excluded") for place in wishes.excluded] + [(place, "pinned") for place in wishes.pinned]
    said += [(m.place, "interesting" if m.interesting else "not interesting") for m in wishes.marked]
    said += [(one.place, "queued") for one in wheel.queue]
    for place, what in said:
        marks |= ring(place, window, columns, rows, SIGNS[what])
    return marks


def _stage(sight: Sight) -> MicroscopeState | None:
    state = sight.model.state
    try:
        return MicroscopeState(time_s=0.0, x_m=float(state.get("x_m") or 0.0), y_m=float(state.get("y_m") or 0.0))
    except (TypeError, ValueError):
        return None


def scale_bar_m(window: Window, columns: int) -> tuple[float, int]:
    """Return a round length of about a fifth of a map's width, and its columns.

    Examples
    --------
    >>> scale_bar_m(Window(0.0, 0.0, 4e-7, 4e-7), 80)
    (1e-07, 20)
    """
    wanted = window.width_m / 5
    power = 10.0 ** np.floor(np.log10(wanted))
    length = float(min((m * power for m in (1, 2, 5, 10)), key=lambda v: abs(v - wanted)))
    return float(f"{length:.3g}"), max(1, round(length / window.width_m * columns))
