"""Runs first in every worker process: Ctrl-C in a terminal reaches all of them, and is for the one a person started."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave interrupts to the process that started the workers; it stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
