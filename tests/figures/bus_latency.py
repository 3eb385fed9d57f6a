"""The bus: round trip of a small request against raw pyzmq with the same security, and emergency stop to blank."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import zmq

from autoscope.bus import messages as say
from autoscope.bus.authentication import ClientSecurity, CurveClient, OpenClient
from autoscope.bus.calling import Caller
from autoscope.bus.enrolment import admit, line_of, new_client, new_server, secret_file
from autoscope.bus.keys import SERVER, KeyPair
from autoscope.bus.roles import Role
from autoscope.bus.transport import ZmqTransport
from autoscope.clock import SystemClock
from tests.fault.served import Served, serving, until
from tests.figures.figure import Figure
from tests.smoke import free_ports

GOAL_RATIO, GOAL_STOP_MS = 1.5, 100.0
ROUNDS, EACH = 15, 400
ECHO = """
import sys, zmq
from pathlib import Path
from autoscope.bus.authentication import CurveServer
from autoscope.bus.keyring import Keyring
from autoscope.bus.keys import KeyPair
context = zmq.Context()
socket = context.socket(zmq.ROUTER)
address, keys = sys.argv[1], sys.argv[2]
if keys:
    guard = CurveServer(context, KeyPair.load(Path(sys.argv[3])), Keyring(Path(keys) / "authorized_keys"))
    guard.bind(socket, address)
else:
    socket.bind(address)
print("ready", flush=True)
while True:
    socket.send_multipart(socket.recv_multipart())
"""
PLACES = {
    "": "cores left to the system",
    "core_each": "asking on one core, both answering on another",
    "one_core": "all on one core",
}
FLOOD = """
for _ in range(10**9):
    bus._talk.asking.call(say.ReadLedger(), 1.0)
    bus._talk.asking.call(say.ReadState(), 1.0)
"""


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the ratios of round trips, without and with keys, and the time to blank."""
    pinned = hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1
    for place in ("core_each", "one_core", "") if pinned else ("",):
        for name, keyed in (("plain", False), ("curve", True)):
            yield _round_trip(f"{name}_{place}".strip("_"), keyed, place)
    yield from _emergency(2000 if slow else 300)


def _round_trip(name: str, keyed: bool, place: str) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        security, arguments = _keys(keys) if keyed else (OpenClient(), ())
        with serving(folder, *arguments) as server:
            address = f"tcp://127.0.0.1:{free_ports()}"
            secret = str(secret_file(keys, SERVER))
            command = [sys.executable, "-c", ECHO, address, str(keys) if keyed else "", secret]
            echo = subprocess.Popen(command, env=server.env, stdout=subprocess.PIPE, text=True)
            try:
                assert echo.stdout is not None
                echo.stdout.readline()
                with _pinned(place, server.process.pid, echo.pid) if place else nullcontext():
                    pairs = _compare(server, security, address)
            finally:
                echo.kill()
                echo.communicate()
    ratios = np.array([ours / raw for ours, raw in pairs])
    ours_us, raw_us = (float(np.median([pair[k] for pair in pairs])) for k in (0, 1))
    how = f"median of {ROUNDS} rounds of {EACH}, in turn; ours {ours_us:.0f} us, raw {raw_us:.0f} us; ratios "
    how += f"{ratios.min():.2f} to {ratios.max():.2f}; ping against an echo of the same parts"
    how += f"; {PLACES[place]}"
    value = float(np.median(ratios))
    goal = f"<= {GOAL_RATIO}"
    return Figure(f"bus_round_trip_{name}", value, "x raw pyzmq", goal, value <= GOAL_RATIO, ROUNDS * EACH, how)


@contextmanager
def _pinned(place: str, *answering: int) -> Iterator[None]:
    """Keep us and those who answer on cores of our choice, so that the system does not choose anew each time."""
    ours, theirs, *_ = cores = sorted(os.sched_getaffinity(0))
    for process in answering:
        _keep(process, theirs if place == "core_each" else ours)
    _keep(os.getpid(), ours)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def _keep(process: int, core: int) -> None:
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _keys(folder: Path) -> tuple[ClientSecurity, tuple[str, ...]]:
    server = new_server(folder)
    pair = new_client(folder, "figures", server=server.public)
    admit(folder, line_of(pair, Role.OPERATOR, "2026-01-01"))
    return CurveClient(KeyPair.load(secret_file(folder, "figures"))), ("--keys", str(folder))


def _compare(server: Served, security: ClientSecurity, address: str) -> list[tuple[float, float]]:
    transport = ZmqTransport(server.address, security)
    caller = Caller(transport, "ask", SystemClock())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    security.protect(socket)
    socket.connect(address)
    message = [bytes(part) for part in caller.request(say.Ping()).parts]

    def raw() -> None:
        socket.send_multipart(message)
        socket.recv_multipart()

    def ours() -> None:
        assert caller.call(say.Ping(), 5.0) is not None

    for warm in (raw, ours):
        _median_us(warm)
    pairs = [(_median_us(ours), _median_us(raw)) for _ in range(ROUNDS)]
    transport.close()
    context.destroy(linger=0)
    return pairs


def _median_us(call: object) -> float:
    taken = []
    for _ in range(EACH):
        begun = time.perf_counter_ns()
        call()  # type: ignore[operator]
        taken.append(time.perf_counter_ns() - begun)
    return float(np.median(taken)) / 1e3


def _emergency(times: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, serving(folder, watch={"lease": "60 s"}) as server:
        stuck = server.agent("do('stuck', Measure(x_m=0.0, y_m=0.0, dwell_s=2000.0))")
        until(lambda: not server.column.blanked)
        crowd = [server.agent("from autoscope.bus import messages as say\n" + FLOOD) for _ in range(2)]
        transport = ZmqTransport(server.address)
        caller, taken = Caller(transport, "control", SystemClock()), []
        try:
            until(lambda: all(agent.poll() is None for agent in crowd))
            SystemClock().wait(4.0)  # until they flood
            for _ in range(times):
                begun = time.perf_counter_ns()
                answer = caller.call(say.EmergencyStop(why="figure"), 10.0)
                taken.append((time.perf_counter_ns() - begun) / 1e6)
                assert answer is not None
                assert isinstance(answer[0].answer, say.Fine)
        finally:
            transport.close()
            for agent in (stuck, *crowd):
                agent.kill()
                agent.communicate()
        blanked = server.column.blanked
    p50, p999, worst = (float(np.percentile(taken, q)) for q in (50.0, 99.9, 100.0))
    how = f"until the instrument has confirmed; driver hung, two clients flood; median {p50:.2f}, worst {worst:.2f} ms"
    ok = blanked and p999 <= GOAL_STOP_MS
    yield Figure("bus_emergency_to_blank_p999", p999, "ms", f"<= {GOAL_STOP_MS:g}", ok, times, how)
