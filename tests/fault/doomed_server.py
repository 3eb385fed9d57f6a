"""A bus server that is killed with SIGKILL at a chosen call of its ledger, its instrument or its sockets.

Server and agent are forked processes that run the program's own code. In the server's, the connection to the ledger's
database, the ledger's disk, the instrument and the sockets count their calls from the moment it is ready, and kill it
at one of them. Nothing else differs from ``autoscope serve``: it has its watchdog, its leases and its loops.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml
import zmq

from autoscope.bus import ledger as ledgers
from autoscope.bus import server as servers
from autoscope.cli import serving
from autoscope.journal import JournalReader, verify
from autoscope.journal.disk import LocalDisk
from tests.fault import killing
from tests.fault.hardware import Column
from tests.fault.served import CLOCK, PLUGIN
from tests.smoke import free_ports

READY = b"ready\n"
DEADLINE_S = 120.0
UNKNOWN = "OutcomeUnknown"


class ServerDoom:
    """Counts the calls of all threads of a server from `begin` on, and kills its process at one of them.

    Parameters
    ----------
    at : int
        Which call, counted from 1; 0 only counts.
    done_first : bool
        Whether the call is done before the process is killed.
    note : Path
        Receives the name of the call that killed, or of every call where none does.
    """

    def __init__(self, at: int, *, done_first: bool, note: Path) -> None:
        self._at, self._done_first, self._note = at, done_first, note
        self._lock, self._begun, self._count = threading.Lock(), False, 0
        self._names: list[str] = []

    def begin(self) -> None:
        """Count from here on."""
        self._begun = True

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a call that is counted."""
        if not self._begun:
            return work()
        with self._lock:
            self._count += 1
            due = self._count == self._at
            if self._at == 0:
                self._names.append(name)
        if due and not self._done_first:
            self._strike(name)
        result = work()
        if due:
            self._strike(name)
        return result

    def tell(self) -> None:
        """Write down the names of all calls, where nothing was to be killed."""
        if self._at == 0:
            self._note.write_text("\n".join(self._names))

    def _strike(self, name: str) -> None:
        self._note.write_text(f"{name} {'done' if self._done_first else 'not done'}")
        os.kill(os.getpid(), signal.SIGKILL)


