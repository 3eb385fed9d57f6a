"""instamatic's wire: one JSON object a call, unframed, an answer of two; bounded in time and size.

The server hands all connections' calls to one thread and their answers to whichever connection wakes first, so two
calls at a time can get each other's answers. One call at a time is made here. An emergency call waits a moment for the
call under way, then goes ahead on a connection of its own; the call that was overtaken then trusts no answer.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

from autoscope.errors import InstrumentError, OutcomeUnknown, Unreachable

MAX_CALL_BYTES = 1024
"""The server reads a call with one ``recv`` of this size."""
MAX_ANSWER_BYTES = 65_536
PATIENCE_S = 0.25
"""How long an emergency call waits for the call under way."""
OK = 200


class InstamaticConnection:
    """Calls to a TEM server, from any thread.

    Parameters
    ----------
    host, port
        Where it listens.
    timeout_s : float
        Longest wait for one answer.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._address, self._timeout_s = (host, port), timeout_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._overtaken = False

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the microscope and return its answer.

        Raises
        ------
        Unreachable
            Nobody listens; nothing was done.
        OutcomeUnknown
            The line broke, or an emergency call overtook this one, after it was sent.
        InstrumentError
            The microscope refused, or answered in another language.
        """
        message = _encoded(name, arguments, named)
        with self._lock:
            self._overtaken = False
            line = self._line()
            try:
                answer = _exchange(line, message)
            except (OSError, ValueError) as error:
                self._hang_up()
                raise self._unknown(name, f"the line broke: {error}") from error
            if self._overtaken:
                self._hang_up()
                raise self._unknown(name, "an emergency call overtook this one, and this server mixes up answers")
        return self._result(name, answer)

    def call_beside(self, name: str, *arguments: Any) -> None:
        """Make an emergency call whatever else is under way; its answer is awaited but not trusted."""
        message = _encoded(name, arguments, {})
        free = self._lock.acquire(timeout=PATIENCE_S)
        self._overtaken = True
        try:
            with socket.create_connection(self._address, self._timeout_s) as line:
                _exchange(line, message)
        finally:
            if free:
                self._lock.release()

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._hang_up()

    def _line(self) -> socket.socket:
        if self._socket is None:
            try:
                self._socket = socket.create_connection(self._address, self._timeout_s)
            except OSError as error:
                raise Unreachable(f"the microscope server does not answer: {error}", where=self._where) from error
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _result(self, name: str, answer: Any) -> Any:
        if not isinstance(answer, list) or len(answer) != 2:
            raise InstrumentError(
                "the server does not speak instamatic's JSON", where=f"{self._where} {name}", value=answer
            )
        status, value = answer
        if status != OK:
            raise InstrumentError(f"the microscope refused: {value}", where=f"{self._where} {name}", value=status)
        return value

    def _unknown(self, name: str, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(f"{name}: {why}", where=self._where, remedy="Read the instrument back")

    @property
    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"


def _encoded(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bytes:
    message = json.dumps({"func_name": name, "args": arguments, "kwargs": named}, allow_nan=False).encode()
    if len(message) > MAX_CALL_BYTES:
        raise InstrumentError(
            "the call is longer than the server reads", where=name, value=len(message), limit=MAX_CALL_BYTES
        )
    return message


def _exchange(line: socket.socket, message: bytes) -> Any:
    """Send a call and return the first whole JSON value that comes back.

    Raises
    ------
    OSError
        The line broke or was silent for too long.
    ValueError
        More came than an answer may be, and it was none.
    """
    line.sendall(message)
    received = b""
    while len(received) <= MAX_ANSWER_BYTES:
        part = line.recv(4096)
        if not part:
            raise ConnectionError("the server hung up")
        received += part
        with contextlib.suppress(ValueError):  # not whole yet: there is no framing to tell
            return json.loads(received)
    raise ValueError(f"more than {MAX_ANSWER_BYTES} bytes came, and they are no JSON")
