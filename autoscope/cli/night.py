"""A server for the length of one run: keys made for the night, a process of its own, ended whatever happens.

What a run needs to be resumed (keys, address, the instrument's file) lies in a folder beside the ledger until the run
is complete. A server that dies while the run goes on is started again.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from rich.console import Console

from autoscope.bus.enrolment import admit, line_of, new_client, new_server, secret_file
from autoscope.bus.roles import Role
from autoscope.cli.running import read_config, run_config
from autoscope.cli.serving import read_serve_config
from autoscope.cli.watching import require_channels
from autoscope.clock import SystemClock
from autoscope.engine.events import RunEnd, RunStatus
from autoscope.errors import ConfigError, Unreachable
from autoscope.journal.layout import CONFIG

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
RESTARTS = 3
"""How often a server that dies during the run is started again."""
KEPT_LINES = 40
NIGHTS = "nights"
"""Folder inside that of the ledger, with one folder for each night that can be resumed."""
INSTRUMENT, ADDRESS = "instrument.yaml", "address"
"""Files of such a folder beside the keys: what was served, and where."""
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
    attention: Path | None = None,
) -> int:
    """Serve the instrument of one file and run the experiment of another on it; return the exit status.

    Raises
    ------
    ConfigError
        One of the files is wrong, or the run does not use the bus; nothing was started.
    Unreachable
        The server did not get ready; what it said last is told.
    """
    if attention is not None:
        require_channels(attention)
    _require_bus(config, overrides)
    served_config, _, _ = read_serve_config(instrument, None, None, [])
    folder = ledger or Path("ledgers") / served_config.name
    console = Console(soft_wrap=True)
    night = Night.prepare(folder, instrument)
    ends, begun = list[RunEnd](), False
    try:
        with night.served(lambda text: console.print(text, highlight=False, markup=False)) as server:
            console.print(
                f"serves {instrument} at {server.address}, with keys for this night; ledger in {folder}",
                highlight=False,
            )
            options = "environment.options.instrument.options"
            begun = True
            over_the_bus = [*overrides, f"{options}.address={server.address}", f"{options}.key={server.key}"]
            return run_config(
                config,
                over_the_bus,
                runs,
                smoke=smoke,
                quiet=quiet,
                with_report=with_report,
                attention=attention,
                ended=ends.append,
            )
    finally:
        if not begun or (ends and ends[-1].status is RunStatus.COMPLETED):  # nothing is left to resume
            night.forget()


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


@dataclass(frozen=True)
class Night:
    """What one night is served with: keys and the instrument's file, in a folder that only its owner reads."""

    folder: Path

    @classmethod
    def prepare(cls, ledger: Path, instrument: Path) -> Self:
        """Make the keys of a night and keep what it is served with, beside the ledger."""
        nights = ledger.absolute() / NIGHTS
        nights.mkdir(parents=True, exist_ok=True)
        night = cls(Path(tempfile.mkdtemp(prefix=f"{SystemClock().wall()[:10]}-", dir=nights)))  # of mode 0700
        shutil.copyfile(instrument, night.folder / INSTRUMENT)
        _keys(night.folder)
        return night

    @classmethod
    def of(cls, run: Path) -> Self | None:
        """Return the night of a run, or None where it is none, or its keys were thrown away."""
        part: Any = yaml.safe_load((run / CONFIG).read_bytes()) if (run / CONFIG).is_file() else {}
        for name in ("environment", "options", "instrument", "options", "key"):
            part = part.get(name) if isinstance(part, dict) else None
        folder = Path(part).parent if isinstance(part, str) else None
        return cls(folder) if folder is not None and (folder / ADDRESS).is_file() else None

    @contextmanager
    def served(self, tell: Callable[[str], None]) -> Iterator[Served]:
        """Serve the instrument, at the address it had before if it was served before.

        Raises
        ------
        Unreachable
            The server did not get ready.
        """
        noted = self.folder / ADDRESS
        before = noted.read_text(encoding="utf-8").strip() if noted.is_file() else None
        with _serving(self.folder / INSTRUMENT, self.folder, self.folder.parents[1], before, tell) as server:
            noted.write_text(f"{server.address}\n", encoding="utf-8")
            yield server

    def forget(self) -> None:
        """Throw the keys away."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def served(instrument: Path, ledger: Path) -> Iterator[Served]:
    """Serve an instrument on this computer, with keys that live as long as the server.

    Raises
    ------
    Unreachable
        The server did not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="autoscope-night-") as name:
        _keys(Path(name))
        with _serving(instrument, Path(name), ledger, None, lambda text: None) as server:
            yield server


@contextmanager
def _serving(
    instrument: Path, keys: Path, ledger: Path, address: str | None, tell: Callable[[str], None]
) -> Iterator[Served]:
    for attempt in range(1, TRIES + 1):
        chosen = address or f"tcp://127.0.0.1:{free_ports()}"
        server = _Server(instrument, chosen, keys, ledger)
        said = server.said_until_ready()
        if said is None:
            break
        server.end()
        if attempt == TRIES or not (address or TAKEN in said):
            what = "the server of the instrument did not get ready; it said:\n"
            raise Unreachable(what + said, limit=f"{START_S:g} s")
        SystemClock().wait(1.0)  # the one before, at this address or with this ledger, may just be ending
    keeper = _Keeper(server, lambda: _Server(instrument, chosen, keys, ledger), tell)
    try:
        yield Served(chosen, secret_file(keys, AGENT))
    finally:
        keeper.end()


class _Keeper:
    """Starts a server again that dies before its time."""

    def __init__(self, server: _Server, again: Callable[[], _Server], tell: Callable[[str], None]) -> None:
        self._server, self._again, self._tell = server, again, tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="night-keeper", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        for _ in range(RESTARTS):
            self._server.wait()
            if self._over.is_set():
                return
            self._tell("the server of the instrument died: it is started again")
            self._server.end()
            self._server = self._again()
            if self._over.is_set():  # while it was being made: whoever ends the night has ended the one before
                self._server.end()
                return
            if (said := self._server.said_until_ready()) is not None and not self._over.is_set():
                self._tell(f"it did not get ready; it said:\n{said}")
                return
        self._tell(f"the server died after {RESTARTS} new starts: it is not started again")

    def end(self) -> None:
        """Have the server make its instrument safe and end."""
        self._over.set()
        self._server.end()
        self._thread.join(END_S)


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

    def wait(self) -> None:
        """Return when the process has ended."""
        self._process.wait()

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


def _keys(folder: Path) -> None:
    """Make a server's key and one of an agent that it admits."""
    server = new_server(folder)
    agent = new_client(folder, AGENT, server=server.public)
    admit(folder, line_of(agent, Role.AGENT, SystemClock().wall()[:10]))


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
