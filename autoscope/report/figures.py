"""The figures of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import norm

from autoscope.report.accounts import Timeline
from autoscope.report.charts import Axes, Span, Ticks, number_ticks, spread, tick_text
from autoscope.report.chronicle import Event
from autoscope.report.crops import Crop
from autoscope.report.finds import BandMark, Spectrum
from autoscope.report.foresight import Foresight
from autoscope.report.story import RunClock
from autoscope.report.wording import duration, length, percent, plain

Floats = NDArray[np.float64]
BARS = 24
ROUND_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
MOST_DOTS = 6000
MOST_MARKS = 200
PLOTTED = 220
"""Points a spectrum is drawn with; more channels are averaged in groups."""
RETICLE = "M50 26v12M50 62v12M26 50h12M62 50h12"
"""Four ticks that point at the middle of a crop and leave it free."""


def clock_ticks(clock: RunClock) -> Ticks:
    """Return a function that puts ticks on full hours (or minutes) of the wall clock."""

    def ticks(span: Span, most: int) -> list[tuple[float, str]]:
        """Return places and labels of at most about ``most`` ticks in a span of run time."""
        step_s = next((s for s in ROUND_STEPS_S if (span[1] - span[0]) / s <= most + 2), ROUND_STEPS_S[-1])
        wall = clock.wall(span[0])
        into_day_s = wall.hour * 3600 + wall.minute * 60 + wall.second
        first = span[0] + (-into_day_s) % step_s
        return [(t, clock.at(t)) for t in np.arange(first, span[1] + 1e-6, step_s).tolist()]

    return ticks


def timeline_figure(
    timeline: Timeline, styles: Sequence[tuple[str, str]], clock: RunClock, events: Sequence[Event] = ()
) -> Markup:
    """Return stacked bars: how each part of the night was spent, with events marked above.

    ``styles``: purpose and its style.
    """
    edges = timeline.edges_s
    axes = Axes(1180, 190, (edges[0], edges[-1]), (0.0, 1.1), "Time by purpose over the run", (44, 8, 8, 34))
    axes.frame("", "share of time", x_ticks=clock_ticks(clock), y_ticks=_quarters)
    floor = np.zeros(len(edges) - 1)
    for purpose, style in styles:
        shares = timeline.shares.get(purpose)
        if shares is None:
            continue
        for k in np.flatnonzero(shares > 1e-4):
            note = f"{clock.at(edges[k])} to {clock.at(edges[k + 1])}: {purpose} {percent(float(shares[k]))}"
            axes.bar((edges[k], edges[k + 1]), (floor[k], floor[k] + shares[k]), style, note)
        floor = floor + shares
    _mark(axes, [e for e in events if e.kind not in ("end", "note")], clock)
    return axes.svg("chart wide")


def _mark(axes: Axes, events: Sequence[Event], clock: RunClock) -> None:
    """Mark events in the upper margin: where they lasted as a bar, else as a short line."""
    least_s = (axes.x[1] - axes.x[0]) / 500.0
    for event in events[:MOST_MARKS]:
        span = (event.begun_s, min(max(event.ended_s, event.begun_s + least_s), axes.x[1]))
        axes.bar(span, (1.02, 1.1), f"event {event.kind.replace(' ', '-')}", f"{clock.at(event.begun_s)} {event.what}")


def _quarters(span: Span, most: int) -> list[tuple[float, str]]:
    return [(k / 4, f"{25 * k} %") for k in range(0, 5, 2)]


def learning_figure(values: Floats, unit: str, target: str) -> Markup:
    """Return every value in the order measured, and the best so far."""
    order = np.arange(1, len(values) + 1, dtype=np.float64)
    axes = Axes(580, 260, (0.0, len(values) * 1.01 + 0.5), spread(values), f"{target} of each measurement, in order")
    axes.frame("measurement", _named(target, unit))
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_DOTS)).astype(int))
    axes.dots(order[kept], values[kept], "faint" if len(values) > 300 else "soft")
    best = np.maximum.accumulate(values)
    steps = np.flatnonzero(np.diff(best, prepend=-np.inf) > 0)
    x = np.append(np.repeat(order[steps], 2)[1:], order[-1])
    axes.line(x, np.repeat(best[steps], 2), "strong", "best so far")
    if len(values) >= 20:
        window = max(5, len(values) // 20)
        means = np.convolve(values, np.ones(window) / window, "valid")
        axes.line(order[window - 1 :], means, "second", f"mean of the last {window}")
    return axes.svg()


def error_figure(foresight: Foresight) -> Markup:
    """Return the histogram of standardised errors under the curve that a perfect forecaster would give."""
    z = np.clip((foresight.measured - foresight.mean) / foresight.std, -5.0, 5.0)
    density, edges = np.histogram(z, bins=np.linspace(-5.0, 5.0, BARS + 17), density=True)
    curve_x = np.linspace(-5.0, 5.0, 121)
    curve = norm.pdf(curve_x)
    top = 1.08 * max(float(density.max()), float(curve.max()))
    axes = Axes(580, 260, (-5.0, 5.0), (0.0, top), "Standardised prediction errors against the standard normal curve")
    axes.frame("(measured − expected) / std", "density")
    for low, high, height in zip(edges[:-1], edges[1:], density, strict=True):
        if height > 0:
            axes.bar((low, high), (0.0, height), "plain", f"{low:.2f} to {high:.2f}: {height:.2f}")
    axes.line(curve_x, curve, "strong", "standard normal")
    return axes.svg()


def prediction_figure(foresight: Foresight, unit: str, target: str) -> Markup:
    """Return measured values against predicted ones, with the diagonal."""
    kept = np.unique(np.linspace(0, len(foresight.mean) - 1, min(len(foresight.mean), MOST_DOTS)).astype(int))
    across, up = spread(foresight.mean), spread(foresight.measured)
    axes = Axes(580, 260, across, up, f"Measured {target} against its prediction")
    axes.frame(_named("expected", unit), _named("measured", unit))
    ends = (max(across[0], up[0]), min(across[1], up[1]))
    axes.dots(foresight.mean[kept], foresight.measured[kept], "soft" if len(kept) < 300 else "faint")
    if ends[0] < ends[1]:
        axes.line(ends, ends, "dashed", "as expected")
    return axes.svg()


def latency_figure(steps: Floats, latency_s: Floats) -> Markup:
    """Return the time each decision took, on a logarithmic axis."""
    logs = np.log10(np.maximum(latency_s, 1e-6))
    low, high = math.floor(float(logs.min())), math.ceil(float(logs.max()) + 1e-9)
    axes = Axes(580, 260, spread(steps, 0.01), (low, max(high, low + 1)), "Time each decision took")
    axes.frame("step", "decision time", y_ticks=_decades)
    kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_DOTS)).astype(int))
    axes.dots(steps[kept], logs[kept], "soft" if len(kept) < 300 else "faint")
    return axes.svg()


def _decades(span: Span, most: int) -> list[tuple[float, str]]:
    low, high = round(span[0]), round(span[1])
    chosen = range(low, high + 1, max(1, (high - low) // most))
    return [(float(k), f"{10**k} s" if k > 0 else duration(10.0**k)) for k in chosen]


def spectrum_figure(spectrum: Spectrum) -> Markup:
    """Return a small spectrum: enlarged around the bands of its target, and whole below on a square-root scale.

    Without bands the whole spectrum is all.
    """
    whole = (float(spectrum.energy.min()), float(spectrum.energy.max()))
    marks = [b for b in spectrum.bands if b.low < whole[1] and b.high > whole[0]]
    title = f"{spectrum.signal} spectrum, {tick_text(whole[0], 1.0)} to {tick_text(whole[1], 1.0)} {spectrum.unit}"
    if not marks:
        axes = Axes(220, 128, whole, (0.0, 1.0), title, (6, 14, 6, 18))
        _draw(axes, spectrum, np.sqrt(np.maximum(spectrum.level, 0.0)))
        _energy_axis(axes, spectrum.unit)
        axes.label(7, 10, f"{spectrum.signal}, square-root scale", "tick")
        return axes.svg("spectrum")
    near = _surroundings(marks, whole)
    axes = Axes(220, 138, near, (0.0, 1.0), title, (6, 14, 6, 58))
    inside = (spectrum.energy >= min(b.low for b in marks)) & (spectrum.energy <= max(b.high for b in marks))
    highest = _draw(axes, spectrum, spectrum.level, inside)
    _energy_axis(axes, spectrum.unit)
    axes.label(7, 10, f"{spectrum.signal}, to {plain(highest, 4)} {spectrum.level_unit}", "tick")
    below = Axes(220, 138, whole, (0.0, 1.0), title, (6, 102, 6, 16))
    below.bar(near, (0.0, 1.0), "window")
    _draw(below, spectrum, np.sqrt(np.maximum(spectrum.level, 0.0)))
    _energy_axis(below, spectrum.unit)
    axes.parts += below.parts
    return axes.svg("spectrum")


def _surroundings(marks: Sequence[BandMark], whole: Span) -> Span:
    low, high = min(b.low for b in marks), max(b.high for b in marks)
    air = 0.5 * max(high - low, 0.02 * (whole[1] - whole[0]))
    return max(whole[0], low - air), min(whole[1], high + air)


def _draw(axes: Axes, spectrum: Spectrum, level: Floats, scaled_by: NDArray[np.bool_] | None = None) -> float:
    """Draw what lies within the axes, scaled to its highest level (of those chosen by a mask); return that level."""
    shown = (spectrum.energy >= axes.x[0]) & (spectrum.energy <= axes.x[1])
    scaled_by = shown if scaled_by is None or not (scaled_by & shown).any() else scaled_by & shown
    top = float(level[scaled_by].max(initial=0.0))
    axes.y = (0.0, 1.1 * top if top > 0 else 1.0)
    if axes.x != (float(spectrum.energy.min()), float(spectrum.energy.max())):
        for band in spectrum.bands:
            low, high = max(band.low, axes.x[0]), min(band.high, axes.x[1])
            if low < high:
                name = f"{'background' if band.background else 'band'} {band.low:g} to {band.high:g} {spectrum.unit}"
                axes.bar((low, high), axes.y, "window" if band.background else "band", name)
    energy, drawn = _thinned(spectrum.energy[shown], np.clip(level[shown], 0.0, axes.y[1]))
    axes.area(energy, drawn, "spectrum")
    axes.line(energy, drawn, "spectrum")
    return top


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return means of groups of neighbours, not more than can be drawn."""
    group = max(1, math.ceil(len(x) / PLOTTED))
    starts = np.arange(0, len(x), group)
    sizes = np.diff([*starts, len(x)])
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def _energy_axis(axes: Axes, unit: str) -> None:
    left, _, right, bottom = axes.margins
    floor = axes.height - bottom
    axes.add('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>', left, floor, axes.width - right)
    scale, shown = (1e-3, "keV") if unit == "eV" and axes.x[1] > 3000 else (1.0, unit)
    ticks = number_ticks((axes.x[0] * scale, axes.x[1] * scale), 4)
    for k, (value, text) in enumerate(ticks):
        across = float(axes.at_x(value / scale))
        style = "tick start" if across < 14 else "tick end" if across > axes.width - 30 else "tick middle"
        axes.add('<path class="axis" d="M{:.1f} {:.1f}v3"/>', across, floor)
        axes.label(across, floor + 13, f"{text} {shown}" if k == len(ticks) - 1 else text, style)


def crop_figure(crop: Crop, title: str) -> Markup:
    """Return the piece of image with a ring around the measured place and a scale bar."""
    bar_m = round_length_m(0.45 * crop.side_m)
    bar = 100 * bar_m / crop.side_m
    return Markup(
        '<svg class="crop" viewBox="0 0 100 100" role="img" aria-label="{}">'
        '<rect class="void" width="100" height="100"/>'
        '<image href="{}" width="100" height="100" preserveAspectRatio="none"/>'
        '<path class="halo" d="{}"/><path class="ring" d="{}"/>'
        '<path class="halo" d="M5 94h{:.2f}"/><path class="scale" d="M5 94h{:.2f}"/>'
        '<text class="halo" x="5" y="89.5">{}</text><text class="scale" x="5" y="89.5">{}</text></svg>'
    ).format(title, crop.uri, RETICLE, RETICLE, bar, bar, length(bar_m), length(bar_m))


def round_length_m(most_m: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten metres that is not longer.

    Examples
    --------
    >>> round(round_length_m(84e-9) * 1e9, 6)
    50.0
    """
    power = 10.0 ** math.floor(math.log10(most_m))
    return max(k * power for k in (1, 2, 5) if k * power <= most_m * (1 + 1e-9))


def _named(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name
