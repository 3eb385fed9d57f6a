"""How much memory a campaign needed: the high-water mark of the process, lowered before it where the system can."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LOWER_THE_MARK = "5"
"""proc(5): sets the peak resident set size to what is resident now."""


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
