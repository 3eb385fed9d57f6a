"""Signed heads: what ties a chain to the installation that wrote it, so that nobody else can write it anew."""

from __future__ import annotations

from typing import Any, Protocol

from autoscope.journal.chain import Row
from autoscope.journal.disk import Statement
from autoscope.journal.layout import INSERT_SIGNATURE

SIGN_EVERY = 64
"""Records between two signed heads of a run that goes on; its first and its last record are always signed."""

ALWAYS_SIGNED = frozenset({"run_started", "run_ended", "annotation"})


PROMISING = frozenset({"run_started", "run_resumed"})
"""Kinds of record that say, as ``signed_by``, whose signatures follow: so that it is seen when they are taken away."""


class Signer(Protocol):
    """Whoever signs the heads of a run."""

    @property
    def public_key(self) -> str:
        """The raw Ed25519 public key (RFC 8032), 64 lower-case hexadecimal digits."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature of a message."""


def message(seq: int, head: str) -> bytes:
    """Return what is signed: one line of ASCII that says which record, and its hash.

    Examples
    --------
    >>> message(3, "ab")
    b'autoscope-signed-head/1 3 ab'
    """
    return f"autoscope-signed-head/1 {seq} {head}".encode("ascii")


def genuine(public_key: str, seq: int, head: str, signature: str) -> bool:
    """Return whether a signature of a head is that of a key; False for anything malformed."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), message(seq, head))
    except (InvalidSignature, ValueError, UnicodeEncodeError):
        return False
    return True


class Signing:
    """Decides which heads of a run are signed.

    Parameters
    ----------
    signer : Signer or None
        None signs nothing.
    """

    def __init__(self, signer: Signer | None) -> None:
        self._signer = signer
        self._unsigned = 0

    def statements(self, row: Row, *, now: bool = False) -> list[Statement]:
        """Return what stores the signature of a head in the transaction of its record; empty while none is due."""
        self._unsigned += 1
        if self._signer is None or not (now or row.kind in ALWAYS_SIGNED or self._unsigned >= SIGN_EVERY):
            return []
        signature = self._signer.sign(message(row.seq, row.hash)).hex()
        return [(INSERT_SIGNATURE, (row.seq, row.hash, self._signer.public_key, signature))]

    def promised(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a record, with the public key where it is one that says whose signatures follow."""
        if self._signer is None or kind not in PROMISING:
            return body
        return body | {"signed_by": self._signer.public_key}

    def signed(self) -> None:
        """Take note that the head is signed on the disk."""
        self._unsigned = 0

    @property
    def due(self) -> bool:
        """Whether there are records after the last signed head."""
        return self._signer is not None and self._unsigned > 0
