"""The seal of a server's limits: a signature beside the file, so that changed limits are seen at the next start.

What is sealed are values, not the file's bytes: what may be done, how much a sample may receive, when silence makes
safe, and which instrument that is for. A comment does not break a seal; an override on the command line does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from autoscope.actions import Value
from autoscope.bus.ledger import Ledger
from autoscope.bus.serving import ServeConfig
from autoscope.errors import ConfigError
from autoscope.identity import Identity
from autoscope.journal.disk import LocalDisk, write_durably

SUFFIX = ".seal"
PURPOSE = b"autoscope limits 1\n"
"""Begins what is signed, so that a signature of something else is never taken for a seal."""
SEALED_BY = "sealed_by"
"""The ledger's fact that tells whose seal the limits had at the last start."""
REMEDY = "Look at what changed and who did it; if it is meant, seal the file again: autoscope seal FILE"


class Seal(Value):
    """What was sealed, by whom and when."""

    version: Literal[1] = 1
    protection: dict[str, Any]
    who: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    when: str
    """Wall-clock time, ISO 8601."""
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the installation."""
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")

    def message(self) -> bytes:
        """Return what the signature is of."""
        return _message(self.protection, self.who, self.when)


def seal_path(config: Path) -> Path:
    """Return where the seal of a file lies: beside it."""
    return config.with_name(config.name + SUFFIX)


def protection(config: ServeConfig) -> dict[str, Any]:
    """Return what a seal covers, as plain data; the name of the sample is free, as it changes daily."""
    return {
        "serial": config.serial,
        "limits": config.limits.model_dump(mode="json"),
        "dose": config.dose.model_dump(mode="json", exclude={"sample"}),
        "watch": config.watch.model_dump(mode="json"),
    }


def sealed(config: ServeConfig, identity: Identity, who: str, when: str) -> Seal:
    """Return a seal of a server's limits, signed with the key of the installation."""
    covered = protection(config)
    signature = identity.sign(_message(covered, who, when)).hex()
    return Seal(protection=covered, who=who, when=when, public_key=identity.public_key, signature=signature)


def write_seal(path: Path, seal: Seal) -> None:
    """Write a seal durably, in place of an earlier one.

    Raises
    ------
    ConfigError
        It cannot be written there.
    """
    try:
        write_durably(LocalDisk(), path, seal.model_dump_json(indent=1).encode())
    except OSError as error:
        raise ConfigError(f"the seal cannot be written: {error.strerror}", where=str(path)) from error


def read_seal(path: Path) -> Seal | None:
    """Return the seal in a file, None where there is no file.

    Raises
    ------
    ConfigError
        It is there and is none.
    """
    try:
        return Seal.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ConfigError(f"is not a seal: {type(error).__name__}", where=str(path), remedy=REMEDY) from error


def require_sealed(config: ServeConfig, seal: Seal, identity: Identity | None, where: str) -> None:
    """Return where these limits are those that were sealed, by this installation.

    Raises
    ------
    ConfigError
        They differ, the seal is another installation's, or its signature does not hold.
    """
    if identity is None or identity.public_key != seal.public_key:
        what = "the seal was made by another installation than this one"
        raise ConfigError(what, where=where, value=seal.public_key, remedy="Seal the file here: autoscope seal FILE")
    if not _holds(seal):
        raise ConfigError("the signature of the seal does not hold: it was altered", where=where, remedy=REMEDY)
    changed = list(_differences("", seal.protection, protection(config)))
    if changed:
        raise ConfigError(
            f"the limits are not those that {seal.who} sealed on {seal.when[:10]}",
            where=where,
            value="; ".join(changed)[:500],
            remedy=REMEDY,
        )


def require_still_sealed(ledger: Ledger, public_key: str) -> None:
    """Return where limits that were sealed at an earlier start still are, and remember whose seal it is.

    Parameters
    ----------
    public_key : str
        Whose seal the limits have; empty: none.

    Raises
    ------
    ConfigError
        They were sealed, and the seal is gone.
    """
    before = ledger.fact(SEALED_BY, lambda: public_key)
    if before and not public_key:
        what = "these limits were sealed when they were served last, and now there is no seal"
        raise ConfigError(what, where="seal", remedy=REMEDY)
    if public_key != before:
        ledger.set_fact(SEALED_BY, public_key)


def _message(covered: dict[str, Any], who: str, when: str) -> bytes:
    body = {"protection": covered, "who": who, "when": when}
    return PURPOSE + json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _holds(seal: Seal) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(seal.public_key))
        key.verify(bytes.fromhex(seal.signature), seal.message())
    except (InvalidSignature, ValueError):
        return False
    return True


def _differences(place: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            inside = f"{place}.{name}" if place else name
            yield from _differences(inside, before.get(name), now.get(name))
    elif before != now:
        yield f"{place}: {json.dumps(before)} -> {json.dumps(now)}"
