"""The inbox of a run in its folder: one file an order, one file a receipt; for processes of the same user.

::

    RUN/steering/           mode 0700
      orders/NAME.json      put there whole, by a rename; mode 0600
      receipts/ID.json      what became of each
      taken/NAME.json       orders that the run has taken in

Whoever can write here is the user who runs the experiment; the operating system sees to that. A file that is no order
is set aside as ``taken/NAME.json.refused``. Losing whoever posted, at any moment, leaves whole files or none.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from autoscope.engine.steering import QueueInbox
from autoscope.errors import OrderRefused
from autoscope.interventions import Order, Receipt
from autoscope.journal.layout import LOCK
from autoscope.journal.lock import is_held
from autoscope.protocols import Clock

FOLDER = "steering"
ORDERS, RECEIPTS, TAKEN = "orders", "receipts", "taken"
LOOK_S = 0.005
"""How often a run looks for orders, on a thread of its own."""
LARGEST_BYTES = 65_536


class Spool:
    """The files of one run's inbox.

    Parameters
    ----------
    run : Path
        The run's folder.

    Raises
    ------
    OrderRefused
        Somebody else can write to it.
    """

    def __init__(self, run: Path) -> None:
        self._run, self.folder = run, run / FOLDER
        self._posted: set[str] = set()
        self._orders, self._receipts, self._taken = (self.folder / name for name in (ORDERS, RECEIPTS, TAKEN))
        for folder in (self.folder, self._orders, self._receipts, self._taken):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._refuse_if_open()

    def _refuse_if_open(self) -> None:
        if sys.platform == "win32":  # pragma: no cover
            return
        status = self.folder.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 or status.st_uid != os.geteuid():
            raise OrderRefused(
                "others can write to the inbox of this run", where=str(self.folder), value=f"{mode:04o}",
                limit="0700, and your own", remedy=f"chmod 700 {self.folder}",
            )  # fmt: skip

    # --- whoever orders -------------------------------------------------------------------------------

    def put(self, order: Order) -> None:
        """Leave an order, whole or not at all."""
        name = f"{order.when.replace(':', '')}-{order.seq:06d}-{order.id}.json"
        _write(self._orders / name, order.model_dump_json())

    def receipts(self) -> tuple[Receipt, ...]:
        """Return all receipts, by the time they were written."""
        files = sorted(self._receipts.glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        return tuple(receipt for file in files if (receipt := self._read_receipt(file)) is not None)

    def receipt(self, order: str) -> Receipt | None:
        """Return the receipt of an order, if there is one yet."""
        return self._read_receipt(self._receipts / f"{order}.json")

    def waiting(self) -> tuple[Receipt, ...]:
        """Return receipts of orders that the run has not taken in yet."""
        orders = (self._read(self._orders / name) for name in self._names())
        return tuple(waiting(order) for order in orders if order is not None)

    @property
    def is_heard(self) -> bool:
        """Whether a process runs this run now; one that was killed does not count."""
        return is_held(self._run / LOCK)

    # --- the run --------------------------------------------------------------------------------------

    def take(self, post: Callable[[Order], None]) -> None:
        """Hand over the orders that have come, oldest first, each at once, and put its file aside."""
        for name in self._names():
            order = self._read(self._orders / name)
            if order is not None and order.id not in self._posted:
                self._posted.add(order.id)
                post(order)
            aside = self._taken / (name if order is not None else f"{name}.refused")
            with suppress(OSError):
                (self._orders / name).replace(aside)

    def answer(self, receipt: Receipt) -> None:
        """Write a receipt; a disk that fails is no matter for the run."""
        with suppress(OSError):
            _write(self._receipts / f"{receipt.order}.json", receipt.model_dump_json())

    # --- files ----------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        with os.scandir(self._orders) as entries:
            return sorted(entry.name for entry in entries if entry.name.endswith(".json"))

    def _read(self, file: Path) -> Order | None:
        """Return the order of a file, or None where it is none; by few calls, since each may wait for a busy policy."""
        try:
            descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                data = os.read(descriptor, LARGEST_BYTES + 1)
            finally:
                os.close(descriptor)
            return Order.model_validate_json(data) if len(data) <= LARGEST_BYTES else None
        except (OSError, ValidationError):
            return None

    def _read_receipt(self, file: Path) -> Receipt | None:
        try:
            return Receipt.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            return None


class SpoolWatch:
    """Brings orders from a run's folder to its inbox, from a thread of its own.

    Whatever is wrong with the folder, the run goes on without it.

    Parameters
    ----------
    spool : Spool
        Where to look.
    inbox : QueueInbox
        Where to post.
    """

    def __init__(self, spool: Spool, inbox: QueueInbox) -> None:
        self._spool, self._inbox = spool, inbox
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="steering", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            with suppress(OSError):
                self._spool.take(lambda order: self._inbox.post(order, answer=self._spool.answer))

    def close(self) -> None:
        """Look no more; orders that are still there are refused."""
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            self._spool.take(self._refuse)

    def _refuse(self, order: Order) -> None:
        self._spool.answer(waiting(order).replace(status="refused", reason="the run is over"))


def waiting(order: Order) -> Receipt:
    """Return the receipt of an order that waits for the next step boundary."""
    return Receipt(order=order.id, status="waiting", command=order.command.command, who=order.who)


def await_receipt(spool: Spool, order: Order, clock: Clock, timeout_s: float) -> Receipt:
    """Return what became of an order, or that it waits still after so much time."""
    until_s = clock.now_s() + timeout_s
    while True:
        if (receipt := spool.receipt(order.id)) is not None:
            return receipt
        if clock.now_s() >= until_s:
            return waiting(order)
        clock.wait(LOOK_S / 2)


def _write(path: Path, text: str) -> None:
    """Put a file under its name whole or not at all, readable by its owner only.

    Not flushed to the disk: after a cut of power the journal knows what was heard, and nothing else was.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
