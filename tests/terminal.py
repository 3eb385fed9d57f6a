"""A real terminal for a program under test: a pseudo-terminal, and pyte to see what is on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Sequence
from typing import Self

import pyte

from autoscope.clock import SystemClock

KEYS = {
    "left": "\x1b[D",
    "right": "\x1b[C",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "enter": "\r",
    "escape": "\x1b",
    "end": "\x1b[F",
    "tab": "\t",
    "f8": "\x1b[19~",
}


WHAT_ARE_YOU, NO_GRAPHICS = b"\x1b[c", b"\x1b[?62;22c"
"""The question for a terminal's attributes, and the answer of one with colours and without Sixel."""


class Terminal:
    """Runs a program in a terminal of its own, which says what it is as real ones do; use it in a ``with`` block.

    Parameters
    ----------
    command : sequence of str
        The program.
    size : tuple of int
        Columns and lines.
    """

    def __init__(self, command: Sequence[str], size: tuple[int, int] = (120, 40), **given) -> None:
        self._clock = SystemClock()
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._at, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 8 * size[0], 16 * size[1]))
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            command, stdin=there, stdout=there, stderr=there, env=environment, start_new_session=True, **given
        )
        os.close(there)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._at)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self._screen.display)

    def look(self, seconds: float) -> None:
        """Take in what the program writes for so long."""
        until = self._clock.now_s() + seconds
        while (left := until - self._clock.now_s()) > 0:
            if select.select([self._at], [], [], left)[0]:
                try:
                    said = os.read(self._at, 1 << 16)
                    if WHAT_ARE_YOU in said:
                        os.write(self._at, NO_GRAPHICS)
                except OSError:  # the program is gone
                    return
                self._stream.feed(said)

    def wait_for(self, *words: str | tuple[str, ...], seconds: float = 60.0) -> str:
        """Wait until all words are on the screen, and return it; raises AssertionError where they do not come.

        Of several in a tuple one is enough.
        """
        until = self._clock.now_s() + seconds
        wanted = [(word,) if isinstance(word, str) else word for word in words]
        while not all(any(one in self.text for one in each) for each in wanted):
            if self._clock.now_s() > until:
                raise AssertionError(f"{words} not seen within {seconds:g} s on:\n{self.text}")
            self.look(0.02)
        return self.text

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            os.write(self._at, KEYS.get(key, key).encode())
            self.look(0.1)

    def hang_up(self) -> None:
        """Take the line away, as a broken ssh connection does."""
        self.process.send_signal(signal.SIGHUP)
        self.ended()

    def ended(self, seconds: float = 60.0) -> int:
        """Wait until the program has ended, and return its exit status."""
        until = self._clock.now_s() + seconds
        while self.process.poll() is None and self._clock.now_s() < until:
            self.look(0.05)  # a program whose writing nobody reads cannot end
        return self.process.wait(1)
