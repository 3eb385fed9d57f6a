"""What every screen of the dashboard has: the status line above, the keys below, and panels that are shown the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer

from autoscope.dashboard.panel import Viewer
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from autoscope.dashboard.app import Dashboard


GROWN, MANY = 8, 100_000
"""While a record is read, pictures are drawn at so many records, and again when it is so many times longer."""


class RunScreen(Screen[None]):
    """A screen that shows the run; only the one on top is kept up to date."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (160, "-huge")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (34, "-tall"), (50, "-high")]
    _drawn_records = 0
    WANTS_MAPS: ClassVar[bool] = False
    """Whether the model's maps are drawn here."""

    def compose(self) -> ComposeResult:
        """Put the status line, the screen's own panels and the keys under each other."""
        yield StatusLine(id="status", classes="")
        yield from self.panels()
        yield Footer(compact=True)

    def panels(self) -> ComposeResult:
        """Yield the screen's own panels; none by default."""
        yield from ()

    @property
    def dashboard(self) -> Dashboard:
        """The app."""
        return cast("Dashboard", self.app)

    def on_screen_resume(self) -> None:
        """Show the present moment when the screen comes to the top."""
        if (sight := self.dashboard.sight) is not None:
            self.call_after_refresh(self.show, sight)

    def on_resize(self) -> None:
        """Fill the panels anew when they have other sizes."""
        if (sight := self.dashboard.sight) is not None:
            self.call_after_refresh(self.show, sight)

    def show(self, sight: Sight) -> None:
        """Show a moment in all panels that can be seen; of a long past that is still being read, mostly the status."""
        records, whole = sight.model.records, sight.model.whole
        status_only = not whole and records < max(MANY, GROWN * self._drawn_records)
        self._drawn_records = self._drawn_records if status_only else 0 if whole else records
        for panel in self.walk_children():
            if isinstance(panel, Viewer) and panel.display and not (status_only and panel.id != "status"):
                panel.show(sight)
