"""``autoscope steer``: every order of a person as a command of its own; ``autoscope status``; ``autoscope what-if``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/20260101T200000Z-my_run.")]
Act = Annotated[str, typer.Argument(metavar="ACT", help="Id of an act; 'autoscope status RUN' shows those that wait.")]
OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="Id of an order, as it was printed when it was given.")]
X = Annotated[str, typer.Option("--x", metavar="LENGTH", help="Stage position plus offset, e.g. '120 nm'.")]
Y = Annotated[str, typer.Option("--y", metavar="LENGTH", help="As --x.")]
Radius = Annotated[str, typer.Option("--radius", metavar="LENGTH", help="Of a disc; 0 m: the point alone.")]
POINT = "0 m"


class OptionsAnywhere(TyperGroup):
    """Takes the options of ``steer`` before and after RUN, up to the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the rest of the words, with options moved before RUN, where click looks for them."""
        end = next((k for k, word in enumerate(args) if word in self.commands), len(args))
        options: list[str] = []
        others: list[str] = []
        words = iter(args[:end])
        for word in words:
            is_option = word.startswith("-") and word != "-"
            (options if is_option else others).append(word)
            if is_option and "=" not in word and word != "--help":
                options += [value for value in [next(words, None)] if value is not None]
        return super().parse_args(ctx, [*options, *others, *args[end:]])


steer = typer.Typer(cls=OptionsAnywhere, no_args_is_help=True, subcommand_metavar="COMMAND [ARGS]...")


class Level(enum.StrEnum):
    """Levels of autonomy."""

    each_step = "each_step"
    hazardous_only = "hazardous_only"
    autonomous = "autonomous"


class Then(enum.StrEnum):
    """What happens when nobody answers in time."""

    proceed = "proceed"
    skip = "skip"
    pause = "pause"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(steer, name="steer")
    app.command()(status)
    app.command("what-if")(what_if)


@steer.callback()
def _steer(
    context: typer.Context,
    folder: RunFolder,
    why: Annotated[str, typer.Option("--why", help="For the record.")] = "",
    who: Annotated[str, typer.Option("--as", metavar="PERSON", help="Who you are; absent: the login name.")] = "",
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.0, metavar="SECONDS", help="How long to wait for the step boundary.")
    ] = 10.0,
    address: Annotated[
        str, typer.Option("--address", help="tcp://HOST:PORT of a run begun with --steer; RUN is then a name only.")
    ] = "",
    key: Annotated[Path | None, typer.Option("--key", help="File of your bus key, with --address.")] = None,
) -> None:
    """Steer a run that goes on. Each order is signed, takes effect at the next step boundary, and is recorded.

    Examples
    --------
      autoscope steer runs/RUN --why "vacuum" pause
      autoscope steer runs/RUN mark --x "120 nm" --y "-40 nm" --radius "15 nm"
      autoscope steer runs/RUN acquisition expected_improvement
      autoscope steer runs/RUN autonomy each_step --timeout "2 min" --then skip

    Exit status: 0 accepted, 1 refused, 3 still waiting for the step boundary when --wait was over.
    """
    context.obj = {"folder": folder, "why": why, "who": who, "wait_s": wait_s, "address": address, "key": key}


def _post(context: typer.Context, command: str, **fields: Any) -> None:
    from autoscope.cli.steering import post_command

    raise typer.Exit(post_command({"command": command, **fields}, **context.obj))


def _disc(x: str, y: str, radius: str) -> dict[str, Any]:
    from autoscope.cli.steering import quantity

    return {"shape": "disc", "x_m": quantity(x, "m"), "y_m": quantity(y, "m"), "radius_m": quantity(radius, "m")}


def _seconds(text: str | None) -> float | None:
    from autoscope.cli.steering import quantity

    return None if text is None else quantity(text, "s")


# --- the course of the run -------------------------------------------------------------------------


@steer.command()
def pause(context: typer.Context) -> None:
    """Blank after the running act, and begin nothing until 'resume'."""
    _post(context, "pause")


@steer.command()
def resume(context: typer.Context) -> None:
    """Go on after a pause."""
    _post(context, "resume")


@steer.command()
def stop(context: typer.Context) -> None:
    """Finish cleanly after the running act: blanked, recorded, with a report."""
    _post(context, "stop")


@steer.command()
def abort(context: typer.Context) -> None:
    """End the running act before its time; the run goes on."""
    _post(context, "abort")


@steer.command("emergency-stop")
def emergency_stop(context: typer.Context) -> None:
    """Blank at once and end the run. Over the bus 'autoscope emergency' goes straight to the instrument's server."""
    _post(context, "emergency_stop")


