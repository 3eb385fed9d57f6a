"""The door of a run: people watch and steer it from other computers, under their bus keys.

One ROUTER socket on a thread of its own, in the process of the run. It reads the journal like everybody else, and hands
orders to the run's inbox; it never touches the instrument, the policy or the writer of the journal. Whatever happens
here, the run goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import zmq

from autoscope.bus import helm_messages as say
from autoscope.bus.authentication import Context, CurveServer, OpenServer, ServerSecurity, Socket
from autoscope.bus.enrolment import authorized_file, secret_file
from autoscope.bus.keyring import Keyring
from autoscope.bus.keys import SERVER, KeyPair
from autoscope.bus.roles import Peer, Role, Verb, require
from autoscope.bus.self_test import self_test
from autoscope.bus.transport import tune
from autoscope.bus.wire import trouble_of
from autoscope.clock import SystemClock
from autoscope.errors import AutoscopeError, Refused, Unauthenticated
from autoscope.interventions import Order, Receipt
from autoscope.journal import JournalReader
from autoscope.journal.layout import FRAMES
from autoscope.journal.store import FrameTable, decode, raw_rows
from autoscope.protocols import Clock

TICK_MS = 50
BURST = 64
KEPT = 1000
"""Receipts that are kept for whoever asks."""
ROWS_BYTES = 4 * 1024 * 1024
"""Rows of more text than this go in several answers."""


class Letterbox(Protocol):
    """Where orders go."""

    def post(self, said: Order, *, through: str, answer: Callable[[Receipt], None]) -> None:
        """Leave an order for the next step boundary."""


class HelmServer:
    """Answers people about one run, and takes their orders.

    Parameters
    ----------
    folder : Path
        The run's folder.
    inbox : Letterbox
        Of the run.
    address : str
        ``tcp://host:port`` or ``ipc://path``.
    keys : Path or None
        Folder of the server's key and of those it admits; None: no keys, on this computer only.
    answered : callable, optional
        Also told each receipt.

    Raises
    ------
    ConfigError
        Address or keys are wrong.
    SelfTestFailed
        A stranger got in.
    """

    def __init__(
        self,
        folder: Path,
        inbox: Letterbox,
        address: str,
        keys: Path | None,
        *,
        answered: Callable[[Receipt], None] = lambda receipt: None,
        clock: Clock | None = None,
    ) -> None:
        self._folder, self._inbox, self._answered = folder, inbox, answered
        self._clock = clock or SystemClock()
        self._receipts: dict[str, Receipt] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._context: Context = zmq.Context()
        try:
            self._security = self._secured(keys)
            self._socket: Socket = self._context.socket(zmq.ROUTER)
            tune(self._socket, largest_bytes=say.MAX_REQUEST_BYTES + 1024)
            self.address = self._security.bind(self._socket, address)
            if isinstance(self._security, CurveServer):
                self._knock(self._security)
        except BaseException:
            self._shut()
            raise
        self._thread = threading.Thread(target=self._serve, name="helm", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._over.set()
        self._thread.join()
        self._shut()

    def _shut(self) -> None:
        if isinstance(getattr(self, "_security", None), CurveServer):
            self._security.close()  # type: ignore[attr-defined]
        self._context.destroy(linger=0)

    def _secured(self, keys: Path | None) -> ServerSecurity:
        if keys is None:
            return OpenServer()
        key, keyring = KeyPair.load(secret_file(keys, SERVER)), Keyring(authorized_file(keys))
        return CurveServer(self._context, key, keyring)

    def _knock(self, security: CurveServer) -> None:
        self_test(security, [(self.address, int(zmq.ROUTER))])

    # --- the loop -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._over.is_set():
            if not self._socket.poll(TICK_MS):
                continue
            for _ in range(BURST):
                try:
                    frames: list[zmq.Frame] = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                with suppress(Unauthenticated, zmq.ZMQError):  # of the unknown not a byte more is looked at
                    caller = self._security.caller(frames[0])
                    parts = [frame.bytes for frame in frames[1:4]]
                    self._socket.send_multipart([frames[0].bytes, *self._answer(parts, caller)], zmq.NOBLOCK)

    def _answer(self, parts: list[bytes], caller: Peer) -> list[bytes]:
        begun_s, request_id = self._clock.now_s(), ""
        more: list[bytes] = []
        try:
            request = say.decode(say.Request, parts)
            request_id = request.id
            answer, *more = self._said(request.ask, caller)
        except AutoscopeError as error:
            answer = trouble_of(error)
        except Exception as error:  # a bug here must not end a night
            answer = trouble_of(AutoscopeError(f"the helm is broken: {error!r}"))
        reply = say.Reply(id=request_id, busy_s=self._clock.now_s() - begun_s, answer=answer)
        return say.encode(reply, *more)

    def _said(self, ask: Any, caller: Peer) -> tuple[Any, *tuple[bytes, ...]]:
        match ask:
            case say.Post():
                return (say.Receipts(receipts=(self._post(ask.order, caller),)),)
            case _:
                require(caller.role, Verb.WATCH, who=caller.user)
        match ask:
            case say.AskAbout():
                started = JournalReader.open(self._folder).started()
                run_id, name = str(started.get("run_id", "")), str(started.get("name", ""))
                return (say.About(run_id=run_id, name=name, user=caller.user, role=caller.role.value),)
            case say.AskRows():
                return (say.Rows(rows=self._rows(ask)),)
            case say.AskFrame():
                return self._frame(ask)
            case _:
                with self._lock:
                    return (say.Receipts(receipts=tuple(self._receipts.values())),)

    # --- reading --------------------------------------------------------------------------------------

    def _rows(self, ask: say.AskRows) -> tuple[say.StoredRow, ...]:
        found: list[say.StoredRow] = []
        size = 0
        for raw in islice(raw_rows(self._folder, ask.after, ask.kind), ask.most):
            row = decode(raw, str(self._folder))
            size += len(row.body)
            if found and size > ROWS_BYTES:
                break
            found.append(say.StoredRow.model_validate(row._asdict()))
        return tuple(found)

    def _frame(self, ask: say.AskFrame) -> tuple[say.FramePart, bytes]:
        data, total = self._bytes(ask.file, ask.offset)
        return say.FramePart(total=total, offset=ask.offset), data

    def _bytes(self, name: str, offset: int) -> tuple[bytes, int]:
        path = self._folder / FRAMES / name
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(say.CHUNK_BYTES), path.stat().st_size
        with FrameTable(self._folder) as table:
            content = table.content(name) or b""
        return content[offset : offset + say.CHUNK_BYTES], len(content)

    # --- orders ---------------------------------------------------------------------------------------

    def _post(self, order: Order, caller: Peer) -> Receipt:
        emergency = caller.role is Role.EMERGENCY and order.command.command == "emergency_stop"
        require(caller.role, Verb.EMERGENCY_STOP if emergency else Verb.STEER, who=caller.user)
        with self._lock:
            if (known := self._receipts.get(order.id)) is not None:
                return known  # asked again because the answer was lost; nothing is done again
            if not order.genuine():
                raise Refused("the order is not genuine: it was altered on its way", where=order.command.command)
            receipt = Receipt(order=order.id, status="waiting", command=order.command.command, who=order.who)
            self._receipts[order.id] = receipt
            while len(self._receipts) > KEPT:
                self._receipts.pop(next(iter(self._receipts)))
        through = f"bus key {caller.user} {caller.fingerprint}".strip()
        self._inbox.post(order, through=through, answer=self._note)
        return receipt

    def _note(self, receipt: Receipt) -> None:
        with self._lock:
            self._receipts[receipt.order] = receipt
        self._answered(receipt)
