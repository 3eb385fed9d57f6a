"""Secrets out of environment variables and private files; never out of a configuration, never into a message."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from autoscope.errors import ConfigError


def from_variable(name: str) -> str:
    """Return the secret in an environment variable.

    Raises
    ------
    ConfigError
        It is not set, or empty.
    """
    found = os.environ.get(name, "")
    if not found:
        raise ConfigError(
            "the environment variable is not set", where=name, remedy="Set it where 'autoscope watch' is started"
        )
    return found


def from_file(path: Path) -> str:
    """Return the secret in a file, without the line's end.

    Raises
    ------
    ConfigError
        It is absent, empty, unreadable, or others could read it.
    """
    chosen = path.expanduser()
    try:
        mode = stat.S_IMODE(chosen.stat().st_mode)
        found = chosen.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigError(f"the file of a secret cannot be read: {reason}", where=str(chosen)) from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(
            "others can read the file of a secret", where=str(chosen), value=f"{mode:03o}", limit="600",
            remedy=f"chmod 600 {chosen}",
        )  # fmt: skip
    if not found:
        raise ConfigError("the file of a secret is empty", where=str(chosen))
    return found
