"""Dark references in the report, the dashboard's map and exports: told, and subtracted where something is shown."""

import h5py
import numpy as np

from autoscope.exports import export
from autoscope.journal import JournalReader
from autoscope.purposes import DARK_REFERENCE
from autoscope.report import write
from autoscope.report.chronicle import chronicle
from autoscope.report.learnt import as_learnt_from
from autoscope.report.reading import read
from tests.unit.engine.test_dark import acts, night

__all__ = ["night"]


def test_the_night_tells_each_reference_and_how_far_it_is_from_the_last(night):
    folder, _ = night
    told = [event.what for event in chronicle(read(folder)) if event.kind == "upkeep"]
    assert len(told) == sum(decision.purpose == DARK_REFERENCE for decision, _ in acts(folder))
    assert told[0].startswith("dark reference, 6 frames of 0.5 s: mean counts without beam EDS 6")
    assert "since the last" not in told[0]
    assert "since the last" in told[3]
    assert "mean counts without beam EDS" in write(folder).read_text(encoding="utf-8")


def test_what_is_shown_is_what_was_learnt_from_and_dark_images_are_no_pictures_of_the_sample(night):
    folder, frames = night
    story, reader = read(folder), JournalReader.open(folder)
    load = as_learnt_from(story, reader.load_frame)
    for measurement in story.measurements:
        (ref,) = measurement.spectra
        told = next(f for fs in frames.values() for f in fs if f.meta == ref.meta)
        assert load(ref).data.tobytes() == told.data.tobytes()
        assert load(ref).data.dtype == np.float32
    assert story.pictures
    assert all(picture.purpose != DARK_REFERENCE for picture in story.pictures)


def test_an_export_has_the_frames_as_recorded_and_names_what_was_subtracted(night, tmp_path):
    folder, _ = night
    done = {outcome.act_id: (decision, outcome) for decision, outcome in acts(folder)}
    path = export(folder, "nexus", output=tmp_path / "run.nxs").path
    with h5py.File(path) as file:
        series = next(group for name, group in file["entry"].items() if name.startswith("EDS"))
        ids, whose = series["act_id"].asstr()[:], series["act_dark_references"].asstr()[:]
        assert series["data"].dtype == np.uint32
        purposes = set(series["act_purpose"].asstr()[:])
    assert purposes == {"spectrum", DARK_REFERENCE}
    for act_id, named in zip(ids, whose, strict=True):
        assert named == ";".join(done[act_id][1].dark.get("EDS", ()))
    assert any(whose)
