"""A NeXus file is read by others: hyperspy, nexusformat, plain h5py."""

import hashlib
import json

import h5py
import numpy as np
import pytest

from autoscope.exports import export
from autoscope.exports.nexus import read_records
from autoscope.exports.options import Options
from autoscope.journal import JournalReader
from tests.golden.exports.write import LISTING, OPTIONS, listing
from tests.unit.exports.lab import CONFIG, Lab


@pytest.fixture(scope="module")
def written(lab, tmp_path_factory):
    path = tmp_path_factory.mktemp("nexus") / "run.nxs"
    export(lab.folder, "nexus", path, options=OPTIONS)
    return path


@pytest.fixture(scope="module")
def signals(written):
    import hyperspy.api as hs

    read = hs.load(written, nxdata_only=True, hardlinks_only=True)
    return {signal.metadata.General.title: signal for signal in read}


def stacked(lab, signal, shape):
    found = [f for f in lab.frames.values() if f.meta.signal == signal and f.data.shape == shape]
    return found, np.stack([frame.data for frame in found])


def same_axis(axis, given):
    assert axis.size == given.size
    assert axis.units == given.unit
    assert axis.name == given.name
    assert axis.offset == given.offset
    assert axis.scale == pytest.approx(given.scale, rel=1e-9)


def test_hyperspy_takes_each_series_once_under_a_name_for_people(signals):
    assert set(signals) == {
        "HAADF_24x24_48nm", "HAADF_200x200_200nm", "EELS_96",
        "EELS_map_5x5x96_5nm", "HAADF_5x5_5nm", "4D_datacube_3x3x6x6_3nm",
    }  # fmt: skip


def test_hyperspy_reads_every_pixel_axis_and_unit_of_images(signals, lab):
    read = signals["HAADF_24x24_48nm"]
    frames, data = stacked(lab, "HAADF", (24, 24))
    assert type(read).__name__ == "Signal2D"
    assert len(frames) == 2
    np.testing.assert_array_equal(read.data, data)
    assert read.data.dtype == np.uint16
    for axis, given in zip(read.axes_manager.signal_axes, frames[0].meta.axes[::-1], strict=True):
        same_axis(axis, given)


def test_hyperspy_reads_a_single_image_without_an_axis_to_step_through(signals, lab):
    read = signals["HAADF_200x200_200nm"]
    _, data = stacked(lab, "HAADF", (200, 200))
    np.testing.assert_array_equal(read.data, data[0])
    assert read.axes_manager.navigation_dimension == 0


def test_hyperspy_reads_every_channel_axis_and_unit_of_spectra(signals, lab):
    read = signals["EELS_96"]
    frames, data = stacked(lab, "EELS", (96,))
    assert type(read).__name__ == "Signal1D"
    np.testing.assert_array_equal(read.data, data)
    same_axis(read.axes_manager.signal_axes[0], frames[0].meta.axes[0])


def test_hyperspy_reads_spectrum_images(signals, lab):
    read = signals["EELS_map_5x5x96_5nm"]
    frames, data = stacked(lab, "EELS", (5, 5, 96))
    np.testing.assert_array_equal(read.data, data[0])
    assert read.data.dtype == np.float32
    same_axis(read.axes_manager.signal_axes[0], frames[0].meta.axes[2])
    for axis, given in zip(read.axes_manager.navigation_axes, frames[0].meta.axes[1::-1], strict=True):
        same_axis(axis, given)


def test_hyperspy_reads_a_4d_scan_as_patterns_over_places(signals, lab):
    read = signals["4D_datacube_3x3x6x6_3nm"]
    frames, data = stacked(lab, "4D", (3, 3, 6, 6))
    assert type(read).__name__ == "Signal2D"
    np.testing.assert_array_equal(read.data, data[0])
    for axis, given in zip(read.axes_manager._axes, frames[0].meta.axes, strict=True):
        same_axis(axis, given)
    assert [axis.name for axis in read.axes_manager.signal_axes] == ["kx", "ky"]


def test_hyperspy_finds_who_measured_what_in_the_metadata(signals):
    told = signals["EELS_96"].original_metadata
    assert told.user1.name == "Mira Lab"
    assert told.sample1.name == "Pt/C, batch 7"
    assert told.measurement.instrument.fabrication.serial_number == "T-1"
    assert told.measurement.event_EELS_96.instrument.optics.defocus.attrs.units == "m"


def test_a_viewer_opens_a_picture_first(written):
    import hyperspy.api as hs
    from nexusformat.nexus import nxload

    assert hs.load(written, use_default=True).metadata.General.title == "HAADF_200x200_200nm"
    plotted = nxload(str(written)).plottable_data
    assert plotted.nxname == "HAADF_200x200_200nm"
    assert plotted.nxsignal.shape == (200, 200)
    assert [axis.nxname for axis in plotted.nxaxes] == ["y", "x"]


