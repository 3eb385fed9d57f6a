"""Faults of network, server, clock and people on simulated time, to the bit: what the column's own log must show."""

import pytest

from autoscope.bus import messages as say
from autoscope.bus.calling import Caller
from autoscope.bus.roles import Role
from autoscope.errors import (
    BusError,
    ConfigError,
    DoseExceeded,
    InstrumentError,
    LimitExceeded,
    NotReached,
    OutcomeUnknown,
    PluginError,
    Refused,
    Unreachable,
)
from autoscope.records import Act, Blank, Measure, MoveStage
from autoscope.testing.transport import Fate, MemoryTransport, chance
from tests.fault.served import observed
from tests.unit.bus.column import Link

STORM = {Fate.DROP: 0.15, Fate.DUPLICATE: 0.15, Fate.DELAY: 0.1, Fate.DUPLICATE_LATE: 0.1}


def move(number, name=None):
    return Act(act_id=name or f"move-{number}", action=MoveStage(x_m=number * 1e-6))


def measure(number):
    return Act(act_id=f"measure-{number}", action=Measure(x_m=number * 1e-9, y_m=0.0, dwell_s=1.0))


@pytest.fixture
def link(tmp_path):
    link = Link(tmp_path)
    yield link
    link.close()


@pytest.fixture
def stormy(tmp_path):
    """A link whose network is as bad as the test says: ``link.fates`` are met in turn, then all is well."""
    fates = []
    link = Link(tmp_path, plan=lambda: fates.pop(0) if fates else Fate.DELIVER)
    link.fates = fates
    yield link
    link.close()


@pytest.mark.parametrize("seed", range(5))
def test_a_stormy_network_does_every_act_once_and_crosses_no_reply(tmp_path, seed):
    calm = {"on": True}
    storm = chance(seed, STORM)
    link = Link(tmp_path, plan=lambda: Fate.DELIVER if calm["on"] else storm())
    bus = link.client(patience="600 s", connect="60 s", answer="60 s")
    calm["on"] = False
    for number in range(1, 21):
        act = move(number) if number % 2 else measure(number)
        answer = bus.execute(act)
        assert link.column.times(act.act_id) == 1
        assert answer.act_id == act.act_id
        assert not answer.frames or answer.frames[0].data[1] == number
    observed("F5, F6, F7, F8, F9, I1", "most often one act was done", 1, "times", 20)
    link.close()


@pytest.mark.parametrize("lost", range(6))
def test_whichever_message_is_lost_the_stage_moves_once(stormy, lost):
    bus = stormy.client()
    bus.execute(move(1))
    stormy.fates[:] = [Fate.DELIVER] * lost + [Fate.DROP]
    assert bus.execute(move(2)).state.x_m == 2e-6
    assert stormy.column.times("move-2") == 1
    observed("F7, I1", "moves for one act with its k-th message lost", 1, "moves")


def test_a_duplicate_after_a_restart_of_the_server_gets_the_stored_reply(link):
    bus = link.client()
    first = bus.execute(measure(1))
    link.kill()
    link.start()
    again = bus.execute(measure(1))
    assert again == first
    assert link.column.times("measure-1") == 1
    observed("F6, I1", "acts done for a duplicate after a restart", 0, "acts")


def test_a_late_reply_is_dropped_and_never_answers_the_next_question(stormy):
    bus = stormy.client(patience="1 s", resend="1 s")
    bus.execute(move(1))
    stormy.fates[:] = [Fate.DELIVER, Fate.DELAY, Fate.DELAY]  # the answers of the act come late
    bus.execute(move(2))
    second = bus.execute(measure(3))
    stormy.clock.wait(10.0)
    assert second.act_id == "measure-3"
    assert bus.execute(measure(4)).frames[0].data[1] == 4
    assert stormy.column.times("move-2") == 1
    observed("F8", "replies given to another question", 0, "replies", bus.late_replies)


def test_an_act_out_of_order_is_refused_with_the_number_that_is_next(link):
    bus = link.client()
    bus.execute(move(1))
    caller = Caller(link.network, "act", link.clock)
    for seq in (1, 3, 99):
        ask = say.Execute(session=bus._talk.welcome.session, seq=seq, act=move(7).replace(lease=bus._talk.keeper.lease))
        trouble = caller.call(ask, 1.0)[0].answer
        assert (trouble.error, trouble.code, trouble.next_seq) == ("Refused", "sequence", 2)
    assert link.column.times("move-7") == 0
    observed("F9, I1", "acts done out of order", 0, "acts", 3)


