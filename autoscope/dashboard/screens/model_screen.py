"""The screen of the model: its maps, how much it has learnt, how honest it is."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal

from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.widgets.calibration_chart import CalibrationChart
from autoscope.dashboard.widgets.learning_chart import LearningChart
from autoscope.dashboard.widgets.model_map import ModelMap


class ModelScreen(RunScreen):
    """Posterior mean, uncertainty and acquisition value above; learning and calibration below."""

    WANTS_MAPS = True

    def panels(self) -> ComposeResult:
        """Three maps above two charts."""
        with Horizontal(id="maps"):
            for layer in ("mean", "std", "acquisition"):
                yield ModelMap(layer)
        with Horizontal(id="curves"):
            yield LearningChart(id="learning")
            yield CalibrationChart(id="calibration")

    def show(self, sight: Sight) -> None:
        """Show the maps, or why there are none."""
        for panel in self.query(ModelMap):
            panel.why_none = self.dashboard.why_no_maps()
        super().show(sight)
