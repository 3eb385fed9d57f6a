"""The parts of the server one by one: lease, ledger, driver with its safe lines, and the file beside the instrument."""

import threading

import numpy as np
import pytest

from autoscope.bus.driver import Driver, SafeLine
from autoscope.bus.lease import Lease
from autoscope.bus.ledger import INLINE_BYTES, Ledger
from autoscope.bus.serving import ServeConfig
from autoscope.bus.wire import pack
from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.errors import BusError, ConfigError, OutOfRange, PluginError, Refused
from autoscope.records import Act, Axis, Frame, FrameMeta, MicroscopeState, Observation, Wait
from tests.unit.bus.column import Column, Head


@pytest.fixture
def clock():
    return SimClock()


@pytest.fixture
def ledger(tmp_path, clock):
    made = Ledger(tmp_path, clock=clock, durable=False)
    yield made
    made.close()


def observation(name, size):
    axis = Axis(name="energy", unit="eV", size=size)
    meta = FrameMeta(signal="EELS", axes=(axis,), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
    state = MicroscopeState(time_s=0.0)
    return Observation(name, state, state, (Frame(meta, np.arange(size, dtype=np.uint8)),))


def do(ledger, session, seq, size=4):
    name = f"act-{seq}"
    ledger.accept(session, seq, "agent", Act(act_id=name, action=Wait(duration_s=1.0)))
    ledger.finish(name, "done", *pack(observation(name, size)))
    return name


# --- lease ----------------------------------------------------------------------------------------------


def test_one_session_holds_the_lease_and_another_is_told_who(clock):
    lease = Lease(clock, 5.0)
    lease.acquire("anna", "s1")
    with pytest.raises(Refused, match="anna"):
        lease.acquire("bert", "s2")


def test_a_lease_that_lapsed_never_lives_again(clock):
    lease = Lease(clock, 5.0)
    held = lease.acquire("anna", "s1")
    clock.wait(4.9)
    lease.renew(held.lease)
    clock.wait(5.0)
    with pytest.raises(Refused):
        lease.renew(held.lease)
    assert lease.lapsed().user == "anna"
    new = lease.acquire("anna", "s1")
    for call in (lambda: lease.renew(held.lease), lambda: lease.require(held.lease, "s1")):
        with pytest.raises(Refused):
            call()
    lease.require(new.lease, "s1")


def test_a_lease_is_good_for_its_own_session_only(clock):
    lease = Lease(clock, 5.0)
    held = lease.acquire("anna", "s1")
    with pytest.raises(Refused):
        lease.require(held.lease, "s2")


def test_a_request_that_comes_twice_is_granted_the_same_lease_so_that_the_first_answer_holds(clock):
    lease = Lease(clock, 5.0)
    first = lease.acquire("anna", "s1", "a-1")
    clock.wait(1.0)
    lease.renew(first.lease)
    assert lease.acquire("anna", "s1", "a-1").lease == first.lease
    assert lease.acquire("anna", "s1", "a-2").lease != first.lease
    taken, before = lease.take_over("bert", "s2", "b-1")
    assert before.session == "s1"
    assert lease.take_over("bert", "s2", "b-1") == (taken, taken)
    clock.wait(6.0)
    assert lease.acquire("bert", "s2", "b-1").lease != taken.lease  # what has lapsed never lives again


def test_a_takeover_ends_the_lease_of_the_other_at_once(clock):
    lease = Lease(clock, 5.0)
    held = lease.acquire("anna", "s1")
    taken, before = lease.take_over("bert", "s2")
    assert before.user == "anna"
    with pytest.raises(Refused):
        lease.renew(held.lease)
    lease.require(taken.lease, "s2")


# --- ledger ---------------------------------------------------------------------------------------------


def test_the_ledger_of_a_running_server_cannot_be_opened_by_another(tmp_path, clock, ledger):
    with pytest.raises(ConfigError, match="locked"):
        Ledger(tmp_path, clock=clock)


@pytest.mark.parametrize("size", [4, INLINE_BYTES + 7])
def test_small_and_large_answers_come_back_to_the_bit_after_a_restart(tmp_path, clock, size):
    first = Ledger(tmp_path, clock=clock)
    do(first, first.open_session("agent", "test"), 1, size)
    first.close()
    again = Ledger(tmp_path, clock=clock)
    answer, parts = again.stored("act-1")
    whole = b"".join(parts)
    assert whole == np.arange(size, dtype=np.uint8).tobytes()
    assert answer.act_id == "act-1"
    again.close()


def test_acknowledged_frames_leave_no_file_and_their_act_is_remembered(tmp_path, ledger):
    name = do(ledger, ledger.open_session("agent", "test"), 1, INLINE_BYTES + 7)
    assert len(list((tmp_path / "arrays").iterdir())) == 1
    ledger.acknowledge([name, "never heard of"])
    assert list((tmp_path / "arrays").iterdir()) == []
    assert ledger.find(name).status == "done"
    assert ledger.stored(name)[0].kept is False


def test_frames_nobody_acknowledges_are_bounded_and_the_newest_is_kept(tmp_path, clock):
    ledger = Ledger(tmp_path, clock=clock, durable=False, keep_bytes=1000)
    session = ledger.open_session("agent", "test")
    names = [do(ledger, session, seq, 400) for seq in range(1, 6)]
    assert [ledger.stored(name)[0].kept for name in names] == [False, False, False, True, True]
    ledger.close()


def test_one_identifier_is_accepted_once(ledger):
    session = ledger.open_session("agent", "test")
    do(ledger, session, 1)
    with pytest.raises(BusError, match="cannot be written"):
        ledger.accept(session, 2, "agent", Act(act_id="act-1", action=Wait(duration_s=1.0)))
    assert ledger.session(session).last_seq == 1


def test_the_dose_of_an_act_is_durable_with_its_answer(tmp_path, clock, ledger):
    session = ledger.open_session("agent", "test")
    ledger.accept(session, 1, "agent", Act(act_id="a", action=Wait(duration_s=1.0)), 50.0)
    ledger.resolve("a", "unknown", None, "sample/0")
    ledger.charge("sample/0", 7.0)
    assert ledger.dose_e("sample/0") == 57.0
    assert ledger.dose_e("sample/1") == 0.0


def test_an_old_session_ends_where_a_new_one_replaces_it(ledger):
    old = ledger.open_session("agent", "test")
    ledger.open_session("somebody else", "test", replaces=old)
    assert not ledger.session(old).ended
    ledger.open_session("agent", "test", replaces=old)
    assert ledger.session(old).ended


# --- driver ---------------------------------------------------------------------------------------------


def test_a_hung_driver_is_made_safe_past_its_job(clock):
    column, release = Column(clock), threading.Event()
    driver = Driver(lambda: Head(column))
    driver.start()
    driver.submit(lambda instrument: release.wait(30.0))
    assert driver.busy
    assert driver.make_safe(5.0)
    assert column.log == [("", "make_safe")]
    release.set()
    driver.close()


def test_a_safe_line_that_fails_does_not_say_it_is_done_and_goes_on_trying(clock):
    tries, works = [], threading.Event()

    def call():
        tries.append(1)
        if not works.is_set():
            raise OSError("no cable")

    line = SafeLine(call, "test")
    order = line.order()
    assert not line.wait(order, 0.2)
    works.set()
    assert line.wait(order, 5.0)
    assert len(tries) > 1
    line.close()


def test_the_second_line_counts_where_the_first_one_hangs(clock):
    column, release, called = Column(clock), threading.Event(), []
    head = Head(column)
    head.make_safe = lambda: release.wait(30.0)
    driver = Driver(lambda: head, second_line=lambda: called.append("second"))
    driver.start()
    assert driver.make_safe(2.0)
    assert called
    release.set()
    driver.close()


@pytest.mark.parametrize(("error", "kind"), [(OutOfRange("x"), OutOfRange), (ValueError("x"), PluginError)])
def test_an_instrument_that_cannot_be_made_says_why(error, kind):
    def make():
        raise error

    driver = Driver(make)
    with pytest.raises(kind):
        driver.start()


# --- the file beside the instrument ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("limits: {x: [0, 1]}", "unit"),
        ("limits: {max_speed: 3 m}", "max_speed"),
        ("watch: {lease: 0 s}", "lease"),
        ("watch: {slack: 0.5}", "slack"),
        ("clock: sundial", "clock"),
        ("job: run", "job"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(line, told):
    text = f"job: serve\nname: a\ninstrument: {{name: simulated}}\n{line}\n"
    if line.startswith("job"):
        text = text.replace("job: serve\n", "", 1)
    with pytest.raises(ConfigError, match=told):
        Document(text, "serve.yaml").validate(ServeConfig)
