"""One BLAS thread for small matrices, where more threads make a fit many times slower and less repeatable."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return ThreadpoolController()


class _Depth(threading.local):
    value = 0


_DEPTH = _Depth()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one thread in BLAS, and in torch if it is loaded; put both back as they were.

    Inside another such block of the same thread it does nothing, at no cost.
    """
    if _DEPTH.value:
        yield
        return
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    _DEPTH.value = 1
    try:
        with _controller().limit(limits=1):
            yield
    finally:
        _DEPTH.value = 0
        if torch:
            torch.set_num_threads(before)
