"""``autoscope watch``: follow a run and tell people when it needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(watch)


def watch(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|ADDRESS]",
            help="A run folder, its name under --runs, or tcp://HOST:PORT of 'autoscope run --steer'; "
            "absent: the newest run.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Who is told what, how and when not (see configs/attention/lab.yaml); absent: $AUTOSCOPE_ATTENTION or "
            "~/.autoscope/attention.yaml; where there is none, the terminal's bell.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the run folders.")] = Path("runs"),
    key: Annotated[Path | None, typer.Option(help="File of your key, where the address wants one.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Read the file, say who would be told what, and end.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Send one notice over each channel, and say what works.")
    ] = False,
) -> None:
    """Follow a run and tell people when it needs them: bell, desktop, webhook, e-mail, with quiet hours.

    It reads the record as the dashboard does; the run does not notice, and goes on whatever happens here. Everything is
    also printed, one plain line each. It ends with the run, when all has been told; Ctrl-C ends it before.

      autoscope watch                                          the newest run, with the bell
      autoscope watch runs/RUN --config attention.yaml         a night
      autoscope watch --test --config attention.yaml           does every channel work?

    Exit status: 0 all was told, 1 a channel does not work, 2 wrong configuration.
    """
    from autoscope.cli.watching import check_channels, test_channels, watch_run

    if check:
        raise typer.Exit(check_channels(config))
    if test:
        raise typer.Exit(test_channels(config))
    raise typer.Exit(watch_run(run, runs, config, key))
