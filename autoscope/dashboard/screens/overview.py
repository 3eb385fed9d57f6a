"""The screen to glance at: map, image, spectrum, budget, decision, events."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.widgets.budget_panel import BudgetPanel
from autoscope.dashboard.widgets.calibration_chart import CalibrationChart
from autoscope.dashboard.widgets.decision_panel import DecisionPanel
from autoscope.dashboard.widgets.event_tail import EventTail
from autoscope.dashboard.widgets.frame_view import FrameView
from autoscope.dashboard.widgets.instrument_panel import InstrumentPanel
from autoscope.dashboard.widgets.learning_chart import LearningChart
from autoscope.dashboard.widgets.overview_map import OverviewMap
from autoscope.dashboard.widgets.pixel_view import PixelView
from autoscope.dashboard.widgets.spectrum_view import SpectrumView


class OverviewScreen(RunScreen):
    """Everything at a glance; what does not fit a small terminal is on the other screens."""

    def panels(self) -> ComposeResult:
        """Map and curves on the left, numbers on the right."""
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield OverviewMap(id="map")
                with Horizontal(id="curves"):
                    yield LearningChart(id="learning")
                    yield CalibrationChart(id="calibration")
            with Vertical(id="middle"):
                yield PixelView(self.dashboard.pixels) if self.dashboard.pixels else FrameView(id="frame")
                yield InstrumentPanel(id="instrument")
            with Vertical(id="right"):
                yield BudgetPanel(id="budget")
                yield DecisionPanel(id="decision")
                yield SpectrumView(id="spectrum")
                yield EventTail(id="events")
