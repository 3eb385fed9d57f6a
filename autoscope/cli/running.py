"""The commands that write into a run folder: run, report."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml
from rich.console import Console

from autoscope.cli.export_commands import write_exports
from autoscope.cli.folders import require_record
from autoscope.cli.progress import LiveProgress
from autoscope.cli.watching import require_channels, start_watch
from autoscope.clock import SystemClock
from autoscope.config import Document
from autoscope.engine.assemble import Resolved, assemble, resolve
from autoscope.engine.events import RunEnd, RunStatus, Silence
from autoscope.engine.loop import Engine
from autoscope.engine.snapshots import MapsForWatchers
from autoscope.engine.steering import QueueInbox, stop_on_interrupt, unheard
from autoscope.errors import AutoscopeError
from autoscope.identity import load_or_make
from autoscope.interventions import Receipt
from autoscope.journal import Journal
from autoscope.steering.spool import Spool, SpoolWatch

SMOKE_STEPS = 20
SMOKE_PATIENCE_S = 0.2


def read_config(path: Path, overrides: list[str]) -> Resolved:
    """Return the validated configuration of a file with command-line overrides."""
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    return resolve(document)


@dataclass(frozen=True)
class Door:
    """Where people on other computers reach a run, and the folder of keys; None: without keys, on this one only."""

    address: str
    keys: Path | None


def door_at(address: str | None, keys: Path | None, *, insecure: bool) -> Door | None:
    """Return the door that the command line asks for."""
    if address is None:
        return None
    from autoscope.bus.keys import default_folder

    return Door(address, None if insecure else keys or default_folder())


def run_config(
    path: Path,
    overrides: list[str],
    runs: Path,
    *,
    smoke: bool,
    quiet: bool,
    with_report: bool,
    door: Door | None = None,
    attention: Path | None = None,
    ended: Callable[[RunEnd], object] = lambda end: None,
) -> int:
    """Run a configuration, tell how it ended, and return the exit status."""
    if attention is not None:
        require_channels(attention)  # before any beam
    console = Console(stderr=False)
    resolved = read_config(path, overrides)
    if smoke:
        resolved = shortened(resolved)
    folder = new_folder(runs, resolved.config.name)
    end = run_into(folder, resolved, QueueInbox(), console, quiet=quiet, door=door, attention=attention)
    ended(end)
    tell_end(console, end, folder)
    if with_report:
        write_report(folder)
    write_exports(folder, resolved.config.exports)
    return 1 if end.status is RunStatus.FAILED else 0


@contextmanager
def steered(folder: Path, inbox: QueueInbox, console: Console, door: Door | None = None) -> Iterator[None]:
    """Let people steer a run while it goes on: through its folder, and at a door if there is one.

    Without the folder where that does not permit it; a door that cannot be opened is an error.
    """
    with ExitStack() as stack:
        answered: Callable[[Receipt], None] = unheard
        try:
            spool = Spool(folder)
            stack.callback(SpoolWatch(spool, inbox).close)
            answered = spool.answer
        except (OSError, AutoscopeError) as error:
            console.print(f"[yellow]cannot be steered from outside:[/] {error}", highlight=False, soft_wrap=True)
        if door is not None:
            from autoscope.bus.helm_server import HelmServer

            server = HelmServer(folder, inbox, door.address, door.keys, answered=answered)
            stack.callback(server.close)
            console.print(f"can be steered at {server.address}", highlight=False)
        yield


def run_into(
    folder: Path,
    resolved: Resolved,
    inbox: QueueInbox,
    console: Console,
    *,
    quiet: bool,
    door: Door | None = None,
    attention: Path | None = None,
) -> RunEnd:
    """Run a configuration into a new folder and return how it ended."""
    signer = load_or_make()  # before any beam: a key that cannot be used is no reason to stop later
    job = assemble(resolved)
    text = yaml.safe_dump(resolved.plain(), sort_keys=False, allow_unicode=True)
    journal = Journal.create(folder, clock=job.clock, config=text, signer=signer)
    run_id = run_id_of(folder)
    progress = Silence() if quiet else LiveProgress(resolved.config, console)
    if attention is not None:
        start_watch(folder, attention)
    watched = MapsForWatchers(progress, job.policy, folder)
    with (
        stop_on_interrupt(inbox, who="terminal"),
        steered(folder, inbox, console, door),
        progress if isinstance(progress, LiveProgress) else nullcontext(),
    ):
        return Engine(job, journal, run_id=run_id, inbox=inbox, listener=watched).run()


def shortened(resolved: Resolved) -> Resolved:
    """Return a configuration cut to its first acts, to try it."""
    budget = resolved.config.budget
    steps = min(budget.steps or SMOKE_STEPS, SMOKE_STEPS)
    config = resolved.config.replace(budget=budget.replace(steps=steps))
    policy = resolved.policy
    if getattr(policy.options, "wait_s", None):  # for a person, and a trial has none
        policy = replace(policy, options=policy.options.replace(wait_s=SMOKE_PATIENCE_S))
    return Resolved(config, resolved.environment, policy, resolved.scalarizers)


def new_folder(runs: Path, name: str) -> Path:
    """Return a folder for a run that begins now, of a name that no other in ``runs`` has."""
    stamp = re.sub(r"[^0-9T]", "", SystemClock().wall()[:19])
    base = f"{stamp}Z-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
    taken = {p.name for p in runs.glob(f"{base}*")}
    return runs / next(n for n in (base, *(f"{base}-{k}" for k in range(2, 1000))) if n not in taken)


def run_id_of(folder: Path) -> str:
    """Return an id for the run of a new folder that no other run of any installation has."""
    return f"{folder.name}-{secrets.token_hex(4)}"


def tell_end(console: Console, end: RunEnd, folder: Path) -> None:
    """Print how a run ended."""
    colour = {RunStatus.COMPLETED: "green", RunStatus.STOPPED: "yellow", RunStatus.FAILED: "red"}[end.status]
    beam = "beam blanked" if end.safe else "[bold red]BEAM STATE UNKNOWN - check the instrument[/]"
    console.print(f"[bold {colour}]{end.status.value}[/]: ", end="")
    console.print(end.reason, markup=False, highlight=False)
    console.print(
        f"{end.steps} acts, {end.time_s / 3600:.2f} h instrument time, {end.dose_e:.3g} electrons, "
        f"{end.faults} faults, {beam}"
    )
    console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)


def write_report(folder: Path, form: Literal["html", "markdown", "pdf"] = "html") -> None:
    """Write a run's report and print its path."""
    from autoscope.report import write

    require_record(folder)
    Console().print(f"report:     {write(folder, form)}", highlight=False, soft_wrap=True)
