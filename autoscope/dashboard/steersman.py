"""Brings what a person decides to the run, and back what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from autoscope.errors import AutoscopeError
from autoscope.steering.commands import Command, EmergencyStop, Receipt
from autoscope.steering.helm import Helm

AT_ONCE = "emergency stop from the dashboard"

BlankNow = Callable[[str], bool]
"""Blanks the beam past the run, given why; returns whether that was confirmed."""


@dataclass(frozen=True)
class Said:
    """Something to tell the person who steers."""

    text: str
    severity: Literal["information", "warning", "error"] = "information"


class Steersman:
    """Gives orders at a helm; remembers which are unanswered.

    Parameters
    ----------
    helm : Helm
        Of the run.
    blank_now : callable, optional
        Straight to the bus server, where the instrument is behind one.
    """

    def __init__(self, helm: Helm, blank_now: BlankNow | None = None) -> None:
        self._helm, self._blank_now, self._lock = helm, blank_now, threading.Lock()
        self._unanswered: set[str] = set()
        self.receipts: tuple[Receipt, ...] = ()
        """What became of everybody's orders, as it was last known."""

    def order(self, command: Command, why: str, seen_step: int) -> list[Said]:
        """Give an order; return what became of it by now. Never raises what autoscope raises on purpose."""
        said = self._blank(why) if isinstance(command, EmergencyStop) else []
        try:
            with self._lock:
                receipt = self._helm.post(command, why=why, seen_step=max(seen_step, 0))
        except AutoscopeError as error:
            return [*said, Said(str(error), "error")]
        if receipt.status == "waiting":
            self._unanswered.add(receipt.order)
        return [*said, told(receipt)]

    def news(self) -> list[Said]:
        """Return what became of orders that were unanswered."""
        if not self._unanswered:
            return []
        try:
            with self._lock:
                self.receipts = self._helm.receipts()
        except AutoscopeError as error:
            return [Said(f"receipts cannot be read: {error}", "warning")]
        answered = [r for r in self.receipts if r.order in self._unanswered and r.status != "waiting"]
        self._unanswered -= {r.order for r in answered}
        return [told(receipt) for receipt in answered]

    def _blank(self, why: str) -> list[Said]:
        if self._blank_now is None:
            return []
        try:
            blanked = self._blank_now(why or AT_ONCE)
        except AutoscopeError as error:
            return [Said(f"BEAM MAY BE ON: the bus server did not answer: {error}", "error")]
        return [Said("beam blanked by the bus server") if blanked else Said("BEAM MAY BE ON: not confirmed", "error")]


def told(receipt: Receipt) -> Said:
    """Return a receipt in words."""
    what = receipt.command.replace("_", " ")
    if receipt.status == "refused":
        return Said(f"{what} refused: {receipt.reason}", "warning")
    if receipt.status == "waiting":
        return Said(f"{what}: waits for the step boundary")
    reason = f": {receipt.reason}" if receipt.reason else ""
    return Said(f"{what} took effect before act {receipt.step}{reason}" if receipt.step is not None else f"{what} done")
