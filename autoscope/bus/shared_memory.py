"""Memory that two processes of one computer both see, so that only headers go over the socket.

The receiver makes a `Window`, writes a nonce into it and sends its name; the sender opens it and sends the nonce back.
Only memory that really is shared passes that test; an address or a host name proves nothing. As soon as both have it
the name is removed, so that the memory goes when the processes go, however they end. What a process that died in
between left behind is removed by whoever makes the next window: the maker holds a lock that the operating system drops
with it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from autoscope.errors import BusError

PREFIX = "autoscope-"
NAME = re.compile(rf"^{PREFIX}[0-9a-f]{{16}}$")
_MAGIC = b"autoscope/window"
_NONCE_BYTES = 32
_DATA_OFFSET = 4096
MAX_WINDOW_BYTES = 1024**3
_FOLDER = Path("/dev/shm")  # noqa: S108  # where Linux shows shared memory


class Window:
    """A block of shared memory with a nonce in front; made by `create`, found by `open`."""

    def __init__(self, name: str, size: int, memory: mmap.mmap, handle: int) -> None:
        self.name, self.size = name, size
        self._memory, self._handle = memory, handle
        self._linked = True
        self._view = memoryview(memory)

    @classmethod
    def create(cls, size: int) -> Self:
        """Return new memory of this user alone, all of it really there: writing to it cannot fail later.

        Raises
        ------
        BusError
            There is not enough memory, or this system has no shared memory.
        """
        sweep()
        for _ in range(3):
            name = PREFIX + secrets.token_hex(8)
            with _explained(name, size):
                window = cls(name, size, *_create(name, _DATA_OFFSET + size))
            if _still_named(window._handle):  # a sweep between making and locking may have removed it
                window._view[: len(_MAGIC)] = _MAGIC
                window._view[len(_MAGIC) : len(_MAGIC) + _NONCE_BYTES] = secrets.token_bytes(_NONCE_BYTES)
                return window
            window.close()
        raise BusError("shared memory is removed as soon as it is made", where=name)

    @classmethod
    def open(cls, name: str, size: int) -> Self:
        """Return the memory another process made under this name.

        Raises
        ------
        BusError
            The name is none of ours, there is none of this name and size on this computer, or it is another user's.
        """
        if not NAME.match(name) or not 0 < size <= MAX_WINDOW_BYTES:
            raise BusError("is no window of shared memory", value=f"{name[:40]!r}, {size} bytes")
        with _explained(name, size):
            window = cls(name, size, *_open(name, _DATA_OFFSET + size))
        if bytes(window._view[: len(_MAGIC)]) != _MAGIC:
            window.close()
            raise BusError("is no window of shared memory", where=name)
        return window

    @property
    def nonce(self) -> str:
        """What only those who see this memory know."""
        return bytes(self._view[len(_MAGIC) : len(_MAGIC) + _NONCE_BYTES]).hex()

    def slot(self, start: int, size: int) -> memoryview:
        """Return a view of some bytes, writable; release it before `close`.

        Raises
        ------
        BusError
            They do not lie inside.
        """
        if start < 0 or size < 0 or start + size > self.size:
            raise BusError("lies outside the shared memory", value=f"[{start}, {start + size})", limit=self.size)
        return self._view[_DATA_OFFSET + start : _DATA_OFFSET + start + size]

    def unlink(self) -> None:
        """Remove the name; both sides keep the memory until they close it. Twice is fine."""
        if self._linked:
            self._linked = False
            _unlink(self.name)

    def close(self) -> None:
        """Let go of the memory; views handed out keep it until they are gone."""
        self._view.release()
        with contextlib.suppress(BufferError):
            self._memory.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.unlink()
        self.close()


@contextlib.contextmanager
def _explained(name: str, size: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise BusError(
            f"shared memory cannot be had: {error}",
            where=name,
            value=f"{size} bytes",
            remedy="The data goes over the socket instead; more room in /dev/shm makes it faster",
        ) from error


if sys.platform == "win32":  # pragma: no cover

    def _create(name: str, size: int) -> tuple[mmap.mmap, int]:
        return mmap.mmap(-1, size, tagname=name), -1

    _open = _create

    def _unlink(name: str) -> None:
        """Windows forgets the name when nobody has the memory open."""

    def _still_named(handle: int) -> bool:
        return True

    def sweep() -> int:
        """Return 0: Windows leaves nothing behind."""
        return 0

else:
    import _posixshmem
    import fcntl

    def _create(name: str, size: int) -> tuple[mmap.mmap, int]:
        handle = _posixshmem.shm_open(f"/{name}", os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
            else:  # pragma: no cover  # macOS
                os.ftruncate(handle, size)
            return mmap.mmap(handle, size), handle
        except BaseException:
            os.close(handle)
            _unlink(name)
            raise

    def _open(name: str, size: int) -> tuple[mmap.mmap, int]:
        handle = _posixshmem.shm_open(f"/{name}", os.O_RDWR, mode=0o600)
        try:
            status = os.fstat(handle)
            if status.st_size != size or status.st_uid != os.geteuid():
                raise ValueError(f"it has {status.st_size} bytes and belongs to user {status.st_uid}")
            return mmap.mmap(handle, size), handle
        except BaseException:
            os.close(handle)
            raise

    def _unlink(name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            _posixshmem.shm_unlink(f"/{name}")

    def _still_named(handle: int) -> bool:
        return os.fstat(handle).st_nlink > 0

    def sweep() -> int:
        """Remove what processes that died have left behind; return how many. Never touches what is in use."""
        if not _FOLDER.is_dir():  # pragma: no cover  # only Linux shows shared memory as files
            return 0
        return sum(_remove_if_orphaned(path) for path in _FOLDER.glob(f"{PREFIX}*") if NAME.match(path.name))

    def _remove_if_orphaned(path: Path) -> bool:
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True
