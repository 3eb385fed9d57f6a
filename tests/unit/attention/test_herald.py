"""Channels side by side: retries, quiet hours, and what a watch makes of a run."""

from __future__ import annotations

import threading

import pytest

from autoscope.attention.config import AttentionConfig, BellConfig
from autoscope.attention.herald import FIRST_RETRY_S, LONGEST_RETRY_S, Courier, try_channels
from autoscope.attention.quiet_hours import QuietHours
from autoscope.attention.reasons import Reason, Severity, Situation
from autoscope.cli.watching import ABANDONED_S, GIVE_UP_S, Watch
from autoscope.clock import SimClock
from autoscope.dashboard.heeding import Heeding
from autoscope.dashboard.source import FolderSource
from autoscope.errors import NotDelivered
from tests.unit.dashboard.lab import Lab

SILENT = Reason("silent", "no record for 100 s", Severity.TROUBLE)
PAUSED = Reason("paused", "paused by ada", Severity.NEEDS_YOU)


class Recorder:
    """A way that works, fails, or waits, as told."""

    def __init__(self):
        self.told, self.works, self.gate = [], True, threading.Event()
        self.gate.set()

    def send(self, message):
        assert self.gate.wait(30.0)
        if not self.works:
            raise NotDelivered("no route", where="there")
        self.told.append((message.notice.event.value, message.notice.reason.key))


class Post:
    """One channel on a simulated clock."""

    def __init__(self, channel=None, **config):
        self.channel = channel or BellConfig()
        self.config = AttentionConfig(channels=(self.channel,), **config)
        self.clock, self.way, self.lines = SimClock("2026-01-01T20:00:00+00:00"), Recorder(), []
        self.courier = Courier(self.config, self.channel, self.way, self.clock, self.lines.append)

    def look(self, *reasons, after_s=0.0):
        self.clock.wait(after_s)
        self.courier.look(Situation("night", "running", 3, reasons))
        if self.way.gate.is_set():
            self.courier.wait(30.0)
        return self.way.told


def test_a_thing_is_told_again_while_it_stands_and_once_when_it_is_over():
    post = Post(remind_after_s=1800.0, most_reminders=2)
    for _ in range(100):
        post.look(PAUSED, after_s=60.0)
    assert post.way.told == [("raised", "paused"), ("reminder", "paused"), ("reminder", "paused")]
    for _ in range(100):
        post.look(after_s=60.0)
    assert post.way.told[3:] == [("resolved", "paused")]
    assert not post.courier.owes()


def test_a_channel_that_fails_is_tried_again_ever_more_seldom_and_nothing_is_lost():
    post, at = Post(), []
    post.way.works = False
    for _ in range(2000):
        before = post.courier.failures
        post.look(SILENT, after_s=1.0)
        at += [post.clock.now_s()] if post.courier.failures > before else []
    waits = [b - a for a, b in zip(at, at[1:], strict=False)]  # noqa: RUF007
    assert waits[:4] == [FIRST_RETRY_S * 2.0**k for k in range(4)]
    assert waits == sorted(waits)
    assert max(waits) == LONGEST_RETRY_S
    assert "NOT told, tried again in 5 s: there: no route" in post.lines[0]
    assert post.courier.owes()
    post.way.works = True
    post.look(SILENT, after_s=LONGEST_RETRY_S)
    assert post.way.told == [("raised", "silent")]
    assert post.courier.failures == 0


def test_a_slow_channel_holds_nothing_up_and_gets_one_thing_at_a_time():
    post, before = Post(), set(threading.enumerate())
    post.way.gate.clear()
    for _ in range(10):
        post.look(SILENT, PAUSED, after_s=1.0)  # returns though nothing gets through
    begun = [thread for thread in threading.enumerate() if thread not in before]
    assert len([thread for thread in begun if thread.name.startswith("attention-")]) == 1
    post.way.gate.set()
    post.courier.wait(30.0)
    post.look(SILENT, PAUSED)
    assert post.way.told == [("raised", "silent"), ("raised", "paused")]


def test_what_comes_up_at_night_is_told_in_the_morning_if_it_still_stands():
    night = (QuietHours(begin="22:00", end="07:00"),)
    post = Post(quiet_hours=night, time_zone="UTC", min_interval_s=0.0)
    post.look(PAUSED, SILENT, after_s=3 * 3600.0)  # 23:00
    assert post.way.told == []
    post.look(PAUSED, after_s=7 * 3600.0 + 3540.0)  # 06:59
    assert post.way.told == []
    assert post.courier.owes()
    post.look(PAUSED, after_s=60.0)  # 07:00
    assert post.way.told == [("raised", "paused")]


