"""Exports never alter a run, take it as it stands, and end whole or not at all."""

import errno
import shutil

import h5py
import pyarrow.parquet as pq
import pytest

from autoscope.errors import ExportError, JournalCorrupt, JournalError, PluginError
from autoscope.exports import WRITERS, destination, export
from autoscope.exports.options import Options
from autoscope.exports.snapshot import Snapshot
from autoscope.journal import JournalReader
from autoscope.records import Wait
from tests.tampering import tamper
from tests.unit.exports.lab import Lab

FORMATS = sorted(WRITERS)
QUICK = [name for name in FORMATS if name != "zarr"]  # a Zarr store is many small files; one test of each kind will do
WITH_FRAMES = ["nexus", "rocrate", "zarr"]


@pytest.fixture
def run(lab, tmp_path):
    shutil.copytree(lab.folder, tmp_path / "full")
    return tmp_path / "full"


def contents(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", QUICK)
def test_an_export_elsewhere_leaves_every_byte_of_the_run_as_it_was(run, tmp_path, name):
    before = contents(run)
    export(run, name, tmp_path / "out.zip")
    assert contents(run) == before


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_there_is_replaced_only_by_force(run, tmp_path, name):
    out = tmp_path / "out"
    export(run, name, out)
    with pytest.raises(ExportError, match="--force"):
        export(run, name, out)
    assert export(run, name, out, force=True).acts == 22
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("name", QUICK)
def test_a_run_that_goes_on_is_exported_as_far_as_it_got(tmp_path, name):
    going = Lab(tmp_path / "going").overview().measure(4).open()
    out = tmp_path / "out.zip"
    done = export(going.folder, name, out)
    assert done.acts == 6
    assert any("had not ended" in note for note in done.notes)
    going.measure(1)
    going.end()
    assert export(going.folder, name, out, force=True).state == "completed"


def test_acts_written_after_the_snapshot_are_not_in_it(tmp_path):
    going = Lab(tmp_path / "going").overview().measure(2).open()
    snapshot = Snapshot.take(going.folder)
    going.measure(3)
    assert [act.step for act in snapshot.acts()] == [0, 1, 2, 3]
    assert snapshot.acts_count == 4
    assert snapshot.series[1].count == 2
    going.close()


def test_interleaved_acts_come_in_the_order_of_the_decisions(tmp_path):
    lab = Lab(tmp_path / "run")
    ids = []
    for k in range(4):
        ids.append(lab.intend(lab.decision(Wait(duration_s=1.0), "wait")))
        if k:
            lab.conclude(ids[k - 1], k - 1)
    lab.close()
    acts = list(Snapshot.take(lab.folder).acts())
    assert [act.act_id for act in acts] == ids
    assert [act.status for act in acts] == ["done", "done", "done", "open"]


def damage(run):
    name = next(ref.file for step in JournalReader.open(run).steps() if step.index == 5 for ref in step.outcome.frames)
    tamper(run, "UPDATE frames SET content = zeroblob(length(content)) WHERE name = ?", name)
    return name


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_a_damaged_frame_is_named_and_refused(run, tmp_path, name):
    frame = damage(run)
    with pytest.raises(JournalCorrupt, match=rf"step 5: .*{frame}.*--skip-damaged"):
        export(run, name, tmp_path / "out.zip")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_a_damaged_frame_is_left_out_and_named_when_asked_so(run, tmp_path, name):
    frame = damage(run)
    done = export(run, name, tmp_path / "out.zip", options=Options(skip_damaged=True))
    assert [frame in note for note in done.notes if "NXem also wants" not in note] == [True]
    if name == "nexus":
        with h5py.File(done.path) as file:
            assert frame not in list(file["entry/EELS_96/file"].asstr()[()])
            assert len(file["entry/EELS_96/data"]) == len(file["entry/EELS_96/file"]) == 14
            assert frame in file["entry/journal/left_out"].asstr()[0]


def test_the_only_frame_of_a_series_may_be_damaged(run, tmp_path):
    (name,) = (ref.file for step in JournalReader.open(run).steps() if step.index == 1 for ref in step.outcome.frames)
    (run / "frames" / name).unlink()
    done = export(run, "nexus", tmp_path / "out.nxs", options=Options(skip_damaged=True))
    with h5py.File(done.path) as file:
        assert "HAADF_200x200_200nm" not in file["entry"]
        assert "event_HAADF_200x200_200nm" not in file["entry/measurement"]


def test_a_broken_chain_is_refused_or_ends_the_export_before_the_break(run, tmp_path):
    tamper(run, "UPDATE records SET wall = 'x' WHERE seq = 20")
    with pytest.raises(JournalCorrupt, match="record 20"):
        export(run, "csv", tmp_path / "t.csv")
    done = export(run, "parquet", tmp_path / "t.parquet", options=Options(skip_damaged=True))
    assert pq.read_table(done.path).column("intent_seq").to_pylist()[-1] < 20
    assert "record 19" in done.notes[0]


@pytest.mark.parametrize("name", QUICK)
def test_a_full_disk_leaves_nothing_half_and_says_so(run, tmp_path, name, monkeypatch):
    def full(draft, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(destination, "_settle", full)
    with pytest.raises(ExportError, match=r"disk is full.*run itself is untouched"):
        export(run, name, tmp_path / "out.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_an_interrupt_leaves_nothing_half(run, tmp_path):
    def interrupted(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(run, "nexus", tmp_path / "run.nxs", progress=interrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_what_cannot_be_asked_is_refused_with_what_can(run, tmp_path):
    with pytest.raises(ExportError, match=r"no such format.*'hdf'.*nexus"):
        export(run, "hdf")
    with pytest.raises(ExportError, match="no such folder"):
        export(run, "csv", tmp_path / "absent" / "t.csv")
    with pytest.raises(JournalError, match="no journal here"):
        export(tmp_path, "csv")


def test_a_format_without_its_package_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(WRITERS, "zarr", ("run.zarr", "zarr_that_is_absent.store", "write"))
    with pytest.raises(PluginError, match=r"absent.*pip install"):
        export(run, "zarr")


def test_a_run_without_acts_or_before_its_first_record(tmp_path):
    empty = Lab(tmp_path / "empty")
    empty.end()
    for name in FORMATS:
        assert export(empty.folder, name, tmp_path / name).acts == 0
    unbegun = Lab(tmp_path / "unbegun", begin=False).close()
    with pytest.raises(JournalError, match="has not begun"):
        export(unbegun, "csv")


def test_progress_ends_at_all_acts(run, tmp_path):
    for name in QUICK:
        seen = []
        export(run, name, tmp_path / name, progress=lambda what, done, total, seen=seen: seen.append((done, total)))
        assert seen[-1] == (22, 22)


def test_corrections_that_people_append_are_respected_and_what_they_replaced_is_told(tmp_path):
    lab = Lab(tmp_path / "run").overview()
    lab.journal.append("run_ended", {"status": "completed", "reason": "done"})
    lab.clock.wait(86_400.0)
    corrections = {"sample": "Pd/C, batch 8", "operator": "Jo Example", "instrument": "STEM 2"}
    lab.journal.append("annotation", {"who": "Jo", "note": "wrong label", "corrections": corrections, "tags": ["Pd"]})
    lab.close()
    done = export(lab.folder, "parquet")
    told = pq.read_schema(done.path).metadata
    assert done.state == "completed"
    assert (told[b"sample"], told[b"operator"], told[b"instrument"]) == (b"Pd/C, batch 8", b"Jo Example", b"STEM 2")
    assert b"Pt/C, batch 7" in told[b"corrected"]
    assert told[b"ended_utc"].startswith(b"2026-03-14")
    with h5py.File(export(lab.folder, "nexus").path) as file:
        assert file["entry/sample1/name"].asstr()[()] == "Pd/C, batch 8"
        assert file["entry/keywords"].asstr()[()] == "Pd"
