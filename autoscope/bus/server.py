"""The server: the service behind five sockets, its driver, and its watchdog.

::

    ask, act, publish    one loop: receive, answer, send what the driver has finished
    control              a loop of its own, which touches no disk and waits for no driver
    stream               a thread of its own, for arrays too large for a reply
    driver, safe lines   threads of their own
    watchdog             a process of its own
"""

from __future__ import annotations

import queue
import socket as sockets
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from autoscope.bus.authentication import Context, CurveServer, OpenServer, ServerSecurity, Socket
from autoscope.bus.driver import Driver, make_instrument, second_line_of
from autoscope.bus.enrolment import authorized_file, secret_file
from autoscope.bus.keyring import Keyring
from autoscope.bus.keys import SERVER, KeyPair
from autoscope.bus.ledger import Ledger
from autoscope.bus.receiving import VERBS, take_message
from autoscope.bus.refusals import Refusals
from autoscope.bus.sealing import require_still_sealed
from autoscope.bus.self_test import self_test
from autoscope.bus.service import Service
from autoscope.bus.serving import ServeConfig
from autoscope.bus.shelf import Shelf
from autoscope.bus.stream_server import StreamServer
from autoscope.bus.transport import addresses, tune
from autoscope.bus.watchdog import Watch
from autoscope.bus.wire import MAX_REQUEST_BYTES, Parts, encode_event
from autoscope.chance import stream
from autoscope.clock import SimClock, SystemClock
from autoscope.config import ConfigModel
from autoscope.errors import ConfigError, Unauthenticated
from autoscope.protocols import Clock

TICK_MS = 20
"""How often a loop looks after leases and deadlines when nobody asks for anything."""
BURST = 64
"""Requests of one socket taken before the others get their turn."""
HEADER_PARTS = 3
"""Identity, magic word, header: what comes after them is arrays, and sent from where it lies."""
MOST_PARTS = 3
"""Of a request that are kept: one more than it may have, so that it is refused."""


@dataclass(frozen=True)
class Doors:
    """How a server can be reached: the address, and the keys, or none."""

    address: str
    keys: Path | None
    """Folder of the server's key and of the keys it admits; None: no keys at all, on this computer only."""


