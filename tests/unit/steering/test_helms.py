"""The helms: through a run's folder, in one process, and at a door under bus keys."""

import json
import stat
import sys

import pytest

from autoscope.bus.enrolment import admit, line_of, new_client, new_server, secret_file
from autoscope.bus.helm_server import HelmServer
from autoscope.bus.roles import Role
from autoscope.clock import SystemClock
from autoscope.engine.steering import QueueInbox
from autoscope.errors import ConfigError, OrderRefused, Refused, Unreachable
from autoscope.identity import load_or_make
from autoscope.journal import Journal
from autoscope.steering.commands import EmergencyStop, Note, Pause, Receipt
from autoscope.steering.helm import InboxHelm, SpoolHelm, Writer
from autoscope.steering.remote import RemoteRun, connect, remote_helm
from autoscope.steering.spool import Spool, SpoolWatch


@pytest.fixture
def writer(tmp_path):
    return Writer("run-1", "anna", load_or_make(tmp_path / "home"), SystemClock())


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run that goes on."""
    with Journal.create(tmp_path / "run", clock=SystemClock()) as journal:
        journal.append("run_started", {"run_id": "run-1", "name": "night"})
        journal.append("note", {"text": "x" * 3000})
        yield tmp_path / "run"


def taken(inbox, count):
    """Return so many orders of an inbox, waiting for each."""
    found = []
    while len(found) < count:
        assert inbox.wait(20.0), "no order came"
        found += inbox.take()
    return found


def accepted(posted):
    order = posted.said
    posted.answer(Receipt(order=order.id, status="accepted", command=order.command.command, who=order.who, record=7))


def test_an_order_in_the_folder_reaches_the_inbox_once_and_its_receipt_comes_back(run, writer):
    inbox, clock = QueueInbox(), SystemClock()
    helm = SpoolHelm(run, writer, clock)
    assert helm.post(Pause(), why="vacuum").status == "waiting"
    assert [r.status for r in helm.receipts()] == ["waiting"]
    watch = SpoolWatch(Spool(run), inbox)
    (posted,) = taken(inbox, 1)
    assert (posted.said.command, posted.said.why, posted.said.genuine()) == (Pause(), "vacuum", True)
    accepted(posted)
    assert [r.status for r in helm.receipts()] == ["accepted"]
    watch.close()
    assert inbox.take() == []


def test_orders_of_one_seat_arrive_in_the_order_they_were_given(run, writer):
    inbox, spool = QueueInbox(), Spool(run)
    orders = [writer.write(Note(text=str(k))) for k in range(30)]
    for order in reversed(orders):
        spool.put(order)
    watch = SpoolWatch(spool, inbox)
    assert [p.said for p in taken(inbox, 30)] == orders
    watch.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_nobody_else_can_look_into_the_inbox_or_write_to_it(run, writer):
    spool = Spool(run)
    spool.put(writer.write(Pause()))
    for path in [run / "steering", *(run / "steering").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (file,) = (run / "steering" / "orders").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (run / "steering").chmod(0o770)
    with pytest.raises(OrderRefused, match="others can write"):
        Spool(run)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"command": "pause"}', b"x" * 70_000],
    ids=["empty", "cut", "no_text", "list", "no_order", "large"],
)
def test_what_is_no_order_is_set_aside_and_the_next_is_heard(run, writer, content):
    spool, inbox = Spool(run), QueueInbox()
    (run / "steering" / "orders" / "0.json").write_bytes(content)
    (run / "steering" / "orders" / ".half.partial").write_bytes(b"{")
    spool.put(writer.write(Pause()))
    watch = SpoolWatch(spool, inbox)
    assert taken(inbox, 1)[0].said.command == Pause()
    watch.close()
    assert (run / "steering" / "taken" / "0.json.refused").read_bytes() == content


def test_orders_for_a_run_that_is_over_are_refused(run, writer, tmp_path):
    spool = Spool(run)
    watch = SpoolWatch(spool, QueueInbox())
    watch.close()
    spool.put(writer.write(Pause()))
    SpoolWatch(spool, QueueInbox())._over.set()
    with Journal.create(tmp_path / "over", clock=SystemClock()) as journal:
        journal.append("run_started", {"run_id": "run-1"})
    with pytest.raises(OrderRefused, match="nobody hears"):
        SpoolHelm(tmp_path / "over", writer, SystemClock()).post(Pause())


def test_in_one_process_receipts_follow_what_the_run_answers(writer):
    inbox = QueueInbox()
    helm = InboxHelm(inbox, writer)
    assert helm.post(Pause()).status == "waiting"
    accepted(inbox.take()[0])
    assert [r.record for r in helm.receipts()] == [7]


def test_urgent_orders_are_told_at_once_on_the_thread_that_posts_and_again_at_the_boundary(writer):
    inbox, told = QueueInbox(), []
    inbox.on_urgent(told.append)
    InboxHelm(inbox, writer).post(EmergencyStop())
    InboxHelm(inbox, writer).post(Pause())
    assert [p.said.command for p in told] == [EmergencyStop()]
    assert [p.said.command for p in inbox.take()] == [EmergencyStop(), Pause()]


# --- at the door -----------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path):
    """Return a function from a role to the key file of somebody of that role."""
    folder = tmp_path / "keys"
    server = new_server(folder)

    def key(role):
        name = f"some_{role.value}"
        admit(folder, line_of(new_client(folder, name, server=server.public), role, "2026-01-01"))
        return secret_file(folder, name)

    key.folder = folder
    return key


@pytest.fixture
def door(run, tmp_path, keys):
    inbox, receipts = QueueInbox(), []
    keys(Role.OPERATOR)
    server = HelmServer(run, inbox, f"ipc://{tmp_path}/d", keys.folder, answered=receipts.append)
    server.inbox, server.told = inbox, receipts
    yield server
    server.close()


def test_an_operator_steers_from_afar_and_the_record_says_under_which_key(door, keys, tmp_path):
    key = secret_file(keys.folder, "some_operator")
    with remote_helm(door.address, key, who="anna", identity=load_or_make(tmp_path / "home")) as helm:
        receipt = helm.post(Pause(), why="vacuum")
        (posted,) = taken(door.inbox, 1)
        assert posted.through.startswith("bus key some_operator ")
        assert (posted.said.who, posted.said.run_id, receipt.status) == ("anna", "run-1", "waiting")
        accepted(posted)
        assert [r.status for r in helm.receipts()] == ["accepted"]
    assert [r.status for r in door.told] == ["accepted"]


def test_the_same_order_sent_twice_reaches_the_run_once(door, keys, writer):
    with connect(door.address, secret_file(keys.folder, "some_operator")) as client:
        order = writer.write(Pause())
        first, second = client.post(order), client.post(order)
    assert first == second
    assert len(taken(door.inbox, 1)) == 1
    assert door.inbox.take() == []


def test_an_observer_reads_everything_and_steers_nothing(door, run, keys, writer):
    with connect(door.address, keys(Role.OBSERVER)) as client:
        remote = RemoteRun(client)
        assert remote.about.role == "observer"
        assert [r.kind for r in remote.records()] == ["run_started", "note"]
        assert remote.started()["name"] == "night"
        with pytest.raises(Refused, match="may not say steer"):
            client.post(writer.write(Pause()))
        assert client.frame("absent.npy") is None
    assert door.inbox.take() == []


@pytest.mark.parametrize("role", [Role.AGENT, Role.EMERGENCY], ids=str)
def test_other_roles_steer_no_more_than_their_name_says(door, keys, writer, role):
    with connect(door.address, keys(role)) as client:
        with pytest.raises(Refused, match="may not say"):
            client.post(writer.write(Pause()))
        if role is Role.EMERGENCY:
            assert client.post(writer.write(EmergencyStop())).status == "waiting"
            with pytest.raises(Refused, match="may not say watch"):
                client.rows(0)


def test_a_stranger_gets_no_answer_and_an_altered_order_is_refused(door, keys, tmp_path, writer):
    other = tmp_path / "other"
    server = new_server(other)
    admit(other, line_of(new_client(other, "mallory", server=server.public), Role.OPERATOR, "2026-01-01"))
    client = connect(door.address, secret_file(other, "mallory"))
    client._answer_s = 0.5
    with client, pytest.raises(Unreachable):
        client.about()
    altered = writer.write(Note(text="a")).replace(command=Note(text="b"))
    good = connect(door.address, secret_file(keys.folder, "some_operator"))
    with good, pytest.raises(Refused, match="not genuine"):
        good.post(altered)
    assert door.inbox.take() == []


def asking(**ask):
    return [b"autoscope-helm/1", json.dumps({"id": "1", "ask": ask}).encode()]


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"x"],
        [b"autoscope-helm/1", b"{"],
        asking(verb="rm"),
        asking(verb="frame", file="../journal.sqlite"),
    ],
    ids=["nothing", "short", "cut", "unknown", "path"],
)
def test_bytes_that_are_no_question_are_refused_and_the_next_is_answered(door, keys, parts):
    with connect(door.address, secret_file(keys.folder, "some_operator")) as client:
        client.about()
        client._socket.send_multipart(parts)
        assert client._socket.poll(10_000)
        assert b'"trouble"' in client._socket.recv_multipart()[1]
        assert client.about().run_id == "run-1"


def test_without_keys_only_this_computer_is_served(run, tmp_path):
    with pytest.raises(ConfigError, match="this computer only"):
        HelmServer(run, QueueInbox(), "tcp://*:0", None)
    server = HelmServer(run, QueueInbox(), "tcp://127.0.0.1:*", None)
    with connect(server.address, None) as client:
        assert client.about().role == "operator"
    server.close()
    assert not (run / "steering").exists()