def _doom_ledger(doom: ServerDoom) -> None:
    class Doomed(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> Any:
            run = super().execute
            return doom.call(f"ledger.{' '.join(sql.split()[:2])}", lambda: run(sql, *values))

    class DoomedFiles(LocalDisk):
        def write(self, file: Any, data: Any) -> None:
            doom.call("ledger.write", lambda: LocalDisk.write(self, file, data))

        def fsync(self, file: Any) -> None:
            doom.call("ledger.fsync", lambda: LocalDisk.fsync(self, file))

        def rename(self, source: Path, target: Path) -> None:
            doom.call("ledger.rename", lambda: LocalDisk.rename(self, source, target))

        def fsync_folder(self, folder: Path) -> None:
            doom.call("ledger.fsync_folder", lambda: LocalDisk.fsync_folder(self, folder))

        def remove(self, path: Path) -> None:
            doom.call("ledger.remove", lambda: LocalDisk.remove(self, path))

    class Module:
        """``sqlite3`` as the ledger sees it."""

        Error = sqlite3.Error

        @staticmethod
        def connect(*given: Any, **named: Any) -> sqlite3.Connection:
            return sqlite3.connect(*given, factory=Doomed, **named)

    ledgers.sqlite3 = Module
    ledgers.LocalDisk = DoomedFiles


def _doom_instrument(doom: ServerDoom) -> None:
    make = servers.make_instrument

    def made(*given: Any) -> Any:
        instrument = make(*given)
        for name in ("execute", "execute_into", "state", "make_safe"):
            if hasattr(instrument, name):
                _count(instrument, name, doom)
        return instrument

    servers.make_instrument = made


def _count(instrument: Any, name: str, doom: ServerDoom) -> None:
    work = getattr(instrument, name)
    kind = f"instrument.{name.removesuffix('_into')}"  # an act is an act, whoever waits for its frames
    setattr(instrument, name, lambda *given: doom.call(kind, lambda: work(*given)))


def _doom_sockets(doom: ServerDoom) -> None:
    class Doomed(zmq.Socket):
        def recv(self, *given: Any, **named: Any) -> Any:
            got = super().recv(*given, **named)  # only what came counts: how often is looked is a matter of chance
            return doom.call("socket.recv", lambda: got)

        def send_multipart(self, *given: Any, **named: Any) -> Any:
            send = super().send_multipart
            kind = "publish" if self.type == zmq.PUB else "send"
            return doom.call(f"socket.{kind}", lambda: send(*given, **named))

    zmq.Context._socket_class = Doomed


class ForkedServer:
    """A server in a forked process."""

    def __init__(self, config: Path, address: str, ledger: Path) -> None:
        self.config, self.address, self.ledger, self.pid = config, address, ledger, 0

    def start(self, doom: ServerDoom | None = None) -> ForkedServer:
        """Serve; returns when it is ready, or was killed before."""
        told, tells = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:  # pragma: no cover - the process under test
            os.close(told)
            self._serve(tells, doom)
        os.close(tells)
        with os.fdopen(told, "rb") as reader:
            said = reader.read(len(READY))
        assert said == READY or not self.alive(), "the server did not get ready"
        return self

    def _serve(self, tells: int, doom: ServerDoom | None) -> None:  # pragma: no cover
        status = 1
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            if doom is not None:
                for counting in (_doom_ledger, _doom_instrument, _doom_sockets):
                    counting(doom)
            tell = serving._tell_ready

            def ready(*given: Any) -> None:
                tell(*given)
                if doom is not None:
                    doom.begin()
                os.write(tells, READY)
                os.close(tells)

            serving._tell_ready = ready
            serving.serve_config(self.config, None, self.address, None, True, None, self.ledger, [])
            if doom is not None:
                doom.tell()
            status = 0
        finally:
            os._exit(status)

    def alive(self) -> bool:
        """Return whether the process lives; takes note of its end."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
        return bool(self.pid)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self.alive():
            os.kill(self.pid, number)
            os.waitpid(self.pid, 0)
            self.pid = 0


RUN = """
name: over the bus
seed: 1
clock: CLOCK
environment:
  name: microscope
  options: {instrument: {name: bus, options: {address: "ADDRESS", resend: 0.1 s, patience: 60 s}}}
policy:
  name: random
  options: {target: t, overview: {fov: 200 nm, width_px: 300, height_px: 300}, signals: [EELS], dwell: 10 ms}
scalarizers: {t: {name: band_integral, options: {}}}
budget: {steps: 8}
engine: {lookahead: AHEAD, max_consecutive_faults: 20}
"""
"""The image of the overview is large enough to lie in a file beside the ledger."""

SIMULATED = {
    "name": "simulated",
    "options": {"specimens": [{"kind": "nanoparticles", "extent": ["300 nm", "300 nm"], "count": 4}]},
}


class ServerBench:
    """One run over the bus that nobody disturbs, and any number of the same whose server is killed.

    Parameters
    ----------
    folder : Path
        For everything.
    outlives : bool
        Whether the instrument is a column that outlives its server; otherwise it is simulated, and dies with it.
    lookahead : int
        Of the run.
    """

    def __init__(self, folder: Path, *, outlives: bool, lookahead: int = 0) -> None:
        self.folder, self.outlives = folder, outlives
        self.address = f"tcp://127.0.0.1:{free_ports()}"
        self.column = Column(folder / "column.jsonl")
        clock = "system" if outlives else "simulated"
        self.config = folder / "run.yaml"
        text = RUN.replace("ADDRESS", self.address).replace("AHEAD", str(lookahead)).replace("CLOCK", clock)
        self.config.write_text(text)
        instrument = {"name": "hardware", "options": {"file": str(self.column.path)}} if outlives else SIMULATED
        self.serve = folder / "serve.yaml"
        # a lease so long that none lapses on a busy computer; it dies with the server, so nobody waits for it
        served = {"job": "serve", "name": "doomed", "instrument": instrument, "clock": clock, "seed": 1}
        self.serve.write_text(yaml.safe_dump(served | {"watch": {"lease": "20 s", "grace": "20 s"}}))
        self._register(folder / "plugins")
        killing.warm(self.config, reset=False)
        doom = ServerDoom(0, done_first=False, note=folder / "calls")
        self.survived("whole-0000", doom)
        self.calls = (folder / "calls").read_text().split("\n")
        self.whole = self.history("whole-0000")
        assert len(self.whole) == 8

    def _register(self, plugins: Path) -> None:
        """Let this process, its children, and their watchdogs find the column's driver."""
        info = plugins / "hardware_that_is_a_file-1.dist-info"
        info.mkdir(parents=True)
        for name, text in PLUGIN.items():
            (info / name).write_text(text)
        if self.outlives:
            sys.path.insert(0, str(plugins))
            root = str(Path(__file__).resolve().parents[2])
            os.environ["PYTHONPATH"] = os.pathsep.join((root, str(plugins)))

    def survived(
        self, name: str, doom: ServerDoom, *, agent_too: bool = False, again: ServerDoom | None = None
    ) -> list[str]:
        """Run with a doomed server, start it again when it was killed, and resume the run where that is needed.

        Parameters
        ----------
        name : str
            Of the run, always of the same length.
        doom : ServerDoom
            Of the server's first life.
        agent_too : bool
            Whether the agent is killed together with the server.
        again : ServerDoom, optional
            Of the server's second life, counted from when it is ready again.

        Returns
        -------
        list of str
            Acts that were cut short: begun, by the ledger, and never answered.

        Raises
        ------
        AssertionError
            The run does not end.
        """
        server = ForkedServer(self.serve, self.address, self.folder / f"ledger-{name}")
        cut: list[str] = []
        lives = [again] if again else []
        begun = CLOCK.now_s()
        server.start(doom)
        agent = self._begin(name)
        try:
            while agent or not self._over(name):
                assert CLOCK.now_s() - begun < DEADLINE_S, f"{name} does not end"
                if not server.alive():
                    cut += self._accepted(server.ledger)
                    if agent_too and agent:
                        os.kill(agent, signal.SIGKILL)
                    server.start(lives.pop() if lives else None)
                if agent and os.waitpid(agent, os.WNOHANG)[0]:
                    agent = 0
                if not agent and not self._over(name):
                    agent = self._begin(name)
                CLOCK.wait(0.005)
        finally:
            if agent:
                os.kill(agent, signal.SIGKILL)
                os.waitpid(agent, 0)
            server.end()
        return cut

    def _begin(self, name: str) -> int:
        """Start an agent that runs, or resumes what there is of, a run."""
        folder = self.folder / name
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the process under test
            status = 1
            try:
                for stream in (1, 2):
                    os.dup2(os.open(self.folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
                if (folder / "config.yaml").is_file():
                    killing.resume(folder, run_id=name)
                else:
                    killing.run(self.config, folder, run_id=name)
                status = 0
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
            finally:
                os._exit(status)
        return pid

    def _over(self, name: str) -> bool:
        if not killing.is_over(self.folder / name):
            return False
        ended = JournalReader.open(self.folder / name).ended()
        return ended is not None and ended["status"] == "completed"

    @staticmethod
    def _accepted(ledger: Path) -> list[str]:
        """Return the acts that a ledger whose server is dead has as begun and not answered."""
        with closing(sqlite3.connect(ledger / ledgers.DATABASE)) as connection:
            return [row[0] for row in connection.execute("SELECT act_id FROM acts WHERE status = 'accepted'")]

    def history(self, name: str) -> list[tuple[Any, ...]]:
        """Return decisions and what came of them, with the dose of each act and the hashes of its frames."""
        steps = [(step.decision, step.outcome) for step in JournalReader.open(self.folder / name).steps()]
        return [
            (made.action, came.status, came.values, came.dose_e, [frame.sha256 for frame in came.frames])
            for made, came in steps
            if came is not None
        ]

    def check(self, name: str, cut: Sequence[str], where: object) -> None:
        """Compare a run with the undisturbed one.

        What an instrument that outlives its server did while the server died is known to nobody: such an act, and no
        other, must have the outcome `OutcomeUnknown`, and the policy asks for its point again, under another id. A
        simulated one died as well, and everything must be equal.
        """
        steps, found = list(JournalReader.open(self.folder / name).steps()), self.history(name)
        unknown = {s.act_id for s in steps if s.outcome and s.outcome.fault and s.outcome.fault.error == UNKNOWN}
        assert unknown == (set(cut) if self.outlives else set()), (where, unknown, cut)
        known = [one for step, one in zip(steps, found, strict=True) if step.act_id not in unknown]
        if not unknown:
            assert known == self.whole, where
        rest = iter(self.whole)  # an unknown act was one of the few tries that the policy gives a point
        assert all(one in rest for one in known), where
        for step in steps if self.outlives else ():
            assert self.column.times(step.act_id) <= 1, (where, step.index)
        verdict = verify(self.folder / name)
        assert (verdict.ok, verdict.open_steps, verdict.ended) == (True, 0, True), (where, verdict.summary)

    def survives(self, at: int, *, done_first: bool, agent_too: bool = False, again_at: int = 0) -> str:
        """Kill the server at a call, see that the run ends as the undisturbed one, and return which call it was.

        Returns
        -------
        str
            Name of the call; empty where the run was over before it.
        """
        name = f"{'sb'[agent_too]}{'ba'[done_first]}{again_at:03d}-{at:04d}"
        note = self.folder / f"{name}.note"
        again = ServerDoom(again_at, done_first=done_first, note=note.with_suffix(".again")) if again_at else None
        cut = self.survived(name, ServerDoom(at, done_first=done_first, note=note), agent_too=agent_too, again=again)
        struck = note.read_text() if note.is_file() else ""
        self.check(name, cut, (name, struck))
        return struck
