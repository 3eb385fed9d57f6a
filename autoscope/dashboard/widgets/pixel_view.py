"""The last image in the pixels of the terminal."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from autoscope.dashboard.panel import Viewer
from autoscope.dashboard.pixels import pil_image
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.widgets.frame_view import title
from autoscope.records import Frame


class PixelView(Vertical, Viewer):
    """As `FrameView`, but sharp.

    Parameters
    ----------
    widget : type
        What shows a PIL image, from `pixel_widget`.
    """

    def __init__(self, widget: type[Any]) -> None:
        super().__init__(id="frame", classes="panel")
        self._image = widget()
        self._frame: Frame | None = None
        self.border_title = "last image"

    def compose(self) -> ComposeResult:
        """The image alone."""
        yield self._image

    def show(self, sight: Sight) -> None:
        """Show the last image before the moment."""
        if sight.image is not None and sight.image is not self._frame:
            self._frame = sight.image
            self.border_title = title(sight.image.meta)
            self._image.image = pil_image(sight.image.data)
