"""The last image, with its pixels square."""

from __future__ import annotations

import numpy as np
from textual.strip import Strip

from autoscope.dashboard.colour import IMAGE, OUTLIERS, coloured, limits
from autoscope.dashboard.panel import DrawnPanel
from autoscope.dashboard.raster import strips
from autoscope.dashboard.sampling import Window, sampled
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wording import quantity
from autoscope.records import FrameMeta


def title(meta: FrameMeta) -> str:
    """Return what an image is, in a line."""
    field_m = abs(meta.axes[-1].scale) * meta.axes[-1].size
    return f"{meta.signal} {quantity(field_m, 'm')}, {quantity(meta.dwell_s, 's')} a pixel"


class FrameView(DrawnPanel):
    """An image in half blocks; its signal, field and dwell time in the title."""

    TITLE = "last image"

    def show(self, sight: Sight) -> None:
        """Show the last image before the moment."""
        if sight.image is not None:
            self.border_title = title(sight.image.meta)
        if self.sight is None or sight.image is not self.sight.image:
            super().show(sight)
        else:
            self.sight = sight

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the image, as large as it fits."""
        frame = self.sight.image if self.sight else None
        if frame is None:
            return [Strip.blank(columns)]
        image, window = frame.data.astype(np.float64), Window.of_frame(frame.meta)
        shown = sampled(image, window, window.fitted(columns, 2 * lines), columns, 2 * lines)
        low, high = limits(shown, OUTLIERS)
        return strips(coloured(shown, IMAGE, low, high, self.ground))
