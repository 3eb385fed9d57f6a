"""One layer of what the model thinks of every place."""

from __future__ import annotations

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from autoscope.dashboard.colour import SPREAD, VALUE, WORTH, coloured, limits, table
from autoscope.dashboard.panel import DrawnPanel
from autoscope.dashboard.raster import strips
from autoscope.dashboard.sampling import Window, sampled
from autoscope.dashboard.sight import Sight
from autoscope.model_maps import ModelMaps

_COLOURS = {"mean": VALUE, "std": SPREAD, "acquisition": WORTH}
_NAMES = {"mean": "expected", "std": "uncertainty", "acquisition": "worth measuring"}
_RAMP = 16


class ModelMap(DrawnPanel):
    """Posterior mean, its standard deviation, or the acquisition value over all candidates."""

    def __init__(self, layer: str) -> None:
        super().__init__(id=f"map-{layer}")
        self._layer, self.why_none = layer, ""
        self.border_title = _NAMES[layer]

    def show(self, sight: Sight) -> None:
        """Show the layer, where there is one."""
        maps = sight.maps
        if maps is not None:
            of = f" {maps.target}" if self._layer == "mean" else ""
            self.border_title = f"{_NAMES[self._layer]}{of}, act {maps.step}"
        if self.sight is None or maps is not self.sight.maps or maps is None:
            super().show(sight)
        else:
            self.sight = sight

    def draw(self, columns: int, lines: int) -> list[Strip]:
        """Return the map and its legend."""
        maps, text = (self.sight.maps if self.sight else None), Style(color=self.tint("foreground"))
        layer = maps.layers.get(self._layer) if maps else None
        if maps is None or layer is None or not np.isfinite(layer).any():
            return [Strip([Segment(self.why_none or "no map of this yet", text)])]
        image, window = gridded(maps, layer)
        shown = sampled(image, window, window.fitted(columns, 2 * (lines - 1)), columns, 2 * (lines - 1))
        low, high = limits(image)
        name = _COLOURS[self._layer]
        colours = table(name)[:: 256 // _RAMP].tolist()
        ramp = [Segment("\N{FULL BLOCK}", Style(color="rgb({},{},{})".format(*colour))) for colour in colours]
        legend = Strip([Segment(f"{low:.4g} ", text), *ramp, Segment(f" {high:.4g}", text)]).crop(0, columns)
        return [*strips(coloured(shown, name, low, high, self.ground)), legend]


def gridded(maps: ModelMaps, layer: np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[
    np.ndarray[tuple[int, int], np.dtype[np.float64]], Window
]:  # fmt: skip
    """Return a layer as an image, and the part of the stage frame it covers; places in between stay NaN."""
    x, y = (np.unique(np.round(v.astype(np.float64), 13)) for v in (maps.x_m, maps.y_m))
    pitch = [float(np.min(np.diff(v))) if len(v) > 1 else 1e-9 for v in (x, y)]
    counts = [round(float(np.ptp(v)) / p) + 1 for v, p in zip((x, y), pitch, strict=True)]
    column, row = (
        np.rint((v - o.min()) / p).astype(np.int64) for v, o, p in zip((maps.x_m, maps.y_m), (x, y), pitch, strict=True)
    )
    image = np.full((counts[1], counts[0]), np.nan)
    image[row, column] = layer
    left, top = float(x.min()) - pitch[0] / 2, float(y.min()) - pitch[1] / 2
    return image, Window(left, top, counts[0] * pitch[0], counts[1] * pitch[1])
