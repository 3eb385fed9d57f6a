"""``autoscope serve`` and the commands for whoever stands beside the instrument: emergency, holder."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

ADDRESS = "tcp://127.0.0.1:5560"


class ClockName(enum.StrEnum):
    """The instrument's time."""

    system = "system"
    simulated = "simulated"


Address = Annotated[str, typer.Option(help="tcp://HOST:PORT (this port and the next four are used) or ipc://PATH.")]
Key = Annotated[
    Path | None, typer.Option(help="File of your key, made by 'autoscope keys new'; absent: a server without keys.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(serve)
    app.command()(seal)
    app.command()(emergency)
    app.command()(bus)


def serve(
    config: Annotated[Path, typer.Option(help="YAML file beside the instrument (see configs/instrument/).")],
    instrument: Annotated[
        str | None, typer.Option(help="Name of the instrument; must be the one in the file. See 'autoscope list'.")
    ] = None,
    address: Address = ADDRESS,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of keys; absent: $AUTOSCOPE_KEYS or ~/.autoscope/keys.")
    ] = None,
    insecure_loopback: Annotated[
        bool, typer.Option("--insecure-loopback", help="No keys at all; refuses every address others could reach.")
    ] = False,
    clock: Annotated[
        ClockName | None, typer.Option(help="Override the file: 'simulated' lets a simulated night pass in minutes.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Folder of the ledger; absent: ledgers/NAME. It outlives the server.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override one setting. Repeatable.")
    ] = None,
) -> None:
    """Serve an instrument over the bus: the last word on limits, dose and blanking is here, beside it.

    On the instrument's computer:

      autoscope keys new --server
      autoscope keys new night_agent --role agent
      autoscope serve --config configs/instrument/simulated.yaml

    On the agent's, an experiment goes over the wire by one section of its file (see configs/overnight_bus.yaml).

    Ctrl-C makes the instrument safe and ends. Not a personnel safety system: vendor interlocks stay above it.
    """
    from autoscope.cli.serving import serve_config

    chosen = clock.value if clock else None
    raise typer.Exit(
        serve_config(config, instrument, address, keys, insecure_loopback, chosen, ledger, overrides or [])
    )


def seal(
    config: Annotated[Path, typer.Argument(help="YAML file beside the instrument, as for 'autoscope serve'.")],
    who: Annotated[str, typer.Option(help="Who answers for these limits, for the record.")] = "",
) -> None:
    """Seal the limits of an instrument's file: 'autoscope serve' then refuses any that were changed since.

      autoscope seal configs/instrument/nion.yaml --who 'Anna, column manager'

    Writes FILE.seal, signed with the key of this installation ('autoscope identity'). Covered are limits, doses, times
    of silence and the serial number, also where they are overridden with --set; names of samples are free.
    """
    import getpass

    from autoscope.cli.serving import seal_config

    raise typer.Exit(seal_config(config, who or getpass.getuser()))


def emergency(
    address: Address = ADDRESS,
    key: Key = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "emergency",
    clear: Annotated[bool, typer.Option("--clear", help="Permit acts again after an emergency stop.")] = False,
) -> None:
    """Blank the beam at once and let nothing begin until a person clears it. Exit status 1: not confirmed."""
    from autoscope.cli.serving import stop_at_once

    raise typer.Exit(stop_at_once(address, key, why, clear=clear))


def bus(
    address: Address = ADDRESS,
    key: Key = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Then go on and show what happens, until Ctrl-C.")
    ] = False,
) -> None:
    """Show how a bus server is: driver, watchdog, who holds the instrument, dose, what happened lately."""
    from autoscope.cli.serving import follow_server, show_server

    show_server(address, key)
    if follow:
        follow_server(address, key)