def test_recorded_messages_replayed_now_and_after_a_restart_do_nothing(stormy):
    bus = stormy.client()
    for number in range(1, 6):
        bus.execute(move(number))
    done = len(stormy.column.log)
    recorded = len(stormy.network.sent)
    for number in range(recorded):
        stormy.network.replay(number)
    stormy.kill()
    stormy.start()
    heir = stormy.client()
    heir.execute(move(9))
    for number in range(recorded):
        stormy.network.replay(number)
    acts = [act_id for act_id, _ in stormy.column.log if act_id]
    assert acts == [f"move-{n}" for n in (1, 2, 3, 4, 5, 9)]
    assert len(stormy.column.log) >= done
    observed("F17, I1", "acts done for a replayed recording", 0, "acts", 2 * recorded)


def test_a_read_back_waits_as_patiently_as_an_act_while_a_server_is_away(stormy):
    bus = stormy.client(answer="5 s", resend="2 s", patience="60 s")
    bus.execute(move(3))
    stormy.fates[:] = [Fate.DROP] * 10  # silence for longer than an answer may take
    assert bus.state().x_m == 3e-6
    stormy.fates[:] = [Fate.DROP] * 100
    with pytest.raises(Unreachable):
        bus.state()


def test_the_first_act_waits_for_its_lease_as_patiently_as_for_its_answer_while_a_server_is_away(stormy):
    bus = stormy.client(answer="5 s", resend="2 s", patience="60 s")
    stormy.fates[:] = [Fate.DROP] * 10  # it is started again just then
    assert bus.execute(move(3)).state.x_m == 3e-6
    assert stormy.column.times("move-3") == 1


@pytest.mark.parametrize("where", ["before accept", "after accept", "before finish", "after finish"])
def test_a_server_killed_between_any_two_steps_of_an_act_never_does_it_twice(link, where):
    bus = link.client()
    bus.execute(move(1))
    link.service.ledger.crash = where
    with pytest.raises((OutcomeUnknown, Unreachable)):
        bus.execute(measure(2))
    link.start()
    times = link.column.times("measure-2")
    if where == "after finish":
        assert bus.execute(measure(2)).frames[0].data[1] == 2
    elif where == "before accept":
        assert bus.recall("measure-2") is None
        bus.execute(measure(2))
        times = 1
    else:
        with pytest.raises(OutcomeUnknown):
            bus.execute(measure(2))
    assert link.column.times("measure-2") == times <= 1
    observed("F3, I1", "times an act was done whose server was killed", times, "times")


def test_an_act_whose_outcome_is_unknown_is_never_said_not_to_have_begun(link):
    bus = link.client(patience="5 s")
    link.service.ledger.crash = "before finish"
    for _ in range(2):  # told by the client's patience, then by the ledger
        with pytest.raises(OutcomeUnknown):
            bus.execute(measure(1))
        link.kill()
        link.start()
    with pytest.raises(OutcomeUnknown):
        bus.execute(measure(1))
    link.kill()
    with pytest.raises(OutcomeUnknown):  # nobody answers: that is no news of the act
        bus.execute(measure(1))
    link.start()


def test_a_setting_cut_short_is_resolved_by_reading_back_what_was_reached(link):
    bus = link.client()
    bus.execute(move(1))
    link.column.crash = "after"
    with pytest.raises(OutcomeUnknown):
        bus.execute(move(2))
    link.start()
    assert bus.execute(move(2)).state.x_m == 2e-6
    assert link.column.times("move-2") == 1


def test_no_clock_of_the_wall_moves_a_lease_a_deadline_or_a_dose(link, monkeypatch):
    bus = link.client()
    bus.execute(Act(act_id="on", action=Blank(blanked=False)))
    for jump in ("2026-03-29T03:00:00+00:00", "1999-12-31T23:59:59+00:00", "2038-01-19T03:14:08+00:00"):
        monkeypatch.setattr(link.clock, "wall", lambda jump=jump: jump)
        link.service.tick()
        bus.execute(move(hash(jump) % 100, jump))
        assert not link.column.blanked
    observed("F10", "leases lost to a jump of the wall clock", 0, "leases", 3)


def test_a_silent_agent_is_blanked_when_its_lease_lapses_and_not_before(link):
    bus = link.client()
    bus.execute(Act(act_id="on", action=Blank(blanked=False)))
    on_s = link.clock.now_s()
    lease_s = link.service.config.watch.lease_s
    while not link.column.blanked:
        link.clock.wait(0.05)
        link.service.tick()
        assert link.clock.now_s() - on_s < lease_s + 0.2
    assert link.clock.now_s() - on_s > lease_s - 1.0
    observed("I5", "beam on beyond the lease", max(link.clock.now_s() - on_s - lease_s, 0.0), "s")