@steer.command()
def autonomy(
    context: typer.Context,
    level: Annotated[Level, typer.Argument(help="Which acts need a person's word.")],
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="How long it is waited for; absent: for ever.")
    ] = None,
    then: Annotated[Then, typer.Option("--then", help="What happens after that.")] = Then.pause,
) -> None:
    """Say which acts need a person's word: each, hazardous ones only, or none.

    Example: autoscope steer runs/RUN autonomy hazardous_only --timeout "5 min" --then skip
    """
    _post(context, "autonomy", level=level.value, timeout_s=_seconds(timeout), on_timeout=then.value)


@steer.command()
def approve(context: typer.Context, act: Act) -> None:
    """Let the act that waits be done; of a suggestion, choose it."""
    _post(context, "approve", act_id=act)


@steer.command()
def veto(context: typer.Context, act: Act, radius: Radius = POINT) -> None:
    """Have a proposed act not done, and nothing within --radius of its site."""
    from autoscope.cli.steering import quantity

    _post(context, "veto", act_id=act, radius_m=quantity(radius, "m"))


# --- where and how ---------------------------------------------------------------------------------


@steer.command("send-to")
def send_to(context: typer.Context, x: X, y: Y, radius: Radius = POINT) -> None:
    """Measure at a point, or at the best place of a disc, next."""
    _post(context, "send_to", place=_disc(x, y, radius))


@steer.command()
def enqueue(
    context: typer.Context,
    x: X,
    y: Y,
    radius: Radius = POINT,
    before: Annotated[str | None, typer.Option("--before", metavar="ORDER", help="Go before this one.")] = None,
) -> None:
    """Put a place into the queue of those that people want measured."""
    _post(context, "enqueue", place=_disc(x, y, radius), before=before)


@steer.command()
def dequeue(
    context: typer.Context,
    order: Annotated[str | None, typer.Argument(metavar="ORDER", help="Which; absent: all of them.")] = None,
) -> None:
    """Take a place out of the queue."""
    _post(context, "dequeue", order=order)


@steer.command()
def exclude(context: typer.Context, x: X, y: Y, radius: Radius = POINT) -> None:
    """Measure nothing there."""
    _post(context, "exclude", place=_disc(x, y, radius))


@steer.command()
def pin(context: typer.Context, x: X, y: Y, radius: Radius = POINT) -> None:
    """Measure there before everything else."""
    _post(context, "pin", place=_disc(x, y, radius))


@steer.command()
def mark(
    context: typer.Context,
    x: X,
    y: Y,
    radius: Radius = POINT,
    interesting: Annotated[bool, typer.Option("--interesting/--not", help="Prefer what looks like it, or not.")] = True,
) -> None:
    """Find a place interesting, or not: places that look like it are preferred, or left for later."""
    _post(context, "mark", place=_disc(x, y, radius), interesting=interesting)


@steer.command()
def prefer(
    context: typer.Context,
    better: Annotated[str, typer.Argument(metavar="A", help="Id of the act whose measurement is more interesting.")],
    worse: Annotated[str, typer.Argument(metavar="B", help="Id of the act it is compared with.")],
) -> None:
    """Find measurement A more interesting than B; the policy 'preference' looks for places like A.

    Example: autoscope steer runs/RUN prefer RUN-000003 RUN-000007
    """
    _post(context, "prefer", better=better, worse=worse)


