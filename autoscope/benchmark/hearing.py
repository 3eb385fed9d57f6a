"""The second hearing: a policy decides again from the record alone, in a process where there is no instrument.

A policy may learn through ``tell`` and from nothing else. One that reached for the living environment, its truth or a
cache of its data decided by what is not in the record, and decides otherwise where none of that exists. One that reads
the data by itself is seen doing so: an audit hook (PEP 578) notes every file that is opened while the policy decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from autoscope.benchmark.campaign import resolved_of
from autoscope.benchmark.grid import Cell, files_of
from autoscope.chance import stream
from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import replay
from autoscope.errors import AutoscopeError, PluginError
from autoscope.journal import Journal, JournalReader
from autoscope.protocols import JsonValue, Policy
from autoscope.records import Decision, Finish, Result, View
from autoscope.surrogates.threads import one_thread

TOLERANCE = 1e-6
"""Relative difference of numbers that another process may make of the same arithmetic; actions must be the same."""
LONGEST_S = 600.0
ACTS = 40
"""A hearing need not be long: who peeks does so early."""


@dataclass(frozen=True)
class Hearing:
    """What a policy decided again, on one environment."""

    policy: str
    environment: str
    decisions: int
    same: int
    """Decisions with the same action."""
    first: str = ""
    """The first that differs, for people."""
    opened: tuple[str, ...] = ()
    """Files with the environment's data that it opened while deciding."""

    @property
    def caught(self) -> bool:
        """Whether it decided by something that is not in the record."""
        return self.same < self.decisions or bool(self.opened)


def hear(cells: Iterable[Cell]) -> Iterator[Hearing]:
    """Yield a hearing of each cell: a short campaign with its record on disk, and all its decisions made again.

    Raises
    ------
    AutoscopeError
        A campaign cannot begin, or its record cannot be read by the other process.
    """
    for cell in cells:
        with tempfile.TemporaryDirectory(prefix="hearing-") as name:
            folder = Path(name) / "run"
            _record(cell, folder)
            told = _elsewhere(folder, files_of(resolved_of(cell)))
        yield Hearing(cell.policy, cell.environment, **(told | {"opened": tuple(told["opened"])}))


def write_hearings(folder: Path, hearings: Iterable[Hearing]) -> Path:
    """Write hearings beside the results of a benchmark and return the file."""
    path = folder / "hearings.json"
    path.write_text(json.dumps([asdict(hearing) for hearing in hearings], indent=2), encoding="utf-8")
    return path


def _record(cell: Cell, folder: Path) -> None:
    resolved = resolved_of(cell)
    steps = min(resolved.config.budget.steps or ACTS, ACTS)
    config = resolved.config.replace(budget=resolved.config.budget.replace(steps=steps))
    resolved = replace(resolved, config=config)
    job = assemble(resolved)
    journal = Journal.create(folder, clock=job.clock, config=yaml.safe_dump(resolved.plain(), sort_keys=False))
    with one_thread():
        Engine(job, journal).run()


def _elsewhere(folder: Path, data: list[Path]) -> dict[str, Any]:
    command = [sys.executable, "-m", "autoscope.benchmark.hearing", str(folder), *(str(p.resolve()) for p in data)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S)
    if done.returncode:
        raise PluginError("the second hearing broke down", where=str(folder), value=done.stderr[-1000:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


class Overseen:
    """A policy of which is noted what it opens while it decides or learns.

    Parameters
    ----------
    policy : Policy
    data : collection of str
        Absolute paths of the files it has no business with.
    """

    def __init__(self, policy: Policy, data: Collection[str]) -> None:
        self._policy, self._data, self._busy = policy, frozenset(data), False
        self.opened: dict[str, None] = {}
        sys.addaudithook(self._note)

    def ask(self, view: View) -> Decision | Finish:
        """Pass a question on."""
        with self._watching():
            return self._policy.ask(view)

    def tell(self, decision: Decision, result: Result) -> None:
        """Pass an outcome on."""
        with self._watching():
            self._policy.tell(decision, result)

    def state(self) -> dict[str, JsonValue]:
        """Return the policy's state."""
        return self._policy.state()

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Pass a state on."""
        self._policy.restore(state)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self._busy and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path in self._data:
                self.opened[path] = None


def decide_again(folder: Path, data: Collection[str] = ()) -> dict[str, Any]:
    """Return how many decisions a record holds, how many come out the same again, and what was opened meanwhile."""
    reader = JournalReader.open(folder)
    history = read_history(reader)
    resolved = resolve(Document.of(history.config, f"{folder}: recorded configuration"))
    policy = Overseen(resolved.policy.plugin(resolved.policy.options, rng=stream(resolved.config.seed, "policy")), data)
    with one_thread():
        found = replay(history, policy, Stored(reader), tolerance=TOLERANCE)
    first = str(found.divergences[0]).splitlines()[0] if found.divergences else ""
    told = {"decisions": found.decisions, "same": found.same_action, "first": first}
    return told | {"opened": list(policy.opened)}


if __name__ == "__main__":
    try:
        answer = decide_again(Path(sys.argv[1]), sys.argv[2:])
    except AutoscopeError as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(json.dumps(answer) + "\n")
