"""The last spectrum, with the windows the scalarizers read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from textual.strip import Strip

from autoscope.dashboard.panel import DrawnPanel
from autoscope.dashboard.plotting import Chart, Series, draw
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.windows import windows
from autoscope.dashboard.wording import quantity

AROUND = 3.0
"""So many widths of the windows are shown around them, where there are windows."""
ABOVE = 0.5
"""Of the range of what lies in the windows: what is higher is cut."""
Floats = NDArray[np.float64]


class SpectrumView(DrawnPanel):
    """Counts against energy; what is summed is shaded, what is subtracted more faintly."""

    TITLE = "last spectrum"

    def __init__(self, *, zoomed: bool = True, id: str | None = None, classes: str = "panel") -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._zoomed = zoomed

    def show(self, sight: Sight) -> None:
        """Show the last spectrum before the moment."""
        if sight.spectrum is not None:
            meta = sight.spectrum.meta
            self.border_title = f"{meta.signal} of act {sight.spectrum_step}, {quantity(meta.dwell_s, 's')}"
        if self.sight is None or sight.spectrum is not self.sight.spectrum:
            super().show(sight)
        else:
            self.sight = sight

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the curve."""
        sight, text = self.sight, self.tint("foreground")
        frame = sight.spectrum if sight else None
        if sight is None or frame is None:
            return draw(Chart(()), columns, lines, text)
        axis = frame.meta.axes[0]
        found = list(windows(sight.model.setting("scalarizers") or {}, axis, frame.meta.signal))
        shades = {True: self.tint("primary-muted"), False: self.tint("panel")}
        bands = tuple((begin, end, shades["background" not in name]) for name, begin, end in found)
        x, y = axis.values(), frame.data.astype(np.float64)
        part = self._part(x, [(b, e) for _, b, e in found])
        label = f"{axis.name.replace('_', ' ')} / {axis.unit}"
        curve = Series(x[part], y[part], self.tint("success"))
        high = self._heights(x, y, [(b, e) for _, b, e in found])
        chart = Chart((curve,), x_label=label, y_label=frame.meta.unit[:9], bands=bands, y_limits=high)
        return draw(chart, columns, lines, text)

    def _heights(self, x: Floats, y: Floats, bands: list[tuple[float, float]]) -> tuple[float, float] | None:
        """Return the heights of what lies in the windows, with room above: beside a zero-loss peak all else is flat."""
        inside = np.zeros(len(x), dtype=np.bool_)
        for begin, end in bands:
            inside |= (x >= begin) & (x <= end)
        if not self._zoomed or not inside.any() or not np.isfinite(y[inside]).all():
            return None
        low, high = float(y[inside].min()), float(y[inside].max())
        return min(low, 0.0), high + max(high - low, 1e-12) * ABOVE

    def _part(self, x: Floats, bands: list[tuple[float, float]]) -> slice:
        """Return the part of the axis around the windows, or all of it."""
        if not bands or not self._zoomed:
            return slice(None)
        begin, end = min(b for b, _ in bands), max(e for _, e in bands)
        reach = AROUND * (end - begin) / 2
        first, last = np.searchsorted(x, [begin - reach, end + reach])
        return slice(int(first), max(int(last), int(first) + 8))