@steer.command()
def acquisition(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="FUNCTION", help="E.g. expected_improvement.")] = None,
    kappa: Annotated[float | None, typer.Option("--kappa", min=0.0, help="How much is explored.")] = None,
    level: Annotated[float | None, typer.Option("--level", help="To trace, with straddle.")] = None,
) -> None:
    """Decide by another acquisition function, or with another exploration parameter.

    Example: autoscope steer runs/RUN acquisition upper_confidence_bound --kappa 3
    """
    _post(context, "set_acquisition", wish={"name": name, "kappa": kappa, "level": level})


@steer.command()
def scalarizer(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="As the policy knows it.")],
    name: Annotated[str, typer.Argument(metavar="SCALARIZER", help="See 'autoscope list scalarizers'.")],
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="E.g. --set 'band=[1.6 eV, 2.4 eV]'.")
    ] = None,
) -> None:
    """Compute a target otherwise; what is measured already is computed anew from its frames."""
    from autoscope.cli.steering import options_of

    _post(context, "set_scalarizer", target=target, name=name, options=options_of(options or []))


@steer.command()
def budget(
    context: typer.Context,
    time: Annotated[str | None, typer.Option("--time", metavar="DURATION", help="In total, e.g. '10 h'.")] = None,
    dose: Annotated[float | None, typer.Option("--dose", metavar="ELECTRONS", help="In total.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="In total.")] = None,
) -> None:
    """Change what the run may spend in total."""
    _post(context, "set_budget", time_s=_seconds(time), dose_e=dose, steps=steps)


@steer.command()
def dwell(context: typer.Context, duration: Annotated[str, typer.Argument(help="E.g. '50 ms'.")]) -> None:
    """Take spectra of another dwell time."""
    _post(context, "set_dwell", dwell_s=_seconds(duration))


@steer.command()
def retract(context: typer.Context, act: Act) -> None:
    """Take a bad measurement out of the model's data; its frames and record stay."""
    _post(context, "retract", act_id=act)


# --- people ----------------------------------------------------------------------------------------


@steer.command()
def note(context: typer.Context, text: Annotated[str, typer.Argument(help="A sentence for the record.")]) -> None:
    """Write a sentence into the record."""
    _post(context, "note", text=text)


@steer.command("take-wheel")
def take_wheel(
    context: typer.Context,
    over: Annotated[bool, typer.Option("--over", help="Take it from whoever has it; say --why.")] = False,
) -> None:
    """Be the one who steers; everybody else may halt the run, and nothing else."""
    _post(context, "take_wheel", over=over)


@steer.command("give-wheel")
def give_wheel(context: typer.Context) -> None:
    """Let anybody take the wheel."""
    _post(context, "give_wheel")


@steer.command()
def undo(context: typer.Context, order: OrderId) -> None:
    """Take an earlier order back, where it can be."""
    _post(context, "undo", order=order)


# --- looking ---------------------------------------------------------------------------------------


def status(folder: RunFolder) -> None:
    """Tell in a few plain lines how a run stands, for scripts and screen readers.

    Example: autoscope status runs/RUN || notify-send "the microscope wants you"

    Exit status: 0 all is well (it runs, or it completed), 3 a person is needed (paused, or an act waits for approval),
    1 it failed or was cut off, 2 there is no such run.
    """
    from autoscope.cli.steering import tell_status

    raise typer.Exit(tell_status(folder))


def what_if(
    folder: RunFolder,
    options: Annotated[
        list[str] | None,
        typer.Option("--policy-options", metavar="A.B=VALUE", help="Another setting of the policy. Repeatable."),
    ] = None,
    commands: Annotated[
        list[str] | None,
        typer.Option("--command", metavar="JSON", help="A command that somebody thinks of giving. Repeatable."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=50, help="How many choices to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the next choices of a run's policy as it is, and under other settings. Changes nothing, asks no instrument.

    Example: autoscope what-if runs/RUN --policy-options acquisition.name=expected_improvement
    """
    from autoscope.cli.steering import tell_what_if

    raise typer.Exit(tell_what_if(folder, options or [], commands or [], count, as_json=as_json))
