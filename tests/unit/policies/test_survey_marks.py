"""Marks of people in a survey: what looks like what they marked comes first, and the reason says whose it was."""

import numpy as np
import pytest
import yaml

from autoscope.clock import SimClock
from autoscope.engine.loop import Engine
from autoscope.engine.steering import QueueInbox
from autoscope.errors import ConfigError
from autoscope.identity import load_or_make
from autoscope.interventions import Mark
from autoscope.journal import MemoryJournal
from autoscope.records import Measure, Result
from autoscope.steering.helm import InboxHelm, Writer
from autoscope.wishes import Disc, Marked, Wishes
from policies.survey.catalogue import Catalogue
from policies.survey.likeness import Likeness
from tests.unit.policies.test_survey_run import assembled

CHANGES = {"budget__time": "7 min", "policy__options__finish": {"confirm": 0, "try_again": False}}


class Operator:
    """Looks at the run, and once all tiles are seen marks the smallest particles that are still open.

    The survey alone prefers large ones: they give more counts.
    """

    def __init__(self, helm, job):
        self.helm, self.job, self.marked_at = helm, job, None
        self.liked = []

    def on_step(self, event):
        now = self.job.policy._now
        if self.marked_at is not None or now.itinerary.seen_count() < 9:
            return
        if now.mode != "choose":
            return
        size = now.catalogue.features()[:, 0]
        open_ = np.flatnonzero(now.catalogue.open())
        self.liked = [int(p) for p in open_[np.argsort(size[open_])][:3]]
        self.marked_at = event.step + 1
        for particle in self.liked:
            x_m, y_m = (float(now.catalogue.column(n)[particle]) for n in "xy")
            self.helm.post(Mark(place=Disc(x_m=x_m, y_m=y_m)), why="small ones")


def steered(tmp_path, operator=True):
    job = assembled(**CHANGES)
    inbox = QueueInbox(SimClock())
    helm = InboxHelm(inbox, Writer("marks", "anna", load_or_make(tmp_path), inbox.clock))
    watching = Operator(helm, job)
    journal = MemoryJournal(clock=job.clock)
    listener = {"listener": watching} if operator else {}
    Engine(job, journal, run_id="marks", inbox=inbox, **listener).run()
    return job, list(journal.steps()), watching, journal


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return steered(tmp_path_factory.mktemp("operator"))


def spectra(steps, start):
    return [s for s in steps[start:] if s.decision.purpose == "spectrum"]


def test_what_is_marked_is_measured_first_and_then_what_looks_alike(night, tmp_path):
    job, steps, operator, _ = night
    size = job.policy._now.catalogue.features()[:, 0]
    after = [int(s.decision.target.split()[1]) for s in spectra(steps, operator.marked_at)]
    assert set(operator.liked) <= set(after[:30])
    _, alone, _, _ = steered(tmp_path, operator=False)
    without = [int(s.decision.target.split()[1]) for s in spectra(alone, operator.marked_at)]
    assert [s.decision.action for s in steps[: operator.marked_at]] == [
        s.decision.action for s in alone[: operator.marked_at]
    ]
    assert np.median(size[after[:24]]) < 0.85 * np.median(size[without[:24]])


def test_the_reasons_say_whose_marks_they_follow(night):
    _, steps, operator, _ = night
    before = [s.decision.reason for s in steps[: operator.marked_at]]
    assert not any("anna" in reason for reason in before)
    later = spectra(steps, operator.marked_at)
    marked = {f"particle {p}" for p in operator.liked}
    assert all("anna marked it as interesting" in s.decision.reason for s in later if s.decision.target in marked)
    others = [s.decision.reason for s in later if s.decision.target not in marked]
    assert all("like what anna marked" in reason for reason in others if "leaves doubt" not in reason)
    travel = next(s.decision for s in steps[operator.marked_at :] if s.decision.purpose == "travel")
    assert "ranked by what anna marked" in travel.reason


def test_telling_the_journal_again_gives_the_same_policy(night):
    job, steps, _, journal = night
    twin = assembled(**CHANGES).policy
    for step in steps:
        twin.tell(step.decision, Result(step.outcome, tuple(journal.load_frame(r) for r in step.outcome.frames)))
    assert twin.state() == job.policy.state()
    third = assembled(**CHANGES).policy
    third.restore(yaml.safe_load(yaml.safe_dump(twin.state())))
    assert third.state() == twin.state()


def test_no_particle_is_measured_twice_and_a_visit_stays_as_long_as_before(night):
    _, steps, operator, _ = night
    stays, current = [], 0
    for s in steps[operator.marked_at :]:
        if s.decision.purpose == "travel":
            stays.append(current)
            current = 0
        current += s.decision.purpose == "spectrum"
    assert max(stays) <= 6 + 2  # the visit's length, and what missed its particle
    hits = [s.decision.target for s in steps if isinstance(s.decision.action, Measure)
            for v in s.outcome.values if v.name == "pt_m" and v.value >= 200]  # fmt: skip
    assert len(hits) == len(set(hits))


def catalogue(sizes):
    known = Catalogue()
    known._rows = [(0, 0.0, 0.0, 1e-6 * k, 0.0, (float(s), 1.0, 1.0, 1.0, 1.0, 1.0)) for k, s in enumerate(sizes)]
    return known


def marked(k, interesting=True, who="anna", radius_m=0.0):
    return Marked(place=Disc(x_m=1e-6 * k, y_m=0.0, radius_m=radius_m), interesting=interesting, who=who)


def test_the_latest_mark_of_a_particle_counts_and_none_at_all_is_nothing():
    known, likeness = catalogue([1.0] * 20 + [9.0] * 4), Likeness((), 100e-9)
    assert likeness.probability(known) is None
    assert likeness.probability(known, (marked(20, False),)) is None  # what is not wanted alone says not what is
    alike = likeness.probability(known, (marked(20), marked(0, False)))
    assert alike[20] == 1.0
    assert alike[0] == 0.0
    assert alike[21:].min() > alike[1:20].max()
    turned = likeness.probability(known, (marked(20), marked(0, False), marked(20, False), marked(0)))
    assert (turned[20], turned[0]) == (0.0, 1.0)
    assert likeness.probability(known) is None  # taken back


def test_a_region_marks_all_particles_in_it():
    known, likeness = catalogue(range(20)), Likeness((), 100e-9)
    marks = (marked(10, radius_m=2.1e-6),)
    assert sorted(likeness.wanted(known, marks)) == [8, 9, 10, 11, 12]
    assert "like what anna and bo marked" in likeness.reason(known, 0, (*marks, marked(3, who="bo")))


def test_the_tile_of_a_mark_is_seen_before_that_of_an_older_one():
    centres_m = np.array([[0.0, 0.0], [10e-6, 0.0], [20e-6, 0.0]])
    assert Likeness((), 1e-7).tiles(centres_m, (marked(10), marked(19), marked(0, False))) == [2, 1]


def test_a_mark_beyond_all_tiles_and_in_a_survey_in_order_is_refused():
    with pytest.raises(ConfigError, match="beyond all tiles"):
        assembled().policy.check_wishes(Wishes(marked=(marked(50),)))
    assembled().policy.check_wishes(Wishes(marked=(marked(1),)))
    with pytest.raises(ConfigError, match="in order"):
        assembled(policy__options__strategy="in_order").policy.check_wishes(Wishes(marked=(marked(1),)))