def test_a_partition_ends_in_an_unknown_outcome_a_blanked_beam_and_no_second_act(stormy):
    bus = stormy.client(patience="20 s")
    bus.execute(Act(act_id="on", action=Blank(blanked=False)))
    stormy.fates[:] = [Fate.DELIVER] + [Fate.DROP] * 200  # the act arrives, then nothing passes
    with pytest.raises(OutcomeUnknown):
        bus.execute(move(1))
    assert stormy.column.blanked
    stormy.fates.clear()
    assert bus.recall("move-1").state.x_m == 1e-6
    bus.execute(move(2))
    assert stormy.column.times("move-1") == stormy.column.times("move-2") == 1
    observed("F5, I1", "acts done twice over a partition", 0, "acts")


def test_the_beam_that_nobody_uses_is_blanked_though_the_agent_lives(tmp_path):
    link = Link(tmp_path, settings={"watch": {"idle": "60 s"}})
    bus = link.client()
    bus.execute(Act(act_id="on", action=Blank(blanked=False)))
    bus.state()
    for _ in range(70):
        link.clock.wait(1.0)
        bus._talk.keeper.renew_if_due()
        link.service.tick()
    assert link.column.blanked
    assert link.service.lease.holder() is not None
    link.close()


# --- limits, dose ---------------------------------------------------------------------------------------


def test_limits_hold_at_the_server_whatever_the_agent_checked(tmp_path):
    link = Link(tmp_path, settings={"limits": {"x": ["0 um", "3 um"]}})
    bus = link.client()
    for bad in (-1, 4, 1000):
        with pytest.raises(LimitExceeded, match="x_m"):
            bus.execute(move(bad, f"bad-{bad}"))
    assert bus.execute(move(2)).state.x_m == 2e-6
    assert [act_id for act_id, _ in link.column.log if act_id] == ["move-2"]
    observed("F19, I3", "acts done outside the limits", 0, "acts", 3)
    link.close()


def test_the_dose_of_a_sample_is_counted_over_restarts_and_runs(tmp_path):
    # measured 1 s at 1 pA; the column counts one electron a second, the guard predicts 6.2 million
    link = Link(tmp_path, settings={"dose": {"sample": "A", "max_dose": "7e6 e"}})
    link.client().execute(measure(1))
    link.services[-1].ledger.charge("A/0", 2e6)
    link.kill()
    link.start()
    with pytest.raises(DoseExceeded):
        link.client().execute(measure(2))
    assert link.column.times("measure-2") == 0
    observed("F3, F19, I4", "acts done beyond the dose of a sample, counted over a restart", 0, "acts")
    link.close()
    other = Link(tmp_path / "other", settings={"dose": {"sample": "B", "max_dose": "7e6 e"}})
    other.client().execute(measure(3))
    other.close()


def test_limits_of_another_instrument_do_not_start(tmp_path):
    with pytest.raises(ConfigError, match="another instrument"):
        Link(tmp_path, settings={"serial": "C-2"})


def test_a_place_that_was_not_reached_is_an_error_and_never_a_label(link):
    bus = link.client()
    link.column.stuck_m = 5e-6
    with pytest.raises(NotReached, match="x_m"):
        bus.execute(move(1))
    assert bus.state().x_m == 5e-6


def test_a_driver_that_breaks_is_made_safe_and_its_act_has_failed(link):
    bus = link.client()
    link.column.trouble = ValueError("cable out")
    with pytest.raises(PluginError, match="cable out"):
        bus.execute(move(1))
    assert link.column.log[-1] == ("", "make_safe")
    link.column.trouble = None
    with pytest.raises(PluginError, match="cable out"):
        bus.execute(move(1))
    assert bus.execute(move(2)).state.x_m == 2e-6


# --- people ---------------------------------------------------------------------------------------------


def test_an_emergency_stop_holds_over_a_restart_until_it_is_cleared(link):
    bus = link.client()
    bus.execute(move(1))
    assert bus.emergency_stop("smoke")
    link.kill()
    link.start()
    with pytest.raises(Refused, match="smoke"):
        bus.execute(move(2))
    control = Caller(link.network, "control", link.clock)
    assert isinstance(control.call(say.ClearEmergency(why="kettle"), 1.0)[0].answer, say.Fine)
    bus.execute(move(3))
    assert link.column.times("move-2") == 0


