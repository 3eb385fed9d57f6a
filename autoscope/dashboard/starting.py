"""Starts the dashboard in this terminal."""

from __future__ import annotations

from pathlib import Path

from autoscope.clock import SystemClock
from autoscope.dashboard.app import Dashboard
from autoscope.dashboard.attaching import attach, maps_of
from autoscope.dashboard.sight import Onlooker
from autoscope.dashboard.themes import LIGHT


def watch(what: str | None, runs: Path, *, light: bool = False) -> int:
    """Show a run until somebody leaves; return the exit status.

    Raises
    ------
    DataError
        No such run.
    JournalError
        It cannot be read.
    """
    source = attach(what, runs)
    app = Dashboard(Onlooker(source, SystemClock().now_s, maps_of(source)))
    if light:
        app.theme = LIGHT.name
    app.run()
    return app.return_code or 0
