import socket

from autoscope.cli.night import SOCKETS, free_ports


def test_all_ports_in_a_row_can_be_listened_on():
    for _ in range(20):
        first = free_ports()
        held = [socket.socket() for _ in range(SOCKETS)]
        try:
            for k, one in enumerate(held):
                one.bind(("127.0.0.1", first + k))
        finally:
            for one in held:
                one.close()
