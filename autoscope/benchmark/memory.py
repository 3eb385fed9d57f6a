"""Memory of a process that computes campaigns: its high-water mark, and what garbage collection need not look at."""

from __future__ import annotations

import functools
import gc
import resource
import sys
from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LOWER_THE_MARK = "5"
"""proc(5): sets the peak resident set size to what is resident now."""

YOUNG = 10_000
"""New objects after which a process that computes campaigns looks for garbage in cycles; Python's own number is 700."""

_devoted = False


def lower_mark() -> None:
    """Count the peak from now on; without effect where the system has no such thing."""
    with suppress(OSError):
        CLEAR.write_text(LOWER_THE_MARK)


def peak_rss_bytes() -> int:
    """Return the most memory held since `lower_mark`; since the process began where the mark cannot be lowered.

    Examples
    --------
    >>> peak_rss_bytes() > 1_000_000
    True
    """
    with suppress(OSError, StopIteration):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def devote() -> None:
    """Say that this process does nothing but compute campaigns."""
    global _devoted
    _devoted = True


def set_imports_aside() -> None:
    """In a devoted process, let garbage collection pass over what it holds now; again whenever more was imported.

    Numerical libraries are half a million objects that never go. To look through them takes a fifth of a second, and
    new objects of a campaign are what makes the collector do it. Garbage in cycles is collected before, but what
    becomes garbage later of what was set aside is not, so other processes are left alone.
    """
    if _devoted:
        _set_aside(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _set_aside(modules: int) -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
