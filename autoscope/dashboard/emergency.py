"""Straight to the bus server, past the run and its agent: blank, and let nothing begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoscope.bus import messages as say
from autoscope.bus.authentication import CurveClient, OpenClient
from autoscope.bus.calling import Caller
from autoscope.bus.keys import KeyPair
from autoscope.bus.transport import ZmqTransport
from autoscope.bus.wire import error_of
from autoscope.clock import SystemClock
from autoscope.errors import Unreachable

ANSWER_S = 2.0
"""How long the server may take to confirm."""


def bus_address(header: Mapping[str, Any]) -> str:
    """Return where the bus server of a run's instrument is; empty where it has none."""
    options = ((header.get("config") or {}).get("environment") or {}).get("options") or {}
    instrument = options.get("instrument") or {}
    if not isinstance(instrument, Mapping) or instrument.get("name") != "bus":
        return ""
    return str((instrument.get("options") or {}).get("address") or "")


def blanking(address: str, key: Path | None) -> Callable[[str], bool]:
    """Return what blanks the beam of a bus server at once; a connection of its own, made beforehand.

    Parameters
    ----------
    address : str
        Of the server.
    key : Path, optional
        File of our key, where the server wants one.

    Raises
    ------
    ConfigError
        The key cannot be used.
    """
    security = CurveClient(KeyPair.load(key)) if key else OpenClient()

    def blank(why: str) -> bool:
        transport = ZmqTransport(address, security)
        try:
            got = Caller(transport, "control", SystemClock()).call(say.EmergencyStop(why=why), ANSWER_S)
        finally:
            transport.close()
        if got is None:
            raise Unreachable("the bus server does not answer", where=address, limit=f"{ANSWER_S:g} s")
        if isinstance(got[0].answer, say.Trouble):
            raise error_of(got[0].answer)
        return isinstance(got[0].answer, say.Fine)

    return blank