class Server:
    """Serves one instrument until it is told to stop.

    Parameters
    ----------
    config : ServeConfig
        What is served.
    plugin, options
        The instrument's class and its validated options.
    doors : Doors
        Where to listen, and for whom.
    ledger : Path
        Folder of the ledger.
    sealed_by : str
        Public key of whoever sealed the limits; empty where nobody did.
    tell : callable
        Told in a sentence what people should know.
    """

    def __init__(
        self,
        config: ServeConfig,
        plugin: Any,
        options: ConfigModel,
        doors: Doors,
        *,
        ledger: Path,
        sealed_by: str = "",
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._config, self._plugin, self._options, self._doors = config, plugin, options, doors
        self._folder, self._sealed_by, self._tell = ledger, sealed_by, tell
        self._clock: Clock = SystemClock()
        self._refusals = Refusals(tell, self._clock)
        self._context: Context = zmq.Context()
        self._outgoing: queue.SimpleQueue[tuple[Socket, Parts]] = queue.SimpleQueue()
        self._waker, self._woken = sockets.socketpair()
        self._stop = threading.Event()
        self._turned_s = {"main": 0.0, "control": 0.0}
        self._published = 0
        self.watch: Watch | None = None

    def stop(self) -> None:
        """Have `run` make safe and return; may be called from a signal handler."""
        self._stop.set()
        self._wake()

    def run(self, ready: Callable[[Service], None] = lambda service: None) -> None:
        """Serve until `stop`, a ``stop`` request, or an error; the instrument is left safe.

        Raises
        ------
        ConfigError
            Address, keys, limits or ledger are wrong.
        SelfTestFailed
            A stranger got in.
        AutoscopeError
            Whatever the instrument says when it is made.
        """
        with ExitStack() as stack:
            stack.callback(self._context.destroy, linger=0)
            stack.callback(self._waker.close)
            stack.callback(self._woken.close)
            security = self._security(stack)
            bound = self._bind(security)
            streams = StreamServer(self._context, security, self._addresses["stream"], clock=self._clock)
            stack.callback(streams.close)
            self._shelf = Shelf(streams)
            ledger = Ledger(self._folder, clock=SystemClock(), keep_bytes=self._config.keep_bytes)
            stack.callback(ledger.close)
            require_still_sealed(ledger, self._sealed_by)
            service = self._service = self._made(ledger, streams)
            for line in service.open():
                self._tell(line)
            stack.callback(service.close)
            self._start_watch(service, stack)
            control = threading.Thread(target=self._serve_control, args=(bound["control"], security), name="control")
            control.start()
            stack.callback(control.join)
            stack.callback(self._stop.set)
            if isinstance(security, CurveServer):
                self._knock(security, bound)
            ready(service)
            self._serve(bound, security)

    # --- setting up ---------------------------------------------------------------------------------

    def _security(self, stack: ExitStack) -> ServerSecurity:
        folder = self._doors.keys
        if folder is None:
            return OpenServer()
        key, keyring = KeyPair.load(secret_file(folder, SERVER)), Keyring(authorized_file(folder))
        return stack.enter_context(CurveServer(self._context, key, keyring, on_refused=self._refusals.note))

    def _bind(self, security: ServerSecurity) -> dict[str, Socket]:
        self._addresses = addresses(self._doors.address)
        return {name: self._bound(security, name) for name in self._addresses if name != "stream"}

    def _bound(self, security: ServerSecurity, name: str) -> Socket:
        socket: Socket = self._context.socket(zmq.PUB if name == "publish" else zmq.ROUTER)
        tune(socket, largest_bytes=MAX_REQUEST_BYTES + 1024)
        if name != "publish":
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            security.bind(socket, self._addresses[name])
        except ConfigError:
            socket.close()
            raise
        return socket

    def _made(self, ledger: Ledger, streams: StreamServer) -> Service:
        config = self._config
        instrument_clock: Clock = SimClock() if config.clock == "simulated" else SystemClock()
        driver = Driver(
            lambda: make_instrument(self._plugin, self._options, instrument_clock, stream(config.seed, "environment")),
            second_line=second_line_of(self._plugin, self._options),
        )
        return Service(config, driver, ledger, clock=self._clock, instrument_clock=instrument_clock, streams=streams)

    def _start_watch(self, service: Service, stack: ExitStack) -> None:
        silence_s = self._config.watch.silence_s
        self.watch = watch = Watch(
            service.distrust,
            lambda: all(self._clock.now_s() - turned_s < silence_s / 2.0 for turned_s in self._turned_s.values()),
            self._tell,
            silence_s=silence_s,
            instrument={"name": self._config.instrument.name, "options": self._options.plain()},
            simulated=service.capabilities.simulated,
        )
        service.watchdog = lambda: watch.state
        self._turned_s = dict.fromkeys(self._turned_s, self._clock.now_s() + 60.0)  # until the loops turn
        stack.callback(watch.close)
        if not watch.start():
            self._tell("the watchdog has not answered yet; it is started again until it does")

    def _knock(self, security: CurveServer, bound: dict[str, Socket]) -> None:
        kinds = {name: zmq.PUB if name == "publish" else zmq.ROUTER for name in self._addresses}
        self_test(security, [(self._addresses[name], int(kind)) for name, kind in kinds.items()])
        self._tell("self-test: strangers stay out of every socket, a good key gets in")

    # --- the loops ----------------------------------------------------------------------------------

    def _serve(self, bound: dict[str, Socket], security: ServerSecurity) -> None:
        """Answer until the end.

        Waits on the sockets' descriptors, which spares looks at the sockets for each request. A descriptor tells once
        that something has changed: so a socket is emptied whenever it tells, and after all that others sent on it.
        """
        doors, woken = {bound[name].fileno(): name for name in ("ask", "act")}, self._woken.fileno()
        poller = zmq.Poller()
        for descriptor in (*doors, woken):
            poller.register(descriptor, zmq.POLLIN)
        self._woken.setblocking(False)
        ticked_s, due = 0.0, set(doors)
        while not self._stop.is_set() and not self._service.stopping:
            ready = {descriptor for descriptor, _ in poller.poll(0 if due else TICK_MS)}
            if woken in ready:
                with suppress(BlockingIOError):
                    self._woken.recv(4096)
            if self._send_finished() or not ready:
                due.update(doors)
            ready |= due
            due = {door for door, name in doors.items() if door in ready and self._take(name, bound[name], security)}
            self._turned_s["main"] = now_s = self._clock.now_s()
            if now_s - ticked_s >= TICK_MS / 2e3:
                ticked_s = now_s
                self._publish(bound, security)
        self._send_finished()

    def _serve_control(self, socket: Socket, security: ServerSecurity) -> None:
        socket.setsockopt(zmq.RCVTIMEO, TICK_MS)
        while not self._stop.is_set():
            self._take("control", socket, security, flags=0)
            self._service.watch()
            self._turned_s["control"] = self._clock.now_s()

    def _take(self, name: str, socket: Socket, security: ServerSecurity, flags: int = zmq.NOBLOCK) -> bool:
        """Answer what has come, and return whether there may be more; waits for the first where the flags say so."""
        for _ in range(BURST):
            try:
                first: zmq.Frame = socket.recv(flags, copy=False)
            except zmq.Again:
                return False
            flags, identity, parts = zmq.NOBLOCK, first.bytes, _rest(socket)
            try:
                caller = security.caller(first)
            except Unauthenticated as error:
                self._refusals.note(str(error.value), f"refused a message: {error}")
                continue  # not a byte more is looked at
            send, who = self._sender(socket, identity), (caller.name, caller.role)
            take_message(self._service, parts, who, send, identity.hex(), VERBS[name], self._shelf.lay_out)
        return True

    def _sender(self, socket: Socket, identity: bytes) -> Callable[[Parts], None]:
        home = threading.get_ident()

        def send(parts: Parts) -> None:
            message: Parts = [identity, *parts]
            if threading.get_ident() == home:
                _send(socket, message)
            else:
                self._outgoing.put((socket, message))
                self._wake()

        return send

    def _send_finished(self) -> bool:
        """Send what other threads have answered, and return whether there was any."""
        sent = False
        while not self._outgoing.empty():
            _send(*self._outgoing.get())
            sent = True
        return sent

    def _publish(self, bound: dict[str, Socket], security: ServerSecurity) -> None:
        events = self._service.tick()
        self._refusals.look()
        if security.generation != self._published:  # somebody was shut out: nobody keeps an old subscription
            self._published = security.generation
            bound.pop("publish").close(linger=0)
        if "publish" not in bound:
            with suppress(ConfigError):  # an address is let go of in its own time: again at the next tick
                bound["publish"] = self._bound(security, "publish")
        for event in events if "publish" in bound else ():
            with suppress(zmq.Again):
                bound["publish"].send_multipart(encode_event(event), flags=zmq.NOBLOCK)

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send(b"1", sockets.MSG_DONTWAIT if hasattr(sockets, "MSG_DONTWAIT") else 0)


def _rest(socket: Socket) -> Parts:
    """Return the parts after the identity, and no more of them than tell whether it is a request."""
    parts: Parts = []
    while True:
        part = socket.recv()
        if len(parts) < MOST_PARTS:
            parts.append(part)
        if not socket.getsockopt(zmq.RCVMORE):
            return parts


def _send(socket: Socket, message: Parts) -> None:
    """Send an answer, or drop it where nobody is there to take it: whoever asks again gets it from the ledger."""
    with suppress(zmq.Again, zmq.ZMQError):
        socket.send_multipart(message, flags=zmq.NOBLOCK, copy=len(message) <= HEADER_PARTS)
