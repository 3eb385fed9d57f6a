"""What a key asks of a run: the question it needs, and the command that comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscope.dashboard.screens.aim import AimScreen
from autoscope.dashboard.screens.choice import ChoiceScreen
from autoscope.dashboard.screens.confirm import ConfirmScreen
from autoscope.dashboard.screens.form import Field, FormScreen
from autoscope.dashboard.sight import Sight
from autoscope.quantities import parse
from autoscope.steering.commands import COMMANDS, UNDOABLE, Command

if TYPE_CHECKING:
    from textual.app import App

Told = tuple[Command, str]
"""A command, and why."""
Ask = Callable[["App[Any]", Sight], Awaitable["Told | None"]]


SIGNS = {"exclamation_mark": "!", "left_square_bracket": "[", "right_square_bracket": "]"}


class NotNow(Exception):
    """There is nothing to do this to, and why."""


@dataclass(frozen=True)
class Errand:
    """A key and what it is for."""

    name: str
    key: str
    title: str
    help: str
    ask: Ask
    shown: bool = False
    """At the bottom of the screen; all are in the palette."""

    @property
    def sign(self) -> str:
        """The key as people read it."""
        return SIGNS.get(self.key, self.key)


def command(name: str, /, **fields: Any) -> Command:
    """Return a command by its name.

    Raises
    ------
    pydantic.ValidationError
        The fields make no sense; it is a ValueError.
    """
    made: Command = COMMANDS.validate_python({"command": name, **fields})
    return made


def at_once(name: str, **fields: Any) -> Ask:
    """Ask nothing."""

    async def ask(app: App[Any], sight: Sight) -> Told | None:
        return command(name, **fields), ""

    return ask


def confirmed(name: str, question: str, **fields: Any) -> Ask:
    """Ask whether it is really meant."""

    async def ask(app: App[Any], sight: Sight) -> Told | None:
        why = await app.push_screen_wait(ConfirmScreen(question))
        return None if why is None else (command(name, **fields), why)

    return ask


def aimed(name: str, title: str, **fields: Any) -> Ask:
    """Ask where."""

    async def ask(app: App[Any], sight: Sight) -> Told | None:
        steps = sight.model.steps
        if not len(steps):
            raise NotNow("there is no map yet")
        x_m, y_m = float(steps.x_m[sight.step]), float(steps.y_m[sight.step])
        place = await app.push_screen_wait(AimScreen(title, sight, *((x_m, y_m) if x_m == x_m else (0.0, 0.0))))
        return None if place is None else (command(name, place=place, **fields), "")

    return ask


async def pause_or_resume(app: App[Any], sight: Sight) -> Told | None:
    """Pause a run that goes on, and have one that is paused go on."""
    return command("resume" if sight.model.wheel.paused else "pause"), ""


async def approve(app: App[Any], sight: Sight) -> Told | None:
    """Let the act that waits be done."""
    if not sight.model.wheel.waiting_act:
        raise NotNow("no act waits for your word")
    return command("approve", act_id=sight.model.wheel.waiting_act), ""


async def veto(app: App[Any], sight: Sight) -> Told | None:
    """Have the act that is proposed not done, and nothing near it."""
    detail = sight.detail
    if detail is None or (detail.outcome is not None and not sight.model.wheel.waiting_act):
        raise NotNow("no act is proposed at this moment; with autonomy 'each step' every one is")
    act_id = sight.model.wheel.waiting_act or detail.act_id

    def make(texts: dict[str, str]) -> Command:
        return command("veto", act_id=act_id, radius_m=parse(texts["radius"], "m"))

    is_suggested = bool(sight.model.wheel.suggestion)
    about = "the suggestion" if is_suggested else f"{detail.decision.purpose} {detail.decision.target}"
    fields = [Field("radius", "and nothing within", "0 nm", "a length, e.g. 5 nm")]
    return await app.push_screen_wait(FormScreen(f"veto {about}", fields, make))


def preferred(which: int) -> Ask:
    """Find one of the pair on show more interesting than the other."""

    async def ask(app: App[Any], sight: Sight) -> Told | None:
        pair = sight.model.wheel.pair
        if pair is None:
            raise NotNow("no pair is shown at this moment; the policy 'preference' asks for comparisons")
        return command("prefer", better=pair[which], worse=pair[1 - which]), ""

    return ask


async def retract(app: App[Any], sight: Sight) -> Told | None:
    """Take the measurement looked at out of the model's data."""
    detail = sight.detail
    if detail is None or detail.outcome is None or not detail.outcome.values:
        raise NotNow("the act looked at has no measurement; go to one with the arrow keys")
    question = f"Retract act {detail.step} ({detail.decision.target})? The model forgets it, the record does not."
    why = await app.push_screen_wait(ConfirmScreen(question, hazardous=False))
    return None if why is None else (command("retract", act_id=detail.act_id), why)


