"""The seam between people and a run: commands go in, receipts come out."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from autoscope.clock import SystemClock
from autoscope.engine.steering import QueueInbox
from autoscope.errors import OrderRefused
from autoscope.identity import Identity, load_or_make
from autoscope.interventions import Command, Order, Receipt
from autoscope.journal import JournalReader
from autoscope.protocols import Clock
from autoscope.steering.spool import Spool, await_receipt, waiting

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
    new_id : callable, optional
        Returns 32 hexadecimal digits that no order had before; drawn by chance by default.
    """

    def __init__(
        self,
        run_id: str,
        who: str,
        identity: Identity,
        clock: Clock,
        *,
        seat: str = "",
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.run_id, self.who, self.seat = run_id, who, seat or secrets.token_hex(8)
        self._identity, self._clock, self._new_id, self._seq = identity, clock, new_id, 0

    def write(self, command: Command, *, why: str = "", seen_step: int = 0, lasts_s: float = LASTS_S) -> Order:
        """Return a command as a signed order."""
        when, self._seq = self._clock.wall(), self._seq + 1
        expires = (datetime.fromisoformat(when) + timedelta(seconds=lasts_s)).isoformat(timespec="milliseconds")
        order = Order(
            id=self._new_id(),
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


class SpoolHelm:
    """Steers a run on this computer through its folder; the run may be in another process.

    Parameters
    ----------
    run : Path
        The run's folder.
    writer : Writer
        Signs the orders.
    clock : Clock
        For waiting.
    patience_s : float
        How long `post` waits for the step boundary before it returns a receipt that waits still.
    """

    def __init__(self, run: Path, writer: Writer, clock: Clock, *, patience_s: float = 0.0) -> None:
        self._spool, self._writer, self._clock, self._patience_s = Spool(run), writer, clock, patience_s

    def post(self, command: Command, *, why: str = "", seen_step: int = 0) -> Receipt:
        """Leave a command for the run; see `Helm.post`.

        Raises
        ------
        OrderRefused
            The run does not go on, so nobody would hear it.
        """
        if not self._spool.is_heard:
            raise OrderRefused(
                "nobody hears this run: it is over, or was cut off", where=str(self._spool.folder),
                remedy="'autoscope status RUN' tells how it stands; 'autoscope resume RUN' goes on",
            )  # fmt: skip
        order = self._writer.write(command, why=why, seen_step=seen_step)
        self._spool.put(order)
        return await_receipt(self._spool, order, self._clock, self._patience_s)

    def receipts(self) -> tuple[Receipt, ...]:
        """Return what became of the orders of everybody, oldest first."""
        waiting_still, known = self._spool.waiting(), self._spool.receipts()
        answered = {receipt.order for receipt in known}
        return (*known, *(receipt for receipt in waiting_still if receipt.order not in answered))


class InboxHelm:
    """Steers a run of the same process through its inbox.

    Parameters
    ----------
    inbox : QueueInbox
        Of the run.
    writer : Writer
        Signs the orders.
    """

    def __init__(self, inbox: QueueInbox, writer: Writer) -> None:
        self._inbox, self._writer = inbox, writer
        self._receipts: dict[str, Receipt] = {}

    def post(self, command: Command, *, why: str = "", seen_step: int = 0) -> Receipt:
        """Leave a command for the run; see `Helm.post`."""
        order = self._writer.write(command, why=why, seen_step=seen_step)
        self._receipts[order.id] = waiting(order)
        self._inbox.post(order, answer=self._answered)
        return self._receipts[order.id]

    def receipts(self) -> tuple[Receipt, ...]:
        """Return what became of the orders given here, oldest first."""
        return tuple(self._receipts.values())

    def _answered(self, receipt: Receipt) -> None:
        self._receipts[receipt.order] = receipt


def helm_of(run: Path, *, who: str = "", identity: Identity | None = None, patience_s: float = 0.0) -> SpoolHelm:
    """Return the helm of a run on this computer, for the person at this terminal.

    Parameters
    ----------
    run : Path
        The run's folder.
    who : str
        The person; the login name by default.
    identity : Identity, optional
        Whose key signs; the installation's by default.
    patience_s : float
        See `SpoolHelm`.

    Raises
    ------
    JournalError
        There is no run.
    IdentityError
        The key cannot be used.
    """
    clock = SystemClock()
    run_id = str(JournalReader.open(run).started().get("run_id", ""))
    writer = Writer(run_id, who or getpass.getuser(), identity or load_or_make(), clock)
    return SpoolHelm(run, writer, clock, patience_s=patience_s)
