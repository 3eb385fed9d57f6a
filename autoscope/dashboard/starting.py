"""Starts the dashboard, in this terminal or for a browser."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from autoscope.clock import SystemClock
from autoscope.dashboard.app import Dashboard
from autoscope.dashboard.attaching import attach
from autoscope.dashboard.pixels import Images, pixel_widget
from autoscope.dashboard.sight import Onlooker
from autoscope.dashboard.themes import LIGHT
from autoscope.errors import PluginError


def watch(
    what: str | None,
    runs: Path,
    *,
    who: str = "",
    key: Path | None = None,
    light: bool = False,
    images: Images = "auto",
) -> int:
    """Show a run until somebody leaves; return the exit status; raises what `attach` and `pixel_widget` raise."""
    attached = attach(what, runs, who=who, key=key)
    onlooker = Onlooker(attached.source, SystemClock().now_s, attached.maps)
    app = Dashboard(onlooker, attached.steersman)
    app.pixels = pixel_widget(images)
    if light:
        app.theme = LIGHT.name
    app.run()
    return app.return_code or 0


def serve(arguments: list[str], host: str, port: int) -> int:
    """Serve the same app to browsers until Ctrl-C; each browser gets a dashboard of its own.

    Parameters
    ----------
    arguments : list of str
        Of ``autoscope dashboard``, as each browser's is started with.
    host, port
        Where to listen.

    Raises
    ------
    PluginError
        textual-serve is not installed.
    """
    try:
        from textual_serve.server import Server
    except ModuleNotFoundError as error:
        remedy = "pip install 'autoscope[web]'"
        raise PluginError("textual-serve is not installed", where="--web", remedy=remedy) from error
    command = [sys.executable, "-c", "from autoscope.cli import main; main()", "dashboard", *arguments]
    Server(shlex.join(command), host=host, port=port, title="autoscope").serve()
    return 0
