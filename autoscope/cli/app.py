"""Commands and their options; the work is in the modules beside this one."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from autoscope import __version__
from autoscope.cli import (
    bench_commands,
    bus_commands,
    dashboard_commands,
    doctor_commands,
    export_commands,
    keys_commands,
    night_commands,
    queue_commands,
    record_commands,
    resume_commands,
    runs_commands,
    steering_commands,
    watch_commands,
)
from autoscope.errors import AutoscopeError

app = typer.Typer(
    name="autoscope",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Closed-loop autonomous experiments on a (scanning) transmission electron microscope.

A run is described by one YAML file (see configs/). Everything that happens is written to a run folder under runs/.

[bold]First steps[/bold]

  autoscope check configs/overnight_survey.yaml     what it would do, its time and dose, before any beam
  autoscope run configs/overnight_survey.yaml       do it (Ctrl-C stops cleanly, with a partial report)
  autoscope dashboard                               watch the newest run, look back, take the wheel
  autoscope watch runs/RUN                          tell you when it needs you (bell, webhook, e-mail)
  autoscope report runs/RUN                         write the morning report again
  autoscope verify runs/RUN                         prove that nothing in the record was altered
  autoscope export runs/RUN --format nexus          hand it on: nexus, rocrate, prov, csv, parquet, zarr
  autoscope resume runs/RUN                         go on after a crash, a full disk or a stop
  autoscope replay runs/RUN                         make every decision again and compare
  autoscope queue add CONFIG; autoscope queue run   several experiments and samples in one night
  autoscope runs --sample "Pt/C"                    find runs again
  autoscope bench configs/bench_quick.yaml          compare policies offline
  autoscope status runs/RUN                         how it stands, in a few words
  autoscope steer runs/RUN pause                    change its mind while it runs (steer --help)
""",
)

keys_commands.register(app)
bench_commands.register(app)
bus_commands.register(app)
doctor_commands.register(app)
night_commands.register(app)
queue_commands.register(app)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file that describes the run (see configs/).")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/20260101T200000Z-my_run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override one setting, e.g. --set 'budget.time=2 h'. Repeatable."),
]


class Kind(enum.StrEnum):
    """What can be listed."""

    policies = "policies"
    environments = "environments"
    instruments = "instruments"
    scalarizers = "scalarizers"
    metrics = "metrics"


class ReportForm(enum.StrEnum):
    """What a report can be written as."""

    html = "html"
    markdown = "markdown"
    pdf = "pdf"


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    runs: Annotated[Path, typer.Option(help="Folder that receives the run folder.")] = Path("runs"),
    smoke: Annotated[bool, typer.Option("--smoke", help="Only the first 20 acts, to try a configuration.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report/index.html at the end.")] = True,
    steer: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="tcp://HOST:PORT where people on other computers watch and steer it."),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of keys for --steer; absent: $AUTOSCOPE_KEYS or ~/.autoscope/keys.")
    ] = None,
    insecure_loopback: Annotated[
        bool, typer.Option("--insecure-loopback", help="--steer without keys; refuses addresses others could reach.")
    ] = False,
    attention: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Have people told when it needs them, by 'autoscope watch' with this file."),
    ] = None,
) -> None:
    """Run an experiment to its end and write the morning report.

    Ctrl-C once stops after the current step: the beam is blanked, the record closed, the report written.
    Exit status: 0 completed or stopped by a person, 1 failed, 2 wrong configuration.
    """
    from autoscope.cli.running import door_at, run_config

    door = door_at(steer, keys, insecure=insecure_loopback)
    status = run_config(
        config, overrides or [], runs, smoke=smoke, quiet=quiet, with_report=report, door=door, attention=attention
    )
    raise typer.Exit(status)


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 3 where the budget does not cover the plan.")
    ] = False,
) -> None:
    """Validate a configuration and print the plan with its predicted time, dose and data volume, before any beam.

    Warns when the budget cannot cover the plan or the area, and says what would fit. A file with 'job: queue' is
    checked experiment by experiment, with the sum of the night.
    """
    from autoscope.cli.planning import check as checked

    raise typer.Exit(checked(config, overrides or [], strict=strict))


@app.command()
def report(
    folder: RunFolder,
    form: Annotated[
        ReportForm, typer.Option("--format", help="html: everything in one file; markdown and pdf are short.")
    ] = ReportForm.html,
) -> None:
    """Write the report of a run (finished, stopped or still going) and print where it is.

    The page has the configuration of a follow-up run beside it, report/follow_up.yaml, which visits what a person
    should look at next. For example: autoscope report runs/RUN --format pdf
    """
    from autoscope.cli.running import write_report

    write_report(folder, form.value)


@app.command("list")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what is installed: policies, environments, instruments, scalarizers or metrics."""
    from autoscope.cli.planning import list_plugins

    list_plugins(kind.value)


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; absent: standard output.")
    ] = None,
) -> None:
    """Write the JSON schema of run configurations, for completion and checks in editors."""
    from autoscope.cli.planning import write_schema

    write_schema(output)


export_commands.register(app)
resume_commands.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"autoscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Carry the options that belong to no command."""


record_commands.register(app)
runs_commands.register(app)
dashboard_commands.register(app)
watch_commands.register(app)
steering_commands.register(app)


def main() -> None:
    """Run the command line; errors made on purpose print their message, never a traceback."""
    from autoscope.errors import ConfigError, DataError

    try:
        app()
    except AutoscopeError as error:
        typer.secho(f"{type(error).__name__}", fg=typer.colors.RED, bold=True, err=True)
        typer.echo(str(error), err=True)
        raise SystemExit(2 if isinstance(error, (ConfigError, DataError)) else 1) from None
