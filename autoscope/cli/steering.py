"""Giving orders, telling how a run stands, and previewing choices, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console

from autoscope.config import Document
from autoscope.errors import AutoscopeError, ConfigError
from autoscope.interventions import COMMANDS, Receipt
from autoscope.quantities import parse

WAITS, NEEDED = 3, 3


def quantity(text: str, unit: str) -> float:
    """Return a typed quantity in SI.

    Raises
    ------
    ConfigError
        It is none.
    """
    try:
        return parse(text, unit)
    except ValueError as error:
        raise ConfigError(str(error), where="command line", remedy=f"For example '1 {unit}'") from error


def options_of(assignments: list[str]) -> dict[str, Any]:
    """Return options given as ``name=value``, values as in a configuration.

    Raises
    ------
    ConfigError
        One is not of that form.
    """
    document = Document("{}", "--set")
    for assignment in assignments:
        document.override(assignment)
    return document.data


def post_command(
    fields: dict[str, Any], *, folder: Path, why: str, who: str, wait_s: float, address: str, key: Path | None
) -> int:
    """Give an order and print what became of it; return the exit status.

    Raises
    ------
    ConfigError
        The command makes no sense.
    AutoscopeError
        The run cannot be reached.
    """
    try:
        command = COMMANDS.validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(first["msg"].removeprefix("Value error, "), where=fields["command"]) from error
    if address:
        from autoscope.steering.remote import remote_helm

        with remote_helm(address, key, who=who, patience_s=wait_s) as helm:
            receipt = helm.post(command, why=why)
    else:
        from autoscope.cli.folders import require_run
        from autoscope.steering.helm import helm_of

        require_run(folder)
        receipt = helm_of(folder, who=who, patience_s=wait_s).post(command, why=why)
    _tell(receipt)
    return {"accepted": 0, "refused": 1, "waiting": WAITS}[receipt.status]


def _tell(receipt: Receipt) -> None:
    where = f" before step {receipt.step}, record {receipt.record}" if receipt.record is not None else ""
    why = f": {receipt.reason}" if receipt.reason else ""
    typer.echo(f"{receipt.status}: {receipt.command}{where}{why}")
    if receipt.status != "refused":
        typer.echo(f"order {receipt.order}")


def tell_status(folder: Path) -> int:
    """Print how a run stands; return the exit status."""
    from autoscope.steering.now import how_it_stands

    try:
        now = how_it_stands(folder)
    except AutoscopeError as error:
        typer.echo(str(error), err=True)
        return 2
    state = f"{now.state} ({now.ended})" if now.ended else now.state
    lines = [f"run: {now.name}", f"state: {state}" + (f", {now.reason}" if now.reason else "")]
    lines.append(f"acts: {now.acts}, faults: {now.faults}, time: {now.time_s / 3600:.2f} h")
    lines += [f"last: {now.last}"] if now.last else []
    lines += [f"act that waits: {now.awaited}"] if now.awaited else []
    standing = now.standing
    lines.append(f"autonomy: {standing.autonomy.level.replace('_', ' ')}")
    lines.append(f"wheel: {standing.wheel.who if standing.wheel else 'nobody'}")
    if standing.queue:
        lines.append("queue: " + "; ".join(f"{one.place.words()} ({one.who}, {one.order})" for one in standing.queue))
    typer.echo("\n".join(lines))
    return 1 if now.is_trouble else NEEDED if now.needs_a_person else 0


def tell_what_if(folder: Path, options: list[str], commands: list[str], count: int, *, as_json: bool) -> int:
    """Print the next choices as things are, and otherwise; return the exit status."""
    from autoscope.cli.folders import require_run
    from autoscope.engine.loop import describe_action
    from autoscope.journal import JournalReader
    from autoscope.records import Decision, Finish
    from autoscope.steering.what_if import Choices, what_if

    require_run(folder)
    try:
        wanted = [COMMANDS.validate_json(text) for text in commands]
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"], where="--command") from error
    preview = what_if(JournalReader.open(folder), options=options, commands=wanted, count=count)
    if as_json:
        sides = {"as_it_is": preview.as_it_is, "otherwise": preview.otherwise}
        typer.echo(json.dumps({name: [one.model_dump(mode="json") for one in side] for name, side in sides.items()}))
        return 0
    console = Console(soft_wrap=True, highlight=False)

    def show(title: str, choices: Choices) -> None:
        console.print(f"[bold]{title}[/]")
        for number, one in enumerate(choices, start=1):
            if isinstance(one, Finish):
                console.print(f"  {number}. finish: {one.reason}", markup=False)
                continue
            mean, std = (one.predicted_mean, one.predicted_std) if isinstance(one, Decision) else (one.mean, one.std)
            expected = f", expected {mean:.4g} ± {std:.2g}" if mean is not None and std is not None else ""
            console.print(f"  {number}. {describe_action(one.action)}{expected}", markup=False)

    show("as it is", preview.as_it_is)
    show("what if", preview.otherwise)
    console.print("the next act is the same" if preview.same_first else "the next act is another one")
    return 0
