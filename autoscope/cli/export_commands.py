"""The command that hands a run on in the formats of the community."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoscope.exports import WRITERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoscope.exports import Exported

ExportFormat = enum.StrEnum("ExportFormat", {name: name for name in WRITERS})  # type: ignore[misc]
Part = enum.StrEnum("Part", {name: name for name in ("frames", "decisions", "records", "config", "report")})  # type: ignore[misc]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("export")(export_run)


def export_run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/20260101T200000Z-my_run.")],
    format: Annotated[ExportFormat, typer.Option("--format", "-f", help="What to write; see above.")],  # noqa: A002
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder to write; absent: a fixed name in RUN.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    include: Annotated[
        list[Part] | None,
        typer.Option(help="Only these parts, e.g. --include decisions --include config. Repeatable; absent: all."),
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out what does not verify and name it, instead of refusing.")
    ] = False,
    compression: Annotated[str, typer.Option(help="gzip or none (nexus, zarr).")] = "gzip",
    licence: Annotated[str, typer.Option(help="Licence of the data, e.g. CC-BY-4.0 or a URL (rocrate).")] = "",
    author: Annotated[str, typer.Option(help="Who answers for the data (nexus, rocrate, prov).")] = "",
    orcid: Annotated[str, typer.Option(help="ORCID of the author, e.g. 0000-0002-1825-0097.")] = "",
    affiliation: Annotated[str, typer.Option(help="Institution of the author.")] = "",
    affiliation_id: Annotated[str, typer.Option("--affiliation-id", help="Its ROR address.")] = "",
    elements: Annotated[str, typer.Option(help="Elements in the sample, e.g. Pt,Co,C (nexus).")] = "",
    prepared: Annotated[str, typer.Option(help="When the sample was prepared, ISO 8601 (nexus).")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Write a run in a format that others read. The run itself is never altered.

    nexus    run.nxs: images, spectra, decisions and the whole record in one HDF5 file (NXem); hyperspy, h5web

    rocrate  ro-crate-metadata.json: the folder becomes an RO-Crate; with --output X.zip one file to pass on

    prov     prov.json: who decided what on which data (W3C PROV)

    csv, parquet   decisions.csv, decisions.parquet: one row an act

    zarr     run.zarr: frames stacked as in nexus; needs the extra 'zarr'

    A run that still goes on, or was cut off, is exported as far as it got.
    """
    from pydantic import ValidationError
    from rich.console import Console

    from autoscope.errors import ExportError
    from autoscope.exports.options import Options

    given: dict[str, Any] = {
        "skip_damaged": skip_damaged, "compression": compression, "licence": licence, "author": author, "orcid": orcid,
        "affiliation": affiliation, "affiliation_id": affiliation_id, "prepared": prepared,
        "elements": tuple(name.strip() for name in elements.split(",") if name.strip()),
    }  # fmt: skip
    if include:
        given["include"] = tuple(part.value for part in include)
    try:
        options = Options.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise ExportError(str(first["msg"]), where=option, value=first["input"], remedy="See --help") from error
    console = Console()
    done = _exported(console, folder, format.value, output, options=options, force=force, quiet=quiet)
    told(console, format.value, done)


def _exported(console: Any, folder: Path, name: str, output: Path | None, *, quiet: bool, **more: Any) -> Exported:
    """Export with a progress bar where somebody can see it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from autoscope.cli.folders import require_record
    from autoscope.exports import export

    require_record(folder)
    columns = (TextColumn(name), BarColumn(40), MofNCompleteColumn(), TextColumn("acts"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bars:
        task = bars.add_task(name, total=None)
        return export(
            folder, name, output, progress=lambda what, n, total: bars.update(task, completed=n, total=total), **more
        )


def told(console: Any, name: str, done: Exported) -> None:
    """Print what was written, and what its reader must know."""
    size = done.path.stat().st_size if done.path.is_file() else sum(p.stat().st_size for p in _files(done.path))
    console.print(
        f"{name}: {done.path} ({done.acts} acts, {_bytes(size)})", highlight=False, markup=False, soft_wrap=True
    )
    for note in done.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def write_exports(folder: Path, formats: Iterable[str]) -> None:
    """Write what a configuration asks for at the end of a run; a failure is told and does not fail the run."""
    from rich.console import Console

    from autoscope.errors import AutoscopeError

    console = Console()
    for name in formats:
        try:
            told(console, name, _exported(console, folder, name, None, force=True, quiet=False))
        except (AutoscopeError, OSError) as error:
            console.print(f"{name}: not written: {error}", highlight=False, markup=False, soft_wrap=True)
