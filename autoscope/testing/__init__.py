"""What others need to test against autoscope: failing disks and networks, and conformance kits for plug-ins.

>>> from autoscope.testing import check_instrument
>>> check_instrument.__name__
'check_instrument'
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Check": "autoscope.testing.conformance.report",
    "FaultyDisk": "autoscope.testing.disk",
    "FaultyTransport": "autoscope.testing.transport",
    "Fate": "autoscope.testing.transport",
    "GENTLE": "autoscope.testing.conformance.bench",
    "MemoryTransport": "autoscope.testing.transport",
    "Report": "autoscope.testing.conformance.report",
    "Steps": "autoscope.testing.conformance.bench",
    "PolicyReport": "autoscope.testing.conformance.report",
    "check_instrument": "autoscope.testing.conformance.kit",
    "check_policy": "autoscope.testing.conformance.policies",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its home, so that a faulty disk costs no numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'autoscope.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
