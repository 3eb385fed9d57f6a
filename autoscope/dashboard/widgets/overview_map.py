"""The live map: images, measured sites by value, the next place and its runners-up."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from autoscope.dashboard.colour import NEXT, VALUE, table
from autoscope.dashboard.panel import DrawnPanel
from autoscope.dashboard.raster import strips
from autoscope.dashboard.scenery import Scene, scale_bar_m, scene
from autoscope.dashboard.wording import quantity

_RAMP = 8


class OverviewMap(DrawnPanel):
    """A map with a legend in its last line."""

    TITLE = "map"

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the map and its legend."""
        if self.sight is None or lines < 3:
            return []
        shown = scene(self.sight, columns, lines - 1, self.ground)
        return [
            *strips(shown.pixels, shown.marks),
            legend(shown, self.sight.model.target, columns, self.tint("foreground")),
        ]


def legend(shown: Scene, target: str, columns: int, text: str) -> Strip:
    """Return the line below a map: scale bar, what the colours mean and, where there is room, what the signs mean."""
    length_m, cells = scale_bar_m(shown.window, columns)
    plain = Style(color=text)
    parts = [Segment("\N{LOWER HALF BLOCK}" * cells, plain), Segment(f" {quantity(length_m, 'm')}  ", plain)]
    if target:
        colours = table(VALUE)[:: 256 // _RAMP].tolist()
        parts.append(Segment(f"{target} {shown.low:.3g} ", plain))
        parts += [Segment("\N{FULL BLOCK}", Style(color="rgb({},{},{})".format(*colour))) for colour in colours]
        parts.append(Segment(f" {shown.high:.3g}  ", plain))
    parts += [Segment("\N{BLACK DIAMOND}", Style(color="rgb({},{},{})".format(*NEXT), bold=True))]
    parts += [Segment(" next  1-5 runners-up", plain)]
    return Strip(parts).crop(0, columns)
