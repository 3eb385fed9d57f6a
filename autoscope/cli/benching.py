"""The work of ``autoscope bench``: progress, interrupts, and what is told at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from autoscope.benchmark.arena import Arena, Silent, Tally
from autoscope.benchmark.board.page import write_board
from autoscope.benchmark.config import BenchConfig
from autoscope.benchmark.farm import Farm, opened
from autoscope.benchmark.grid import Cell, Grid, derived_seed
from autoscope.benchmark.hearing import hear, write_hearings
from autoscope.config import Document
from autoscope.errors import ConfigError

INTERRUPTED = 130
SMOKE_SEEDS, SMOKE_MEASUREMENTS = 2, 12
SHOWN_FAILURES = 10


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for besides the configuration."""

    workers: int | None
    scheduler: str
    seeds: int | None
    runs: Path
    only: Mapping[str, tuple[str, ...]]
    """Labels under ``policies`` and ``environments`` of the file; none means all."""
    again: bool
    smoke: bool
    quiet: bool


class Bar(AbstractContextManager["Bar"]):
    """Shows how many cells are finished, and which was last."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[last]}"), console=console)
        self._task = self._progress.add_task("campaigns", total=0, last="")
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, cells: int, kept: int) -> None:
        """Add the cells of a batch."""
        self._total += cells
        self._progress.update(self._task, total=self._total, advance=kept, last=f"{kept} kept" if kept else "")

    def finished(self, cell: Cell, error: str) -> None:
        """Count a cell."""
        last = f"{cell.policy} on {cell.environment}, seed {cell.repetition}"
        self._progress.update(self._task, advance=1, last=f"FAILED {last}" if error else last)


def run_benchmark(path: Path, overrides: list[str], wishes: Wishes) -> int:
    """Run a benchmark file; return the exit status."""
    console = Console()
    grid = Grid(_document(path, overrides, wishes))
    folder = wishes.runs / (f"{grid.config.name}-smoke" if wishes.smoke else grid.config.name)
    arena = Arena(grid, folder)
    if wishes.again:
        console.print(f"{arena.forget_failed()} failed campaigns are computed again", highlight=False)
    workers = 0 if wishes.smoke and wishes.workers is None else wishes.workers
    try:
        with opened(grid.config.cluster, workers=workers, scheduler=wishes.scheduler) as farm:
            tally = _computed(arena, farm, console, quiet=wishes.quiet)
    except KeyboardInterrupt:
        console.print(f"interrupted: what was finished is kept in {folder}; the same command goes on", soft_wrap=True)
        return INTERRUPTED
    _tell(console, tally, folder)
    return 1 if tally.failures else 0


def _document(path: Path, overrides: list[str], wishes: Wishes) -> Document:
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    if wishes.seeds is not None:
        document.override(f"seeds.count={wishes.seeds}")
    for section, labels in wishes.only.items():
        _keep(document, section, labels)
    if wishes.smoke:
        document.override(f"seeds.count={SMOKE_SEEDS}")
        document.data["budgets"] = [{"measurements": SMOKE_MEASUREMENTS}]
    return document


def _keep(document: Document, section: str, labels: tuple[str, ...]) -> None:
    """Leave out what is not wanted of a section of the file.

    Raises
    ------
    ConfigError
        A label is not in the file.
    """
    if not labels:
        return
    given = document.data.get(section) or {}
    for label in labels:
        if label not in given:
            raise ConfigError(f"no such label under {section}", value=label, limit=", ".join(given))
    document.data[section] = {label: given[label] for label in given if label in labels}
    seeds = document.data.get("seeds") or {}
    if section == "policies" and "of" in seeds:
        seeds["of"] = {label: count for label, count in seeds["of"].items() if label in labels}


def _computed(arena: Arena, farm: Farm, console: Console, *, quiet: bool) -> Tally:
    if quiet:
        return arena.run(farm, progress=Silent())
    with Bar(console) as bar:
        return arena.run(farm, progress=bar)


def _tell(console: Console, tally: Tally, folder: Path) -> None:
    """Print what was done, and every failure once with how often it happened."""
    if tally.decided_after is not None:
        console.print(f"[green]decided[/] after {tally.decided_after} seeds: no more were needed")
    colour = "yellow" if tally.failures else "green"
    console.print(
        f"[bold {colour}]{tally.computed} campaigns computed[/], {tally.kept} kept from before, "
        f"{len(tally.failures)} not computed",
        highlight=False,
    )
    reasons = Counter(f"{cell.policy} on {cell.environment}: {error}" for cell, error in tally.failures)
    for reason, count in reasons.most_common(SHOWN_FAILURES):
        console.print(f"{count} x {reason}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"results: {folder / 'results.parquet'}", highlight=False, soft_wrap=True)
    if tally.cells:
        board = write_board(folder)[0]
        console.print(f"leaderboard: {board}", highlight=False, soft_wrap=True)


def print_seeds(path: Path) -> None:
    """Print environment, repetition and seed of the campaigns of a benchmark file, one a line."""
    config = Document.read(path).validate(BenchConfig)
    for environment in config.environments:
        for repetition in range(config.seeds.first, config.seeds.first + config.seeds.count):
            typer.echo(f"{environment}\t{repetition}\t{derived_seed(config.seed, environment, repetition)}")


def audit_benchmark(path: Path, overrides: list[str], runs: Path) -> int:
    """Give every policy of a benchmark its second hearing; return the exit status."""
    console = Console()
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    grid = Grid(document)
    firsts = {(c.policy, c.environment): c for c in grid.cells([grid.config.seeds.first]) if not c.control}
    hearings = []
    for hearing in hear(firsts.values()):
        hearings.append(hearing)
        verdict = "[bold red]CAUGHT[/]" if hearing.caught else "[green]honest[/]"
        console.print(f"{verdict}  {hearing.policy} on {hearing.environment}: ", end="")
        console.print(f"{hearing.same} of {hearing.decisions} decisions made again", highlight=False)
        for told in filter(None, (hearing.first, *(f"opened {name} while deciding" for name in hearing.opened))):
            console.print(f"        {told}", markup=False, highlight=False, soft_wrap=True)
    folder = runs / grid.config.name
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"written: {write_hearings(folder, hearings)}", highlight=False, soft_wrap=True)
    return 1 if any(hearing.caught for hearing in hearings) else 0
