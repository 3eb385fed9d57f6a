"""Real processes on one computer, killed, frozen and cut off: what the column's own log must show afterwards."""

import os
import signal

import pytest

from autoscope.bus import messages as say
from autoscope.bus.calling import Caller
from autoscope.bus.listening import Listener
from autoscope.bus.transport import ZmqTransport
from autoscope.errors import BusError, LimitExceeded, OutcomeUnknown, Refused
from autoscope.records import Act, Blank, Measure, MoveStage
from tests.fault.hardware import now_s
from tests.fault.served import CLOCK, observed, serving, until

LEASE_S = 2.0
WATCH = {"lease": f"{LEASE_S} s", "grace": "5 s"}


def act(name, action):
    return Act(act_id=name, action=action)


def test_emergency_stop_works_while_the_driver_hangs_and_holds_until_it_is_cleared(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        agent = server.agent('do("stuck", Measure(x_m=0.0, y_m=0.0, dwell_s=2000.0))')
        until(lambda: not server.column.blanked)
        with_hand = server.client(who="red button")
        asked_s = now_s()
        assert with_hand.emergency_stop("smoke")
        blanked = next(e for e in server.column.log() if e["what"] == "blank" and e["t"] > asked_s)
        observed("F4, F20, I6", "emergency stop to blank, driver hung", (blanked["t"] - asked_s) * 1e3, "ms")
        agent.kill()
        agent.communicate()
        CLOCK.wait(LEASE_S + 1.0)
        assert server.column.blanked
        with pytest.raises(Refused, match="emergency"):
            with_hand.execute(act("after", MoveStage(x_m=1e-6)))
        with_hand.close()
    assert server.column.acts() == ["stuck"]


def test_a_hung_driver_is_found_blanked_and_its_act_is_unknown(tmp_path):
    with serving(tmp_path, watch=WATCH | {"grace": "0.5 s"}) as server:
        bus = server.client()
        bus.execute(act("first", MoveStage(x_m=1e-6)))
        with pytest.raises(OutcomeUnknown, match="has not come back"):
            # the deadline of the act is what a person would wait; a dwell this long is predicted to take this long
            bus.execute(Act(act_id="stuck", action=Measure(x_m=0.0, y_m=0.0, dwell_s=2000.0), deadline_s=1.0))
        until(lambda: server.column.blanked, 1.0)  # the safe line does not hold the answer up
        with pytest.raises(OutcomeUnknown):
            bus.recall("stuck")
        with pytest.raises(Refused, match="hangs"):
            bus.execute(Act(act_id="next", action=MoveStage(x_m=0.0), deadline_s=2.0))
        observed("F4, I1", "acts done while the driver hung", 0, "acts")
        bus.close()
    assert server.column.acts() == ["first", "stuck"]


@pytest.mark.slow
def test_an_agent_deep_in_torch_keeps_its_lease_and_the_emergency_stop_does_not_wait_for_it(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        agent = server.agent(
            'import torch; x = torch.rand(1500, 1500); do("on", Blank(blanked=False)); tell("on")\n'
            "while True: x = torch.linalg.qr(x @ x.T).Q"
        )
        agent.stdout.readline()
        CLOCK.wait(2.5 * LEASE_S)
        assert not server.column.blanked
        button = server.client(who="red button")
        asked_s = now_s()
        assert button.emergency_stop("smoke")
        taken_ms = (server.column.last("blank")["t"] - asked_s) * 1e3
        observed("F20, I6", "emergency stop to blank, agent inside torch", taken_ms, "ms")
        agent.kill()
        agent.communicate()
        button.close()
    assert server.column.blanked


@pytest.mark.slow
def test_a_killed_agent_leaves_a_blanked_beam_within_its_lease(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        agent = server.agent('do("on", Blank(blanked=False)); tell("on"); time.sleep(60)')
        agent.stdout.readline()
        agent.kill()
        killed_s = now_s()
        agent.communicate()
        until(lambda: server.column.blanked)
        on_s = server.column.beam_on()[-1][1] - killed_s
        observed("F1, I5", "beam on after kill -9 of the agent", on_s, "s")
        assert on_s < LEASE_S + 1.0
        heir = server.client()
        assert heir.recall("on").state.blanked is False
        assert heir.recall("never asked for") is None
        heir.close()
    assert server.column.acts() == ["on"]


@pytest.mark.slow
def test_a_frozen_agent_is_blanked_and_its_stale_lease_is_refused_when_it_thaws(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        agent = server.agent(
            'do("on", Blank(blanked=False)); tell(bus._talk.keeper.lease); sys.stdin.readline();'
            'stale = bus._talk.keeper.lease; do("later", MoveStage(x_m=1e-6));'
            "tell(bus._talk.keeper.lease != stale); bus.close()"
        )
        agent.stdout.readline()
        os.kill(agent.pid, signal.SIGSTOP)
        frozen_s = now_s()
        until(lambda: server.column.blanked)
        observed("F2, I5", "beam on after SIGSTOP of the agent", server.column.beam_on()[-1][1] - frozen_s, "s")
        os.kill(agent.pid, signal.SIGCONT)
        said, _ = agent.communicate("go on\n", timeout=60)
        assert "True" in said
    assert server.column.acts() == ["on", "later"]


@pytest.mark.slow
def test_a_killed_server_is_blanked_by_its_watchdog_and_its_acts_are_resolved_by_reading_back(tmp_path):
    with serving(tmp_path, watch=WATCH, options={"begin_s": 0.4}) as server:
        bus = server.client(patience="20 s")
        bus.execute(act("on", Blank(blanked=False)))
        killed_s = now_s()
        server.kill()
        until(lambda: server.column.blanked)
        observed("F3, I6", "beam on after kill -9 of the server", server.column.beam_on()[-1][1] - killed_s, "s")
        server.start()
        assert bus.execute(act("move", MoveStage(x_m=2e-6))).state.x_m == 2e-6
        agent = server.agent(
            'tell("go")\ntry:\n    do("cut", Measure(x_m=0.0, y_m=0.0, dwell_s=3.0))\n'
            'except Exception as error:\n    tell(type(error).__name__)'
        )  # fmt: skip
        bus.close()
        agent.stdout.readline()
        until(lambda: server.column.times("cut") == 1)
        server.kill()
        server.start()
        said, _ = agent.communicate(timeout=90)
        assert said.strip() == "OutcomeUnknown"
    assert server.column.times("cut") == 1
    assert server.column.times("move") == 1


@pytest.mark.slow
def test_a_killed_watchdog_blanks_and_is_started_again(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        bus = server.client()
        bus.execute(act("on", Blank(blanked=False)))
        first = server.watchdog()
        os.kill(first, signal.SIGKILL)
        killed_s = now_s()
        until(lambda: server.column.blanked)
        observed("F3, I6", "beam on after kill -9 of the watchdog", server.column.beam_on()[-1][1] - killed_s, "s")
        until(lambda: server.watchdog() not in {first, None}, 30.0)
        bus.close()


@pytest.mark.slow
def test_a_frozen_server_is_blanked_by_its_watchdog(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        bus = server.client(patience="20 s")
        bus.execute(act("on", Blank(blanked=False)))
        os.kill(server.process.pid, signal.SIGSTOP)
        frozen_s = now_s()
        until(lambda: server.column.blanked)
        observed("F3, I6", "beam on after SIGSTOP of the server", server.column.beam_on()[-1][1] - frozen_s, "s")
        os.kill(server.process.pid, signal.SIGCONT)
        bus.execute(act("later", MoveStage(x_m=1e-6)))
        bus.close()


@pytest.mark.slow
def test_the_server_refuses_what_no_guard_of_the_agent_has_seen(tmp_path):
    with serving(tmp_path, watch=WATCH, limits={"x": ["-1 um", "1 um"]}) as server:
        bus = server.client()
        with pytest.raises(LimitExceeded, match="x_m"):
            bus.execute(act("far", MoveStage(x_m=1e-3)))
        with pytest.raises(LimitExceeded):
            bus.execute(act("far", MoveStage(x_m=1e-3)))
        observed("F19, I3", "acts done outside the limits", 0, "acts", 2)
        bus.close()
    assert server.column.acts() == []


@pytest.mark.slow
def test_two_agents_never_hold_the_instrument_together(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        first, second = server.client(who="first"), server.client(who="second")
        first.execute(act("a", MoveStage(x_m=1e-6)))
        with pytest.raises(BusError, match="holds the lease"):
            second.execute(act("b", MoveStage(x_m=2e-6)))
        observed("F21", "acts done for the one without the lease", server.column.times("b"), "acts")
        first.close()
        second.execute(act("c", MoveStage(x_m=3e-6)))
        second.close()
    assert server.column.acts() == ["a", "c"]


@pytest.mark.slow
def test_a_client_that_ends_gives_its_lease_back_to_a_real_server(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        bus, onlooker = server.client(), server.client(who="onlooker")
        bus.execute(act("only", MoveStage(x_m=1e-6)))
        bus.close()
        asked = onlooker._talk.question(say.AskHolder())
        assert asked == say.Holder()
        until(lambda: "gave the lease back" in str(onlooker._talk.question(say.ReadLedger())))
        onlooker.close()


def test_everybody_who_listens_is_told_the_progress_of_an_act_and_its_abort(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        listener = Listener(server.address)
        agent = server.agent('do("long", Measure(x_m=0.0, y_m=0.0, dwell_s=60.0))')
        told = [listener.receive(20.0)]
        while not (told[-1].state == "running" and told[-1].elapsed_s > 1.0):
            told.append(listener.receive(20.0))
        assert told[-1].expected_s >= 60.0
        asking = Caller(ZmqTransport(server.address), "control", CLOCK)
        assert isinstance(asking.call(say.Abort(act_id="long"), 5.0)[0].answer, say.Fine)
        until(lambda: server.column.blanked, 1.0)  # the safe line does not hold the answer up
        asking._transport.close()
        agent.kill()
        agent.communicate()
        listener.close()
    assert [e.state for e in told if e.kind == "act"][:2] == ["accepted", "running"]
    assert listener.missed == 0


@pytest.mark.slow
def test_ctrl_c_however_often_makes_safe_and_ends_well(tmp_path):
    with serving(tmp_path, watch=WATCH) as server:
        bus = server.client()
        bus.execute(act("on", Blank(blanked=False)))
        asked_s = now_s()
        for _ in range(9):
            os.kill(server.process.pid, signal.SIGINT)
        server.kill(signal.SIGINT)
        assert server.process.returncode == 0
        observed("F20, I6", "Ctrl-C at the server, ten times, to blank", server.column.beam_on()[-1][1] - asked_s, "s")
        bus.close()
    assert server.column.blanked