async def acquisition(app: App[Any], sight: Sight) -> Told | None:
    """Decide by another rule."""
    rule = sight.model.setting("policy", "options", "acquisition") or {}

    def make(texts: dict[str, str]) -> Command:
        numbers = {name: float(texts[name]) for name in ("kappa", "level") if texts[name]}
        words = {name: texts[name] for name in ("name", "goal") if texts[name]}
        return command("set_acquisition", wish=words | numbers)

    fields = [
        Field("name", "function", "", f"now {rule.get('name', 'unknown')}; e.g. expected_improvement"),
        Field("kappa", "exploration", "", f"now {rule.get('kappa', '-')}; 0 exploits, 4 explores"),
        Field("level", "level", "", f"now {rule.get('level')}; of a contour"),
        Field("goal", "goal", "", f"now {rule.get('goal', '-')}; maximise or minimise"),
    ]
    return await app.push_screen_wait(FormScreen("acquisition (empty lines stay as they are)", fields, make))


async def budget(app: App[Any], sight: Sight) -> Told | None:
    """Change what the run may spend in total."""
    now = sight.model.setting("budget") or {}

    def make(texts: dict[str, str]) -> Command:
        units = {"time": ("time_s", "s"), "dose": ("dose_e", "e")}
        given: dict[str, Any] = {f: parse(texts[n], u) for n, (f, u) in units.items() if texts[n]}
        return command("set_budget", **given, **({"steps": int(texts["steps"])} if texts["steps"] else {}))

    fields = [Field(n, n, "", f"now {now.get(n) or 'no limit'}{e}") for n, e in
              (("time", "; e.g. 8 h"), ("dose", "; e.g. 1e12 e"), ("steps", "; acts"))]  # fmt: skip
    return await app.push_screen_wait(FormScreen("budget, in total", fields, make))


async def dwell(app: App[Any], sight: Sight) -> Told | None:
    """Take spectra of another dwell time."""

    def make(texts: dict[str, str]) -> Command:
        return command("set_dwell", dwell_s=parse(texts["dwell"], "s"))

    now = sight.model.setting("policy", "options", "dwell")
    fields = [Field("dwell", "dwell time", "", f"now {now or 'unknown'}; e.g. 100 ms")]
    return await app.push_screen_wait(FormScreen("dwell time of each spectrum from now on", fields, make))


async def scalarizer(app: App[Any], sight: Sight) -> Told | None:
    """Compute a target otherwise."""
    target = sight.model.target
    now = sight.model.setting("scalarizers", target) or {}
    options = now.get("options") or {}

    def make(texts: dict[str, str]) -> Command:
        bands = {n: _band(texts[n]) for n in ("band", "background") if texts[n]}
        return command("set_scalarizer", target=texts["target"], name=texts["name"], options=bands)

    fields = [
        Field("target", "target", target),
        Field("name", "scalarizer", str(now.get("name", ""))),
        Field("band", "band", _typed(options.get("band")), "e.g. 1.6 eV, 2.2 eV"),
        Field("background", "background", _typed(options.get("background")), "of an edge; may be empty"),
    ]
    return await app.push_screen_wait(FormScreen("scalarizer; measured values are computed anew", fields, make))


def _band(text: str) -> list[str]:
    ends = [part.strip() for part in text.split(",")]
    if len(ends) != 2:
        raise ValueError(f"{text!r} is not two places with a comma between, e.g. 1.6 eV, 2.2 eV")
    return ends


def _typed(band: object) -> str:
    ends = band if isinstance(band, (list, tuple)) else ()
    return ", ".join(ends) if all(isinstance(end, str) for end in ends) else ""


async def autonomy(app: App[Any], sight: Sight) -> Told | None:
    """Say which acts need a person's word."""

    def make(texts: dict[str, str]) -> Command:
        given: dict[str, Any] = {"timeout_s": parse(texts["timeout"], "s")} if texts["timeout"] else {}
        level = texts["level"].replace(" ", "_")
        return command("autonomy", level=level, on_timeout=texts["then"], **given)

    fields = [
        Field("level", "level", sight.model.wheel.autonomy, "each_step, hazardous_only or autonomous"),
        Field("timeout", "wait at most", "", "e.g. 5 min; empty: as long as it takes"),
        Field("then", "and then", "pause", "proceed, skip or pause"),
    ]
    return await app.push_screen_wait(FormScreen("autonomy: which acts wait for your word", fields, make))


