"""The Ed25519 key of an installation: made at first use, kept in the user's own folder, never beside a run."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoscope.errors import IdentityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HOME_VARIABLE = "AUTOSCOPE_HOME"
"""Environment variable that names the folder of the installation's own files."""

PRIVATE, PUBLIC = "identity.pem", "identity.pub"


def home() -> Path:
    r"""Return the folder of the installation's own files; it need not exist.

    ``AUTOSCOPE_HOME`` if it is set, else the user's folder for settings: ``$XDG_CONFIG_HOME/autoscope`` or
    ``~/.config/autoscope``, on Windows ``%APPDATA%\autoscope``, on macOS ``~/Library/Application Support/autoscope``.
    """
    if chosen := os.environ.get(HOME_VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":  # pragma: no cover
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "autoscope"
    if sys.platform == "darwin":  # pragma: no cover
        return Path.home() / "Library" / "Application Support" / "autoscope"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "autoscope"


@dataclass(frozen=True)
class Identity:
    """A key pair that signs the heads of runs."""

    public_key: str
    """The raw public key, 64 lower-case hexadecimal digits."""
    path: Path
    """The file of the private key."""
    _key: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature of a message."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self.public_key})"


def load(folder: Path | None = None) -> Identity | None:
    """Return the installation's identity, or None if it has none yet.

    Raises
    ------
    IdentityError
        The file can be read by others, cannot be read at all, or holds no Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = (folder or home()) / PRIVATE
    try:
        data = path.read_bytes()
        _refuse_if_open_to_others(path)
        key = load_pem_private_key(data, password=None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        remedy = "Restore it from a copy, or move it away: a new one is made then"
        raise IdentityError(f"the key cannot be read: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError("is no Ed25519 key", where=str(path), value=type(key).__name__)
    return _identity(path, key)


def load_or_make(folder: Path | None = None) -> Identity:
    """Return the installation's identity; made, with mode 0600, if there is none yet.

    Raises
    ------
    IdentityError
        See `load`; or the folder cannot be written to.
    """
    return load(folder) or _made(folder or home())


def _made(folder: Path) -> Identity:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    path, key = folder / PRIVATE, Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(path, pem)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / PUBLIC).write_bytes(public)
    except FileExistsError:  # another process was quicker
        if (known := load(folder)) is not None:
            return known
        raise IdentityError("came and went", where=str(path), remedy="Try again") from None
    except OSError as error:
        remedy = f"Make the folder writable, or name another in {HOME_VARIABLE}"
        raise IdentityError(f"the key cannot be written: {error.strerror}", where=str(path), remedy=remedy) from error
    return _identity(path, key)


def _write_new(path: Path, data: bytes) -> None:
    """Put a file under its name whole or not at all, readable by nobody else from the first byte on."""
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)  # of mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # unlike a rename, refuses to replace a key
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        source.rename(target)


def _refuse_if_open_to_others(path: Path) -> None:
    if sys.platform == "win32":  # pragma: no cover
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise IdentityError(
            "others can read the private key", where=str(path), value=f"{mode:04o}", limit="0600",
            remedy=f"chmod 600 {path}; if others may have copied it, move it away: a new one is made then",
        )  # fmt: skip


def _identity(path: Path, key: Ed25519PrivateKey) -> Identity:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Identity(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex(), path, key)


def read_public_key(text: str) -> str:
    """Return a public key given as 64 hexadecimal digits or as a PEM file, in hexadecimal digits.

    Raises
    ------
    IdentityError
        It is neither.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    digits = text.strip().lower()
    if len(digits) == 64 and set(digits) <= set("0123456789abcdef"):
        return digits
    try:
        key = load_pem_public_key(Path(text).read_bytes())
    except (OSError, ValueError) as error:
        remedy = "Give 64 hexadecimal digits, or the file identity.pub; see 'autoscope identity'"
        raise IdentityError("is no public key", value=text, remedy=remedy) from error
    if not isinstance(key, Ed25519PublicKey):
        raise IdentityError("is no Ed25519 key", where=text, value=type(key).__name__)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
