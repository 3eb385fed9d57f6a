"""Going on with a run that was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from autoscope.cli.export_commands import write_exports
from autoscope.cli.folders import require_record
from autoscope.cli.progress import LiveProgress
from autoscope.cli.running import run_id_of, steered, tell_end, write_report
from autoscope.cli.watching import require_channels, start_watch
from autoscope.clock import ResumedClock, SimClock, SystemClock
from autoscope.config import Document
from autoscope.engine.asking import Evidence
from autoscope.engine.assemble import Resolved, assemble, resolve
from autoscope.engine.checkpoints import Checkpoint, latest
from autoscope.engine.events import Listener, RunEnd, RunStatus, Silence, StepEvent
from autoscope.engine.history import History, read_history
from autoscope.engine.loop import Engine
from autoscope.engine.resuming import TakenUp, Walked
from autoscope.engine.snapshots import MapsForWatchers
from autoscope.engine.steering import QueueInbox, stop_on_interrupt
from autoscope.engine.walking import Retold, Said, Told
from autoscope.errors import ConfigError, JournalError, NotRepeatable
from autoscope.identity import load_or_make
from autoscope.journal import Journal, JournalReader
from autoscope.journal.layout import CONFIG
from autoscope.provenance import differences, provenance
from autoscope.records import Budget, Result

CHANGEABLE = ("budget", "limits")
"""Groups of settings that may be changed when a run is resumed; with others it would be another run."""


@dataclass(frozen=True)
class Manner:
    """How a run is gone on with: shown or not, told all again or not, and by whom people are called."""

    quiet: bool = False
    from_beginning: bool = False
    attention: Path | None = None

    def call_people(self, folder: Path) -> None:
        """Have people told when the run needs them, where that is wanted."""
        if self.attention is not None:
            start_watch(folder, self.attention)


def resume_run(
    folder: Path,
    overrides: list[str],
    *,
    quiet: bool,
    with_report: bool,
    from_beginning: bool = False,
    attention: Path | None = None,
) -> int:
    """Go on with a run to its end; return the exit status. The instrument of a night is served again meanwhile."""
    if attention is not None:
        require_channels(attention)  # before any beam
    console, manner = Console(), Manner(quiet=quiet, from_beginning=from_beginning, attention=attention)
    with _night_of(folder, console) as ended:
        return _resume(folder, overrides, console, ended, manner, with_report=with_report)


@contextmanager
def _night_of(folder: Path, console: Console) -> Iterator[Callable[[RunEnd], None]]:
    """Serve the instrument of a night, and throw its keys away when the run is complete; of other runs do nothing."""
    from autoscope.cli.night import Night

    night = Night.of(folder)
    if night is None:
        yield lambda end: None
        return
    ends: list[RunEnd] = []
    with night.served(lambda text: console.print(text, highlight=False, markup=False)) as server:
        console.print(f"serves the instrument of the night at {server.address} again", highlight=False)
        yield ends.append
    if ends and ends[-1].status is RunStatus.COMPLETED:
        night.forget()


def _resume(
    folder: Path,
    overrides: list[str],
    console: Console,
    ended: Callable[[RunEnd], None],
    manner: Manner,
    *,
    with_report: bool,
) -> int:
    end = resume_to_end(folder, overrides, QueueInbox(), console, manner)
    ended(end)
    tell_end(console, end, folder)
    if with_report:
        write_report(folder)
    write_exports(folder, (JournalReader.open(folder).started().get("config") or {}).get("exports", ()))
    return 1 if end.status is RunStatus.FAILED else 0


def resume_to_end(
    folder: Path,
    overrides: list[str],
    inbox: QueueInbox,
    console: Console,
    manner: Manner,
) -> RunEnd:
    """Go on with a run, or begin one that was killed before its first record, and return how it ended."""
    if Journal.is_blank(folder):
        return _begin(folder, overrides, inbox, console, manner)
    require_record(folder)
    return _go_on(folder, overrides, inbox, console, manner)


def _begin(folder: Path, overrides: list[str], inbox: QueueInbox, console: Console, manner: Manner) -> RunEnd:
    """Begin a run that was killed before its first record."""
    resolved = resolved_config(yaml.safe_load((folder / CONFIG).read_bytes()), overrides, str(folder / CONFIG))
    job = assemble(resolved)
    console.print("the run was killed before its first record: it begins now", highlight=False)
    progress = _progress(resolved, console, quiet=manner.quiet)
    journal = Journal.begin_again(folder, clock=job.clock, signer=load_or_make())
    manner.call_people(folder)
    run_id, watched = run_id_of(folder), MapsForWatchers(progress, job.policy, folder)
    with (
        stop_on_interrupt(inbox, who="terminal"),
        steered(folder, inbox, console),
        progress if isinstance(progress, LiveProgress) else nullcontext(),
    ):
        return Engine(job, journal, run_id=run_id, inbox=inbox, listener=watched).run()


def _go_on(folder: Path, overrides: list[str], inbox: QueueInbox, console: Console, manner: Manner) -> RunEnd:
    if not manner.from_beginning:
        try:
            return _attempt(folder, overrides, inbox, console, manner)
        except _Misled as error:
            console.print(f"[yellow]the checkpoint leads elsewhere than the record; told all again:[/] {error}")
    return _attempt(folder, overrides, inbox, console, replace(manner, from_beginning=True))


class _Misled(Exception):
    """From a checkpoint on, the policy does not decide as recorded."""


def _attempt(folder: Path, overrides: list[str], inbox: QueueInbox, console: Console, manner: Manner) -> RunEnd:
    reader = JournalReader.open(folder)
    simulated = (reader.started().get("config") or {}).get("clock", "simulated") == "simulated"
    clock = SimClock() if simulated else ResumedClock(SystemClock())
    journal = Journal.reopen(folder, clock=clock, signer=load_or_make())  # from here on nobody else resumes or writes
    try:
        history = read_history(reader)
        resolved = resolved_config(history.config, overrides, f"{folder}: recorded configuration")
        _refuse_if_over(history, resolved, folder)
        progress = _progress(resolved, console, quiet=manner.quiet)
        job = assemble(resolved, clock)
        _warn_of_versions(console, history, job.plugins())
        engine = Engine(
            job, journal, run_id=history.run_id, inbox=inbox, listener=MapsForWatchers(progress, job.policy, folder)
        )
        with stop_on_interrupt(inbox, who="terminal"), steered(folder, inbox, console):
            started = time.perf_counter()
            begin = None if manner.from_beginning else latest(job, history.checkpoints, len(history.told), reader)
            taken = _taken_up(
                engine, history, reader, begin, _walking(console, history, progress, begin, quiet=manner.quiet)
            )
            journal.follow_clock()
            _tell_taken(console, taken, time.perf_counter() - started)
            manner.call_people(folder)
            with progress if isinstance(progress, LiveProgress) else nullcontext():
                return engine.go_on(resolved.plain() if resolved.plain() != history.config else None)
    finally:
        journal.close()


def _taken_up(
    engine: Engine,
    history: History,
    reader: JournalReader,
    begin: Checkpoint | None,
    walking: AbstractContextManager[Walked],
) -> TakenUp:
    with walking as walked:
        try:
            return engine.take_up(history, reader, walked, begin)
        except NotRepeatable as error:
            if begin is None:
                raise
            raise _Misled(str(error)) from error


def resolved_config(plain: dict[str, Any], overrides: list[str], source: str) -> Resolved:
    """Return the validated configuration of a record, with changes.

    Raises
    ------
    ConfigError
        It does not validate any more, or something is changed that may not be.
    """
    if "engine" in plain:  # a run of before there were checkpoints goes on without
        plain = plain | {"engine": {"checkpoint_every": 0} | plain["engine"]}
    document = Document(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), source)
    for assignment in overrides:
        group = assignment.partition("=")[0].strip().split(".")[0]
        if group not in CHANGEABLE:
            raise ConfigError(
                "this setting cannot be changed when a run is resumed: with it, it would be another run",
                where="--set",
                value=assignment,
                limit=" and ".join(CHANGEABLE),
                remedy="Begin a new run with 'autoscope run'",
            )
        document.override(assignment)
    return resolve(document)


def _refuse_if_over(history: History, resolved: Resolved, folder: Path) -> None:
    ended = history.ended
    if ended is None or ended.get("status") != RunStatus.COMPLETED.value:
        return
    if resolved.plain().get("budget") != history.config.get("budget"):
        return
    raise JournalError(
        f"the run is complete ({ended.get('reason')}); there is nothing to resume",
        where=str(folder),
        remedy="Give it more to spend, e.g. --set 'budget.time=14 h', or begin a new run",
    )


def _progress(resolved: Resolved, console: Console, *, quiet: bool) -> Listener:
    return Silence() if quiet else LiveProgress(resolved.config, console)


def _warn_of_versions(console: Console, history: History, plugins: tuple[object, ...]) -> None:
    for text in differences(history.started.get("made_by") or {}, provenance(plugins)):
        console.print(f"[yellow]made otherwise:[/] {text}", highlight=False)


@contextmanager
def _walking(
    console: Console, history: History, listener: Listener, begin: Checkpoint | None, *, quiet: bool
) -> Iterator[Walked]:
    """Show how far the walk has come, and let the listener see the past."""
    columns = (TextColumn("telling the policy everything again"), BarColumn(40), MofNCompleteColumn())
    bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    task = bar.add_task("", total=len(history.told))

    def walked(event: Said | Told | Retold) -> None:
        if isinstance(event, Told):
            bar.advance(task)
            if isinstance(listener, LiveProgress):
                listener.recount(_event(history, event))

    with bar:
        for past, outcome in islice(history.outcomes(), begin.evidence.told if begin else 0):
            walked(Told(past, Result(outcome), Evidence()))
        yield walked


def _event(history: History, told: Told) -> StepEvent:
    intent, outcome, first = told.past.intent, told.result.outcome, history.first_state
    state = outcome.state
    spent = Budget(time_s=state.time_s - first.time_s, dose_e=state.dose_e - first.dose_e, steps=intent.step + 1)
    return StepEvent(intent.step, intent.decision, outcome, spent, intent.latency_s)


def _tell_taken(console: Console, taken: TakenUp, walk_s: float) -> None:
    spent = taken.spent
    console.print(
        f"resumed ({taken.because}) after {spent.steps} acts, {(spent.time_s or 0.0) / 3600:.2f} h, "
        f"{spent.dose_e or 0.0:.3g} electrons; {taken.decisions} decisions made again as recorded "
        f"in {walk_s:.1f} s{f', from the checkpoint after {taken.checkpoint} acts' if taken.checkpoint else ''}",
        highlight=False,
        soft_wrap=True,
    )
    for act_id, text in taken.open.items():
        console.print(f"act {act_id}, whose outcome was not recorded: {text}", highlight=False, soft_wrap=True)
    if taken.restarted:
        console.print("[yellow]the instrument was restarted meanwhile: its electron counter began anew[/]")
    if taken.unlike:
        console.print(f"[yellow]{taken.unlike} acts of the simulated instrument, done again, came out unlike[/]")
    for difference in taken.differs:
        console.print(f"[yellow]the instrument is not as it was left:[/] {difference}", highlight=False, soft_wrap=True)
