"""``python -m tests.fault.table``: rehearse every fault of the bus and write docs/faults.md, what was worst of each."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from autoscope.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "faults.md"
TESTS = ("tests/fault/test_bus_faults.py", "tests/fault/test_bus_processes.py", "tests/unit/bus/test_at_most_once.py",
         "tests/fault/test_bus_network.py", "tests/fault/test_live_frames.py",
         "tests/system/test_bus_command_line.py")  # fmt: skip
JOURNAL = "tests/fault/test_damaged_journal.py"
COUNTED = {
    "tests/unit/bus/test_golden_messages.py": ("F15", "malformed messages taken for good ones"),
    "tests/property/test_bus_array_laws.py": ("F15", "laws of arrays that did not hold"),
    "tests/fault/test_key_matrix.py": ("F16, I12", "strangers let in, or friends kept out"),
    "tests/unit/bus/test_streaming.py::test_a_sender_that_lies_is_found_out": ("F15, F18", "lies of a sender believed"),
    f"{JOURNAL}::test_bit_flipped_anywhere_in_the_log_is_seen": ("F18", "altered logs of a journal taken for whole"),
    f"{JOURNAL}::test_record_altered_in_the_middle": ("F18", "altered records of a journal taken for whole"),
    "tests/unit/bus/test_sealing.py": ("F18, F19, I3", "altered limits or seals that were served"),
}
"""Tests that pass or fail as a whole, by the beginning of their names: what a failure would count."""
MEANING = {
    "F1": "the agent is killed", "F2": "the agent is frozen", "F3": "server or watchdog is killed or frozen",
    "F4": "the driver hangs", "F5": "the network is cut or bad", "F6": "a request comes twice",
    "F7": "a request or reply is lost", "F8": "a reply comes late", "F9": "requests come out of order",
    "F10": "the wall clock jumps", "F15": "a message lies about itself", "F16": "a stranger knocks",
    "F17": "recorded messages are replayed", "F18": "bytes are tampered with",
    "F19": "a command leaves the limits", "F20": "a person stops it",
    "F21": "two want the instrument",
}  # fmt: skip
INVARIANTS = {
    "I1": "each act at most once",
    "I2": "nothing without a durable intent before it",
    "I3": "no state outside the limits",
    "I4": "the dose within its budget, whoever crashes",
    "I5": "without a live lease the beam is on for the lease + 0.1 s at most",
    "I6": "blanked after any end",
    "I12": "nothing accepted from an unknown key",
}


class Count:
    """Counts passed and failed tests of the files that are counted as a whole."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a test."""
        if report.when == "call":
            (self.passed if report.passed else self.failed)[report.nodeid] += 1

    def of(self, tests: str) -> tuple[int, int]:
        """Return how many tests whose names begin so passed, and how many failed."""
        passed, failed = (
            sum(count for name, count in counts.items() if name.startswith(tests))
            for counts in (self.passed, self.failed)
        )
        return passed, failed


def main() -> int:
    """Run the tests, write the table, return pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "seen.jsonl"
        os.environ["AUTOSCOPE_FAULTS"] = str(seen)
        count = Count()
        tests = [*TESTS, *dict.fromkeys(name.split("::")[0] for name in COUNTED)]
        status = pytest.main(["-q", "-m", "slow or not slow", "-p", "no:randomly", *tests], plugins=[count])
        rows = _rows(seen, count)
    failed = sorted(count.failed)
    TARGET.write_text(_page(rows, sum(count.passed.values()), failed), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(rows)} rows, {len(failed)} tests failed")
    return int(status)


class Row(NamedTuple):
    """What was seen of some faults, and of which invariants it speaks."""

    codes: tuple[str, ...]
    what: str
    times: int
    worst: float
    unit: str

    def of(self, letter: str) -> list[str]:
        """Return its faults (F) or invariants (I)."""
        return [code for code in self.codes if code.startswith(letter)]

    def measured(self) -> str:
        """Return the worst with its unit."""
        return f"{self.worst:.3g} {self.unit}".strip()


def _rows(seen: Path, count: Count) -> list[Row]:
    worst: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    times: dict[tuple[str, str, str], int] = defaultdict(int)
    for line in seen.read_text().splitlines():
        entry = json.loads(line)
        key = (entry["fault"], entry["what"], entry["unit"])
        worst[key].append(entry["worst"])
        times[key] += entry["times"]
    rows = [Row(_codes(key[0]), key[1], times[key], max(values), key[2]) for key, values in worst.items()]
    for tests, (codes, what) in COUNTED.items():
        passed, failed = count.of(tests)
        rows.append(Row(_codes(codes), what, passed + failed, failed, ""))
    return sorted(rows, key=lambda row: (int(row.codes[0][1:]), row))


def _codes(text: str) -> tuple[str, ...]:
    return tuple(code.strip() for code in text.split(","))


def _page(rows: list[Row], passed: int, failed: list[str]) -> str:
    told = f"{passed} tests passed; " + (f"FAILED: {', '.join(failed)}." if failed else "none failed.")
    held = (_invariant(code, [row for row in rows if code in row.codes]) for code in INVARIANTS)
    today = SystemClock().wall()[:10]
    lines = [
        "# Faults, rehearsed",
        "",
        f"Written by `make faults` on {today}: what was done on purpose, how often, and the worst seen.",
        f"Leases lasted 2 s and silence counted after 0.5 s where real processes were used. {told}",
        "",
        "| fault | what was looked at | times | worst |",
        "|---|---|---|---|",
        *(f"| {_named(row.of('F'), MEANING)} | {row.what} | {row.times} | {row.measured()} |"
          for row in rows if row.of("F")),
        "",
        "## Invariants",
        "",
        "| invariant | looked at under | times | worst of each |",
        "|---|---|---|---|",
        *held,
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _named(codes: list[str], meaning: dict[str, str]) -> str:
    return f"{', '.join(codes)}: {'; '.join(meaning[code] for code in codes)}"


def _invariant(code: str, rows: list[Row]) -> str:
    faults = sorted({fault for row in rows for fault in row.of("F")}, key=lambda fault: int(fault[1:]))
    worst = "; ".join(dict.fromkeys(f"{row.what}: {row.measured()}" for row in rows))
    return f"| {code}: {INVARIANTS[code]} | {', '.join(faults) or '-'} | {sum(row.times for row in rows)} | {worst} |"


if __name__ == "__main__":
    sys.exit(main())
