"""Starts the dashboard, in this terminal or for a browser."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from autoscope.attention.config import AttentionConfig, read_attention
from autoscope.clock import SystemClock
from autoscope.dashboard.app import Dashboard
from autoscope.dashboard.attaching import attach
from autoscope.dashboard.heeding import Heeding
from autoscope.dashboard.pixels import Images, pixel_widget
from autoscope.dashboard.sight import Onlooker
from autoscope.dashboard.themes import LIGHT
from autoscope.errors import ConfigError, PluginError


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
    clock, problem = SystemClock(), ""
    try:
        attention = read_attention(None)
    except ConfigError as error:  # a dashboard that does not open when it is needed would be worse
        attention, problem = AttentionConfig(), str(error)
    onlooker = Onlooker(attached.source, clock.now_s, attached.maps)
    app = Dashboard(onlooker, attached.steersman, heeding=Heeding(attention, clock))
    if problem:
        app.notify(problem, title="attention", severity="error", timeout=60.0, markup=False)
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