def test_the_data_lie_where_nxem_expects_them_and_once_on_the_disk(written):
    with h5py.File(written) as file:
        stack = file["entry/measurement/event_HAADF_24x24_48nm/image1/stack_2d"]
        assert stack.attrs["signal"] == "real"
        assert list(stack.attrs["axes"]) == ["indices_image", "axis_j", "axis_i"]
        assert stack["real"] == file["entry/HAADF_24x24_48nm/data"]
        assert stack["axis_i"].attrs["units"] == "m"
        spectra = file["entry/measurement/event_EELS_96/spectrum1/stack_0d"]
        assert spectra["intensity"] == file["entry/EELS_96/data"]
        assert spectra["axis_energy"].attrs["units"] == "eV"


def test_each_frame_keeps_its_act_its_place_its_file_and_its_hash(written, lab):
    acts = {ref.file: (step, ref) for step in JournalReader.open(lab.folder).steps() if step.outcome
            for ref in step.outcome.frames}  # fmt: skip
    with h5py.File(written) as file:
        group = file["entry/EELS_96"]
        assert group["data"].chunks is not None
        assert group["data"].compression == "gzip"
        for k, name in enumerate(group["file"].asstr()[()]):
            step, ref = acts[name]
            assert group["step"][k] == step.index
            assert group["sha256"].asstr()[k] == ref.sha256
            assert (group["x_m"][k], group["y_m"][k]) == (ref.meta.x_m, ref.meta.y_m)
            assert group["act_id"].asstr()[k] == step.act_id
            np.testing.assert_array_equal(group["data"][k], lab.frames[name].data)
        assert group["x_m"].attrs["units"] == "m"


def test_the_file_alone_proves_the_chain_of_records(written, lab):
    before, count = "0" * 64, 0
    with h5py.File(written) as file:
        for record in read_records(file):
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            assert record[-1] == before
            before, count = hashlib.sha256(text.encode()).hexdigest(), count + 1
        assert before == file["entry/journal/head"].asstr()[()]
        assert file["entry/journal/run_id"].asstr()[()] == "full-0123abcd"
    records = list(JournalReader.open(lab.folder).records())
    assert (before, count) == (records[-1].hash, len(records))


def test_times_of_events_are_dates_within_the_run(written):
    with h5py.File(written) as file:
        event = file["entry/measurement/event_HAADF_24x24_48nm"]
        assert event["start_time"].asstr()[()] == "2026-03-14T20:30:00.000+00:00"
        assert event["start_time"].asstr()[()] < event["end_time"].asstr()[()] <= file["entry/end_time"].asstr()[()]


def test_the_structure_is_the_documented_one(written):
    assert listing(written) == LISTING.read_text(encoding="utf-8"), "if meant: python -m tests.golden.exports.write"


def test_many_small_spectra_are_stored_together_and_small(tmp_path):
    lab = Lab(tmp_path / "many").measure(700)
    lab.end()
    done = export(lab.folder, "nexus")
    with h5py.File(done.path) as file:
        group = file["entry/EELS_96"]
        assert group["data"].shape == (700, 96)
        assert group["data"].chunks[0] > 100
        np.testing.assert_array_equal(group["data"][()], np.stack([f.data for f in lab.frames.values()]))
        names = [0]
        file.visit(lambda name: names.__setitem__(0, names[0] + 1))
        assert names[0] < 400


def test_parts_can_be_left_out(lab, tmp_path):
    path = tmp_path / "thin.nxs"
    export(lab.folder, "nexus", path, options=Options(include=("decisions",), compression="none"))
    with h5py.File(path) as file:
        assert "decisions" in file["entry"]
        assert "runners_up" in file["entry/decisions"]
        assert not {"EELS_96", "note_config"} & set(file["entry"])
        assert "lines" not in file["entry/journal"]


def test_elements_and_preparation_are_taken_from_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIG, "elements", ["Pt", "C"])
    run = Lab(tmp_path / "run").overview().end()
    done = export(run, "nexus")
    with h5py.File(done.path) as file:
        assert file["entry/sample1/atom_types"].asstr()[()] == "Pt,C"
        assert file["entry/sample1/preparation_date"].asstr()[()] == file["entry/start_time"].asstr()[()]  # simulated
    assert not any("NXem also wants" in note for note in done.notes)
    options = Options(elements=("Au",), prepared="2026-03-01")
    with h5py.File(export(run, "nexus", tmp_path / "other.nxs", options=options).path) as file:
        assert file["entry/sample1/atom_types"].asstr()[()] == "Au"
        prepared = file["entry/sample1/preparation_date"]
        assert (prepared.asstr()[()], prepared.attrs["resolution"]) == ("2026-03-01T00:00:00+00:00", "day")


def test_what_nxem_wants_and_nobody_has_said_is_told(tmp_path):
    done = export(Lab(tmp_path / "run").overview().end(), "nexus")
    assert any("atom_types" in note and "--elements" in note for note in done.notes)
