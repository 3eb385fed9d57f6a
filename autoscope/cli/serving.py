"""The commands of the bus: serve, emergency, bus."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from autoscope.bus import messages as say
from autoscope.bus.authentication import ClientSecurity, CurveClient, OpenClient
from autoscope.bus.calling import Caller
from autoscope.bus.enrolment import authorized_file
from autoscope.bus.keyring import read_entries
from autoscope.bus.keys import KeyPair, default_folder
from autoscope.bus.listening import Listener
from autoscope.bus.sealing import Seal, read_seal, require_sealed, seal_path, sealed, write_seal
from autoscope.bus.server import Doors, Server
from autoscope.bus.service import Service
from autoscope.bus.serving import ServeConfig
from autoscope.bus.transport import Line, ZmqTransport
from autoscope.bus.wire import error_of
from autoscope.clock import SystemClock
from autoscope.config import Document
from autoscope.errors import ConfigError, PluginError, Unreachable
from autoscope.identity import load as installation
from autoscope.identity import load_or_make
from autoscope.registry import load

ANSWER_S = 5.0


def serve_config(
    path: Path,
    instrument: str | None,
    address: str,
    keys: Path | None,
    insecure: bool,
    clock: str | None,
    ledger: Path | None,
    overrides: list[str],
) -> int:
    """Serve what a file says until Ctrl-C; return the exit status."""
    config, plugin, options = read_serve_config(path, instrument, clock, overrides)
    console = Console(soft_wrap=True, width=200)
    seal = read_seal(seal_path(path))
    if seal is not None:
        require_sealed(config, seal, installation(), str(path))
    folder = None if insecure else keys or default_folder()
    server = Server(
        config,
        plugin,
        options,
        Doors(address, folder),
        ledger=ledger or Path("ledgers") / config.name,
        sealed_by=seal.public_key if seal else "",
        tell=lambda sentence: console.print(sentence, highlight=False, markup=False),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, frame: server.stop())
    server.run(ready=lambda service: _tell_ready(console, config, address, folder, service, seal))
    console.print("the instrument is safe; served no more", highlight=False)
    return 0


def read_serve_config(
    path: Path, instrument: str | None, clock: str | None, overrides: list[str]
) -> tuple[ServeConfig, Any, Any]:
    """Return a file's configuration with the instrument's class and its validated options.

    Raises
    ------
    ConfigError
        With file, line and field of everything that is wrong.
    """
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    if clock is not None:
        document.override(f"clock={clock}")
    config = document.validate(ServeConfig)
    if instrument is not None and instrument != config.instrument.name:
        where = document.where(("instrument", "name"))
        remedy = "Give the file that belongs to the instrument"
        what = "the file serves another instrument than --instrument says"
        raise ConfigError(what, where=where, value=config.instrument.name, limit=instrument, remedy=remedy)
    try:
        plugin = load("instruments", config.instrument.name)
    except PluginError as error:
        raise ConfigError(str(error), where=document.where(("instrument", "name"))) from error
    return config, plugin, document.validate(plugin.Config, ("instrument", "options"))


def seal_config(path: Path, who: str) -> int:
    """Seal the limits of a file with the key of this installation, and say what is sealed; return the exit status."""
    config, _, _ = read_serve_config(path, None, None, [])
    identity = load_or_make()
    write_seal(seal_path(path), sealed(config, identity, who, SystemClock().wall()))
    console = Console(soft_wrap=True, width=200)
    console.print(f"sealed {seal_path(path)}", highlight=False)
    console.print(f"limits {_limits(config)}", highlight=False, markup=False)
    console.print(f"key    {identity.public_key}", highlight=False)
    return 0


def _tell_ready(
    console: Console, config: ServeConfig, address: str, keys: Path | None, service: Service, seal: Seal | None
) -> None:
    scope = service.capabilities
    table = Table.grid(padding=(0, 2))
    kind = "simulated" if scope.simulated else "[bold red]REAL BEAM[/]"
    table.add_row("serves", f"{scope.instrument} ({scope.serial}), {kind}, {scope.voltage_v / 1e3:g} kV")
    table.add_row("at", f"{address} and the next four, {config.clock} clock")
    table.add_row("to", _admitted(keys))
    table.add_row("limits", _limits(config))
    told = f"by {seal.who} on {seal.when[:10]}" if seal else "no: 'autoscope seal FILE' makes changed limits be seen"
    table.add_row("sealed", told)
    watch = config.watch
    table.add_row(
        "blanks", f"{watch.lease_s:g} s after its agent is silent, {watch.silence_s:g} s after the watchdog is"
    )
    console.print(table, highlight=False)
    console.print("ready; Ctrl-C makes the instrument safe and ends", highlight=False)


def _admitted(keys: Path | None) -> str:
    if keys is None:
        return "anybody on this computer, without keys"
    entries = read_entries(authorized_file(keys))
    return ", ".join(f"{entry.name} ({entry.role.value})" for entry in entries) or "nobody yet: 'autoscope keys new'"


def _limits(config: ServeConfig) -> str:
    given = {name: value for name, value in config.limits.plain().items() if value is not None}
    parts = [f"{name} {' to '.join(value) if isinstance(value, list) else value}" for name, value in given.items()]
    if config.dose.max_dose_e is not None:
        parts.append(f"{config.dose.max_dose_e:.3g} electrons on one sample")
    return ", ".join(parts) or "the instrument's own ranges, no dose limit"


# --- talking to a server ------------------------------------------------------------------------------


def _security(key: Path | None) -> ClientSecurity:
    return CurveClient(KeyPair.load(key)) if key else OpenClient()


def _asked(address: str, key: Path | None, line: Line, *asks: say.Ask) -> list[say.Answer]:
    transport = ZmqTransport(address, _security(key))
    caller = Caller(transport, line, SystemClock())
    answers: list[say.Answer] = []
    try:
        for ask in asks:
            got = caller.call(ask, ANSWER_S)
            if got is None:
                remedy = "Is 'autoscope serve' running there, and does it know this key?"
                raise Unreachable(
                    "the bus server does not answer", where=address, limit=f"{ANSWER_S:g} s", remedy=remedy
                )
            if isinstance(got[0].answer, say.Trouble):
                raise error_of(got[0].answer)
            answers.append(got[0].answer)
    finally:
        transport.close()
    return answers


def stop_at_once(address: str, key: Path | None, why: str, *, clear: bool) -> int:
    """Stop, or permit acts again; return the exit status."""
    ask = say.ClearEmergency(why=why) if clear else say.EmergencyStop(why=why)
    _asked(address, key, "control", ask)
    done = "acts are permitted again" if clear else "the instrument has confirmed: beam blanked, nothing begins"
    Console().print(done, highlight=False)
    return 0


def show_server(address: str, key: Path | None) -> None:
    """Print how a server is."""
    asks = (say.Ping(), say.Describe(), say.ReadLimits(), say.ReadLedger())
    pong, described, limits, account = _asked(address, key, "ask", *asks)
    console = Console(soft_wrap=True, width=200)
    table = Table.grid(padding=(0, 2))
    if isinstance(described, say.Described):
        table.add_row("instrument", f"{described.capabilities.instrument} ({described.capabilities.serial})")
    if isinstance(pong, say.Pong):
        state = "[bold red]EMERGENCY STOP holds[/]" if pong.emergency else "acts are permitted"
        table.add_row("driver", f"{pong.driver}, watchdog {pong.watchdog}, {state}")
        table.add_row("held by", pong.holder or "nobody")
    if isinstance(limits, say.Limits):
        most = f" of {limits.max_dose_e:.3g}" if limits.max_dose_e is not None else ""
        table.add_row("sample", f"{limits.dose_e:.3g}{most} electrons")
    if isinstance(account, say.Account):
        table.add_row("acts", ", ".join(f"{count} {status}" for status, count in account.acts.items()) or "none")
    console.print(table, highlight=False)
    for event in account.events[-10:] if isinstance(account, say.Account) else ():
        console.print(event, highlight=False, markup=False)


def follow_server(address: str, key: Path | None) -> None:
    """Print what a server publishes until Ctrl-C."""
    console, listener = Console(soft_wrap=True, width=200), Listener(address, _security(key))
    try:
        while True:
            if (event := listener.receive(1.0)) is not None:
                console.print(_line(event), highlight=False, markup=False)
    except KeyboardInterrupt:
        return
    finally:
        listener.close()


def _line(event: say.Event) -> str:
    """Return an event as a line for people.

    Examples
    --------
    >>> _line(say.Event(kind="act", number=7, time_s=3.0, act_id="a-1", state="running", elapsed_s=2.0, expected_s=8.0))
    'act a-1 running, 2.0 of 8.0 s'
    """
    if event.kind != "act":
        return f"{event.kind} {event.text}"
    progress = f", {event.elapsed_s:.1f} of {event.expected_s or 0.0:.1f} s" if event.elapsed_s is not None else ""
    if event.points_total:
        progress += f", {event.points_done} of {event.points_total} points"
    return f"act {event.act_id} {event.state}{progress}"
