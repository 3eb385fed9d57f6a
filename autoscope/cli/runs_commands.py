"""The commands that find runs again and correct what is written about them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscope.journal.summary import RunSummary


class ListByDefault(TyperGroup):
    """``runs FOLDER ...`` means ``runs list FOLDER ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``list`` in front where no command is named."""
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["list", *args])


runs = typer.Typer(
    cls=ListByDefault, no_args_is_help=False, help="Find runs again, and correct what is written about them."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(runs, name="runs")


class Sort(enum.StrEnum):
    """What runs can be sorted by."""

    started = "started"
    name = "name"
    sample = "sample"
    operator = "operator"
    instrument = "instrument"
    status = "status"
    steps = "steps"
    time = "time_s"
    dose = "dose_e"


@runs.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the run folders.")] = Path("runs"),
    sample: Annotated[str | None, typer.Option(help="Part of the sample's name.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Part of the instrument's name.")] = None,
    operator: Annotated[str | None, typer.Option(help="Part of the operator's name.")] = None,
    policy: Annotated[str | None, typer.Option(help="Part of the policy's name.")] = None,
    element: Annotated[
        str | None, typer.Option(help="A word of a target's name or settings, e.g. Pt or co_k's Co.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="completed, stopped, failed, running, interrupted, empty or unreadable.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="A tag given by 'runs annotate'.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Started on this day or later, e.g. 2026-03-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Started on this day or earlier.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words found anywhere: notes, reasons, names, ...")
    ] = None,
    sort: Annotated[Sort, typer.Option(help="Order, greatest first.")] = Sort.started,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Smallest (oldest) first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read every run again instead of trusting the index.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for other programs.")] = False,
) -> None:
    """List, filter and search the runs in a folder, newest first.

    An index in the folder makes this quick. It is only a cache: it follows every change by itself, and may be deleted.
    Runs that cannot be read are listed as such.

      autoscope runs --sample "Pt/C" --since 2026-03-01
      autoscope runs archive/2026 --element Co --outcome completed --sort dose_e --json
    """
    from autoscope.errors import DataError
    from autoscope.journal.finding import Wanted, choose
    from autoscope.journal.index import runs as known

    if not folder.is_dir():
        raise DataError("no such folder", where=str(folder), remedy="Give the folder that holds the run folders")
    wanted = Wanted(
        sample=sample, instrument=instrument, operator=operator, policy=policy, element=element, status=outcome,
        tag=tag, since=since, until=until, text=search,
    )  # fmt: skip
    found = choose(known(folder, rebuild=rebuild), wanted, sort=sort.value, newest_last=reverse)[:limit]
    if json:
        for run in found:
            typer.echo(run.model_dump_json())
    else:
        _print_table(found, folder)


COLOURS = {"completed": "green", "stopped": "yellow", "running": "cyan"}
UNLIMITED = 200
"""Columns of the table where it goes into a file or a pipe."""


def _print_table(found: list[RunSummary], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("started (UTC)", no_wrap=True)
    for name in ("sample", "operator", "policy"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=28)
    for name in ("steps", "hours", "dose / e"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for run in found:
        table.add_row(*_cells(run), style=None)
    console = Console()
    console = console if console.is_terminal else Console(width=UNLIMITED)
    console.print(table)
    for run in found:
        if run.problem:
            console.print(f"{run.folder}: {run.problem}", markup=False, highlight=False, style="red")
    corrected = "; * corrected afterwards, see --json for the original" if any(run.original for run in found) else ""
    console.print(f"{len(found)} runs in {folder}{corrected}", markup=False, highlight=False)


def _cells(run: RunSummary) -> list[RenderableType]:
    from rich.text import Text

    started = run.started[:16].replace("T", " ")
    sample = run.sample + ("*" if run.original else "")
    numbers = (str(run.steps), f"{run.time_s / 3600:.2f}", f"{run.dose_e:.2g}")
    texts = (run.folder, started, sample, run.operator, run.policy, *numbers)
    return [*(Text(text) for text in texts), Text(run.status, COLOURS.get(run.status, "red"))]


@runs.command()
def annotate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    note: Annotated[str, typer.Option(help="Free text.")] = "",
    sample: Annotated[str | None, typer.Option(help="What the sample really was.")] = None,
    operator: Annotated[str | None, typer.Option(help="Who really operated.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Which instrument it really was.")] = None,
    name: Annotated[str | None, typer.Option(help="A better name for the run.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by. Repeatable.")] = None,
    who: Annotated[str | None, typer.Option(help="Who writes this; your login name if absent.")] = None,
) -> None:
    """Correct or complete what is written about a run that is over; nothing is overwritten.

    The record gets one more entry, chained and signed like the others, so that the run still verifies. Lists and
    reports show the correction; what was written first stays readable. Refused while the run goes on.

      autoscope runs annotate runs/RUN --sample "Pt/C batch 8" --note "label was misread" --who anna
    """
    from autoscope.journal.annotating import annotate as append

    corrections = {"sample": sample, "operator": operator, "instrument": instrument, "name": name}
    made = append(
        run,
        who=who,
        note=note,
        tags=tuple(tag or ()),
        corrections={k: v for k, v in corrections.items() if v is not None},
    )
    typer.echo(f"{run}: record {made} appended")
