"""A crate says what lies in a run, truly, in the words of the Process Run profile."""

import hashlib
import json
import shutil
import sqlite3
import zipfile

import numpy as np
import pytest
from rocrate.rocrate import ROCrate

from autoscope.errors import ExportError
from autoscope.exports import export
from autoscope.exports.options import Options
from autoscope.journal import JournalReader, verify

SIGNED = Options(author="Ada B", orcid="0000-0002-1825-0097", affiliation="Uni X", licence="CC-BY-4.0")


@pytest.fixture
def run(lab, tmp_path):
    shutil.copytree(lab.folder, tmp_path / "full")
    return tmp_path / "full"


def action_of(crate):
    (action,) = (entity for entity in crate.get_entities() if entity.type == "CreateAction")
    return action


def test_the_run_folder_becomes_a_crate_and_stays_the_run_it_was(run):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    export(run, "rocrate")
    crate = ROCrate(run)
    assert crate.root_dataset["identifier"] == "full-0123abcd"
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert {p: p.read_bytes() for p in before} == before
    assert verify(run).ok


def test_a_copy_holds_every_frame_as_a_file_with_the_hash_of_its_bytes(run, tmp_path, lab):
    copy = tmp_path / "copy"
    export(run, "rocrate", copy)
    crate = ROCrate(copy)
    refs = [ref for step in JournalReader.open(run).steps() if step.outcome for ref in step.outcome.frames]
    (folder,) = (part for part in action_of(crate)["result"] if part.id == "frames/")
    assert [part.id for part in folder["hasPart"]] == [f"frames/{ref.file}" for ref in refs]
    for part, ref in zip(folder["hasPart"], refs, strict=True):
        assert part["sha256"] == ref.sha256 == hashlib.sha256((copy / part.id).read_bytes()).hexdigest()
        np.testing.assert_array_equal(np.load(copy / part.id), lab.frames[ref.file].data)
    journal = crate.get("journal.sqlite")
    assert journal["sha256"] == hashlib.sha256((copy / "journal.sqlite").read_bytes()).hexdigest()


def test_in_place_small_frames_stay_inside_the_journal_and_the_export_says_so(run):
    done = export(run, "rocrate")
    assert [part.id for part in ROCrate(run).get("frames/")["hasPart"]] == ["frames/000001-00-HAADF.npy"]
    assert any("20 small frames lie inside journal.sqlite" in note for note in done.notes)


def test_the_action_names_who_did_what_with_which_software(run):
    export(run, "rocrate", options=SIGNED)
    crate = ROCrate(run)
    action = action_of(crate)
    assert action["agent"]["name"] == "Mira Lab"
    assert action["instrument"]["name"] == "autoscope"
    assert action["instrument"]["softwareVersion"] == "0.1.0"
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert action["startTime"] == "2026-03-14T20:30:00.000+00:00"
    assert "config.yaml" in [part.id for part in action["object"]]
    assert crate.root_dataset["author"].id == "https://orcid.org/0000-0002-1825-0097"
    assert crate.root_dataset["license"].id == "https://spdx.org/licenses/CC-BY-4.0"


def test_a_zip_holds_a_run_that_verifies(run, tmp_path):
    path = tmp_path / "share.zip"
    export(run, "rocrate", path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    assert verify(tmp_path / "out").ok
    crate = ROCrate(tmp_path / "out")
    assert all((tmp_path / "out" / entity.id).exists() for entity in crate.data_entities)


def test_exports_made_before_are_part_of_the_crate(run, tmp_path):
    export(run, "nexus")
    export(run, "csv")
    export(run, "rocrate", tmp_path / "folder")
    crate = ROCrate(tmp_path / "folder")
    assert {"run.nxs", "decisions.csv"} <= {part.id for part in action_of(crate)["result"]}
    assert (tmp_path / "folder" / "run.nxs").read_bytes() == (run / "run.nxs").read_bytes()


def test_metadata_alone_belong_into_the_run_folder(run, tmp_path):
    with pytest.raises(ExportError, match="belong into the run folder"):
        export(run, "rocrate", tmp_path / "ro-crate-metadata.json")


def test_a_crate_of_a_run_that_goes_on_has_a_whole_journal_and_says_active(lab, tmp_path):
    from tests.unit.exports.lab import Lab

    going = Lab(tmp_path / "going").overview().measure(3)
    export(going.folder, "rocrate", tmp_path / "copy")
    assert action_of(ROCrate(tmp_path / "copy"))["actionStatus"].endswith("ActiveActionStatus")
    with sqlite3.connect(tmp_path / "copy" / "journal.sqlite") as copied:
        assert copied.execute("SELECT count(*) FROM records").fetchone() == (9,)
    done = export(going.folder, "rocrate")
    assert any("no sha256" in note for note in done.notes)
    assert "sha256" not in json.loads((going.folder / "ro-crate-metadata.json").read_text()).items()
    assert ROCrate(going.folder).get("journal.sqlite").get("sha256") is None
    going.close()