def test_a_client_that_ends_gives_its_lease_back_at_once_and_nothing_lapses_later(link):
    bus = link.client()
    bus.execute(move(1))
    assert link.service.lease.holder() is not None
    bus.close()
    assert link.service.lease.holder() is None
    link.clock.wait(60.0)
    link.service.tick()
    told = [text for _, _, _, text in link.service.ledger.events()]
    assert any("gave the lease back" in text for text in told)
    assert not any("lapsed" in text for text in told)


def test_a_lease_given_back_over_a_network_that_loses_messages_is_asked_for_again(stormy):
    bus = stormy.client()
    bus.execute(move(1))
    stormy.fates[:] = [Fate.DROP, Fate.DELIVER, Fate.DROP]
    bus.close()
    assert stormy.service.lease.holder() is None


def test_a_takeover_aborts_the_running_act_makes_safe_and_is_written_down(link):
    bus, person = link.client(), link.client(transport=MemoryTransport(link.service, clock=link.clock, user="anna"))
    bus.execute(move(1))
    lease = bus._talk.keeper.lease

    def take_over():
        ask = say.TakeOver(session=person._talk.welcome.session, why="drifting")
        link.taken = person._talk.asking.call(ask, 1.0)[0].answer

    link.column.on_act = take_over
    with pytest.raises(InstrumentError, match="took over"):
        bus.execute(measure(2))
    link.column.on_act = None
    assert isinstance(link.taken, say.Leased)
    assert link.column.blanked
    assert any("anna took over from agent: drifting" in event[3] for event in link.service.ledger.events())
    assert link.service.lease.holder().user == "anna"
    stale = say.Execute(session=bus._talk.welcome.session, seq=3, act=move(3).replace(lease=lease))
    assert Caller(link.network, "act", link.clock).call(stale, 1.0)[0].answer.code == "lease"
    observed("F21", "acts done for the one without the lease", link.column.times("move-3"), "acts")


def test_an_operator_takes_over_once_and_does_not_fight_for_it(link):
    bus = link.client()
    bus.execute(move(1))
    network = MemoryTransport(link.service, clock=link.clock, user="anna")
    anna = link.client(transport=network, take_over="tea time")
    anna.execute(move(2))
    assert link.service.lease.holder().user == "anna"
    anna.close()
    bus.execute(move(3))
    assert any("anna took over from agent: tea time" in event[3] for event in link.service.ledger.events())
    network = MemoryTransport(link.service, clock=link.clock, user="night", role=Role.AGENT)
    with pytest.raises(Refused, match="may not say take_over"):
        link.client(transport=network, take_over="me too").execute(move(4))
    assert [act_id for act_id, _ in link.column.log if act_id] == ["move-1", "move-2", "move-3"]


@pytest.mark.parametrize("role", [Role.OBSERVER, Role.EMERGENCY])
def test_who_may_only_look_or_stop_moves_nothing(link, role):
    network = MemoryTransport(link.service, clock=link.clock, user="eve", role=role)
    caller = Caller(network, "act", link.clock)
    ask = say.Execute(session="s", seq=1, act=move(1))
    assert caller.call(ask, 1.0)[0].answer.code == "role"
    assert link.column.times("move-1") == 0


def test_one_identifier_with_two_meanings_is_refused(link):
    bus = link.client()
    bus.execute(move(1, "same"))
    with pytest.raises(Refused, match="another act"):
        bus.execute(move(2, "same"))
    assert link.column.times("same") == 1


def test_frames_are_let_go_when_they_are_acknowledged_and_what_came_of_the_act_is_not(link):
    bus = link.client()
    for number in range(1, 12):
        bus.execute(measure(number))
    with pytest.raises(OutcomeUnknown, match="no longer kept"):
        bus.recall("measure-1")
    assert bus.recall("measure-11").frames[0].data[1] == 11
    assert link.column.times("measure-1") == 1


def test_a_full_disk_of_the_server_lets_no_act_begin_and_goes_on_serving(link):
    bus = link.client(patience="5 s")
    bus.execute(move(1))
    ledger = link.service.ledger
    ledger._db.execute(f"PRAGMA max_page_count = {ledger._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(BusError, match="cannot be written"):
        _measure_until_full(bus)
    bus.make_safe()
    assert link.column.log[-1] == ("", "make_safe")
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    assert bus.execute(move(500)).state.x_m == pytest.approx(500e-6)
    acts = [act_id for act_id, _ in link.column.log if act_id]
    assert len(set(acts)) == len(acts)
    assert all(ledger.find(act_id) is not None for act_id in acts)
    observed("I2", "acts begun that were not durable before, the ledger's disk full", 0, "acts", len(acts))


def _measure_until_full(bus):
    for number in range(2, 200):
        bus.execute(measure(number))
