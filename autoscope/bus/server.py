"""The server: the service behind five sockets, its driver, and its watchdog.

::

    ask                  a loop of its own, which mostly waits for one thing only and so answers soon
    act, publish         a loop: answer, send what the driver has finished, keep watch, publish
    control              a loop of its own, which touches no disk and waits for neither driver nor the other loops
    stream               a thread of its own, for arrays too large for a reply
    driver, safe lines   threads of their own
    watchdog             a process of its own
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from autoscope.bus.authentication import Context, CurveServer, OpenServer, ServerSecurity, Socket
from autoscope.bus.desk import TICK_MS, Desk, Send
from autoscope.bus.driver import Driver, make_instrument, second_line_of
from autoscope.bus.enrolment import authorized_file, secret_file
from autoscope.bus.keyring import Keyring
from autoscope.bus.keys import SERVER, KeyPair
from autoscope.bus.ledger import Ledger
from autoscope.bus.receiving import VERBS, take_message
from autoscope.bus.refusals import Refusals
from autoscope.bus.roles import Peer
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
from autoscope.errors import ConfigError
from autoscope.protocols import Clock

LOOPS = ("act", "ask", "control")
"""Sockets with a loop that answers on a thread of its own; the first one's also publishes and writes down."""


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
        self._stop, self._turn = threading.Event(), threading.Lock()
        self._turned_s = dict.fromkeys(LOOPS, 0.0)
        self._ticked_s, self._published = 0.0, 0
        self.watch: Watch | None = None

    def stop(self) -> None:
        """Have `run` make safe and return; may be called from a signal handler."""
        self._stop.set()

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
            desks = {name: self._desk(name, bound[name], security, stack) for name in LOOPS}
            for name, between in (("control", service.watch), ("ask", lambda: None)):
                thread = threading.Thread(target=self._serve, args=(desks[name], name, between), name=name)
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._stop.set)
            if isinstance(security, CurveServer):
                self._knock(security, bound)
            ready(service)
            self._serve(desks["act"], "act", lambda: self._publish(bound, security))

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

    def _desk(self, name: str, socket: Socket, security: ServerSecurity, stack: ExitStack) -> Desk:
        """Return the desk of a socket; what is said at *ask* and *act* is answered one after the other."""
        verbs, turn = VERBS[name], nullcontext() if name == "control" else self._turn

        def take(parts: Parts, peer: Peer, send: Send, source: str) -> None:
            with turn:
                take_message(self._service, parts, peer, send, source, verbs, self._shelf.lay_out)

        desk = Desk(socket, security, take, self._refusals.note, awaits_others=name == "act")
        stack.callback(desk.close)
        return desk

    def _serve(self, desk: Desk, name: str, between: Callable[[], None]) -> None:
        """Answer at a desk until the end, and do what is to be done between two messages, or when none comes."""
        while not self._stop.is_set() and not self._service.stopping:
            desk.turn()
            between()
            self._turned_s[name] = self._clock.now_s()
        desk.send_finished()

    def _publish(self, bound: dict[str, Socket], security: ServerSecurity) -> None:
        now_s = self._clock.now_s()
        if now_s - self._ticked_s < TICK_MS / 2e3:
            return
        self._ticked_s = now_s
        with self._turn:
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
