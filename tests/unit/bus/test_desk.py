"""A desk answers at once what it can, and sends what other threads have finished, however it happens to wait."""

import queue
import threading

import pytest
import zmq

from autoscope.bus.authentication import OpenServer
from autoscope.bus.desk import Desk
from autoscope.errors import Unauthenticated

ANSWER_MS = 5000


REVOKED = Unauthenticated("the key of this connection was revoked", value="anna 12:34")


class Office:
    """A desk on a thread of its own: 'later' is answered by whoever takes it from `waiting`, all else at once."""

    def __init__(self, context, security=None, **options):
        self.waiting, self.refused = queue.SimpleQueue(), []
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        security = security or OpenServer()
        self.address = OpenServer().bind(socket, "tcp://127.0.0.1:*")
        self.socket = socket
        self.desk = Desk(socket, security, self.take, lambda key, why: self.refused.append(why), **options)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def take(self, parts, peer, send, source):
        if parts[0] == b"later":
            self.waiting.put(send)
        else:
            send([b"at once", *parts])

    def run(self):
        while not self.over.is_set():
            self.desk.turn()

    def close(self):
        self.over.set()
        self.thread.join()
        self.desk.close()
        self.socket.close()


@pytest.fixture
def visit():
    """Return a function that opens an office and gives a visitor's socket."""
    offices, visitors, context = [], [], zmq.Context()

    def opened(**options):
        offices.append(office := Office(context, **options))
        visitors.append(socket := context.socket(zmq.DEALER))
        socket.linger, socket.rcvtimeo = 0, ANSWER_MS
        socket.connect(office.address)
        return office, socket

    yield opened
    for thing in (*offices, *visitors):
        thing.close()
    context.destroy(linger=0)


@pytest.mark.parametrize("awaits_others", [False, True])
def test_questions_are_answered_while_others_still_owe_an_answer_and_those_answers_come(visit, awaits_others):
    office, visitor = visit(awaits_others=awaits_others)
    for number in range(3):
        visitor.send(b"later")
        send = office.waiting.get(timeout=ANSWER_MS / 1e3)
        visitor.send(b"now")
        assert visitor.recv_multipart() == [b"at once", b"now"]
        send([b"finished", bytes([number])])  # from this thread, not the desk's
        assert visitor.recv_multipart() == [b"finished", bytes([number])]


def test_it_goes_back_to_waiting_for_messages_alone_when_nobody_owes_an_answer_any_more(visit):
    office, visitor = visit()
    visitor.send(b"later")
    send = office.waiting.get(timeout=ANSWER_MS / 1e3)
    visitor.send(b"now")
    visitor.recv_multipart()
    assert office.desk.listening
    send([b"finished"])
    visitor.recv_multipart()
    visitor.send(b"now")
    visitor.recv_multipart()
    assert not office.desk.listening


def test_arrays_follow_the_header_and_long_messages_are_cut_to_what_tells_that_they_are_no_request(visit):
    visitor = visit()[1]
    visitor.send_multipart([b"now", *[b"x" * 100] * 50])
    assert visitor.recv_multipart() == [b"at once", b"now", b"x" * 100, b"x" * 100]


def test_not_a_byte_is_looked_at_of_a_message_that_nobody_may_send(visit):
    class Shut(OpenServer):
        def caller(self, frame):
            raise REVOKED

    office, visitor = visit(security=Shut())
    visitor.rcvtimeo = 200
    visitor.send(b"later")
    with pytest.raises(zmq.Again):
        visitor.recv()
    assert office.waiting.empty()
    assert office.refused == [f"refused a message: {REVOKED}"]
