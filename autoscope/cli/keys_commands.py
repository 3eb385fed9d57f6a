"""``autoscope keys``: who may use the instrument over the bus."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autoscope.bus.keyring import Entry

keys = typer.Typer(
    name="keys",
    no_args_is_help=True,
    help="""Make, list and revoke the keys of the bus.

Every connection needs a key, and every key has a role: an observer looks, an agent runs experiments, an operator may
also take over, an emergency key can only stop. On the instrument's computer:

  autoscope keys new --server                       once: the server's own key
  autoscope keys new night_agent --role agent       prints which file to carry to the agent's computer
  autoscope keys list
  autoscope keys revoke night_agent                 works at once, on open connections too

Where a secret must never travel, make the key on the agent's computer and admit its public half on the server:

  autoscope keys new night_agent --role agent --pin SERVERS_PUBLIC_KEY
  autoscope keys admit night_agent --role agent --public PUBLIC_KEY
""",
)

Folder = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FOLDER", help="Folder of keys; default $AUTOSCOPE_KEYS or ~/.autoscope/keys."),
]
Named = Annotated[str, typer.Argument(metavar="NAME", help="Whose key: small letters, digits, '_', '.', '-'.")]


class RoleName(enum.StrEnum):
    """What a key may do."""

    observer = "observer"
    operator = "operator"
    agent = "agent"
    emergency = "emergency"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(keys)


def _folder(given: Path | None) -> Path:
    from autoscope.bus.keys import default_folder

    return given or default_folder()


def _today() -> str:
    from autoscope.clock import SystemClock

    return SystemClock().wall()[:10]


@keys.command()
def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Whose key; not needed with --server.")] = "",
    role: Annotated[RoleName | None, typer.Option(help="What the key may do.")] = None,
    server: Annotated[bool, typer.Option("--server", help="Make the server's own key.")] = False,
    pin: Annotated[
        str | None, typer.Option(metavar="KEY", help="Public key of the server, where it is not here.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Make a key pair, readable by you only, and let it in where the server's folder is this one."""
    if server == (role is not None) or (not server and not name):
        raise typer.BadParameter("say either --server, or a NAME and its --role")
    if server:
        _new_server(_folder(folder), name)
    elif role is not None:
        _new_client(_folder(folder), name, role.value, pin)


def _new_server(folder: Path, name: str) -> None:
    from autoscope.bus.enrolment import new_server, public_file, secret_file
    from autoscope.bus.keys import SERVER, fingerprint

    if name not in {"", SERVER}:
        raise typer.BadParameter(f"a server's key is called {SERVER!r}")
    pair = new_server(folder)
    typer.echo(f"secret key:  {secret_file(folder, SERVER)}  (stays on this computer)")
    typer.echo(f"public key:  {pair.public}  (also in {public_file(folder)})")
    typer.echo(f"fingerprint: {fingerprint(pair.public)}")


def _new_client(folder: Path, name: str, role: str, pin: str | None) -> None:
    from autoscope.bus.enrolment import admit, authorized_file, line_of, new_client, pinned, require_free, secret_file
    from autoscope.bus.keys import fingerprint
    from autoscope.bus.roles import Role

    require_free(folder, name)
    pair = new_client(folder, name, server=pin or pinned(folder))
    typer.echo(f"secret key:  {secret_file(folder, name)}  (carry it to the computer of {name}, then remove it here)")
    typer.echo(f"fingerprint: {fingerprint(pair.public)}")
    if authorized_file(folder).exists():
        admit(folder, line_of(pair, Role(role), _today()))
        typer.echo(f"may enter as {role}: {authorized_file(folder)}")
        return
    typer.echo("nobody lets it in yet; on the server's computer say:")
    typer.echo(f"  autoscope keys admit {name} --role {role} --public '{pair.public}'")
    if pair.server is None:
        typer.echo('and add to the key file, with the key in the server\'s server.pub:  server = "..."')


@keys.command()
def admit(
    name: Named,
    role: Annotated[RoleName, typer.Option(help="What the key may do.")],
    public: Annotated[str, typer.Option(metavar="KEY", help="Public key, 40 characters.")],
    folder: Folder = None,
) -> None:
    """Let a key in that was made elsewhere."""
    from autoscope.bus.enrolment import admit as admit_entry
    from autoscope.bus.keyring import new_entry
    from autoscope.bus.keys import fingerprint

    admit_entry(_folder(folder), new_entry(name, role.value, public, _today()))
    typer.echo(f"{name} may enter as {role.value}; fingerprint {fingerprint(public)}")


@keys.command("list")
def list_(folder: Folder = None) -> None:
    """Show who may enter, with roles and fingerprints."""
    from rich.console import Console
    from rich.table import Table

    from autoscope.bus.enrolment import authorized_file, pinned
    from autoscope.bus.keyring import read_entries
    from autoscope.bus.keys import fingerprint

    where = _folder(folder)
    entries: list[Entry] = read_entries(authorized_file(where))
    console = Console()
    if (server := pinned(where)) is not None:
        console.print(f"server {fingerprint(server)}", highlight=False)
    table = Table("name", "role", "fingerprint", "made", box=None)
    for entry in entries:
        table.add_row(entry.name, entry.role.value, fingerprint(entry.public), entry.made)
    console.print(table if entries else "nobody may enter", highlight=False)


@keys.command()
def revoke(name: Named, folder: Folder = None) -> None:
    """Shut a key out, at once, on open connections too."""
    from autoscope.bus.enrolment import revoke as revoke_entry
    from autoscope.bus.keys import fingerprint

    gone = revoke_entry(_folder(folder), name)
    typer.echo(f"{name} ({gone.role.value}, {fingerprint(gone.public)}) may not enter any more")
