"""Ports of this machine for servers that tests start, and waiting until they listen."""

import contextlib
import socket
import threading

from autoscope.clock import SystemClock


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until_open(process, *ports, limit_s=30.0):
    """Return when all ports accept connections; fail when the process ends or time is up."""
    clock = SystemClock()
    for port in ports:
        while True:
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert clock.now_s() < limit_s, f"port {port} is still closed after {limit_s} s"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
                break
            threading.Event().wait(0.05)
