"""`autoscope serve` as people start it, with keys: who gets what, over real sockets, from another process."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zmq

from autoscope.bus import enrolment
from autoscope.bus import messages as say
from autoscope.bus.authentication import CurveClient
from autoscope.bus.calling import Caller
from autoscope.bus.client import BusInstrument
from autoscope.bus.keys import KeyPair
from autoscope.bus.roles import Role, Verb, may
from autoscope.bus.self_test import Answer, knock
from autoscope.bus.transport import SOCKETS, ZmqTransport, addresses
from autoscope.clock import SimClock, SystemClock
from autoscope.errors import Refused, Unreachable
from autoscope.records import Act, Scan, SpectrumImage
from autoscope.testing.conformance.deliveries import Copying
from tests.smoke import free_ports

AUTOSCOPE = str(Path(sys.executable).with_name("autoscope"))
CONFIG = Path(__file__).parents[2] / "configs" / "instrument" / "simulated.yaml"


def keys(folder, *words):
    return subprocess.run(
        [AUTOSCOPE, "keys", *words, "--keys", str(folder)], check=True, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with a key of each role, one that will be revoked, and what it said when it started."""
    folder, address = tmp_path_factory.mktemp("keys"), f"tcp://127.0.0.1:{free_ports()}"
    server = enrolment.new_server(folder)
    for name, role in {**{f"the_{role.value}": role for role in Role}, "gone": Role.AGENT}.items():
        pair = enrolment.new_client(folder, name, server=server.public)
        enrolment.admit(folder, enrolment.line_of(pair, role, "2026-01-01"))
    enrolment.revoke(folder, "gone")
    command = [AUTOSCOPE, "serve", "--config", str(CONFIG), "--address", address, "--keys", str(folder)]
    command += ["--ledger", str(folder / "ledger")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    for line in server.stdout:
        said.append(line)
        if line.startswith("ready"):
            break
    try:
        yield folder, address, "".join(said)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode == 0


def key(served, name):
    return KeyPair.load(served[0] / f"{name}.key")


def instrument(served, name="the_agent"):
    config = BusInstrument.Config(address=served[1], key=served[0] / f"{name}.key")
    return BusInstrument(config, clock=SimClock())


def test_a_server_tests_itself_before_it_says_that_it_is_ready(served):
    assert re.search(r"self-test: strangers stay out.*ready", served[2], re.DOTALL)
    assert "refused" not in served[2]  # of its own knocks it says nothing


@pytest.mark.parametrize("door", SOCKETS)
@pytest.mark.parametrize(
    "who", ["nobody", "stranger", "gone", "the_observer", "the_agent", "the_operator", "the_emergency"]
)
def test_every_socket_lets_in_those_with_a_key_and_nobody_else(served, door, who):
    pair = {
        "nobody": lambda: None,
        "stranger": lambda: KeyPair.generate("stranger", server=key(served, "the_agent").server),
    }.get(who, lambda: key(served, who))()
    kind = zmq.SUB if door == "publish" else zmq.DEALER
    entered = knock(addresses(served[1])[door], kind, pair) is Answer.ENTERED
    assert entered == who.startswith("the_")


ASKS = {
    Verb.HELLO: say.Hello(client="test"),
    Verb.PING: say.Ping(),
    Verb.DESCRIBE: say.Describe(),
    Verb.STATE: say.ReadState(),
    Verb.RECALL: say.Recall(act_id="none"),
    Verb.LIMITS: say.ReadLimits(),
    Verb.LEDGER: say.ReadLedger(),
    Verb.HOLDER: say.AskHolder(),
    Verb.ACQUIRE: say.Acquire(session="none"),
    Verb.RENEW: say.Renew(lease="none"),
    Verb.RELEASE: say.Release(lease="none"),
    Verb.EXECUTE: say.Execute(
        session="none", seq=1, act=Act(act_id="a", action=Scan(fov_m=1e-7, width_px=8, height_px=8, dwell_s=1e-6))
    ),
    Verb.ABORT: say.Abort(act_id="none"),
    Verb.TAKE_OVER: say.TakeOver(session="none", why="test"),
    Verb.MAKE_SAFE: say.MakeSafe(),
    Verb.CLEAR_EMERGENCY: say.ClearEmergency(why="test"),
}
LINE = {Verb.EXECUTE: "act"} | dict.fromkeys((Verb.ABORT, Verb.MAKE_SAFE, Verb.CLEAR_EMERGENCY), "control")


@pytest.mark.parametrize("role", Role)
def test_a_running_server_keeps_to_the_table_of_roles(served, role):
    transport = ZmqTransport(served[1], CurveClient(key(served, f"the_{role.value}")))
    found = {}
    try:
        for verb, ask in ASKS.items():
            reply, _ = Caller(transport, LINE.get(verb, "ask"), SystemClock()).call(ask, 10.0)
            found[verb] = not (isinstance(reply.answer, say.Trouble) and reply.answer.code == "role")
    finally:
        transport.close()
    assert found == {verb: may(role, verb) for verb in ASKS}


def test_an_agent_gets_a_large_spectrum_image_through_shared_memory(served):
    action = SpectrumImage(fov_m=2e-7, width_px=72, height_px=72, dwell_s=1e-4)
    scope = instrument(served)
    try:
        observation = scope.execute_into(Act(act_id="security/large", action=action), seen := Copying())
        again = scope.recall("security/large")  # fetched, where the first came while it was acquired
        fetcher = scope._transport._fetcher
        assert fetcher is not None
        assert fetcher._connection.window is not None
    finally:
        scope.close()
    largest = max(observation.frames, key=lambda frame: frame.data.nbytes)
    assert largest.data.nbytes > 8 * 2**20
    assert largest.data.shape[:2] == (72, 72)
    assert again == observation
    assert (seen.copies[largest.meta.signal] == largest.data).all()
    assert np.isfinite(largest.data).all()


def test_an_observer_is_told_that_it_may_not_act(served):
    scope = instrument(served, "the_observer")
    try:
        assert scope.state().blanked in {True, False}
        with pytest.raises(Refused, match="observer may not say"):
            scope.execute(Act(act_id="security/no", action=Scan(fov_m=1e-7, width_px=8, height_px=8, dwell_s=1e-6)))
    finally:
        scope.close()


def test_a_key_revoked_while_it_is_connected_gets_nothing_more(served):
    keys(served[0], "new", "temporary", "--role", "observer")
    scope = instrument(served, "temporary")
    try:
        scope.state()
        keys(served[0], "revoke", "temporary")
        with pytest.raises(Unreachable):
            scope._talk.question(say.ReadState(), 0.5)
    finally:
        scope.close()
    # listeners were all sent away; those who may come back
    assert knock(addresses(served[1])["publish"], zmq.SUB, key(served, "the_observer")) is Answer.ENTERED
    assert knock(addresses(served[1])["publish"], zmq.SUB, key(served, "gone")) is Answer.REFUSED


def test_a_server_that_cannot_guard_its_sockets_does_not_start(tmp_path):
    enrolment.new_server(tmp_path)
    (tmp_path / "authorized_keys").chmod(0o666)
    command = [
        AUTOSCOPE,
        "serve",
        "--config",
        str(CONFIG),
        "--address",
        f"tcp://127.0.0.1:{free_ports()}",
        "--keys",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--ledger", str(tmp_path / "l")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "can be written by others" in done.stderr


def test_without_keys_a_server_listens_to_this_computer_only(tmp_path):
    command = [AUTOSCOPE, "serve", "--config", str(CONFIG), "--insecure-loopback", "--ledger", str(tmp_path / "l")]
    done = subprocess.run(
        [*command, "--address", f"tcp://0.0.0.0:{free_ports()}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "this computer only" in done.stderr
