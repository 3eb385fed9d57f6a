"""A Zarr store holds the same as the NeXus file."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from autoscope.exports import export

zarr = pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def store(lab, tmp_path_factory):
    path = tmp_path_factory.mktemp("zarr") / "run.zarr"
    export(lab.folder, "zarr", path)
    return zarr.open_group(path, mode="r")


def test_frames_are_stacked_by_signal_with_their_axes(store, lab):
    group = store["EELS_96"]
    frames = [f for f in lab.frames.values() if f.meta.signal == "EELS" and f.data.ndim == 1]
    np.testing.assert_array_equal(group["data"][:], np.stack([f.data for f in frames]))
    assert group["data"].metadata.dimension_names == ("spectrum", "energy")
    np.testing.assert_array_equal(group["energy"][:], frames[0].meta.axes[0].values())
    assert (group["energy"].attrs["units"], group["energy"].attrs["scale"]) == ("eV", 0.25)
    assert list(group["x_m"][:]) == [f.meta.x_m for f in frames]


def test_every_frame_of_every_kind_is_there(store, lab):
    found = {name: store[f"{name}/data"][:] for name in store.group_keys() if name != "decisions"}
    held = {file: (name, k) for name in found for k, file in enumerate(store[f"{name}/file"][:])}
    assert set(held) == set(lab.frames)
    for file, (name, k) in held.items():
        np.testing.assert_array_equal(found[name][k], lab.frames[file].data)


def test_the_table_is_there_too(store, lab, tmp_path):
    table = pq.read_table(export(lab.folder, "parquet", tmp_path / "t.parquet").path)
    assert list(store["decisions/reason"][:]) == table.column("reason").to_pylist()
    assert list(store["decisions/step"][:]) == table.column("step").to_pylist()
    assert store.attrs["head"] == table.schema.metadata[b"head"].decode()
    assert store.metadata.zarr_format == 3
