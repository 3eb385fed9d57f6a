"""A run on another computer: its record, readable as if it were here, and its helm."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from autoscope.bus.authentication import CurveClient, OpenClient
from autoscope.bus.helm_client import HelmClient
from autoscope.bus.helm_messages import About
from autoscope.bus.keys import KeyPair
from autoscope.clock import SystemClock
from autoscope.identity import Identity, load_or_make
from autoscope.interventions import Command, Receipt
from autoscope.journal import Readable, Record, RecordKind
from autoscope.journal import frames as stored
from autoscope.journal.chain import GENESIS, Row, corrupt, parse
from autoscope.protocols import Clock
from autoscope.records import Frame, FrameRef
from autoscope.steering.helm import Writer

LOOK_S = 0.05


class RemoteRun(Readable):
    """The record of a run over the network; every row and frame is held against its hash, as on a disk.

    Parameters
    ----------
    client : HelmClient
        The connection; used by one thread only.
    """

    def __init__(self, client: HelmClient) -> None:
        self._client = client
        self.about: About = client.about()

    def __str__(self) -> str:
        return f"run {self.about.run_id}"

    def records(self, kind: RecordKind | None = None, after: int = 0) -> Iterator[Record]:
        """Yield the records with a sequence number above ``after``, in order, optionally of one kind only.

        Raises
        ------
        JournalCorrupt
            A record does not match its hash or does not follow the one before.
        Unreachable
            The run does not answer.
        """
        before: Record | None = None
        while rows := self._client.rows(after, kind):
            for row in rows:
                record = parse(Row(**row.model_dump()), str(self))
                follows = before is None or (record.seq == before.seq + 1 and record.previous == before.hash)
                begins = before is not None or after > 0 or (record.seq == 1 and record.previous == GENESIS)
                if kind is None and not (follows and begins):
                    raise corrupt("does not follow the record before", str(self), record.seq)
                before, after = record, record.seq
                yield record

    def load_frame(self, ref: FrameRef) -> Frame:
        """Return a frame, verified.

        Raises
        ------
        JournalCorrupt
            It is absent or does not match the reference.
        Unreachable
            The run does not answer.
        """
        content = self._client.frame(ref.file)
        if content is None:
            raise corrupt(f"frame {ref.file} is absent", str(self), None)
        return stored.decode(ref, content, f"{self}: frame {ref.file}")


class RemoteHelm:
    """Steers a run on another computer; use it in a ``with`` block, or `close` it.

    Parameters
    ----------
    client : HelmClient
        The connection; used by one thread only.
    writer : Writer
        Signs the orders.
    clock : Clock
        For waiting.
    patience_s : float
        How long `post` waits for the step boundary before it returns a receipt that waits still.
    """

    def __init__(self, client: HelmClient, writer: Writer, clock: Clock, *, patience_s: float = 0.0) -> None:
        self._client, self._writer, self._clock, self._patience_s = client, writer, clock, patience_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the network."""
        self._client.close()

    def post(self, command: Command, *, why: str = "", seen_step: int = 0) -> Receipt:
        """Send a command; see `autoscope.steering.helm.Helm.post`.

        Raises
        ------
        Refused
            Our key may not steer.
        Unreachable
            The run does not answer.
        """
        order = self._writer.write(command, why=why, seen_step=seen_step)
        receipt, until_s = self._client.post(order), self._clock.now_s() + self._patience_s
        while receipt.status == "waiting" and self._clock.now_s() < until_s:
            self._clock.wait(LOOK_S)
            receipt = self._client.post(order)  # the same order: its receipt, and nothing is done again
        return receipt

    def receipts(self) -> tuple[Receipt, ...]:
        """Return what became of orders given over the network, oldest first."""
        return self._client.receipts()


def connect(address: str, key: Path | None) -> HelmClient:
    """Return a connection to the door of a run.

    Raises
    ------
    ConfigError
        The key cannot be used.
    """
    return HelmClient(address, CurveClient(KeyPair.load(key)) if key else OpenClient())


def remote_helm(
    address: str, key: Path | None, *, who: str = "", identity: Identity | None = None, patience_s: float = 0.0
) -> RemoteHelm:
    """Return the helm of a run on another computer, for the person at this terminal.

    Raises
    ------
    Unreachable
        Nobody answers.
    """
    client, clock = connect(address, key), SystemClock()
    try:
        writer = Writer(client.about().run_id, who or getpass.getuser(), identity or load_or_make(), clock)
    except BaseException:
        client.close()
        raise
    return RemoteHelm(client, writer, clock, patience_s=patience_s)
