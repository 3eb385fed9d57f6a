"""Runs first in every worker process, which does nothing but compute campaigns.

Ctrl-C in a terminal reaches all of them, and is for the one a person started.
"""

from __future__ import annotations

import signal
from typing import Any

from autoscope.benchmark.memory import devote


def dask_setup(worker: Any) -> None:
    """Leave interrupts to the process that started the workers, which stops them; say what this process is for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    devote()