def test_emergencies_break_through_where_they_may():
    night = (QuietHours(begin="19:00", end="07:00"),)
    given = {"quiet_hours": night, "time_zone": "UTC"}
    loud = Post(BellConfig(break_through="trouble"), **given)
    assert loud.look(PAUSED, SILENT) == [("raised", "silent")]
    assert loud.look(PAUSED, SILENT) == [("raised", "silent")]
    own = Post(BellConfig(quiet_hours=()), **given)
    assert own.look(PAUSED) == [("raised", "paused")]


def test_what_settles_at_once_is_not_told_where_that_is_asked_for():
    post = Post(BellConfig(after_s=60.0))
    post.look(PAUSED)
    post.look(PAUSED, after_s=59.0)
    post.look(after_s=1.0)
    post.look(PAUSED, after_s=30.0)
    assert post.way.told == []
    post.look(PAUSED, after_s=60.0)
    assert post.way.told == [("raised", "paused")]


def test_trying_out_says_of_each_channel_whether_it_works(monkeypatch):
    monkeypatch.delenv("ABSENT", raising=False)
    channels = [{"kind": "bell"}, {"kind": "webhook", "url_env": "ABSENT"}]
    config, lines, rung = AttentionConfig.model_validate({"channels": channels}), [], []
    assert try_channels(config, SimClock(), lines.append, lambda: rung.append(1)) == 1
    assert lines[0] == "bell: works"
    assert lines[1].startswith("webhook: does not work: ABSENT: the environment variable is not set")
    assert rung == [1]


# --- a watch -------------------------------------------------------------------------------------------------------


class Heard:
    """A herald that keeps what it is told of."""

    def __init__(self):
        self.keys, self.debts = [], ()

    def look(self, situation):
        self.keys.append(tuple(reason.key for reason in situation.reasons))

    def owes(self):
        return self.debts

    def failing(self):
        return bool(self.debts)


@pytest.fixture
def watched(tmp_path):
    """Return a run that goes on, and a watch of it."""
    lab, clock, lines, heard = Lab(tmp_path / "run").start().overview().measure(3), SimClock(), [], Heard()
    return lab, clock, Watch(FolderSource(tmp_path / "run"), heard, clock, lines.append), heard, lines


def test_a_process_that_hangs_is_silent_and_one_that_died_is_trouble_under_the_same_key(watched):
    lab, clock, watch, heard, lines = watched
    assert not watch.look()
    clock.wait(100.0)
    assert not watch.look()
    lab.journal.close()
    assert not watch.look()
    assert heard.keys == [(), ("silent",), ("silent",)]
    assert [line.partition(":")[0] for line in lines] == ["needs you", "trouble"]
    clock.wait(ABANDONED_S + 1.0)
    assert watch.look(), "a run that nobody resumes is watched for ever"


def test_a_watch_ends_with_the_run_once_all_is_told_or_a_channel_is_given_up(watched):
    lab, clock, watch, heard, lines = watched
    watch.look()
    lab.end()
    heard.debts = ("email",)
    assert not watch.look()
    assert heard.keys[-1] == ("ended",)
    clock.wait(GIVE_UP_S + 1.0)
    assert watch.look()
    assert watch.until_over() == 1
    assert lines[-1] == "email: given up"
    heard.debts = ()
    assert watch.until_over() == 0


def test_acts_in_vain_are_told_under_stable_keys(watched):
    lab, _, watch, heard, _ = watched
    for _ in range(4):
        lab.fail()
    watch.look()
    lab.measure(1)
    watch.look()
    assert heard.keys == [("in_vain",), ()]
    lab.journal.close()


def test_the_dashboard_rings_for_what_is_new_unless_muted_or_at_night():
    def situation(*reasons):
        return Situation("night", "running", 3, reasons)

    clock = SimClock("2026-01-01T20:00:00+00:00")
    night = (QuietHours(begin="22:00", end="07:00"),)
    heeding = Heeding(AttentionConfig(quiet_hours=night, time_zone="UTC", remind_after_s=0.0), clock)
    news = heeding.news(situation(SILENT))
    assert news == (("TROUBLE: night: no record for 100 s", "error"),)
    assert heeding.rings(news)
    assert heeding.news(situation(SILENT)) == ()
    clock.wait(3600.0)
    over = heeding.news(situation())
    assert over == (("all is well again: night: no record for 100 s", "information"),)
    assert not heeding.rings(over)
    heeding.is_muted = True
    clock.wait(60.0)
    assert not heeding.rings(heeding.news(situation(PAUSED)))
    heeding.is_muted = False
    clock.wait(2 * 3600.0)
    assert heeding.news(situation(PAUSED, SILENT)) == ()
