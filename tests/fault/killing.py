"""Runs that are killed with SIGKILL at a chosen call of the disk or the instrument, and resumed by the program itself.

A child process runs the program's own code; only the disk and the environment's methods count their calls and kill it.
"""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoscope.cli import resuming, running
from autoscope.errors import JournalError
from autoscope.journal import Journal, JournalReader, LocalDisk, verify, writer
from autoscope.provenance import provenance
from autoscope.testing.disk import FaultyDisk

COUNTED = ("reset", "describe", "read_state", "step", "make_safe", "close")
RUN_ID = "run"


class Doom:
    """Counts calls and kills processes, by default this one, at one of them: just before it, or when it was done."""

    def __init__(self, at: int, *, done_first: bool, victims: tuple[int, ...] = ()) -> None:
        self.at, self.done_first, self.victims, self.calls = at, done_first, victims, []

    def strike(self) -> None:
        for victim in self.victims or (os.getpid(),):
            os.kill(victim or os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self.calls.append(name)
            due = len(self.calls) == self.at
            if due and not self.done_first:
                self.strike()
            result = call(*given, **named)
            if due and self.done_first:
                self.strike()
            return result

        return counted


class DoomedDisk(FaultyDisk):
    """A disk whose calls are counted together with those of the instrument; a killed write leaves half its bytes."""

    def __init__(self, doom: Doom) -> None:
        super().__init__()
        self._doom = doom

    def _act(self, name, work, half=None, *, sql=False):
        if half and len(self._doom.calls) + 1 == self._doom.at and not self._doom.done_first:
            half()
        self._doom.around(name, work)()


def _doomed_assemble(doom: Doom, assemble: Callable[..., Any]) -> Callable[..., Any]:
    def assembled(*given: Any) -> Any:
        job = assemble(*given)
        for name in COUNTED:
            setattr(job.environment, name, doom.around(f"environment.{name}", getattr(job.environment, name)))
        return job

    return assembled


def in_child(work: Callable[[], None]) -> int:
    """Do something in a forked process and return the number of the signal that killed it, 0 if none did."""
    child = os.fork()
    if child == 0:  # pragma: no cover - the process under test
        status = 1
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "the child failed, see its output"
    return 0


def warm(config: Path, *, reset: bool = True) -> None:
    """Load what a run of a configuration needs, so that no child has to."""
    import torch  # noqa: F401

    job = resuming.assemble(running.read_config(config, []))
    if reset:
        job.environment.reset(seed=job.config.seed, options={"bare": True})
    provenance(job.plugins())


def run(config: Path, folder: Path, doom: Doom | None = None, run_id: str = "") -> None:
    """Run a configuration into a folder, in this process."""
    _patch(doom, run_id)
    running.new_folder = lambda runs, name: folder
    running.run_config(config, [], folder.parent, smoke=False, quiet=True, with_report=False)


def run_on(config: Path, folder: Path, disk: LocalDisk) -> None:
    """Run a configuration into a folder on a disk that may fail, in this process."""
    _patch(None)
    writer.LocalDisk = lambda: disk
    running.new_folder = lambda runs, name: folder
    with suppress(JournalError):
        running.run_config(config, [], folder.parent, smoke=False, quiet=True, with_report=False)


def resume(folder: Path, doom: Doom | None = None, run_id: str = "") -> None:
    """Resume a run, in this process; the id counts where it must begin anew."""
    _patch(doom, run_id)
    resuming.resume_run(folder, [], quiet=True, with_report=False)


def _patch(doom: Doom | None, run_id: str = "") -> None:
    """Only ever called in a forked child."""
    for module in (running, resuming):
        module.run_id_of = lambda folder: run_id or RUN_ID
    writer.LocalDisk = LocalDisk if doom is None else lambda: DoomedDisk(doom)
    if doom is not None:
        for module in (running, resuming):
            module.assemble = _doomed_assemble(doom, module.assemble)


def calls_of(work: Callable[[Doom], None], note: Path) -> list[str]:
    """Return the names of the calls that something makes when nothing kills it."""

    def counting() -> None:
        doom = Doom(0, done_first=False)
        work(doom)
        note.write_text("\n".join(doom.calls))

    assert in_child(counting) == 0
    return note.read_text().split()


def history(folder: Path) -> list[tuple[Any, ...]]:
    """Return what a run did and decided: its records, less real times, and what tells of interruptions.

    Checkpoints are left out too: one is not made again where the process was killed before its note.
    """
    kept = []
    for record in JournalReader.open(folder).records():
        if record.kind == "run_resumed" or record.body.get("event") == "checkpoint":
            continue
        body = {k: v for k, v in record.body.items() if k != "latency_s"}
        kept.append((record.kind, record.step, record.time_s, body))
    return kept


SMALL = """
name: small
seed: 1
environment:
  name: simulated
  options:
    microscope: {specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]}
policy:
  name: POLICY
  options:
    {target: plasmon, overview: {fov: 200 nm, width_px: 24, height_px: 24}, signals: [EELS], points: 7MORE}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
engine: {lookahead: AHEAD, checkpoint_every: EVERY}
"""


def text(policy="random", ahead=0, more="", every=500):
    changed = {"POLICY": policy, "AHEAD": str(ahead), "MORE": more, "EVERY": str(every)}
    config = SMALL
    for name, value in changed.items():
        config = config.replace(name, value)
    return config


CASES = {
    "random": text(),
    "random ahead": text(ahead=1),
    "gp": text("gp", more=", initial: 2, refit_every: 2"),
    "gp ahead": text("gp", 1, ", initial: 2, refit_every: 2"),
    "gp ahead, checkpoints": text("gp", 1, ", initial: 2, refit_every: 2", every=3),
}


def is_over(folder):
    """Return whether a run has its last record."""
    return (folder / "journal.sqlite").is_file() and not Journal.is_blank(folder) and verify(folder).ended


class Laboratory:
    """One run that nobody disturbs, and any number of the same that are killed."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, folder / "small.yaml"
        self.config.write_text(config)
        warm(self.config)
        self.calls = calls_of(lambda doom: run(self.config, folder / "whole", doom), folder / "calls")
        self.whole = history(folder / "whole")

    def killed(self, at, done_first):
        folder = self.folder / f"killed{at}{done_first}"
        shutil.rmtree(folder, ignore_errors=True)  # another test was here
        doom = Doom(at, done_first=done_first)
        assert in_child(lambda: run(self.config, folder, doom)) == signal.SIGKILL, self.calls[at - 1]
        return folder

    def resumed(self, run, doom=None):
        return in_child(lambda: resume(run, doom))

    def begun(self, folder):
        return in_child(lambda: run(self.config, folder))

    def survives(self, at, done_first):
        run, where = self.killed(at, done_first), (at, self.calls[at - 1], done_first)
        if is_over(run):
            return "over"
        if not (run / "config.yaml").is_file():
            assert self.begun(run) == 0, where  # nothing was begun: it begins now
            self.check(run, where)
            return "begun"
        assert self.resumed(run) == 0, where
        self.check(run, where)
        return "resumed"

    def check(self, run, where):
        assert history(run) == self.whole, where
        verdict = verify(run)
        assert verdict.ok, (where, verdict.summary)
        assert (verdict.orphans, verdict.open_steps, verdict.ended) == ((), 0, True), where
