"""Plain SVG: axes with round ticks, lines, dots, bars. Colours come from the page's style sheet, by class.

Everything that is text is escaped here; the result may be put into a page as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from autoscope.report.wording import MINUS, plain

Floats = NDArray[np.float64]
Span = tuple[float, float]


@dataclass
class Axes:
    """A drawing area with a linear scale on both sides; things are drawn in the order they are added.

    Parameters
    ----------
    width, height : float
        Size in CSS pixels at full width; the drawing scales with the page.
    x, y : tuple of float
        Values at the ends of the axes.
    title : str
        What the chart shows, for those who cannot see it.
    margins : tuple of float
        Left, top, right, bottom.
    """

    width: float
    height: float
    x: Span
    y: Span
    title: str
    margins: tuple[float, float, float, float] = (60.0, 12.0, 12.0, 40.0)
    parts: list[Markup] = field(default_factory=list)

    def at_x(self, values: ArrayLike) -> Floats:
        """Return where values lie across the drawing."""
        left, _, right, _ = self.margins
        return np.asarray(left + (np.asarray(values) - self.x[0]) / _extent(self.x) * (self.width - left - right))

    def at_y(self, values: ArrayLike) -> Floats:
        """Return where values lie down the drawing."""
        _, top, _, bottom = self.margins
        share = (np.asarray(values) - self.y[0]) / _extent(self.y)
        return np.asarray(self.height - bottom - share * (self.height - top - bottom))

    def add(self, template: str, *values: object) -> None:
        """Add an element; values are escaped."""
        self.parts.append(Markup(template).format(*values))  # noqa: S704  (templates are literals of this package)

    def line(self, x: ArrayLike, y: ArrayLike, style: str, note: str = "") -> None:
        """Add a line through points."""
        self.add(
            '<path class="line {}" d="{}"><title>{}</title></path>', style, _joined(self.at_x(x), self.at_y(y)), note
        )

    def area(self, x: ArrayLike, y: ArrayLike, style: str) -> None:
        """Add the area between a line and the lower axis."""
        across, down = self.at_x(x), self.at_y(y)
        floor = float(self.at_y(self.y[0]))
        outline = f"M{across[0]:.1f} {floor:.1f}L{_joined(across, down)[1:]}L{across[-1]:.1f} {floor:.1f}Z"
        self.add('<path class="area {}" d="{}"/>', style, outline)

    def dots(self, x: ArrayLike, y: ArrayLike, style: str) -> None:
        """Add dots as one element, however many there are."""
        d = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(self.at_x(x), self.at_y(y), strict=True))
        self.add('<path class="dots {}" d="{}"/>', style, d)

    def bar(self, x: Span, y: Span, style: str, note: str = "") -> None:
        """Add a rectangle between values."""
        left, right = sorted(self.at_x(x))
        top, bottom = sorted(self.at_y(y))
        self.add(
            '<rect class="bar {}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>',
            style, left, top, max(right - left, 0.0), max(bottom - top, 0.0), note,
        )  # fmt: skip

    def label(self, x: float, y: float, text: str, style: str = "") -> None:
        """Add text at a place in pixels."""
        self.add('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>', style, x, y, text)

    def frame(self, x_label: str, y_label: str, *, x_ticks: Ticks | None = None, y_ticks: Ticks | None = None) -> None:
        """Add both axes with ticks and labels; call it first, so that data lie above the grid."""
        left, top, right, bottom = self.margins
        floor, end = self.height - bottom, self.width - right
        for value, text in (y_ticks or number_ticks)(self.y, 4):
            down = float(self.at_y(value))
            self.add('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>', left, down, end)
            self.label(left - 6, down + 3.5, text, "tick end")
        for value, text in (x_ticks or number_ticks)(self.x, 6):
            across = float(self.at_x(value))
            self.add('<path class="axis" d="M{:.1f} {:.1f}v4"/>', across, floor)
            self.label(across, floor + 16, text, "tick middle")
        self.add('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>', left, floor, end)
        self.label((left + end) / 2, self.height - 5, x_label, "name middle")
        self.add(
            '<text class="name middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>',
            (top + floor) / 2,
            y_label,
        )

    def svg(self, style: str = "chart") -> Markup:
        """Return the drawing."""
        head = Markup('<svg class="{}" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(
            style, self.width, self.height, self.title
        )
        return head + Markup("").join(self.parts) + Markup("</svg>")


Ticks = Callable[[Span, int], Sequence[tuple[float, str]]]


def number_ticks(span: Span, most: int) -> list[tuple[float, str]]:
    """Return round numbers inside a span with their text.

    Examples
    --------
    >>> number_ticks((0.0, 1.0), 4)
    [(0.0, '0'), (0.25, '0.25'), (0.5, '0.5'), (0.75, '0.75'), (1.0, '1')]
    """
    values = [float(v) for v in MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(*span)]
    inside = [v for v in values if span[0] - 1e-9 * _extent(span) <= v <= span[1] + 1e-9 * _extent(span)]
    return [(v, tick_text(v, _extent(span))) for v in inside]


def tick_text(value: float, extent: float) -> str:
    """Return a tick as short as it can be on an axis of that extent."""
    if abs(value) < 1e-9 * extent:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return plain(value, 2)
    return f"{value:,.10g}".replace(",", "\u202f").replace("-", MINUS)


def spread(values: ArrayLike, margin: float = 0.05) -> Span:
    """Return the ends of an axis that holds all values with some air, never empty.

    Examples
    --------
    >>> spread([0.0, 10.0], 0.1), spread([])
    ((-1.0, 11.0), (0.0, 1.0))
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    air = margin * (high - low) if high > low else max(0.5 * abs(high), 0.5)
    return low - air, high + air


def _extent(span: Span) -> float:
    return span[1] - span[0] or 1.0


def _joined(across: Floats, down: Floats) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, down, strict=True))


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return a legend of (style, text) entries."""
    items = (Markup('<li><i class="swatch {}"></i>{}</li>').format(style, text) for style, text in entries)
    return Markup('<ul class="legend">') + Markup("").join(items) + Markup("</ul>")


def described(figure: Markup, caption: str) -> Markup:
    """Return a figure with its caption."""
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(figure, escape(caption))
