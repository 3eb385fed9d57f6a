"""The command that opens the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(dashboard)


def dashboard(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run folder or its name under --runs; absent: the newest run."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    light: Annotated[bool, typer.Option("--light", help="Begin with the light theme (l changes it).")] = False,
) -> None:
    """Watch a run, live or finished, and look back through it: map, model, decisions, data, log, instrument.

    Keys are shown at the bottom; the arrow keys go through the past, Ctrl-P lists every command. The run never notices
    that somebody watches: leaving the dashboard, or losing the line it runs over, changes nothing.

      autoscope dashboard                     the newest run under runs/
      autoscope dashboard runs/RUN            this one
    """
    from autoscope.dashboard.starting import watch

    raise typer.Exit(watch(run, runs, light=light))
