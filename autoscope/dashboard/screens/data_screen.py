"""The screen of the data: the last image and the last spectrum, large."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.widgets.frame_view import FrameView
from autoscope.dashboard.widgets.pixel_view import PixelView
from autoscope.dashboard.widgets.spectrum_view import SpectrumView


class DataScreen(RunScreen):
    """An image, a spectrum around the scalarizers' windows, and the whole spectrum."""

    def panels(self) -> ComposeResult:
        """The image beside the spectra."""
        with Horizontal(id="body"):
            widget = self.dashboard.pixels
            yield PixelView(widget) if widget else FrameView(id="frame")
            with Vertical(id="spectra"):
                yield SpectrumView(id="spectrum")
                yield SpectrumView(zoomed=False, id="whole")