async def note(app: App[Any], sight: Sight) -> Told | None:
    """Write a sentence into the record."""

    def make(texts: dict[str, str]) -> Command:
        return command("note", text=texts["text"])

    return await app.push_screen_wait(FormScreen("note", [Field("text", "text")], make))


async def take_wheel(app: App[Any], sight: Sight) -> Told | None:
    """Be the one who steers; over somebody else only when that is meant."""
    holder = sight.model.wheel.holder
    if not holder:
        return command("take_wheel"), ""
    why = await app.push_screen_wait(ConfirmScreen(f"{holder} has the wheel. Take it over?", reasoned=True))
    return None if why is None else (command("take_wheel", over=True), why)


async def undo(app: App[Any], sight: Sight) -> Told | None:
    """Take an earlier order back."""
    wheel = sight.model.wheel
    orders = [i for i in reversed(wheel.interventions) if i.id and i.command in UNDOABLE and i.id not in wheel.undone]
    if not orders:
        raise NotNow("nothing that was ordered can be taken back")
    lines = [f"{i.when[11:19]} {i.who}: {i.command.replace('_', ' ')} {_arguments(i.arguments)}" for i in orders]
    chosen = await app.push_screen_wait(ChoiceScreen("undo", lines))
    return None if chosen is None else (command("undo", order=orders[chosen].id), "")


async def queue(app: App[Any], sight: Sight) -> Told | None:
    """Take a place out of the queue."""
    waiting = sight.model.wheel.queue
    if not waiting:
        raise NotNow("the queue is empty; 'add to the queue' fills it")
    lines = [f"{k + 1}. {one.place.words()} ({one.who})" for k, one in enumerate(waiting)]
    chosen = await app.push_screen_wait(ChoiceScreen("take out of the queue", lines))
    return None if chosen is None else (command("dequeue", order=waiting[chosen].order), "")


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{n} {v}" for n, v in arguments.items() if v is not None)[:80]


ERRANDS: tuple[Errand, ...] = (
    Errand(
        "emergency_stop", "exclamation_mark", "EMERGENCY", "Blank the beam at once and end the run",
        at_once("emergency_stop"), shown=True,
    ),
    Errand("pause", "p", "pause", "Pause after the running act, or go on", pause_or_resume, shown=True),
    Errand("approve", "y", "approve", "Let the act that waits for your word be done", approve, shown=True),
    Errand("veto", "v", "veto", "Have the proposed act not done", veto, shown=True),
    Errand("send_to", "g", "go to", "Measure at a place of your choice next", aimed("send_to", "measure next"),
           shown=True),
    Errand("enqueue", "e", "add to the queue", "Put a place at the end of the queue", aimed("enqueue", "queue")),
    Errand("dequeue", "E", "edit the queue", "Take a place out of the queue", queue),
    Errand("exclude", "x", "exclude", "Measure nothing in a region", aimed("exclude", "exclude a region")),
    Errand("pin", "i", "pin", "Measure in a region before everything else", aimed("pin", "pin a region")),
    Errand("mark", "m", "interesting", "Prefer places that look like this one", aimed("mark", "interesting")),
    Errand(
        "mark_not", "n", "not interesting", "Leave places that look like this one for later",
        aimed("mark", "not interesting", interesting=False),
    ),
    Errand("prefer_first", "left_square_bracket", "first better", "Of the pair on show, prefer the first",
           preferred(0)),
    Errand("prefer_second", "right_square_bracket", "second better", "Of the pair on show, prefer the second",
           preferred(1)),
    Errand("acquisition", "a", "rule", "Change the acquisition function or its exploration", acquisition,
           shown=True),
    Errand("scalarizer", "c", "scalarizer", "Change the scalarizer and its band", scalarizer),
    Errand("budget", "b", "budget", "Change what the run may spend", budget),
    Errand("dwell", "d", "dwell time", "Change the dwell time of spectra", dwell),
    Errand("autonomy", "o", "autonomy", "Say which acts wait for your word", autonomy),
    Errand("retract", "r", "retract", "Take the measurement looked at out of the model's data", retract),
    Errand("note", "N", "note", "Write a sentence into the record", note),
    Errand("undo", "u", "undo", "Take an earlier order back", undo),
    Errand("take_wheel", "t", "wheel", "Take the wheel", take_wheel, shown=True),
    Errand("give_wheel", "T", "give the wheel", "Let anybody take the wheel", at_once("give_wheel")),
    Errand("stop", "s", "stop", "Finish cleanly after the running act", confirmed("stop", "Stop the run?")),
    Errand("abort", "A", "abort", "End the running act at once", confirmed("abort", "End the running act?")),
)  # fmt: skip
BY_NAME = {errand.name: errand for errand in ERRANDS}
