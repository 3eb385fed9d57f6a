"""The command that opens the dashboard."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Literal

import typer

PASSES_AFTER = 100_000
"""New objects between passes of the garbage collector: what the dashboard makes at its start stays, and passes over it
took a twentieth of the time until a long run is seen."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(dashboard)


def dashboard(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|ADDRESS]",
            help="A run folder, its name under --runs, or tcp://HOST:PORT of 'autoscope run --steer'; "
            "absent: the newest run.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    who: Annotated[str, typer.Option(help="Your name, for the record; your login name if absent.")] = "",
    key: Annotated[
        Path | None, typer.Option(help="File of your key, where the run or the bus server wants one.")
    ] = None,
    light: Annotated[bool, typer.Option("--light", help="Begin with the light theme (l changes it).")] = False,
    images: Annotated[
        Literal["auto", "kitty", "sixel", "blocks"],
        typer.Option(help="Images in pixels by the terminal's protocol, or in half blocks; auto asks the terminal."),
    ] = "auto",
    web: Annotated[bool, typer.Option("--web", help="Serve it to browsers instead of this terminal.")] = False,
    host: Annotated[str, typer.Option(help="Where --web listens; it has no keys: leave it local.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where --web listens.")] = 8017,
) -> None:
    """Watch a run, look back through it, and take the wheel.

    Keys are shown at the bottom; arrow keys go through the past, Ctrl-P lists every order. What you order is signed,
    takes effect between two acts and is written into the record. Leaving, or losing the line, changes nothing.

      autoscope dashboard                               the newest run under runs/
      autoscope dashboard runs/RUN --who anna           this one, live or finished
      autoscope dashboard tcp://scope-pc:5580 --key K   one on another computer
      autoscope dashboard --web                         in a browser, at http://127.0.0.1:8017
    """
    gc.set_threshold(PASSES_AFTER, 50, 50)
    from autoscope.dashboard.starting import serve, watch

    if web:
        given = [*([run] if run else []), "--runs", str(runs), *(["--who", who] if who else [])]
        given += [*(["--key", str(key)] if key else []), *(["--light"] if light else []), "--images", images]
        raise typer.Exit(serve(given, host, port))
    raise typer.Exit(watch(run, runs, who=who, key=key, light=light, images=images))
