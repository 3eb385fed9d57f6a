"""The screen of what runs the experiment: instrument, budgets, people, faults."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll

from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.widgets.budget_panel import BudgetPanel
from autoscope.dashboard.widgets.faults_panel import FaultsPanel
from autoscope.dashboard.widgets.instrument_panel import InstrumentPanel
from autoscope.dashboard.widgets.people_panel import PeoplePanel


class InstrumentScreen(RunScreen):
    """Instrument state, budgets, people and faults."""

    def panels(self) -> ComposeResult:
        """The instrument beside the rest."""
        with Horizontal(id="body"):
            with VerticalScroll(id="left"):
                yield InstrumentPanel(id="instrument")
            with Vertical(id="right"):
                yield BudgetPanel(id="budget")
                yield PeoplePanel(id="people")
                yield FaultsPanel(id="faults")
