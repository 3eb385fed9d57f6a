"""One BLAS thread for small matrices, where more threads make a fit many times slower and less repeatable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one thread in BLAS, and in torch if it is loaded; put both back as they were."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    try:
        with _controller().limit(limits=1):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)
