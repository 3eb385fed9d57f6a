"""Where an export goes: written beside its place under another name, and put there only when it is whole."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscope.errors import ExportError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[Path]:
    """Hand out a place to write a file or folder; on success it gets its name, on any error it is removed.

    Parameters
    ----------
    path : Path
        Where the export shall be.
    force : bool
        Replace what is there already.

    Raises
    ------
    ExportError
        There is something already, the folder is absent, or the disk failed or is full.
    """
    if path.exists() and not force:
        raise ExportError(
            "there is something in this place already", where=str(path), remedy="Use --force to replace it"
        )
    if not path.parent.is_dir():
        raise ExportError("no such folder", where=str(path.parent), remedy="Make it, or choose another --output")
    draft = path.with_name(f".{path.name}.partial")
    try:
        _remove(draft)
        yield draft
        _settle(draft, path)
    except OSError as error:
        raise _told(error, path) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink(missing_ok=True)


def _settle(draft: Path, path: Path) -> None:
    """Give the draft its name; what was there is removed only when the new one is whole."""
    if not path.is_dir():
        draft.replace(path)
        return
    aside = path.with_name(f".{path.name}.replaced")
    _remove(aside)
    path.replace(aside)
    draft.replace(path)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _told(error: OSError, path: Path) -> ExportError:
    full = error.errno in _FULL or "No space left" in str(error)  # HDF5 tells the cause in its text only
    what = "the disk is full" if full else f"cannot be written: {error.strerror or error}"
    remedy = "Free space, or choose another --output" if full else "Check the disk and its rights"
    return ExportError(what, where=str(path), remedy=f"{remedy}; the run itself is untouched")
