"""Where the policy's calls run: in line on a simulated clock, on one thread of their own on a real one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Calls(Protocol):
    """Runs calls one after the other, in the order they were handed in."""

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Hand in a call; the future holds what it returned or raised."""

    def call(self, call: Callable[[], T]) -> T:
        """Return what a call returned, or raise what it raised."""

    def close(self) -> None:
        """Take no more calls, and return when the last one is done; an interrupt lets go of it instead."""


class InLine:
    """Runs each call at once on the caller's thread, so that a simulated run is the same to the bit."""

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run a call now; an interrupt is raised here, everything else when the result is asked for."""
        future: Future[T] = Future()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        return future

    def call(self, call: Callable[[], T]) -> T:
        """Run a call now."""
        return call()

    def close(self) -> None:
        """Do nothing: all is done."""


class PolicyThread:
    """Runs calls on one thread.

    The thread is a daemon: a policy that never returns cannot keep the program from ending.
    """

    def __init__(self, name: str = "policy") -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Put a call at the end of the line."""
        future: Future[T] = Future()
        self._waiting.put((call, future))
        return future

    def call(self, call: Callable[[], T]) -> T:
        """Put a call at the end of the line, and wait for it."""
        return self.submit(call).result()

    def close(self) -> None:
        """Return when all calls handed in are done; an interrupt meanwhile lets go of them."""
        self._waiting.put(None)
        try:
            self._thread.join()
        except KeyboardInterrupt:
            return

    def _serve(self) -> None:
        while (item := self._waiting.get()) is not None:
            call, future = item
            try:
                future.set_result(call())
            except BaseException as error:  # raised again on the thread that asks for the result
                future.set_exception(error)
            del call, future, item  # a kept error would keep the frames of the call alive
