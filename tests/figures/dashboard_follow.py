"""What the dashboard takes of the computer: opening a long run, and following a fast one in a real terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoscope.clock import SystemClock
from tests.figures.dashboard_runs import CANDIDATES, long_run
from tests.figures.figure import Figure
from tests.terminal import Terminal

STEPS = 40_000
OPENED, FOLLOWED_S = 5, 20.0
RATE_HZ = 50.0
AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
ROOT = Path(__file__).resolve().parents[2]


def figures(slow: bool) -> Iterator[Figure]:
    """Yield what opening and following take."""
    with tempfile.TemporaryDirectory() as folder:
        run = long_run(Path(folder) / "long", STEPS)
        yield from _opening(run)
        yield from _following(run, 3 * FOLLOWED_S if slow else FOLLOWED_S)


def _opening(run: Path) -> Iterator[Figure]:
    took, spent, clock = list[float](), list[float](), SystemClock()
    for _ in range(OPENED):
        began = clock.now_s()
        with Terminal([AUTOSCOPE, "dashboard", str(run)]) as terminal:
            terminal.wait_for(f"act {STEPS}", "learning: plasmon", "decision 39999")
            took.append(clock.now_s() - began)
            spent.append(_used(terminal.process.pid)[0])
    how = (
        f"from the command to the whole overview (map of all sites, curves, last decision) of a run of {STEPS} steps "
        f"in a terminal of 120x40, imports included; median of {OPENED}, at most {max(took):.2f} s; load {_load()}"
    )
    yield Figure(
        "dashboard_opens", round(float(np.median(took)), 2), "s", "< 2", bool(np.median(took) < 2.0), OPENED, how
    )
    how = "processor time of the same, median"
    yield Figure("dashboard_opens_cpu", round(float(np.median(spent)), 2), "s", "", None, OPENED, how)


def _following(run: Path, seconds: float) -> Iterator[Figure]:
    clock = SystemClock()
    for key, screen in (("1", "overview"), ("2", "model")):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.figures.dashboard_writer", str(run), str(RATE_HZ)], cwd=ROOT,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            begun = clock.now_s()
            with Terminal([AUTOSCOPE, "dashboard", str(run)]) as terminal:
                terminal.wait_for("  running  act", "learning: plasmon")
                terminal.press(key)
                terminal.look(3.0)
                before, began = _used(terminal.process.pid)[0], clock.now_s()
                terminal.look(seconds)
                passed = clock.now_s() - began
                used, peak_mb = _used(terminal.process.pid)
        finally:
            writer.terminate()
            written = int((writer.communicate(timeout=30)[0] or "0").split()[-1])
            rate_hz = written / (clock.now_s() - begun)
        share, n = (used - before) / passed, round(passed * RATE_HZ)
        how = (
            f"{screen} in a terminal of 120x40 for {passed:.0f} s while another process writes {rate_hz:.0f} steps a "
            f"second ({written} in all) to a run of {STEPS} steps and {CANDIDATES} candidates, with maps of them "
            f"once a second; user and system time of the dashboard's process; load {_load()}"
        )
        yield Figure(
            f"dashboard_follows_{screen}",
            round(share, 3),
            "of one core",
            "< 0.15",
            share < 0.15 and rate_hz > 0.9 * RATE_HZ,
            n,
            how,
        )
        how = f"VmHWM of the same process, {screen}"
        yield Figure(f"dashboard_memory_{screen}", round(peak_mb, 1), "MB", "< 200", peak_mb < 200, n, how)


def _used(pid: int) -> tuple[float, float]:
    """Return processor time in seconds and the highest resident memory in MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return ticks / os.sysconf("SC_CLK_TCK"), peak_kb * 1024 / 1e6


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
