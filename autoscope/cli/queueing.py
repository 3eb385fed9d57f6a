"""How the command line does the experiments of a queue."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autoscope.cli.export_commands import write_exports
from autoscope.cli.resuming import Manner, resume_to_end
from autoscope.cli.running import new_folder, run_into, shortened, tell_end, write_report
from autoscope.clock import SystemClock
from autoscope.config import Document
from autoscope.engine.events import RunEnd, RunStatus
from autoscope.engine.history import read_history
from autoscope.engine.steering import HERE, Answer, QueueInbox, unheard
from autoscope.errors import AutoscopeError
from autoscope.interventions import Order
from autoscope.journal import Journal, JournalReader
from autoscope.queue import Entry, EntryStatus, QueueRunner, QueueStore
from autoscope.queue.listing import is_listing, wanted
from autoscope.queue.summary import PAGE, headline, write
from autoscope.records import Intervention


def opened(path: Path) -> QueueStore:
    """Return the queue in a file, made where absent."""
    return QueueStore(path, clock=SystemClock())


def add_experiments(path: Path, config: Path, slot: int | None, overrides: list[str], *, checked: bool) -> None:
    """Add a configuration, or all that a file names, to a queue; all of them or none.

    Raises
    ------
    ConfigError
        One of them is wrong; nothing was added.
    """
    document = Document.read(config)
    chosen = (*overrides, *(() if slot is None else (f"sample_slot={slot}",)))
    given = [(w.path, w.overrides) for w in wanted(document, config)] if is_listing(document) else [(config, ())]
    entries = [_entry(source, (*before, *chosen)) for source, before in given]
    if checked:
        for entry in entries:
            entry.resolved()
    store = opened(path)
    for entry in entries:
        added = store.add(entry.name, entry.source, entry.text, entry.overrides)
        typer.echo(f"added experiment {added.number} ({added.name})")


def _entry(source: Path, overrides: tuple[str, ...]) -> Entry:
    document = Document.read(source)
    for assignment in overrides:
        document.override(assignment)
    name = str(document.data.get("name", source.stem))
    return Entry(number=0, name=name, source=str(source), text=source.read_text("utf-8"), overrides=overrides)


def list_experiments(path: Path, *, as_json: bool) -> None:
    """Print the experiments of a queue."""
    store = opened(path)
    entries = store.entries()
    if as_json:
        rows = [e.model_dump(mode="json", exclude={"text"}) for e in entries]
        typer.echo(json.dumps({"paused": store.paused, "experiments": rows}, indent=2))
        return
    console = Console()
    table = Table("", "experiment", "status", "slot", "begun", "", box=None)
    for entry in entries:
        table.add_row(str(entry.number), escape(entry.name), _status(entry), *_details(entry))
    console.print(table if entries else "the queue is empty: 'autoscope queue add CONFIG'", highlight=False)
    if store.paused:
        console.print("[yellow]paused[/]: no other experiment begins before 'autoscope queue resume'", highlight=False)


def _status(entry: Entry) -> str:
    colours = {EntryStatus.DONE: "green", EntryStatus.FAILED: "red", EntryStatus.WAITING: "dim"}
    return f"[{colours.get(entry.status, 'yellow')}]{entry.status.value}[/]"


def _details(entry: Entry) -> tuple[str, str, str]:
    try:
        slot = entry.resolved().config.sample_slot
    except AutoscopeError:
        slot = None
    told = entry.reason or entry.folder
    return "" if slot is None else str(slot), entry.begun[:16], escape(told)


class CommandLine:
    """Does experiments as ``autoscope run`` and ``autoscope resume`` do."""

    def __init__(self, runs: Path, console: Console, *, smoke: bool, quiet: bool, with_report: bool) -> None:
        self._runs, self._console = runs, console
        self._smoke, self._quiet, self._with_report = smoke, quiet, with_report
        self._inboxes: list[_Inbox] = []

    @property
    def interrupted(self) -> bool:
        """Whether somebody at this terminal pressed Ctrl-C."""
        return any(inbox.interrupted for inbox in self._inboxes)

    def folder_of(self, entry: Entry) -> Path:
        """Return a run folder for an experiment."""
        return new_folder(self._runs, entry.name).absolute()

    def has_begun(self, folder: Path) -> bool:
        """Return whether there is anything of a run in the folder."""
        return (folder / "config.yaml").is_file()

    def begin(self, entry: Entry, folder: Path) -> RunEnd:
        """Run an experiment from its beginning to its end, and write its report."""
        resolved = entry.resolved()
        if self._smoke:
            resolved = shortened(resolved)
        end = run_into(folder, resolved, self._inbox(), self._console, quiet=self._quiet)
        return self._told(end, folder, resolved.config.exports)

    def go_on(self, folder: Path) -> RunEnd:
        """Take an experiment up again, unless its run had ended before anybody wrote that into the queue."""
        end = _ended(folder)
        if end is None or end.status is RunStatus.STOPPED:
            end = resume_to_end(folder, [], self._inbox(), self._console, Manner(quiet=self._quiet))
        exports = (JournalReader.open(folder).started().get("config") or {}).get("exports", ())
        return self._told(end, folder, exports)

    def _inbox(self) -> _Inbox:
        self._inboxes.append(_Inbox())
        return self._inboxes[-1]

    def _told(self, end: RunEnd, folder: Path, exports: Iterable[str]) -> RunEnd:
        tell_end(self._console, end, folder)
        if self._with_report:
            try:
                write_report(folder)
            except (AutoscopeError, OSError) as error:  # what was measured is safe; the night goes on
                self._console.print(f"report: not written: {error}", markup=False, highlight=False, soft_wrap=True)
        write_exports(folder, exports)
        return end


class _Inbox(QueueInbox):
    """Knows whether a person at the terminal asked for the end."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupted = False

    def post(self, said: Order | Intervention, *, through: str = HERE, answer: Answer = unheard) -> None:
        """Leave what was said for the next step; only signals of this terminal are no orders of somebody."""
        self.interrupted = self.interrupted or isinstance(said, Intervention)
        super().post(said, through=through, answer=answer)


def _ended(folder: Path) -> RunEnd | None:
    if Journal.is_blank(folder):
        return None
    ended = read_history(JournalReader.open(folder)).ended
    return None if ended is None else RunEnd.model_validate_json(json.dumps(ended))


def run_queue(path: Path, runs: Path, *, smoke: bool, quiet: bool, with_report: bool) -> int:
    """Do the experiments of a queue and tell how the night went; return the exit status."""
    console, store = Console(soft_wrap=True), opened(path)
    experiments = CommandLine(runs, console, smoke=smoke, quiet=quiet, with_report=with_report)
    night = QueueRunner(
        store, experiments, SystemClock(), lambda text: console.print(escape(text), highlight=False)
    ).run()
    console.print(f"[bold]the night[/]: {headline(store.entries())}", highlight=False)
    if with_report:
        report_night(path)
    return 1 if night.failed else 0


def report_night(path: Path) -> None:
    """Write the page of the night beside the queue."""
    page = write(opened(path).entries(), path.parent.absolute() / PAGE)
    Console(soft_wrap=True).print(f"the night's report: {page}", highlight=False)
