"""autoscope: a closed-loop autonomous-experiment agent for (scanning) transmission electron microscopy.

The public names below are imported when first used, so that importing autoscope costs nothing.

>>> import autoscope
>>> autoscope.SimClock().now_s()
0.0
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AutoscopeError": "autoscope.errors",
    "Document": "autoscope.config",
    "Engine": "autoscope.engine.loop",
    "Journal": "autoscope.journal",
    "JournalReader": "autoscope.journal",
    "MemoryJournal": "autoscope.journal",
    "RunConfig": "autoscope.config",
    "SimClock": "autoscope.clock",
    "SystemClock": "autoscope.clock",
    "assemble": "autoscope.engine.assemble",
    "resolve": "autoscope.engine.assemble",
    "verify": "autoscope.journal",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'autoscope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
