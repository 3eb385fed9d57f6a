"""Laws of quiet hours, and of telling a thing once."""

from __future__ import annotations

import datetime
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscope.attention.occurrences import Event, Occurrences, Rules
from autoscope.attention.quiet_hours import WEEK, QuietHours, is_quiet
from autoscope.attention.reasons import Reason, Severity

ZONES = ("Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
minutes = st.integers(0, 24 * 60 - 1)
instants = st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2030, 1, 1), timezones=st.just(datetime.UTC))


def clock_time(minute):
    return f"{minute // 60:02d}:{minute % 60:02d}"


@given(begin=minutes, length=st.integers(1, 24 * 60 - 1), at=instants, zone=st.sampled_from(ZONES))
def test_it_is_quiet_exactly_where_the_clock_of_the_place_is_between_the_two_times(begin, length, at, zone):
    hours = QuietHours(begin=clock_time(begin), end=clock_time((begin + length) % (24 * 60)))
    local = at.astimezone(ZoneInfo(zone))
    since = (local.hour * 60 + local.minute - begin) % (24 * 60)
    assert is_quiet([hours], at.isoformat(), zone) == (since < length)


@given(begin=minutes, length=st.integers(1, 24 * 60 - 1), at=instants, zone=st.sampled_from(ZONES))
def test_a_time_is_quiet_or_lies_in_the_hours_between(begin, length, at, zone):
    begin_, end = clock_time(begin), clock_time((begin + length) % (24 * 60))
    night, day = QuietHours(begin=begin_, end=end), QuietHours(begin=end, end=begin_)
    wall = at.isoformat()
    assert is_quiet([night], wall, zone) != is_quiet([day], wall, zone)
    assert is_quiet([night, day], wall, zone)
    assert not is_quiet([], wall, zone)


@pytest.mark.parametrize(
    ("wall", "quiet"),
    [
        ("2026-03-29T00:59:00+00:00", True),  # 01:59, the last minute of winter time
        ("2026-03-29T01:00:00+00:00", False),  # 03:00: the rest of the quiet hour does not exist
        ("2026-10-25T00:00:00+00:00", True),  # 02:00 the first time
        ("2026-10-25T00:30:00+00:00", False),  # 02:30
        ("2026-10-25T01:00:00+00:00", True),  # 02:00 again
        ("2026-10-25T01:30:00+00:00", False),
    ],
)
def test_summer_time_skips_and_repeats_quiet_hours_with_the_clock(wall, quiet):
    assert is_quiet([QuietHours(begin="01:00", end="02:30")], wall, "Europe/Vienna") == quiet


def test_the_hours_after_midnight_belong_to_the_day_before():
    friday = [QuietHours(begin="22:00", end="07:00", days=("fri",))]
    assert is_quiet(friday, "2026-01-02T23:00:00+00:00", "UTC")
    assert is_quiet(friday, "2026-01-03T06:59:00+00:00", "UTC")
    assert not is_quiet(friday, "2026-01-02T06:00:00+00:00", "UTC")
    assert not is_quiet(friday, "2026-01-03T23:00:00+00:00", "UTC")
    assert WEEK[datetime.date(2026, 1, 2).weekday()] == "fri"


KEYS = ("silent", "paused", "ended")
looks = st.lists(
    st.tuples(
        st.floats(0.1, 200.0),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(list(Severity))),
        st.booleans(),
    ),
    max_size=40,
)
rules = st.builds(
    Rules,
    severity=st.sampled_from(list(Severity)),
    after_s=st.sampled_from([0.0, 30.0]),
    remind_after_s=st.sampled_from([0.0, 300.0]),
    most_reminders=st.integers(0, 2),
    min_interval_s=st.sampled_from([0.0, 60.0]),
)


def played(rules, looks):
    """Return what is told, as (time, notice), at looks of which some find the channel unable to deliver."""
    occurrences, now_s, told = Occurrences(rules), 0.0, []
    for passed_s, standing, works in looks:
        now_s += passed_s
        reasons = [Reason(key, f"{key} {now_s}", severity) for key, severity in standing.items()]
        occurrences.see(reasons, now_s, f"at {now_s}")
        for notice in occurrences.due(now_s) if works else ():
            occurrences.told(notice, now_s)
            told.append((now_s, notice))
    return occurrences, now_s, told


LESS_URGENT_WHILE_NOBODY_COULD_BE_TOLD = [
    (1.0, {"silent": Severity.NEEDS_YOU}, True),
    (300.0, {}, False),
    (1.0, {"silent": Severity.NOTICE}, True),  # a reminder: no longer more than news
    (1.0, {}, False),
    (1.0, {"silent": Severity.NOTICE}, True),  # news again
]


@settings(max_examples=200)
@given(rules=rules, looks=looks)
@example(Rules(Severity.NOTICE, 0.0, 300.0, 1, 0.0), LESS_URGENT_WHILE_NOBODY_COULD_BE_TOLD)
def test_a_thing_is_told_once_as_it_comes_up_and_once_as_it_is_over(rules, looks):
    _, _, told = played(rules, looks)
    for key in KEYS:
        of_key = [notice for _, notice in told if notice.reason.key == key]
        high, reminders = None, 0
        for notice in of_key:
            rank = notice.reason.severity.rank
            assert rank >= rules.severity.rank
            if notice.event is Event.RESOLVED:
                assert high is not None
                high, reminders = None, 0
            elif notice.event is Event.REMINDER:
                reminders += 1
                assert high is not None
                assert reminders <= rules.most_reminders
                assert rules.remind_after_s > 0.0
                high = rank  # it also says where it has become less urgent
            else:  # raised again only where it became worse, or after news that end by themselves
                assert high is None or rank > high or high == 0
                reminders = reminders if high else 0
                high = rank


@settings(max_examples=200)
@given(rules=rules, looks=looks)
def test_notices_of_one_thing_keep_their_distance_unless_it_gets_worse(rules, looks):
    _, _, told = played(rules, looks)
    for key in KEYS:
        of_key = [(at, notice) for at, notice in told if notice.reason.key == key]
        for (before_s, before), (at_s, notice) in itertools.pairwise(of_key):
            worse = notice.reason.severity.rank > before.reason.severity.rank
            assert at_s - before_s >= rules.min_interval_s or (worse and notice.event is Event.RAISED)


@settings(max_examples=200)
@given(rules=rules, looks=looks, last=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(list(Severity))))
def test_what_was_told_last_is_true_once_things_stay_as_they_are(rules, looks, last):
    occurrences, _, told = played(rules, [*looks, (1.0, last, True), (100.0, last, True), (100.0, last, True)])
    assert not occurrences.owes()
    for key in KEYS:
        of_key = [notice for _, notice in told if notice.reason.key == key]
        if key in last and last[key].rank >= rules.severity.rank:
            assert of_key[-1].event is not Event.RESOLVED
            assert max(n.reason.severity.rank for n in of_key) >= last[key].rank
        elif of_key and of_key[-1].reason.severity is not Severity.NOTICE:
            assert of_key[-1].event is Event.RESOLVED


def test_what_came_and_went_unheard_is_never_told():
    silent = Reason("silent", "", Severity.TROUBLE)
    occurrences = Occurrences(Rules())
    occurrences.see([silent], 0.0, "then")
    assert occurrences.due(0.0)
    occurrences.see([], 1.0, "now")
    assert occurrences.due(1.0) == ()
    assert not occurrences.owes()
