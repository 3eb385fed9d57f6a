"""The line to a temscript server: bounded in time, with errors that tell a refusal from a broken line."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import Any

from autoscope.errors import InstrumentError, OutcomeUnknown, Unreachable
from environments.instruments.driving import vendor_package

REMEDY = "pip install 'autoscope[temscript]'"
_BROKEN = (OSError, http.client.HTTPException)
_REFUSED = (RuntimeError, KeyError, ValueError, TypeError)


class TemscriptConnection:
    """Calls on a ``RemoteMicroscope``, one at a time; arrays come as JSON and base64, never pickled.

    Parameters
    ----------
    host, port
        Where the server listens.
    timeout_s : float
        Longest wait for one answer, where a call names none.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._package = vendor_package("temscript", driver="temscript", remedy=REMEDY)
        self._address, self._timeout_s = (host, port), timeout_s
        self._lock = threading.Lock()

    def get(self, name: str, *, timeout_s: float | None = None) -> Any:
        """Return ``get_<name>()``, or another query if ``name`` is the name of a method.

        Raises
        ------
        Unreachable
            No answer in time.
        InstrumentError
            The microscope refused.
        """
        try:
            return self._call(name, (), {}, timeout_s)
        except _BROKEN as error:
            raise Unreachable(f"the microscope server does not answer: {error}", where=self._where(name)) from error
        except _REFUSED as error:
            raise InstrumentError(f"the microscope refused: {error}", where=self._where(name)) from error

    def do(self, name: str, *arguments: Any, timeout_s: float | None = None, **named: Any) -> Any:
        """Call a method that changes something and return its answer.

        Raises
        ------
        Unreachable
            Nobody listens; nothing was done.
        OutcomeUnknown
            The line broke after the call was sent.
        InstrumentError
            The microscope refused.
        """
        try:
            return self._call(name, arguments, named, timeout_s)
        except ConnectionRefusedError as error:
            raise Unreachable(f"the microscope server does not answer: {error}", where=self._where(name)) from error
        except _BROKEN as error:
            raise OutcomeUnknown(
                f"the line broke while the microscope was told to act: {error}",
                where=self._where(name),
                value=arguments,
                remedy="Read the instrument back",
            ) from error
        except _REFUSED as error:
            raise InstrumentError(
                f"the microscope refused: {error}", where=self._where(name), value=arguments
            ) from error

    def _call(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any], timeout_s: float | None) -> Any:
        with self._lock:  # a remote microscope is made for each call: one that timed out is of no use any more
            remote = self._package.RemoteMicroscope(self._address, timeout=timeout_s or self._timeout_s)
            method: Callable[..., Any] = getattr(remote, name)
            return method(*arguments, **named)

    def _where(self, name: str) -> str:
        return f"{self._address[0]}:{self._address[1]} {name}"
