"""The decision inspector: why here, and what else was considered."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll

from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.widgets.candidates_table import CandidatesTable
from autoscope.dashboard.widgets.overview_map import OverviewMap
from autoscope.dashboard.widgets.reasoning_panel import ReasoningPanel


class DecisionScreen(RunScreen):
    """One decision from all sides; arrow keys go to the others."""

    def panels(self) -> ComposeResult:
        """The reasons beside the map, the candidates below."""
        with Horizontal(id="body"):
            with VerticalScroll(id="reasons"):
                yield ReasoningPanel(id="reasoning", classes="")
            yield OverviewMap(id="map")
        with Vertical(id="candidates"):
            yield CandidatesTable()
