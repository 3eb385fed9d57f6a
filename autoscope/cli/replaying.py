"""Making the decisions of a run again, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from autoscope.cli.folders import require_record
from autoscope.cli.resuming import resolved_config
from autoscope.config import Document
from autoscope.engine.assemble import Resolved, make_policy
from autoscope.engine.history import History, read_history
from autoscope.engine.loop import describe_action
from autoscope.engine.preparing import decider
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import Replayed, Rescored, replay
from autoscope.journal import JournalReader
from autoscope.provenance import differences, provenance
from autoscope.records import Decision

SHOWN = 5


def replay_run(folder: Path, policy: Path | None, scalarizer: Path | None, *, tolerance: float, quiet: bool) -> int:
    """Replay a run and print what came of it; return the exit status."""
    console = Console()
    require_record(folder)
    reader = JournalReader.open(folder)
    history = read_history(reader)
    reader.started()  # raises where the run never began
    resolved = _with(history, policy, scalarizer, f"{folder}: recorded configuration")
    others = policy is not None or scalarizer is not None
    source = Stored(reader)
    if scalarizer is not None:
        source = Rescored(source, {name: c.plugin(c.options) for name, c in resolved.scalarizers.items()})
    chosen = make_policy(resolved)
    made = differences(
        _comparable(history.started.get("made_by") or {}),
        _comparable(provenance([decider(chosen), *(c.plugin for c in resolved.scalarizers.values())])),
    )
    for text in made:
        console.print(f"[yellow]made otherwise:[/] {text}", highlight=False)
    with _bar(console, quiet=quiet) as bar:
        task = bar.add_task("", total=len(history.told))
        found = replay(
            history,
            chosen,
            source,
            tolerance=tolerance,
            made_differently=made,
            others=others,
            progress=lambda: bar.advance(task),
        )
    if others:
        _tell_counterfactual(console, found, resolved)
        return 0
    _tell(console, found, tolerance)
    return 0 if found.ok else 1


def _comparable(made: dict[str, Any]) -> dict[str, Any]:
    """Return a provenance without the code that only instruments ran."""
    code = {k: v for k, v in (made.get("code_sha256") or {}).items() if k != "environments"}
    return made | {"code_sha256": code}


def _bar(console: Console, *, quiet: bool) -> Progress:
    columns = (TextColumn("deciding everything again"), BarColumn(40), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


def _with(history: History, policy: Path | None, scalarizer: Path | None, source: str) -> Resolved:
    """Return the recorded configuration with the policy and the scalarizers of other files."""
    plain = dict(history.config)
    if policy is not None:
        plain["policy"] = _part(policy, "policy")
        plain["engine"] = {k: v for k, v in plain.get("engine", {}).items() if not k.startswith(("look", "decision_d"))}
    if scalarizer is not None:
        plain["scalarizers"] = _part(scalarizer, "scalarizers")
    return resolved_config(plain, [], source)


def _part(path: Path, name: str) -> Any:
    data = Document.read(path).data
    return data.get(name, data)


def _tell(console: Console, found: Replayed, tolerance: float) -> None:
    for divergence in found.divergences[:1]:
        console.print(f"[red]first difference at {divergence}", highlight=False, soft_wrap=True)
    more = found.decisions - found.identical - 1
    if more > 0:
        steps = ", ".join(str(d.step) for d in found.divergences[1:SHOWN])
        console.print(f"{more} more decisions differ, at steps {steps}{' ...' if more >= SHOWN else ''}")
    colour = "green" if found.ok else "red"
    within = f", tolerance {tolerance:g}" if tolerance else ""
    console.print(f"[bold {colour}]{found.summary}[/]{within}", highlight=False)


def _tell_counterfactual(console: Console, found: Replayed, resolved: Resolved) -> None:
    for divergence in found.divergences[:SHOWN]:
        now = divergence.now
        other = describe_action(now.action) if isinstance(now, Decision) else f"finish: {now.reason if now else ''}"
        console.print(
            f"step {divergence.step}: it chose {describe_action(divergence.recorded.action)}; "
            f"{resolved.policy.name} would choose {other}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if found.values_changed:
        console.print(f"{found.values_changed} values of targets differ from the recorded ones", highlight=False)
    share = found.same_action / found.decisions if found.decisions else 1.0
    console.print(
        f"[bold]{found.same_action} of {found.decisions} decisions the same ({share:.1%})[/]: "
        f"what {resolved.policy.name} would have chosen at each step, told what the run was told",
        highlight=False,
    )
