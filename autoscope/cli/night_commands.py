"""``autoscope night``: an instrument and the experiment on it, in two processes of this computer, by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(night)


def night(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of a run whose instrument is 'bus'.")],
    instrument: Annotated[
        Path, typer.Argument(metavar="INSTRUMENT", help="YAML file of the instrument (see configs/instrument/).")
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override one setting of CONFIG. Repeatable.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that receives the run folder.")] = Path("runs"),
    ledger: Annotated[Path | None, typer.Option(help="Folder of the server's ledger; absent: ledgers/NAME.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Only the first 20 acts, to try a configuration.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report/index.html at the end.")] = True,
    attention: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Have people told when it needs them, by 'autoscope watch' with this file."),
    ] = None,
) -> None:
    """Serve an instrument and run an experiment on it over the bus: two processes, one command.

    Keys are made for the night and thrown away when the run is complete; every socket is encrypted, on this computer
    only. The server is the one of 'autoscope serve', with its own limits, dose and watchdog; it makes the instrument
    safe and ends when the run ends, and also when this process dies; it is started again when it dies itself. For two
    computers use 'autoscope serve' and 'autoscope run'. Example:

        autoscope night configs/overnight_bus.yaml configs/instrument/simulated.yaml --smoke

    A run that was cut off, stopped or failed goes on with 'autoscope resume RUN', which serves the instrument again.

    Ctrl-C once stops after the current step. Exit status as 'autoscope run'.
    """
    from autoscope.cli.night import run_night

    status = run_night(
        config,
        instrument,
        overrides or [],
        runs,
        ledger,
        smoke=smoke,
        quiet=quiet,
        with_report=report,
        attention=attention,
    )
    raise typer.Exit(status)
