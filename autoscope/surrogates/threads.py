"""One BLAS thread for small matrices, where more threads make a fit many times slower and less repeatable."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any


@cache
def _controller(torch_loaded: bool) -> Any:
    """Return what limits the libraries loaded so far; torch brings some of its own."""
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return ThreadpoolController()


class _Limited(threading.local):
    """What is limited on this thread, until the outermost block ends."""

    until: ExitStack | None = None
    torch = False


_LIMITED = _Limited()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one thread in BLAS, and in torch if it is loaded; put both back as they were.

    Inside another such block of the same thread it does nothing, at no cost, unless torch was loaded meanwhile: then
    torch is limited until the outer block ends, so that the first fit of a process comes out as every later one.
    """
    torch = sys.modules.get("torch")
    if _LIMITED.until is not None:
        if torch is not None and not _LIMITED.torch:
            _limit(_LIMITED.until, torch)
        yield
        return
    with ExitStack() as until:
        _LIMITED.until, _LIMITED.torch = until, False
        until.callback(_forget)
        _limit(until, torch)
        yield


def _limit(until: ExitStack, torch: Any) -> None:
    until.enter_context(_controller(torch is not None).limit(limits=1))
    if torch is not None:
        until.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        _LIMITED.torch = True


def _forget() -> None:
    _LIMITED.until, _LIMITED.torch = None, False
