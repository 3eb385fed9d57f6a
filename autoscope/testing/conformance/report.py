"""What a conformance check found, line by line, as people read it."""

from __future__ import annotations

from typing import Literal

from autoscope.records import Value

Status = Literal["passed", "failed", "not applicable"]

_MARKS = {"passed": "ok  ", "failed": "FAIL", "not applicable": "-   "}


class Check(Value):
    """One promise of the instrument protocol, and whether it was kept."""

    group: str
    """What the promise is about: description, settings, refusals, frames, axes, ..."""
    promise: str
    """The promise, as a sentence without its full stop."""
    status: Status
    detail: str = ""
    """What was seen, with numbers; for "not applicable", why."""
    remedy: str = ""
    """What to do about a failure."""

    def __str__(self) -> str:
        text = f"{_MARKS[self.status]}  {self.promise}"
        text += f": {self.detail}" if self.detail else ""
        return f"{text}\n      -> {self.remedy}" if self.remedy and self.status == "failed" else text


class Findings(Value):
    """All checks of one plug-in; ``str`` of it is for people."""

    checks: tuple[Check, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The promises that were not kept."""
        return tuple(check for check in self.checks if check.status == "failed")

    def count(self, status: Status) -> int:
        """Return how many checks ended so."""
        return sum(check.status == status for check in self.checks)

    @property
    def summary(self) -> str:
        """One line: how many checks ended how."""
        counts = ", ".join(f"{self.count(status)} {status}" for status in _MARKS)  # type: ignore[arg-type]
        return f"{self.subject}: {counts}"

    @property
    def subject(self) -> str:
        """What was checked."""
        return "plug-in"

    def __str__(self) -> str:
        lines: list[str] = []
        group = ""
        for check in self.checks:
            if check.group != group:
                group = check.group
                lines.append(group)
            lines += [f"  {line}" for line in str(check).splitlines()]
        return "\n".join([*lines, self.summary])


class Report(Findings):
    """All checks of one instrument.

    Examples
    --------
    >>> check = Check(group="state", promise="is finite", status="passed")
    >>> Report(instrument="a", serial="1", checks=(check,)).ok
    True
    """

    instrument: str
    serial: str
    simulated: bool = False
    gentle: bool = False

    @property
    def subject(self) -> str:
        """Instrument and serial number."""
        return f"{self.instrument} ({self.serial})"


class PolicyReport(Findings):
    """All checks of one policy.

    Examples
    --------
    >>> PolicyReport(policy="wander").summary
    'wander: 0 passed, 0 failed, 0 not applicable'
    """

    policy: str

    @property
    def subject(self) -> str:
        """The policy."""
        return self.policy
