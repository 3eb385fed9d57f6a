"""A server for the length of one run: keys made for the night, a process of its own, ended whatever happens."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from autoscope.bus.enrolment import admit, line_of, new_client, new_server, secret_file
from autoscope.bus.roles import Role
from autoscope.cli.running import read_config, run_config
from autoscope.cli.serving import read_serve_config
from autoscope.clock import SystemClock
from autoscope.errors import ConfigError, Unreachable

AGENT = "night_agent"
START_S = 180.0
"""Longest time an instrument may take until it is served."""
END_S = 30.0
"""Longest time a server may take to make its instrument safe and end."""
SOCKETS = 4
"""A server listens on four ports in a row."""
TRIES = 5
"""How often a server is started anew because somebody else took its ports meanwhile."""
TAKEN = "Address already in use"
KEPT_LINES = 40
_SERVE = "from autoscope.cli.night import serve_while_parent_lives as serve; serve()"


@dataclass(frozen=True)
class Served:
    """Where a server of ours is, and the key that it admits."""

    address: str
    key: Path


def run_night(
    config: Path,
    instrument: Path,
    overrides: list[str],
    runs: Path,
    ledger: Path | None,
    *,
    smoke: bool,
    quiet: bool,
    with_report: bool,
) -> int:
    """Serve the instrument of one file and run the experiment of another on it; return the exit status.

    Raises
    ------
    ConfigError
        One of the files is wrong, or the run does not use the bus; nothing was started.
    Unreachable
        The server did not get ready; what it said last is told.
    """
    _require_bus(config, overrides)
    served_config, _, _ = read_serve_config(instrument, None, None, [])
    folder = ledger or Path("ledgers") / served_config.name
    console = Console(soft_wrap=True)
    with served(instrument, folder) as server:
        console.print(
            f"serves {instrument} at {server.address}, with keys for this night; ledger in {folder}", highlight=False
        )
        options = "environment.options.instrument.options"
        over_the_bus = [*overrides, f"{options}.address={server.address}", f"{options}.key={server.key}"]
        return run_config(config, over_the_bus, runs, smoke=smoke, quiet=quiet, with_report=with_report)


def _require_bus(config: Path, overrides: list[str]) -> None:
    resolved = read_config(config, overrides)
    part = resolved.config.environment.options.get("instrument")
    if not isinstance(part, dict) or part.get("name") != "bus":
        raise ConfigError(
            "the instrument of this run is not the bus",
            where=f"{config}: environment",
            value=resolved.config.environment.name,
            limit="environment: {name: microscope, options: {instrument: {name: bus}}}",
            remedy="See configs/overnight_nion.yaml; without a bus say 'autoscope run'",
        )


@contextmanager
def served(instrument: Path, ledger: Path) -> Iterator[Served]:
    """Serve an instrument on this computer, with keys that live as long as the server.

    Raises
    ------
    Unreachable
        The server did not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="autoscope-night-") as name, ExitStack() as stack:
        keys = Path(name)
        key = _keys(keys)
        for attempt in range(1, TRIES + 1):
            address = f"tcp://127.0.0.1:{free_ports()}"
            server = _Server(instrument, address, keys, ledger)
            stack.callback(server.end)
            said = server.said_until_ready()
            if said is None:
                break
            if TAKEN not in said or attempt == TRIES:
                what = "the server of the instrument did not get ready; it said:\n"
                raise Unreachable(what + said, limit=f"{START_S:g} s")
        yield Served(address, key)


class _Server:
    """A process that serves until its standard input closes."""

    def __init__(self, instrument: Path, address: str, keys: Path, ledger: Path) -> None:
        arguments = ["--config", str(instrument), "--address", address, "--keys", str(keys), "--ledger", str(ledger)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "serve", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the agent alone; the server ends after it
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="night-server", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process.stdout:
            with self._process.stdout as lines:
                for line in lines:  # to its end, or the server would wait for somebody to read on
                    self._lines.put(line)
        self._lines.put(None)

    def said_until_ready(self) -> str | None:
        """Return None when the server is ready; what it said last where it ended or took too long."""
        said: deque[str] = deque(maxlen=KEPT_LINES)
        clock = SystemClock()
        while clock.now_s() < START_S:
            with suppress(queue.Empty):
                line = self._lines.get(timeout=START_S - clock.now_s())
                if line is None:
                    break
                said.append(line)
                if line.startswith("ready"):
                    return None
        return "".join(said)

    def end(self) -> None:
        """Have the server make its instrument safe and end; kill it where it does not."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_S)


def _keys(folder: Path) -> Path:
    """Make a server's key and one of an agent that it admits; return the agent's."""
    server = new_server(folder)
    agent = new_client(folder, AGENT, server=server.public)
    admit(folder, line_of(agent, Role.AGENT, SystemClock().wall()[:10]))
    return secret_file(folder, AGENT)


def free_ports() -> int:
    """Return the first of some ports in a row that nobody on this computer listens on now.

    Raises
    ------
    Unreachable
        There are none.
    """
    for _ in range(TRIES * SOCKETS):
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))  # the operating system knows a free one; those after it are tried
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                for other in range(port + 1, port + SOCKETS):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", other))
                return port
    raise Unreachable("no four free ports in a row", limit=f"{TRIES * SOCKETS} tries")


def serve_while_parent_lives() -> None:
    """Be ``autoscope serve`` until standard input closes, as it does when the process that holds it ends or dies."""
    from autoscope.cli import main

    def watch() -> None:
        while os.read(0, 4096):  # unbuffered: a reader that is still there must not hold up the end of the process
            pass
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    main()
