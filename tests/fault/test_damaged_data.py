"""Whatever is wrong with a data file, it is a DataError that names the file and says what to do."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscope.errors import DataError
from environments.datasets import DatasetOptions, read_dataset

META = {"axis_unit": "eV", "unit": "counts", "px": "1 nm"}


def content(**changes):
    whole = {
        "image": np.ones((5, 4)),
        "spectra": np.ones((5, 4, 6)),
        "axis": np.arange(6.0),
        "target": np.ones((5, 4)),
        "meta": json.dumps(META),
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def changed(array, value):
    array = np.array(array, dtype=float)
    array.flat[3] = value
    return array


def stored_bytes(**changes):
    buffer = io.BytesIO()
    np.savez(buffer, **content(**changes))
    return buffer.getvalue()


DAMAGE = {
    "no image": {"image": None},
    "no spectra": {"spectra": None},
    "no axis": {"axis": None},
    "image of another size": {"image": np.ones((4, 4))},
    "spectra of another size": {"spectra": np.ones((5, 3, 6))},
    "flat spectra": {"spectra": np.ones((5, 4))},
    "axis of another size": {"axis": np.arange(7.0)},
    "axis of two dimensions": {"axis": np.ones((6, 2))},
    "axis with NaN": {"axis": changed(np.arange(6), np.nan)},
    "axis of text": {"axis": np.array(list("abcdef"))},
    "target of another size": {"target": np.ones((5, 5))},
    "NaN in the image": {"image": changed(np.ones((5, 4)), np.nan)},
    "infinity in the spectra": {"spectra": changed(np.ones((5, 4, 6)), np.inf)},
    "NaN in the target": {"target": changed(np.ones((5, 4)), np.nan)},
    "negative counts": {"spectra": changed(np.ones((5, 4, 6)), -1.0)},
    "complex spectra": {"spectra": np.ones((5, 4, 6), complex)},
    "empty": {"image": np.ones((0, 4)), "spectra": np.ones((0, 4, 6)), "target": None},
    "no channels": {"spectra": np.ones((5, 4, 0)), "axis": np.ones(0)},
    "meta that is not JSON": {"meta": "{unit"},
    "meta that is a list": {"meta": "[1]"},
    "pixel in seconds": {"meta": json.dumps(META | {"px": "3 s"})},
    "pixels that are not square": {"meta": json.dumps(META | {"px": "3 x 5 nm"})},
    "too large for its numbers": {"spectra": np.full((5, 4, 6), 1e300)},
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_file_and_remedy(tmp_path, damage):
    path = tmp_path / "map.npz"
    path.write_bytes(stored_bytes(**DAMAGE[damage]))
    with pytest.raises(DataError) as failure:
        read_dataset(path)
    assert str(path) in str(failure.value)
    assert failure.value.remedy


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "map.npz"
    np.savez(path, **content(image=None), image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="pickled objects"):
        read_dataset(path)


@pytest.mark.parametrize("length", [0, 1, 50, 400, 1000])
def test_truncated_file_is_a_data_error(tmp_path, length):
    path = tmp_path / "map.npz"
    path.write_bytes(stored_bytes()[:length])
    with pytest.raises(DataError, match="cannot be read"):
        read_dataset(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_flipped_byte_is_noticed_or_harmless(tmp_path, place, flip):
    whole = bytearray(stored_bytes())
    whole[place % len(whole)] ^= flip
    path = tmp_path / "map.npz"
    path.write_bytes(bytes(whole))
    try:
        data = read_dataset(path)
    except DataError:
        return
    np.testing.assert_array_equal(data.spectra, np.ones((5, 4, 6)))


def test_archive_of_something_else_is_a_data_error(tmp_path):
    path = tmp_path / "map.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError):
        read_dataset(path)


def test_folder_and_absent_file_are_data_errors(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    for name in ("folder.npz", "absent.npz"):
        with pytest.raises(DataError, match="no such data file"):
            read_dataset(tmp_path / name)


@pytest.mark.parametrize("name", ["notes", "notes.docx"])
def test_unknown_format_is_a_data_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"text")
    with pytest.raises(DataError):
        read_dataset(tmp_path / name)


@pytest.mark.parametrize("name", ["map.hspy", "map.bcf", "map.emd", "map.dm4"])
@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n\x1a\n" + 64 * b"\0", bytes(range(256)) * 8])
def test_damaged_vendor_file_is_a_data_error(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as failure:
        read_dataset(path)
    assert str(path) in str(failure.value)
    assert failure.value.remedy


@pytest.mark.parametrize(
    "options",
    [{"bin_px": 6}, {"bin_channels": 7}, {"band": ("3 nm", "4 nm")}, {"band": ("9 eV", "12 eV")}, {"image": "b.tif"}],
)
def test_options_the_data_cannot_meet_are_data_errors(tmp_path, options):
    path = tmp_path / "map.npz"
    path.write_bytes(stored_bytes())
    with pytest.raises(DataError):
        read_dataset(path, DatasetOptions(**options))
