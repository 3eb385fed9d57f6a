"""Talking to a server that may be slow, dead or wrong, in bounded time."""

from __future__ import annotations

import contextlib
import http.client
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscope.errors import ConfigError, NotDelivered

GRACE_S = 2.0
"""Sockets wait so much longer than a conversation may take: whoever cuts it off knows why it ended."""


@contextmanager
def bounded(limit_s: float, sock: Callable[[], socket.socket | None], where: str) -> Iterator[None]:
    """Cut a conversation off after a time, also where the other side keeps sending a byte now and then.

    Parameters
    ----------
    limit_s : float
        Longest time.
    sock : callable
        Returns the socket that is in use, None where there is none yet.
    where : str
        Who is talked to, for errors.

    Raises
    ------
    NotDelivered
        The connection failed, or the time was over. What the other side answered wrongly is raised as it is.
    """
    over = threading.Event()

    def cut() -> None:
        over.set()
        if (open_one := sock()) is not None:
            with contextlib.suppress(OSError):
                open_one.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, EOFError, http.client.HTTPException) as error:
        if over.is_set() or isinstance(error, TimeoutError):
            raise NotDelivered("no answer in time", where=where, limit=f"{limit_s:g} s") from error
        if isinstance(error, (smtplib.SMTPException, http.client.HTTPException)):
            raise  # it did answer
        raise _unreached(error, where) from error
    finally:
        timer.cancel()


def _unreached(error: OSError | EOFError, where: str) -> NotDelivered:
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "Give the authority's certificate as 'ca_file' where it is your own"
        return NotDelivered(f"its certificate is not trusted: {error.verify_message}", where=where, remedy=remedy)
    if isinstance(error, ssl.SSLError):
        return NotDelivered(f"no encrypted line: {error.reason}", where=where, remedy="Check port and encryption")
    return NotDelivered(f"cannot be reached: {getattr(error, 'strerror', None) or error}", where=where)


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Return what decides whose certificates are trusted.

    Raises
    ------
    ConfigError
        The file given holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file.expanduser()))
    except OSError as error:
        raise ConfigError(f"holds no certificates: {error.strerror or error}", where=str(ca_file)) from error
