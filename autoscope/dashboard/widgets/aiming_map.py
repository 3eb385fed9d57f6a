"""The map with a cross hair that moves."""

from __future__ import annotations

from textual.strip import Strip

from autoscope.dashboard.colour import NEXT
from autoscope.dashboard.raster import Mark, strips
from autoscope.dashboard.sampling import Window
from autoscope.dashboard.scenery import ring, scene
from autoscope.dashboard.widgets.overview_map import OverviewMap, legend
from autoscope.wishes import Disc


class AimingMap(OverviewMap):
    """A map on which a place and a region around it are chosen."""

    def __init__(self, x_m: float, y_m: float) -> None:
        super().__init__(id="aim")
        self._x_m, self._y_m, self._radius_px = x_m, y_m, 0
        self._window, self._columns = Window(0.0, 0.0, 1.0, 1.0), 1

    @property
    def aimed_at(self) -> Disc:
        """What is aimed at, in the stage frame."""
        return Disc(x_m=self._x_m, y_m=self._y_m, radius_m=self._radius_px * self._pitch_m)

    @property
    def _pitch_m(self) -> float:
        return self._window.width_m / self._columns

    def move(self, right: int, down: int) -> None:
        """Move by so many pixels of the picture; the border of the map holds."""
        left, top, pitch = self._window.left_m, self._window.top_m, self._pitch_m
        self._x_m = min(max(self._x_m + right * pitch, left), left + self._window.width_m - pitch)
        self._y_m = min(max(self._y_m + down * pitch, top), top + self._window.height_m - pitch)
        self.redraw()

    def widen(self, pixels: int) -> None:
        """Widen or narrow the region."""
        self._radius_px = max(0, self._radius_px + pixels)
        self.redraw()

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the map with the cross hair, the ring of the region, and the legend."""
        if self.sight is None or lines < 3:
            return []
        shown = scene(self.sight, columns, lines - 1, self.ground)
        self._window, self._columns = shown.window, columns
        marks, rows = dict(shown.marks), 2 * (lines - 1)
        if self._radius_px:
            marks |= ring(self.aimed_at, self._window, columns, rows, Mark("\N{MIDDLE DOT}", NEXT))
        marks |= ring(self.aimed_at.replace(radius_m=0.0), self._window, columns, rows, Mark("\N{BALLOT X}", NEXT))
        below = legend(shown, self.sight.model.target, columns, self.tint("foreground"))
        return [*strips(shown.pixels, marks), below]
