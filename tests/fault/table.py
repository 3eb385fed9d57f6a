"""``python -m tests.fault.table``: rehearse every fault of the bus and write docs/faults.md, what was worst of each."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

from autoscope.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "faults.md"
TESTS = ("tests/fault/test_bus_faults.py", "tests/fault/test_bus_processes.py", "tests/unit/bus/test_at_most_once.py",
         "tests/fault/test_bus_network.py", "tests/fault/test_live_frames.py")  # fmt: skip
COUNTED = {
    "tests/unit/bus/test_golden_messages.py": ("F15", "malformed messages taken for good ones"),
    "tests/property/test_bus_array_laws.py": ("F15", "laws of arrays that did not hold"),
    "tests/fault/test_key_matrix.py": ("F16", "strangers let in, or friends kept out"),
}
"""Tests that pass or fail as a whole: what a failure would count."""
MEANING = {
    "F1": "the agent is killed", "F2": "the agent is frozen", "F3": "server or watchdog is killed or frozen",
    "F4": "the driver hangs", "F5": "the network is cut or bad", "F6": "a request comes twice",
    "F7": "a request or reply is lost", "F8": "a reply comes late", "F9": "requests come out of order",
    "F10": "the wall clock jumps", "F15": "a message lies about itself", "F16": "a stranger knocks",
    "F17": "recorded messages are replayed", "F19": "a command leaves the limits", "F20": "a person stops it",
    "F21": "two want the instrument", "I5": "the lease lapses",
}  # fmt: skip


class Count:
    """Counts passed and failed tests of the files that are counted as a whole."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a test."""
        if report.when == "call":
            (self.passed if report.passed else self.failed)[report.nodeid.split("::")[0]] += 1


def main() -> int:
    """Run the tests, write the table, return pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "seen.jsonl"
        os.environ["AUTOSCOPE_FAULTS"] = str(seen)
        count = Count()
        status = pytest.main(["-q", "-m", "slow or not slow", "-p", "no:randomly", *TESTS, *COUNTED], plugins=[count])
        rows = _rows(seen, count)
    TARGET.write_text(_page(rows), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(rows)} rows")
    return int(status)


def _rows(seen: Path, count: Count) -> list[tuple[str, str, int, str]]:
    worst: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    times: dict[tuple[str, str, str], int] = defaultdict(int)
    for line in seen.read_text().splitlines():
        entry = json.loads(line)
        key = (entry["fault"], entry["what"], entry["unit"])
        worst[key].append(entry["worst"])
        times[key] += entry["times"]
    rows = [(key[0], key[1], times[key], f"{max(values):.3g} {key[2]}") for key, values in worst.items()]
    for file, (fault, what) in COUNTED.items():
        if total := count.passed[file] + count.failed[file]:
            rows.append((fault, what, total, str(count.failed[file])))
    return sorted(rows, key=lambda row: (int(row[0].split(",")[0][1:]), row))


def _page(rows: list[tuple[str, str, int, str]]) -> str:
    head = f"""# Faults, rehearsed

Written by `make faults` on {SystemClock().wall()[:10]}: what was done on purpose, how often, and the worst seen.
Leases lasted 2 s and silence counted after 0.5 s where real processes were used.

| fault | what was looked at | times | worst |
|---|---|---|---|
"""
    lines = (f"| {fault}: {_meaning(fault)} | {what} | {times} | {worst} |" for fault, what, times, worst in rows)
    return head + "\n".join(lines) + "\n"


def _meaning(fault: str) -> str:
    return "; ".join(MEANING.get(name.strip(), "") for name in fault.split(","))


if __name__ == "__main__":
    sys.exit(main())
