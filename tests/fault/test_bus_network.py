"""F5 through a proxy between real processes: cut, refused, delayed, half open; F10 with a wall clock that jumps."""

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscope.bus.client import BusInstrument
from autoscope.clock import SystemClock
from autoscope.errors import BusError, InstrumentError
from autoscope.records import Act, Blank, Measure, MoveStage, SpectrumImage
from tests.fault.hardware import now_s
from tests.fault.proxy import Proxy
from tests.fault.served import CLOCK, observed, serving, until
from tests.smoke import free_ports

LEASE_S = 2.0
WATCH = {"lease": f"{LEASE_S} s", "grace": "20 s"}
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None) if shutil.which("faketime") else None


def act(name, action):
    return Act(act_id=name, action=action)


@contextmanager
def over_a_bad_network(folder, **settings):
    """A server, the network before it, and a client that knows the network's address only."""
    with serving(folder, watch=WATCH | settings) as server:
        target = int(server.address.rpartition(":")[2])
        with Proxy(free_ports(), target) as network:
            config = BusInstrument.Config(address=network.address, resend_s=0.5, patience_s=30.0)
            client = BusInstrument(config, clock=SystemClock())
            try:
                yield server, network, client
            finally:
                network.tell("pass")
                client.close()


def in_background(call):
    """Call on a thread; what came of it is in the list."""
    came = []

    def run():
        try:
            came.append(call())
        except (BusError, InstrumentError) as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


@pytest.mark.slow
def test_over_a_network_that_resets_and_refuses_every_act_is_done_once_and_in_order(tmp_path):
    with over_a_bad_network(tmp_path) as (server, network, bus):
        over = threading.Event()

        def shake():
            while not over.wait(0.3):
                network.tell("cut")
                network.tell("refuse")
                over.wait(0.2)
                network.tell("pass")

        shaking = threading.Thread(target=shake)
        shaking.start()
        names = [f"move-{k}" for k in range(12)]
        try:
            reached = [bus.execute(act(name, MoveStage(x_m=(k + 1) * 1e-9))).state.x_m for k, name in enumerate(names)]
        finally:
            over.set()
            shaking.join()
        assert reached == [(k + 1) * 1e-9 for k in range(12)]
        assert server.column.acts() == names
    worst = max(server.column.times(name) for name in names)
    observed("F5, I1", "most often one act was done over a TCP proxy that resets and refuses", worst, "times", 12)


@pytest.mark.slow
def test_over_a_slow_network_nothing_is_done_twice_and_frames_are_whole(tmp_path):
    with over_a_bad_network(tmp_path) as (server, network, bus):
        network.tell("delay 0.4")
        for k in range(4):
            bus.execute(act(f"late-{k}", MoveStage(x_m=(k + 1) * 1e-9)))
        scan = SpectrumImage(fov_m=1e-7, width_px=8, height_px=8, dwell_s=1e-3, signals=("4D",), detectors=())
        (frame,) = bus.execute(act("cube", scan)).frames
        assert frame.data.shape == (8, 8, 64, 64)
        assert server.column.acts() == ["late-0", "late-1", "late-2", "late-3", "cube"]
    observed("F5, I1", "acts done twice with 0.8 s there and back and questions repeated after 0.5 s", 0, "acts", 5)


@pytest.mark.slow
def test_a_network_that_goes_dead_without_a_word_blanks_within_the_lease_and_the_act_is_not_repeated(tmp_path):
    with over_a_bad_network(tmp_path) as (server, network, bus):
        bus.execute(act("on", Blank(blanked=False)))
        thread, came = in_background(lambda: bus.execute(act("scan", Measure(x_m=0.0, y_m=0.0, dwell_s=4.0))))
        until(lambda: server.column.times("scan") == 1)
        network.tell("hold")
        dead_s = now_s()
        until(lambda: (server.column.last("blank") or {"t": 0.0})["t"] > dead_s)
        blank_s = server.column.last("blank")["t"] - dead_s
        CLOCK.wait(5.0)  # heartbeats of both ends give the connections up
        network.tell("pass")
        thread.join(60)
        assert isinstance(came[0], InstrumentError)
        assert "lease" in str(came[0])
        assert server.column.times("scan") == 1
        assert bus.execute(act("after", MoveStage(x_m=1e-9))).state.x_m == 1e-9
        assert blank_s < LEASE_S + 1.0
    observed("F5, I5", "beam on after the network went dead without a word (TCP proxy)", blank_s, "s")


@pytest.mark.slow
def test_an_act_whose_connections_are_reset_while_it_runs_is_answered_over_the_next_ones(tmp_path):
    with over_a_bad_network(tmp_path) as (server, network, bus):
        thread, came = in_background(lambda: bus.execute(act("scan", Measure(x_m=3e-9, y_m=0.0, dwell_s=1.5))))
        until(lambda: server.column.times("scan") == 1)
        network.tell("cut")
        thread.join(60)
        assert came[0].frames[0].data[1] == 3
        assert server.column.acts() == ["scan"]
    observed("F5, I1", "acts lost or repeated whose connections were reset while they ran", 0, "acts")


def wall_s(environment):
    """Return what a process in such an environment takes for the wall-clock time."""
    command = [sys.executable, "-c", "import time; print(time.time())"]
    return float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (apt install faketime)")
def test_a_wall_clock_that_jumps_under_the_server_loses_no_lease_and_no_act(tmp_path, monkeypatch):
    stamp = tmp_path / "stamp"
    stamp.write_text("+0d\n")
    for name, value in {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_NO_CACHE": "1",
                        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}.items():  # fmt: skip
        monkeypatch.setitem(os.environ, name, value)
    with serving(tmp_path, watch=WATCH) as server:
        for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
            monkeypatch.delitem(os.environ, name)
        bus = server.client()
        bus.execute(act("on", Blank(blanked=False)))
        lease = bus._talk.keeper.lease
        for k, jump in enumerate(("+400d", "-400d", "+3h", "-1h")):
            stamp.write_text(f"{jump}\n")
            assert abs(wall_s(server.env) - wall_s(os.environ)) > 3000.0
            CLOCK.wait(LEASE_S / 2)
            assert not server.column.blanked
            assert bus.execute(act(f"move-{k}", MoveStage(x_m=(k + 1) * 1e-9))).state.x_m == (k + 1) * 1e-9
        assert bus._talk.keeper.lease == lease
        bus.close()
        stamp.write_text(
            "+0d\n"
        )  # libfaketime makes sleeps fail while it shifts the time, and a server sleeps at its end
    assert server.column.acts() == ["on", "move-0", "move-1", "move-2", "move-3"]
    observed("F10, I1", "leases lost and acts repeated while a real server's wall clock jumped", 0, "leases", 4)
