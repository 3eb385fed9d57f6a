"""The commands that walk a record again: resume and replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/20260101T200000Z-my_run.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(resume)
    app.command()(replay)


def resume(
    folder: RunFolder,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=VALUE",
            help="Change what the run may spend or is permitted before it goes on, e.g. --set 'budget.time=14 h'; "
            "only settings under budget and limits can be changed. Repeatable.",
        ),
    ] = None,
    from_beginning: Annotated[
        bool,
        typer.Option("--from-beginning", help="Tell the policy everything again, not only what follows a checkpoint."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report/index.html at the end.")] = True,
    attention: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Have people told when it needs them, by 'autoscope watch' with this file."),
    ] = None,
) -> None:
    """Go on with a run that was cut off, stopped or failed, where its record ends.

    The policy is told everything again, or all that follows its last checkpoint, and must decide everything again as
    recorded. No act is repeated: of an act of which the record does not tell what came of it, the instrument is asked,
    and read back. Time in which nobody ran it is not counted; electrons are. A run that completed can be resumed only
    with more to spend (--set budget...).

    Exit status: 0 completed or stopped by a person, 1 failed or cannot be resumed, 2 wrong configuration.
    """
    from autoscope.cli.resuming import resume_run

    options = {"quiet": quiet, "with_report": report, "from_beginning": from_beginning}
    raise typer.Exit(resume_run(folder, overrides or [], attention=attention, **options))


def replay(
    folder: RunFolder,
    policy: Annotated[
        Path | None,
        typer.Option(help="YAML file with another policy (or a whole run): what would it have chosen, told the same?"),
    ] = None,
    scalarizer: Annotated[
        Path | None,
        typer.Option(help="YAML file with other scalarizers (or a whole run): targets are computed from the frames."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Relative difference of numbers that still counts as the same decision."),
    ] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Make every decision of a run again from its record, and say where the first one differs and why.

    No instrument is touched and nothing is written. On the machine and with the versions that made the run, decisions
    are the same to the last bit; elsewhere give a --tolerance such as 1e-6.

    Exit status: 0 all the same (or another policy or scalarizer was asked for), 1 a decision differs.
    """
    from autoscope.cli.replaying import replay_run

    raise typer.Exit(replay_run(folder, policy, scalarizer, tolerance=tolerance, quiet=quiet))
