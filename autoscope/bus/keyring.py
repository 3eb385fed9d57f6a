"""The server's file of those who may enter: one public key a line, with its role; read again whenever it changes.

::

    # role      name         public key                                made
    agent       night_agent  rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7  2026-11-27

Removing a line revokes a key. A file that is wrong is refused whole when a server starts. When it changes under a
running server and is wrong then, only those known before whose line still stands unchanged stay in: a slip of the pen
admits nobody.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, ValidationError

from autoscope.actions import Value
from autoscope.bus.keys import Name, PublicKey, fingerprint, require_unwritable
from autoscope.bus.roles import Peer, Role
from autoscope.errors import ConfigError
from autoscope.journal.disk import LocalDisk, write_durably

FILE = "authorized_keys"
_HEAD = """# Who may use this instrument, one key a line. To revoke a key remove its line; a running server sees it.
# role      name  public key  made
"""


class Entry(Value):
    """One line: who, which key, and what it may do."""

    role: Role
    name: Name
    public: PublicKey
    made: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]

    @property
    def user_id(self) -> str:
        """Name and fingerprint: what a connection is known by; a new key of an old name is somebody else."""
        return f"{self.name} {fingerprint(self.public)}"

    def line(self) -> str:
        """Return the line of the file."""
        return f"{self.role.value:<10}  {self.name}  {self.public}  {self.made}\n"


def parse(text: str, where: str) -> tuple[list[Entry], list[ConfigError]]:
    """Return the entries of the lines that are right, and an error for each line that is not."""
    entries: list[Entry] = []
    errors: list[ConfigError] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            entries.append(_entry(line, entries))
        except ValueError as error:
            errors.append(
                ConfigError(
                    str(error),
                    where=f"{where}, line {number}",
                    remedy="A line reads: role name key date ('autoscope keys new' writes them)",
                )
            )
    return entries, errors


def _entry(line: str, before: Iterable[Entry]) -> Entry:
    fields = line.split()
    if len(fields) != 4:
        raise ValueError(f"a line has 4 fields, this one {len(fields)}")
    if fields[0] not in set(Role):
        raise ValueError(f"no such role: {fields[0]!r} (roles: {', '.join(Role)})")
    try:
        entry = Entry(role=Role(fields[0]), name=fields[1], public=fields[2], made=fields[3])
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}") from None
    for other in before:
        if other.name == entry.name or other.public == entry.public:
            raise ValueError(f"{entry.name!r} has the name or the key of an earlier line")
    return entry


def new_entry(name: str, role: str, public: str, made: str) -> Entry:
    """Return a line from its words.

    Raises
    ------
    ConfigError
        One of them is wrong.
    """
    try:
        return _entry(f"{role} {name} {public} {made}", ())
    except ValueError as error:
        raise ConfigError(str(error), where="new key") from None


_Signature = tuple[int, int, int]
"""Of a file: inode, bytes, and when it changed, ns."""


class Keyring:
    """Those who may enter, as the file says now.

    Parameters
    ----------
    path : Path
        The file; it must be there, though it may name nobody.

    Raises
    ------
    ConfigError
        The file is absent, writable by others, or any line of it is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._name = path, os.fspath(path)
        self._lock = threading.Lock()
        require_unwritable(path)
        self._signature = self._look()
        entries, errors = parse(path.read_text(encoding="utf-8"), str(path))
        if errors:
            raise errors[0]
        self._take(entries)
        self.generation = 0
        """Grows whenever somebody is shut out: what was sent to all must then be opened anew."""
        self.fault: ConfigError | None = None
        """What is wrong with the file since it last changed."""

    def _take(self, entries: Iterable[Entry]) -> None:
        taken = list(entries)
        self._by_public = {entry.public: entry for entry in taken}
        self._by_user_id = {e.user_id: Peer(e.name, e.role, fingerprint(e.public)) for e in taken}

    def _look(self) -> _Signature | None:
        try:
            status = os.stat(self._name)  # noqa: PTH116  # once a message: twice as fast as Path.stat
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def refresh(self) -> None:
        """Read the file again if it changed; costs a look at the folder otherwise."""
        if self._look() == self._signature:
            return
        with self._lock:
            if (signature := self._look()) != self._signature:
                self._reread()
                self._signature = signature

    def _reread(self) -> None:
        before = set(self._by_public.values())
        self.fault, entries = None, list[Entry]()
        try:
            require_unwritable(self._path)
            entries, errors = parse(self._path.read_text(encoding="utf-8"), str(self._path))
            if errors:
                self.fault, entries = errors[0], [entry for entry in entries if entry in before]
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            self.fault = error if isinstance(error, ConfigError) else ConfigError(str(error), where=str(self._path))
        self._take(entries)
        self.generation += bool(before - set(entries))

    def by_public(self, public: str) -> Entry | None:
        """Return the entry of a public key (Z85), or None."""
        self.refresh()
        return self._by_public.get(public)

    def by_user_id(self, user_id: str) -> Peer | None:
        """Return whose connection it is, or None where its key has been revoked since it was let in."""
        if self._look() != self._signature:  # once a message
            self.refresh()
        return self._by_user_id.get(user_id)

    def entries(self) -> list[Entry]:
        """Return all entries in the order of the file."""
        self.refresh()
        return list(self._by_public.values())


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a file that is wholly right.

    Raises
    ------
    ConfigError
        As `Keyring`.
    """
    return Keyring(path).entries()


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Write a file of entries in one step: a running server sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    disk = LocalDisk()
    write_durably(disk, new, (_HEAD + "".join(entry.line() for entry in entries)).encode("ascii"))
    new.chmod(0o644)
    disk.rename(new, path)
    disk.fsync_folder(path.parent)
