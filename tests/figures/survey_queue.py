"""Whole nights through the queue, in real processes: three samples, one that will not load, twenty faults, a kill."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoscope.clock import SystemClock
from autoscope.journal import JournalReader, verify
from autoscope.quantities import parse
from tests.figures.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
CATALYST = ROOT / "configs" / "carousel_catalyst.yaml"
SPECIMEN = "{kind: catalyst, extent: [24 um, 24 um], low_loss: null}"
SEEDS, QUICK_SEEDS = range(10), range(1)
HOURS = {0: 4.0, 1: 4.0, 2: 3.9}
"""Instrument time of the experiment on each slot; with loading the night is 12 h."""
FAULTS = {0: 7, 1: 6, 2: 5}
"""Drawn faults during each; with a sample that will not load and a killed process there are twenty."""
JAMMED = 3
KILLED_AFTER = 300
"""Records of the second run when the process is killed."""
HELD = (
    "engine.suspenders={conditions: [{reads: beam_current, below: 20 pA}, {reads: vacuum, above: 1 mPa}], "
    "poll: 10 s, settle: 30 s, longest: 2 h}"
)
CLOCK = SystemClock()
PROGRAM = [sys.executable, "-c", "from autoscope.cli import main; main()", "queue"]


@dataclass(frozen=True)
class NightSeen:
    """What became of a night."""

    ended: bool
    in_budget: bool
    nothing_lost: bool
    faults_met: int
    measured: int
    hours: float
    trouble: str


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the share of nights that end by themselves, in budget, with nothing lost: ten with ``slow``, else one."""
    seeds = SEEDS if slow else QUICK_SEEDS
    nights = [night(seed) for seed in seeds]
    good = [n.ended and n.in_budget and n.nothing_lost for n in nights]
    trouble = "; ".join(f"seed {s}: {n.trouble}" for s, n in zip(seeds, nights, strict=True) if n.trouble)
    how = (
        f"three samples and one that jams, {sum(FAULTS.values())} drawn faults (beam loss, vacuum, drift jumps of "
        "3 um, dim and saturated frames, driver hangs), the process killed with SIGKILL once: "
        f"{sum(n.ended for n in nights)} ended by themselves, {sum(n.in_budget for n in nights)} in budget, "
        f"{sum(n.nothing_lost for n in nights)} with every run verified and no act without outcome; acts in vain or "
        "suspensions per night "
        f"{sorted(n.faults_met for n in nights)}, spectra {sorted(n.measured for n in nights)}, hours "
        f"{[round(n.hours, 2) for n in nights]}. {trouble}"
    )
    yield Figure("nights_survived", sum(good) / len(good), "", "1", all(good), len(good), how)


def night(seed: int) -> NightSeen:
    """Run a night and judge it by its records alone."""
    with tempfile.TemporaryDirectory(prefix="night-") as place:
        folder = Path(place)
        queue = ["--queue", str(folder / "queue.sqlite")]
        for slot in (0, JAMMED, 1, 2):
            _call("add", str(CATALYST), "--slot", str(slot), *_settings(slot, seed), *queue)
        _killed_once(folder, queue)
        done = subprocess.run(
            [*PROGRAM, "run", "--quiet", "--no-report", "--runs", str(folder), *queue],
            capture_output=True, text=True, cwd=folder,
        )  # fmt: skip
        entries = json.loads(_call("list", "--json", *queue))["experiments"]
        return _judged(entries, folder, done.returncode)


def _settings(slot: int, seed: int) -> list[str]:
    options = "environment.options.microscope"
    settings = [
        f"seed={1000 + 10 * seed + slot}",
        f"{options}.specimens=[{', '.join([SPECIMEN] * (JAMMED + 1))}]",
        f"{options}.carousel.will_not_load=[{JAMMED}]",
        "policy.options.area={x: [-11 um, 11 um], y: [-11 um, 11 um]}",
        "limits={x: [-12 um, 12 um], y: [-12 um, 12 um], max_dwell: 20 s}",
        f"budget.time={HOURS.get(slot, 1.0)} h",
        HELD,
    ]
    settings.append(f"{options}.faults.base_pressure=2e-5 Pa")  # or what a jammed slot would fail for is another thing
    if slot in FAULTS:
        within = f"within: {0.9 * HOURS[slot]} h"
        settings.append(f"{options}.faults.random={{count: {FAULTS[slot]}, {within}}}")
    return [part for setting in settings for part in ("--set", setting)]


def _call(*words: str) -> str:
    done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"queue {' '.join(words[:2])}: {done.stderr or done.stdout}")
    return done.stdout


def _killed_once(folder: Path, queue: list[str]) -> None:
    """Start the night and kill its process in the midst of the first run."""
    words = [*PROGRAM, "run", "--quiet", "--no-report", "--runs", str(folder), *queue]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as process:
        while process.poll() is None and _records(folder) < KILLED_AFTER:
            CLOCK.wait(0.2)
        process.send_signal(signal.SIGKILL)


def _records(folder: Path) -> int:
    for path in folder.glob("*/journal.sqlite"):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as journal:
                return int(journal.execute("SELECT count(*) FROM records").fetchone()[0])
        except sqlite3.Error:
            return 0
    return 0


def _judged(entries: list[dict[str, object]], folder: Path, code: int) -> NightSeen:
    trouble, hours, met, measured = [], 0.0, 0, 0
    in_budget = nothing_lost = True
    for path in sorted(folder.glob("*/journal.sqlite")):
        reader = JournalReader.open(path.parent)
        begun, over = {}, {}
        budget: dict[str, object] = {}
        spent = {"time_s": 0.0, "dose_e": 0.0}
        for record in reader.records():
            if record.kind == "run_started":
                budget = dict(record.body["config"].get("budget") or {})
            elif record.kind == "intent":
                begun[record.body["act_id"]] = record.body["decision"]["action"]["kind"]
            elif record.kind == "outcome":
                over[record.body["act_id"]] = record.body["status"]
                measured += record.body["status"] == "done" and begun[record.body["act_id"]] == "measure"
                met += record.body["status"] not in ("done",)
            elif record.kind == "note" and record.body.get("event") == "suspended":
                met += 1
            elif record.kind == "run_ended":
                spent = {name: float(record.body[name]) for name in spent}
        hours += spent["time_s"] / 3600
        in_budget &= _within(spent["time_s"], budget.get("time"), "s") and _within(
            spent["dose_e"], budget.get("dose"), "e"
        )
        whole = verify(path.parent).ok and set(begun) == set(over)
        nothing_lost &= whole
        if not whole:
            trouble.append(f"{path.parent.name} does not verify or has open acts")
    states = [str(entry["status"]) for entry in entries]
    ended = states.count("done") == 3 and len(states) == 4 and "waiting" not in states and "running" not in states
    if not ended:
        trouble.append(f"states {states}, exit {code}: {[entry.get('reason') for entry in entries]}")
    return NightSeen(ended, in_budget, nothing_lost, met, measured, hours, "; ".join(trouble))


def _within(spent: float, limit: object, unit: str) -> bool:
    """Return whether an amount is within a budget written with its unit; the last act may not pass it either."""
    return limit is None or spent <= parse(str(limit), unit) * (1.0 + 1e-9)
