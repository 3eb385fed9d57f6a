"""F16: a client without a known key gets no byte through, whatever has become of the authenticator."""

import pytest
import zmq

from autoscope.bus.authentication import CurveClient
from tests.fault.key_matrix import KEYS, STATES, as_it_must_be, door, measured


def test_only_the_right_key_enters_and_only_while_the_authenticator_is_up():
    found = measured()
    assert len(found) == len(KEYS) * len(STATES) == 15
    assert found == {(key, state): as_it_must_be(key, state) for key in KEYS for state in STATES}


def test_without_the_enforced_domain_the_matrix_would_not_hold(monkeypatch):
    """The negative control: with the domain not enforced, a dead authenticator lets strangers in."""
    monkeypatch.setattr(zmq, "ZAP_ENFORCE_DOMAIN", zmq.ROUTER_HANDOVER)  # any harmless option in its place
    with door("dead") as opened:
        assert opened.enters("wrong")


def test_a_server_with_another_key_is_not_spoken_to():
    with door("up") as opened:
        impostor = opened.right.replace(server=opened.wrong.public)
        with zmq.Context() as context:
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            CurveClient(impostor).protect(socket)
            socket.connect(opened.endpoint)
            socket.send(b"secret")
            assert not opened.socket.poll(300)
            socket.close()


@pytest.mark.parametrize("after", ["closing the connection", "on the open connection"])
def test_a_key_revoked_meanwhile_is_refused(after, tmp_path):
    from autoscope.bus.authentication import CurveServer
    from autoscope.bus.keyring import Entry, Keyring, write_entries
    from autoscope.bus.keys import KeyPair
    from autoscope.bus.roles import Role
    from autoscope.errors import Unauthenticated

    server = KeyPair.generate("server")
    agent = KeyPair.generate("agent", server=server.public)
    path = tmp_path / "authorized_keys"
    write_entries(path, [Entry(role=Role.AGENT, name="agent", public=agent.public, made="2026-01-01")])
    with zmq.Context() as context, CurveServer(context, server, Keyring(path)) as guard:
        door_, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        door_.linger = client.linger = 0
        CurveClient(agent).protect(client)
        client.connect(guard.bind(door_, "tcp://127.0.0.1:*"))
        client.send(b"1")
        first = door_.recv_multipart(copy=False)
        assert guard.caller(first[-1])[:2] == ("agent", Role.AGENT)
        generation = guard.generation
        write_entries(path, [])
        if after == "closing the connection":
            client.close()
            client = context.socket(zmq.DEALER)
            client.linger = 0
            CurveClient(agent).protect(client)
            client.connect(door_.last_endpoint)
            client.send(b"2")
            assert not door_.poll(300)
        else:
            client.send(b"2")
            with pytest.raises(Unauthenticated, match="revoked"):
                guard.caller(door_.recv_multipart(copy=False)[0])
        assert guard.generation == generation + 1
        client.close()
        door_.close()


def test_who_is_refused_is_told_in_words_and_the_servers_own_knock_is_not(tmp_path):
    from autoscope.bus.authentication import CurveServer
    from autoscope.bus.keyring import Keyring, write_entries
    from autoscope.bus.keys import KeyPair, fingerprint
    from autoscope.bus.self_test import Answer, knock, self_test

    server = KeyPair.generate("server")
    stranger = KeyPair.generate("stranger", server=server.public)
    write_entries(tmp_path / "authorized_keys", [])
    told = []
    with (
        zmq.Context() as context,
        CurveServer(
            context, server, Keyring(tmp_path / "authorized_keys"), on_refused=lambda *words: told.append(words)
        ) as guard,
    ):
        door_ = context.socket(zmq.ROUTER)
        door_.linger = 0
        endpoint = guard.bind(door_, "tcp://127.0.0.1:*")
        self_test(guard, [(endpoint, zmq.ROUTER)])
        assert told == []
        assert knock(endpoint, zmq.DEALER, stranger) is Answer.REFUSED
        door_.close()
    sentence = f"refused 127.0.0.1: nobody here knows its key {fingerprint(stranger.public)}"
    assert set(told) == {("127.0.0.1", sentence)}
