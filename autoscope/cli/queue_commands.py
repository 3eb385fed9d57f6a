"""``autoscope queue``: experiments for a night, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

queue = typer.Typer(
    name="queue",
    no_args_is_help=True,
    help="""A queue of experiments that runs unattended, on one sample after the other.

  autoscope queue add configs/overnight_survey.yaml --slot 0
  autoscope queue add configs/nanoparticles.yaml --slot 1 --set 'budget.time=3 h'
  autoscope queue add configs/queue_three_samples.yaml     all experiments of a file
  autoscope queue list
  autoscope queue run                                      Ctrl-C stops cleanly; run again to go on

An experiment that fails is reported and skipped. The queue is a file that survives restarts: after kill -9 or a power
cut 'autoscope queue run' goes on with the experiment that was cut off. After each experiment the beam is blanked, the
stage parked and the valves closed, whatever happened.
""",
)

QueueFile = Annotated[Path, typer.Option("--queue", metavar="FILE", help="The queue's file.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Of the experiment, as 'autoscope queue list' shows it.")]
DEFAULT = Path("runs/queue.sqlite")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(queue)


@queue.command()
def add(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A run, or a file with 'job: queue'.")],
    slot: Annotated[int | None, typer.Option(help="Slot of the carousel that holds the sample.", min=0)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override one setting. Repeatable.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Refuse a wrong configuration at once.")] = True,
    file: QueueFile = DEFAULT,
) -> None:
    """Put an experiment at the end of the queue, with its configuration as it is now."""
    from autoscope.cli.queueing import add_experiments

    add_experiments(file, config, slot, overrides or [], checked=check)


@queue.command("list")
def list_(
    file: QueueFile = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show the experiments: what is over, what runs, what waits."""
    from autoscope.cli.queueing import list_experiments

    list_experiments(file, as_json=as_json)


@queue.command()
def move(
    number: Number,
    to: Annotated[int, typer.Option("--to", metavar="POSITION", help="Among those that wait; 1: next.", min=1)] = 1,
    file: QueueFile = DEFAULT,
) -> None:
    """Move a waiting experiment, to the front by default; 'autoscope queue move 7 --to 2'."""
    from autoscope.cli.queueing import opened

    opened(file).move(number, to)


@queue.command()
def remove(number: Number, file: QueueFile = DEFAULT) -> None:
    """Take an experiment out of the queue; its run folder stays."""
    from autoscope.cli.queueing import opened

    entry = opened(file).remove(number)
    typer.echo(f"removed experiment {entry.number} ({entry.name})")


@queue.command()
def retry(number: Number, file: QueueFile = DEFAULT) -> None:
    """Let an experiment that failed wait again, at the end of the queue."""
    from autoscope.cli.queueing import opened

    opened(file).retry(number)


@queue.command()
def pause(file: QueueFile = DEFAULT) -> None:
    """Let no other experiment begin; the one that runs goes on to its end."""
    from autoscope.cli.queueing import opened

    opened(file).pause(True)


@queue.command()
def resume(file: QueueFile = DEFAULT) -> None:
    """Let experiments begin again after 'pause'."""
    from autoscope.cli.queueing import opened

    opened(file).pause(False)


@queue.command()
def run(
    file: QueueFile = DEFAULT,
    runs: Annotated[Path, typer.Option(help="Folder that receives the run folders.")] = Path("runs"),
    smoke: Annotated[bool, typer.Option("--smoke", help="Only the first 20 acts of each, to try a queue.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write each run's report and the night's.")
    ] = True,
) -> None:
    """Do the experiments until none is left.

    Exit status: 0 all done, or stopped by a person; 1 some failed and were skipped.
    """
    from autoscope.cli.queueing import run_queue

    raise typer.Exit(run_queue(file, runs, smoke=smoke, quiet=quiet, with_report=report))


@queue.command()
def report(file: QueueFile = DEFAULT) -> None:
    """Write the page of the night, with links to each run's report, and print where it is."""
    from autoscope.cli.queueing import report_night

    report_night(file)
