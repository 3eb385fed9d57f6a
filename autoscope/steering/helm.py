"""The seam between people and a run: commands go in, receipts come out."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Protocol

from autoscope.identity import Identity
from autoscope.interventions import Command, Order, Receipt
from autoscope.protocols import Clock

LASTS_S = 3600.0
"""An order that has not reached a step boundary by then is refused: nobody remembers why it was given."""


class Helm(Protocol):
    """Where a person steers a run from; the same in this process, from another, and from another computer."""

    def post(self, command: Command, *, why: str = "", seen_step: int = 0) -> Receipt:
        """Send a command and return its receipt: waiting for the step boundary, or refused already.

        Parameters
        ----------
        command : Command
            What is to be done.
        why : str
            For the record.
        seen_step : int
            The step the person saw when deciding.

        Raises
        ------
        AutoscopeError
            It did not reach the run, and why.
        """

    def receipts(self) -> tuple[Receipt, ...]:
        """Return what became of the orders of everybody, oldest first."""


class Writer:
    """Signs the orders of one person at one seat.

    Parameters
    ----------
    run_id : str
        The run they are for.
    who : str
        The person.
    identity : Identity
        Whose key signs.
    clock : Clock
        Of the wall, for when and until when.
    seat : str, optional
        Names the terminal; drawn by chance by default.
    """

    def __init__(self, run_id: str, who: str, identity: Identity, clock: Clock, *, seat: str = "") -> None:
        self.run_id, self.who, self.seat = run_id, who, seat or secrets.token_hex(8)
        self._identity, self._clock, self._seq = identity, clock, 0

    def write(self, command: Command, *, why: str = "", seen_step: int = 0, lasts_s: float = LASTS_S) -> Order:
        """Return a command as a signed order."""
        when, self._seq = self._clock.wall(), self._seq + 1
        expires = (datetime.fromisoformat(when) + timedelta(seconds=lasts_s)).isoformat(timespec="milliseconds")
        order = Order(
            id=secrets.token_hex(16),
            run_id=self.run_id,
            who=self.who,
            seat=self.seat,
            seq=self._seq,
            seen_step=seen_step,
            when=when,
            expires=expires,
            why=why,
            command=command,
            public_key=self._identity.public_key,
        )
        return order.replace(signature=self._identity.sign(order.message()).hex())
