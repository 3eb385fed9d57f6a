"""Clients of AutoScript, one each for acts, readings and emergencies: a blocking call stands in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from autoscope.errors import InstrumentError, PluginError, Unreachable
from environments.instruments.autoscript.config import AutoscriptConfig
from environments.instruments.driving import vendor_package

PACKAGE = "autoscript_tem_microscope_client"
REMEDY = "It is part of AutoScript TEM: install the vendor's wheels from the microscope PC into this environment"


class AutoscriptConnection:
    """Three connected clients, and the vendor's structures and enumerations.

    Raises
    ------
    PluginError
        AutoScript is not installed.
    Unreachable
        The microscope's server does not answer.
    """

    def __init__(self, config: AutoscriptConfig) -> None:
        package = vendor_package(PACKAGE, driver="autoscript", remedy=REMEDY)
        self.structures = vendor_package(f"{PACKAGE}.structures", driver="autoscript", remedy=REMEDY)
        self._enumerations = vendor_package(f"{PACKAGE}.enumerations", driver="autoscript", remedy=REMEDY)
        self._acting, self._reading = threading.Lock(), threading.Lock()
        self._where = f"{config.host}:{config.port}"
        self._clients = [self._connected(package, config) for _ in range(3)]

    def act(self, what: str, call: Callable[[Any], Any]) -> Any:
        """Return what a call on the client of acts returns; one at a time, in SI units.

        Raises
        ------
        InstrumentError
            AutoScript raised; its message is kept.
        """
        with self._acting:
            return self._guarded(what, call, self._clients[0])

    def read(self, what: str, call: Callable[[Any], Any]) -> Any:
        """Return what a reading returns; it does not wait for an acquisition.

        Raises
        ------
        InstrumentError
            AutoScript raised; its message is kept.
        """
        with self._reading:
            return self._guarded(what, call, self._clients[1])

    def beside(self, what: str, call: Callable[[Any], Any]) -> None:
        """Make an emergency call, on a client that nothing else uses and no lock guards."""
        self._guarded(what, call, self._clients[2])

    def choice(self, enumeration: str, name: str) -> Any:
        """Return a member of a vendor's enumeration.

        Raises
        ------
        PluginError
            This AutoScript has no such member.
        """
        kind = getattr(self._enumerations, enumeration, None)
        member = getattr(kind, name, None)
        if member is None:
            known = ", ".join(n for n in dir(kind) if n.isupper()) if kind is not None else "none"
            raise PluginError(f"this AutoScript has no such {enumeration}", value=name, limit=known)
        return member

    def close(self) -> None:
        """Disconnect all clients."""
        for client in self._clients:
            client.disconnect()

    def _connected(self, package: Any, config: AutoscriptConfig) -> Any:
        client = package.TemMicroscopeClient()
        try:
            client.connect(config.host, config.port)
        except Exception as error:  # the vendor's exceptions are not public; all mean that nobody answered
            raise Unreachable(f"AutoScript does not answer: {error}", where=self._where) from error
        return client

    def _guarded(self, what: str, call: Callable[[Any], Any], client: Any) -> Any:
        try:
            return call(client)
        except Exception as error:  # likewise: whatever AutoScript raises, the act has failed and says why
            raise InstrumentError(f"AutoScript refused: {error}", where=f"{self._where} {what}") from error
