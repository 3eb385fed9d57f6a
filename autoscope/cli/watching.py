"""Following a run from the command line and telling people when it needs them; a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from autoscope.attention.config import AttentionConfig, BellConfig, Channel, EmailConfig, WebhookConfig, read_attention
from autoscope.attention.herald import Herald, try_channels
from autoscope.attention.quiet_hours import WEEK
from autoscope.attention.reasons import Reason, Severity, Situation
from autoscope.clock import SystemClock
from autoscope.dashboard.attaching import source_of
from autoscope.dashboard.follow import Follower
from autoscope.dashboard.source import Source
from autoscope.dashboard.verdict import judge
from autoscope.errors import BusError, ConfigError
from autoscope.protocols import Clock

PERIOD_S = 1.0
"""Between two looks at a run."""
GIVE_UP_S = 3600.0
"""A channel that fails for so long after the end of a run is given up."""
ABANDONED_S = 86400.0
"""A run that was cut off and that nobody resumes is watched for so long."""
LAST_WORDS_S = 30.0
LOG = "attention.log"
"""Beside the record: what a watch that was started with a run has said."""


def watch_run(run: str | None, runs: Path, config: Path | None, key: Path | None) -> int:
    """Watch a run until it has ended and all is told; return the exit status.

    Raises
    ------
    ConfigError
        The file is wrong, or a secret is absent.
    AutoscopeError
        The run cannot be read.
    """
    settings, clock = _usable(read_attention(config)), SystemClock()
    source = source_of(run, runs, key)
    say = _teller(clock)
    herald = Herald(settings, clock, say, _ring)
    say(f"watching {source.name}")
    try:
        return Watch(source, herald, clock, say).until_over()
    except KeyboardInterrupt:
        say("watching no more")
        herald.wait(LAST_WORDS_S)
        return 0
    finally:
        source.close()


class Watch:
    """Looks at a run again and again, prints every change, and has people told.

    Parameters
    ----------
    source : Source
        The run.
    herald : Herald
        Tells people.
    clock : Clock
        Time; waits between two looks.
    say : callable
        Takes a line for whoever reads the terminal.
    """

    def __init__(self, source: Source, herald: Herald, clock: Clock, say: Callable[[str], object]) -> None:
        self._source, self._herald, self._clock, self._say = source, herald, clock, say
        self._follower = Follower(source, clock.now_s)
        self._before: dict[str, Severity] = {}
        self._over_s: float | None = None

    def until_over(self) -> int:
        """Watch until nothing is left to be told; return 1 where a channel was given up."""
        while not self.look():
            self._clock.wait(PERIOD_S)
        for name in self._herald.owes():
            self._say(f"{name}: given up")
        return int(bool(self._herald.owes()))

    def look(self) -> bool:
        """Look once; return whether the watch is over."""
        unreachable = ""
        try:
            self._follower.poll()
            while not self._follower.model().whole:
                self._follower.poll()
        except BusError as error:
            unreachable = str(error)
        model = self._follower.model()
        verdict = judge(model, unreachable=unreachable)
        self._print(verdict.reasons)
        self._herald.look(Situation(model.name, verdict.doing, model.steps.concluded(), verdict.reasons))
        return self._is_over(is_ended=model.ended is not None, is_gone=not model.alive)

    def _is_over(self, *, is_ended: bool, is_gone: bool) -> bool:
        now_s = self._clock.now_s()
        if not (is_ended or is_gone):
            self._over_s = None
            return False
        self._over_s = now_s if self._over_s is None else self._over_s
        passed_s = now_s - self._over_s
        if not is_ended:
            return passed_s > ABANDONED_S
        return not self._herald.owes() or (self._herald.failing() and passed_s > GIVE_UP_S)

    def _print(self, reasons: tuple[Reason, ...]) -> None:
        now = {reason.key: reason.severity for reason in reasons}
        for reason in reasons:
            if self._before.get(reason.key) is not reason.severity:
                self._say(f"{reason.severity.replace('_', ' ')}: {reason.text}")
        for key in self._before.keys() - now.keys():
            self._say(f"over: {key}")
        self._before = now


def test_channels(config: Path | None) -> int:
    """Send one notice over each channel and print what works; return the exit status."""
    return int(try_channels(_usable(read_attention(config)), SystemClock(), typer.echo, _ring) > 0)


def check_channels(config: Path | None) -> int:
    """Print who would be told what; return the exit status."""
    settings = read_attention(config)
    zone = settings.time_zone or "this computer's time zone"
    for channel in settings.channels:
        typer.echo(f"{channel.name or channel.kind}: {_summary(settings, channel, zone)}")
    return 0


def _summary(settings: AttentionConfig, channel: Channel, zone: str) -> str:
    whom = ""
    if isinstance(channel, EmailConfig):
        whom = f" to {', '.join(channel.to)}"
    elif isinstance(channel, WebhookConfig):
        whom = ", signed" if channel.secret_env else ", not signed"
    hours = settings.quiet_hours_of(channel)
    told = "; ".join(f"{one.begin} to {one.end}" + _days(one.days) for one in hours)
    loud = "" if channel.break_through == "never" else f", where only {channel.break_through} is told"
    quiet = f"quiet from {told} ({zone}){loud}" if hours else "at any hour"
    waits = f", what stood for {channel.after_s:g} s" if channel.after_s else ""
    return f"{channel.kind}{whom}: {channel.severity} or worse{waits}, {quiet}"


def _days(days: tuple[str, ...]) -> str:
    return "" if set(days) == set(WEEK) else f" on {', '.join(days)}"


def require_channels(config: Path) -> None:
    """Refuse a file that a watch in the background could not use; nothing is sent.

    Raises
    ------
    ConfigError
        It is wrong, a secret is absent, or it has nothing but a bell, which nobody would hear.
    PluginError
        The extra that a channel needs is not installed.
    """
    settings = read_attention(config)
    if all(isinstance(channel, BellConfig) for channel in settings.channels):
        raise ConfigError(
            "has no channel but a bell, which nobody hears of a watch in the background", where=f"{config}: channels",
            remedy="Add a desktop, webhook or email, or run 'autoscope watch' in a terminal",
        )  # fmt: skip
    Herald(settings, SystemClock(), typer.echo, _ring)


def start_watch(folder: Path, config: Path) -> None:
    """Watch a run in a process of its own, which outlives this one; what it says is in ``attention.log``."""
    command = [sys.executable, "-c", "from autoscope.cli import main; main()", "watch", str(folder)]
    with (folder / LOG).open("ab") as log:
        subprocess.Popen(
            [*command, "--config", str(config.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the run; the watch tells how that ended
        )


def _usable(settings: AttentionConfig) -> AttentionConfig:
    """Return the settings without bells where nobody would hear one."""
    if sys.stdout.isatty():
        return settings
    heard = tuple(channel for channel in settings.channels if not isinstance(channel, BellConfig))
    if len(heard) < len(settings.channels):
        typer.echo("bell: left out, standard output is no terminal")
    return settings.model_copy(update={"channels": heard})


def _teller(clock: Clock) -> Callable[[str], object]:
    def say(line: str) -> None:
        sys.stdout.write(f"{clock.wall()[:19]}Z {line}\n")
        sys.stdout.flush()

    return say


def _ring() -> None:
    sys.stdout.write("\a")
    sys.stdout.flush()
