"""Runs in the formats of the community, written from the journal alone; a run is never altered.

Each format lives in a module of its own, which is imported only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from autoscope.errors import ExportError, PluginError

if TYPE_CHECKING:
    from autoscope.exports.options import Options, Progress
    from autoscope.exports.snapshot import Snapshot

WRITERS = {
    "nexus": ("run.nxs", "autoscope.exports.nexus", "write"),
    "rocrate": ("ro-crate-metadata.json", "autoscope.exports.crate", "write"),
    "prov": ("prov.json", "autoscope.exports.provenance", "write"),
    "zarr": ("run.zarr", "autoscope.exports.zarr_store", "write"),
    "csv": ("decisions.csv", "autoscope.exports.tabular", "write_csv"),
    "parquet": ("decisions.parquet", "autoscope.exports.tabular", "write_parquet"),
}
"""Format -> name inside the run folder by default, module and function."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    acts: int
    state: str
    """Whether the run had ended, and how; an export of a run that goes on is a prefix of it."""
    notes: tuple[str, ...]
    """What a reader must know: left-out frames, damage, a run that had not ended."""


def export(
    folder: Path,
    format: str,  # noqa: A002
    output: Path | None = None,
    *,
    options: Options | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write a run in a format of the community.

    Parameters
    ----------
    folder : Path
        The run's folder; the run may be finished, stopped, failed, cut off or still going.
    format : str
        One of ``WRITERS``.
    output : Path, optional
        File (or folder, for ``zarr`` and ``rocrate``) to write; by default a fixed name inside the run folder.
    options : Options, optional
        What to include, how to compress, whom to name.
    force : bool
        Replace what is there already.
    progress : callable, optional
        Told how far it is.

    Raises
    ------
    ExportError
        Unknown format, something there already, a full disk, or a run without what the format needs.
    JournalError
        No journal in the folder, or one this version cannot read.
    JournalCorrupt
        A record or frame does not verify, and ``skip_damaged`` is not set.
    PluginError
        The format needs a package that is not installed.
    """
    from autoscope.exports.destination import replacing
    from autoscope.exports.options import Options, silent
    from autoscope.exports.snapshot import Snapshot

    name, module, function = _writer(format)
    wanted = options or Options()
    path = output if output is not None else folder / name
    snapshot = Snapshot.take(folder, skip_damaged=wanted.skip_damaged)
    write = _loaded(module, function, format)
    with replacing(path, force=force) as draft:
        notes = write(snapshot, draft, wanted, progress or silent) or ()
    return Exported(path, snapshot.acts_count, snapshot.state, tuple(_notes(snapshot)) + tuple(notes))


def _writer(format: str) -> tuple[str, str, str]:  # noqa: A002
    try:
        return WRITERS[format]
    except KeyError:
        raise ExportError("no such format", value=format, limit=", ".join(WRITERS)) from None


def _loaded(module: str, function: str, format: str) -> Callable[..., Iterable[str] | None]:  # noqa: A002
    try:
        found: Callable[..., Iterable[str] | None] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        remedy = f"pip install 'autoscope[{package}]'" if package == "zarr" else f"pip install {package}"
        raise PluginError(
            f"the format {format!r} needs a package that is absent", value=package, remedy=remedy
        ) from error
    return found


def _notes(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.damage:
        yield f"only what lies up to record {snapshot.seq} is exported, the next does not verify: {snapshot.damage}"
    elif snapshot.ended is None:
        yield f"the run had not ended: this is what stood in it at record {snapshot.seq}"
