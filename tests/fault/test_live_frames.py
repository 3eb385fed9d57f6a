"""Frames received while they are acquired, between real processes: the same as without, and stopped when told to."""

import numpy as np
import pytest

from autoscope.bus.shared_memory import Window
from autoscope.cli.serving import stop_at_once
from autoscope.errors import BusError, InstrumentError, OutcomeUnknown
from autoscope.records import Act, SpectrumImage
from tests.fault.hardware import now_s, patterns
from tests.fault.served import observed, serving, until

LEASE_S = 2.0
WATCH = {"lease": f"{LEASE_S} s", "grace": "20 s"}
SCAN = SpectrumImage(fov_m=1e-7, width_px=40, height_px=40, dwell_s=2e-4, signals=("4D",), detectors=())
"""13 MB in 32 parts and a third of a second."""
SLOW = SCAN.replace(dwell_s=0.01)
"""16 s, if it is let."""


def act(name, action=SCAN):
    return Act(act_id=name, action=action)


def expected(scan):
    return np.stack([patterns(scan, row) for row in range(scan.height_px)])


class Seen:
    """A sink that notes what it is told, and wants no more after a number of points."""

    def __init__(self, enough=None):
        self.told, self.first_s, self.enough = [], None, enough

    def begin(self, signal, data):
        self.data = data

    def advance(self, signal, points):
        self.told.append(points)
        if self.first_s is None and points:
            self.first_s = now_s()
            come = min(points, SCAN.width_px)
            self.early = (self.data[0, :come] == patterns(SCAN, 0)[:come]).all()
        if self.enough is not None and points > self.enough:
            raise BusError("enough was seen")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("live"), watch=WATCH) as made:
        yield made


@pytest.fixture
def bus(server):
    client = server.client()
    yield client
    client.close()


@pytest.mark.parametrize("share", [True, False], ids=["shared memory", "socket"])
def test_a_4d_scan_comes_while_it_is_acquired_and_is_the_same_as_when_fetched_afterwards(
    server, bus, share, monkeypatch
):
    if not share:
        monkeypatch.setattr(Window, "create", _none)
    name = f"scan {share}"
    live = bus.execute_into(act(name), seen := Seen())
    log = server.column.log()
    ended_s = next(e["t"] for e in log if e["what"] == "end" and e["act_id"] == name)
    assert seen.first_s < ended_s
    assert seen.early
    assert seen.told == sorted(seen.told)
    assert seen.told[-1] == 1600
    assert (live.frames[0].data == expected(SCAN)).all()
    fetched = bus.recall(name)
    assert fetched.frames == live.frames
    assert server.column.times(name) == 1


def _none(size):
    raise BusError("no shared memory here")


def test_what_is_not_wanted_any_more_is_stopped_at_the_column_and_has_no_frames(server, bus):
    with pytest.raises(InstrumentError, match="aborted"):
        bus.execute_into(act("cancelled", SLOW), Seen(enough=200))
    stopped = server.column.last("stopped")
    assert stopped["act_id"] == "cancelled"
    assert stopped["row"] < 39
    assert server.column.blanked
    with pytest.raises(InstrumentError, match="aborted"):
        bus.recall("cancelled")
    assert bus.execute(act("next")).frames[0].data.shape == (40, 40, 64, 64)


def test_an_emergency_stop_ends_a_scan_that_is_being_received(server, bus):
    agent = server.agent(
        f'try:\n    do("in danger", SpectrumImage.model_validate({SLOW.model_dump()}))\n'
        "except Exception as error:\n    tell(type(error).__name__)\nbus.close()"
    )
    until(lambda: server.column.times("in danger") and not server.column.blanked)
    asked_s = now_s()
    assert stop_at_once(server.address, None, "smoke", clear=False) == 0
    blanked = next(e for e in server.column.log() if e["what"] == "blank" and e["t"] > asked_s)
    said, _ = agent.communicate(timeout=30)
    assert "InstrumentError" in said
    assert server.column.last("stopped")["act_id"] == "in danger"
    assert stop_at_once(server.address, None, "it was the kettle", clear=True) == 0
    observed("F20, I6", "emergency stop to blank, during a live scan", (blanked["t"] - asked_s) * 1e3, "ms")


@pytest.mark.slow
def test_an_agent_killed_while_it_receives_ends_the_scan_within_its_lease(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        agent = server.agent(
            "class Sink:\n    def begin(self, signal, data): pass\n"
            "    def advance(self, signal, points):\n        if points: tell(points)\n"
            f'bus.execute_into(Act(act_id="orphan", action=SpectrumImage.model_validate({SLOW.model_dump()})), Sink())'
        )
        assert int(agent.stdout.readline()) > 0
        agent.kill()
        killed_s = now_s()
        agent.communicate()
        until(lambda: server.column.last("stopped"))
        stopped_s = server.column.last("stopped")["t"] - killed_s
        observed("F1, I5", "live scan on after kill -9 of its agent", stopped_s, "s")
        assert stopped_s < LEASE_S + 1.5
        heir = server.client()
        with pytest.raises(InstrumentError, match="aborted"):
            heir.recall("orphan")
        assert heir.execute(act("after")).frames[0].data.any()
        heir.close()
    assert server.column.acts() == ["orphan", "after"]


@pytest.mark.slow
def test_a_server_killed_while_it_sends_leaves_an_act_of_unknown_outcome_and_nothing_that_looks_whole(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        bus = server.client(patience="30 s")
        seen = _Killing(server)
        with pytest.raises(OutcomeUnknown):
            bus.execute_into(act("cut", SLOW), seen)
        assert 0 < seen.points < 1600
        assert server.column.blanked
        assert bus.execute(act("after")).frames[0].data.any()
        bus.close()
    assert server.column.acts() == ["cut", "after"]
    observed("F3, I1", "live scans done twice whose server was killed", 0, "scans")


class _Killing(Seen):
    """Kills the server when the first part has come, and starts it again."""

    points = 0

    def __init__(self, server):
        super().__init__()
        self._server = server

    def advance(self, signal, points):
        if points and not self.points:
            self.points = points
            self._server.kill()
            self._server.start()
