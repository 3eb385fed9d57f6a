"""The commands about what a run's record can be trusted for: verify, identity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/20260101T200000Z-my_run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for other programs.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(verify)
    app.command()(identity)


def verify(
    folder: RunFolder,
    head: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="The head as it was noted elsewhere: finds records cut off the end."),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Who must have signed the run: 64 hexadecimal digits, or a PEM file."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Prove that the record is whole: hash chain, frames, acts, budget counted again, clocks, signatures.

    Reads only, also while the run goes on. Names everything that does not match, and the steps that remain proven.
    Without --public-key any signer is shown and believed. Exit status: 0 verified, 1 not, 2 no run folder.
    """
    from json import dumps

    from rich.console import Console

    from autoscope.cli.folders import require_record
    from autoscope.identity import read_public_key
    from autoscope.journal import verify as prove

    require_record(folder)
    verdict = prove(folder, head=head, public_key=read_public_key(public_key) if public_key else None)
    text = dumps(verdict.plain(), ensure_ascii=False) if json else verdict.summary
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(0 if verdict.ok else 1)


def identity(json: AsJson = False) -> None:
    """Show the public key that signs this installation's runs; make the key pair if there is none yet.

    Give the public key to whoever shall check your runs: autoscope verify RUN --public-key KEY. The private key stays
    in your own folder for settings (or in the one that AUTOSCOPE_HOME names); whoever has it can sign in your name.
    """
    from json import dumps

    from autoscope.identity import PUBLIC, load_or_make

    mine = load_or_make()
    if json:
        shown = {"public_key": mine.public_key, "private_key_file": str(mine.path)}
        typer.echo(dumps(shown | {"public_key_file": str(mine.path.with_name(PUBLIC))}))
        return
    typer.echo(mine.public_key)
    typer.echo(f"public key file:  {mine.path.with_name(PUBLIC)}")
    typer.echo(f"private key file: {mine.path} (keep it to yourself)")
