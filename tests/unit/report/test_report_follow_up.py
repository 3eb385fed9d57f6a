"""The configuration of a follow-up run: it resolves, it runs, and no text of the record breaks out of it."""

import numpy as np
import pytest
import yaml

from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.quantities import parse
from autoscope.records import MoveStage
from autoscope.report.follow_up import follow_up
from autoscope.report.foresight import Suggestion, suggestions
from autoscope.report.reading import read


def test_it_names_the_suggested_places_in_their_order(surveyed):
    story = read(surveyed)
    found = suggestions(story)
    assert found
    positions = yaml.safe_load(follow_up(story, found))["policy"]["options"]["positions"]
    for given, s in zip(positions, found, strict=True):
        assert parse(given["x"], "m") == pytest.approx(s.x_m, abs=1e-10)
        assert parse(given["y"], "m") == pytest.approx(s.y_m, abs=1e-10)


def test_it_runs_and_goes_to_every_place(surveyed):
    story = read(surveyed)
    found = suggestions(story)[:3]
    job = assemble(resolve(Document(follow_up(story, found), "follow_up.yaml")))
    journal = MemoryJournal(clock=job.clock)
    end = Engine(job, journal).run()
    assert "visited" in end.reason
    moved = [
        (r.body["decision"]["action"]["x_m"], r.body["decision"]["action"]["y_m"])
        for r in journal.records("intent")
        if r.body["decision"]["action"]["kind"] == MoveStage.model_fields["kind"].default
    ]
    assert np.array(sorted(moved)) == pytest.approx(np.array(sorted((s.x_m, s.y_m) for s in found)), abs=1e-10)


@pytest.mark.parametrize(
    "name", ["a\nevil: 1", "a\u2028evil: 1", "a\x85evil: 1", 'a" # b', "a\x00b", "\ufeffa"], ids=ascii
)
def test_no_name_breaks_out_of_its_place(surveyed, name):
    story = read(surveyed)
    text = follow_up(story, [Suggestion("measure", 0, 1e-6, 2e-6, name, name, 3)])
    config = yaml.safe_load(text)
    assert set(config) <= {
        "name",
        "seed",
        "clock",
        "operator",
        "sample",
        "environment",
        "scalarizers",
        "limits",
        "policy",
    }
    (place,) = config["policy"]["options"]["positions"]
    assert set(place) <= {"x", "y", "defocus", "slot", "label"}


def test_without_anything_to_suggest_there_is_none(surveyed):
    assert follow_up(read(surveyed), []) == ""
