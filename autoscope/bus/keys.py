"""Key pairs in files: made, written for their owner only, and refused where others can read them.

A key pair is a CURVE pair (Curve25519). The secret file is TOML, mode 0600; whoever has it is its owner. It also pins
the public key of the server, so that one file is all that is carried to the other computer.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Self, TypeVar

import zmq
from pydantic import AfterValidator, BaseModel, SecretStr, StringConstraints, ValidationError
from zmq.utils import z85

from autoscope.actions import Value
from autoscope.errors import ConfigError

SERVER = "server"
"""Name of a server's own key: ``server.key`` and, for everybody, ``server.pub``."""
KEY_BYTES = 32
M = TypeVar("M", bound=BaseModel)


def default_folder() -> Path:
    """Return where keys lie unless told otherwise: ``$AUTOSCOPE_KEYS``, or ``.autoscope/keys`` in the home folder."""
    given = os.environ.get("AUTOSCOPE_KEYS")
    return Path(given) if given else Path.home() / ".autoscope" / "keys"


def _z85(text: str) -> str:
    try:
        raw = z85.decode(text.encode("ascii"))
    except (ValueError, KeyError, struct.error) as error:
        raise ValueError("is not a key: 40 characters of Z85 are expected") from error
    if len(text) != 40 or len(raw) != KEY_BYTES or z85.encode(raw) != text.encode("ascii"):
        raise ValueError("is not a key: 40 characters of Z85 are expected")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
"""Name of a key: small letters, digits, ``_``, ``.`` and ``-``."""
PublicKey = Annotated[str, AfterValidator(_z85)]
"""A public key in Z85 (40 characters), the form ZeroMQ writes keys in."""


def fingerprint(public: str) -> str:
    """Return the short form of a public key that people compare: 16 hexadecimal digits of its sha256, in fours.

    Examples
    --------
    >>> fingerprint("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")
    '5225:01f4:e7a6:3f61'
    """
    digest = hashlib.sha256(z85.decode(public.encode("ascii"))).hexdigest()[:16]
    return ":".join(digest[k : k + 4] for k in range(0, 16, 4))


class KeyPair(Value):
    """A name, its two keys, and the public key of the server it is meant for (empty: not known yet)."""

    name: Name
    public: PublicKey
    secret: Annotated[SecretStr, AfterValidator(lambda secret: SecretStr(_z85(secret.get_secret_value())))]
    server: PublicKey | None = None

    @classmethod
    def generate(cls, name: str, *, server: str | None = None) -> Self:
        """Return a new pair; its chance comes from the operating system.

        Raises
        ------
        ConfigError
            The name has characters a key's name may not have.
        """
        public, secret = zmq.curve_keypair()
        return _checked(
            cls, {"name": name, "public": public.decode(), "secret": secret.decode(), "server": server}, "new key"
        )

    def text(self) -> str:
        """Return the pair as it is written into its file."""
        lines = [
            f"# autoscope key {fingerprint(self.public)}. Secret: whoever has this file is {self.name!r}.",
            f'name = "{self.name}"',
            f'public = "{self.public}"',
            f'secret = "{self.secret.get_secret_value()}"',
        ]
        return "\n".join([*lines, *([f'server = "{self.server}"'] if self.server else [])]) + "\n"

    def save(self, path: Path) -> None:
        """Write the file, readable by its owner only.

        Raises
        ------
        ConfigError
            The file is there already: a key is never overwritten.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        try:
            handle = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise ConfigError(
                "there is a key of that name already, and keys are never overwritten",
                where=str(path),
                remedy="Choose another name, or revoke it and remove the file",
            ) from error
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(self.text())
            file.flush()
            os.fsync(handle)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the pair of a file that nobody else can read.

        Raises
        ------
        ConfigError
            The file is absent, readable by others, or not exactly a key file.
        """
        require_private(path)
        pair = _checked(cls, _toml(path), str(path))
        if zmq.curve_public(pair.secret.get_secret_value().encode()).decode() != pair.public:
            raise ConfigError("the two keys of this file do not belong together", where=str(path))
        return pair


def save_public(pair: KeyPair, path: Path) -> None:
    """Write the public half, for everybody to read."""
    path.write_text(f'name = "{pair.name}"\npublic = "{pair.public}"\n', encoding="ascii")


class _Public(Value):
    name: Name
    public: PublicKey


def load_public(path: Path) -> str:
    """Return the public key of a ``.pub`` file.

    Raises
    ------
    ConfigError
        The file is absent or not exactly a public key file.
    """
    return _checked(_Public, _toml(path), str(path)).public


def require_private(path: Path) -> None:
    """Return where only its owner can read and write a file.

    On Windows the folder's access list decides and is not looked at.

    Raises
    ------
    ConfigError
        The file is absent, no plain file, somebody else's, or open to others.
    """
    status = _status(path)
    if sys.platform == "win32":  # pragma: no cover
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ConfigError(
            "a secret key can be read or written by others",
            where=str(path),
            value=f"mode {mode:04o}",
            limit="mode 0600",
            remedy=f"If others may have read it, make a new key; otherwise: chmod 600 {path}",
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise ConfigError("a secret key belongs to another user", where=str(path), value=f"user {status.st_uid}")


def require_unwritable(path: Path) -> None:
    """Return where nobody but its owner can write a file.

    Raises
    ------
    ConfigError
        The file is absent, no plain file, or open to others for writing.
    """
    status = _status(path)
    mode = stat.S_IMODE(status.st_mode)
    if sys.platform != "win32" and mode & 0o022:
        raise ConfigError(
            "a file that says who may enter can be written by others",
            where=str(path),
            value=f"mode {mode:04o}",
            limit="mode 0644",
            remedy=f"Read it through for strangers, then: chmod 644 {path}",
        )


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(
            f"a key file cannot be read: {error.strerror}",
            where=str(path),
            remedy="'autoscope keys new' makes keys; --keys or AUTOSCOPE_KEYS names their folder",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("a key file must be a plain file", where=str(path))
    return status


def _toml(path: Path) -> dict[str, object]:
    _status(path)
    try:
        return tomllib.loads(path.read_text(encoding="ascii"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError("is not a key file", where=str(path), remedy="'autoscope keys new' makes one") from error


def _checked(kind: type[M], fields: dict[str, object], where: str) -> M:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ConfigError(
            f"is not a valid key: {first['msg']}", where=f"{where}, {'.'.join(map(str, first['loc']))}"
        ) from None
