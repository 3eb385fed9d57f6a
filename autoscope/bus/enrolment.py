"""Making, admitting and revoking keys in one folder, as the command line does it."""

from __future__ import annotations

from pathlib import Path

from autoscope.bus.keyring import FILE, Entry, read_entries, write_entries
from autoscope.bus.keys import SERVER, KeyPair, load_public, save_public
from autoscope.bus.roles import Role
from autoscope.errors import ConfigError


def secret_file(folder: Path, name: str) -> Path:
    """Return where the secret key of a name lies."""
    return folder / f"{name}.key"


def public_file(folder: Path, name: str = SERVER) -> Path:
    """Return where the public key of a name lies."""
    return folder / f"{name}.pub"


def authorized_file(folder: Path) -> Path:
    """Return where those who may enter are written down."""
    return folder / FILE


def new_server(folder: Path, name: str = SERVER) -> KeyPair:
    """Make a server's key pair, and the file of those who may enter where there is none yet.

    Raises
    ------
    ConfigError
        The server has a key already.
    """
    pair = KeyPair.generate(name)
    pair.save(secret_file(folder, name))
    save_public(pair, public_file(folder, name))
    if not authorized_file(folder).exists():
        write_entries(authorized_file(folder), [])
    return pair


def new_client(folder: Path, name: str, *, server: str | None) -> KeyPair:
    """Make a key pair for a person or an agent; ``server`` is the server's public key where it is known.

    Raises
    ------
    ConfigError
        There is a key of that name, or the name is not one a key may have.
    """
    if name == SERVER:
        raise ConfigError("this name is kept for the server's own key", value=name, remedy="Say --server, or rename it")
    pair = KeyPair.generate(name, server=server)
    pair.save(secret_file(folder, name))
    return pair


def pinned(folder: Path) -> str | None:
    """Return the public key of the server of a folder, or None where it has none."""
    return load_public(public_file(folder)) if public_file(folder).exists() else None


def admit(folder: Path, entry: Entry) -> None:
    """Let a key in: add its line.

    Raises
    ------
    ConfigError
        The name or the key is there already, or the file is wrong.
    """
    entries = read_entries(authorized_file(folder))
    for other in entries:
        if entry.name == other.name or entry.public == other.public:
            raise ConfigError(
                "this name or this key may enter already",
                where=str(authorized_file(folder)),
                value=other.name,
                remedy=f"'autoscope keys revoke {other.name}' first, or choose another name",
            )
    write_entries(authorized_file(folder), [*entries, entry])


def revoke(folder: Path, name: str) -> Entry:
    """Remove the line of a name and return it; a running server refuses it from its next message on.

    Raises
    ------
    ConfigError
        Nobody of that name may enter, or the file is wrong.
    """
    entries = read_entries(authorized_file(folder))
    gone = [entry for entry in entries if entry.name == name]
    if not gone:
        raise ConfigError(
            "nobody of this name may enter",
            where=str(authorized_file(folder)),
            value=name,
            limit=", ".join(entry.name for entry in entries) or "nobody",
        )
    write_entries(authorized_file(folder), [entry for entry in entries if entry.name != name])
    return gone[0]


def require_free(folder: Path, name: str) -> None:
    """Return where no key of this name may enter yet, so that none is made in vain.

    Raises
    ------
    ConfigError
        The name is taken.
    """
    if authorized_file(folder).exists() and any(e.name == name for e in read_entries(authorized_file(folder))):
        raise ConfigError(
            "a key of this name may enter already",
            where=str(authorized_file(folder)),
            value=name,
            remedy=f"'autoscope keys revoke {name}' first, or choose another name",
        )


def line_of(pair: KeyPair, role: Role, made: str) -> Entry:
    """Return the line that lets a pair in."""
    return Entry(role=role, name=pair.name, public=pair.public, made=made)
