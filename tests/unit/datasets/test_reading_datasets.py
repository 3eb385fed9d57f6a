import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from autoscope.errors import DataError
from autoscope.quantities import FROM_FILE
from environments.datasets import UNKNOWN_PIXEL_M, DatasetOptions, SpectrumImageData, calibrated_axis, read_dataset
from environments.vendor_files import read_vendor_file

HAS_READERS = importlib.util.find_spec("rsciio") is not None and importlib.util.find_spec("h5py") is not None


def arrays(height=6, width=8, channels=10, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(100.0, 5.0, (height, width)),
        "spectra": rng.poisson(20.0, (height, width, channels)).astype(np.float32),
        "axis": (1.0 + 0.1 * np.arange(channels)).astype(np.float32),
        "target": rng.normal(size=(height, width)),
    }


def store(path, meta=None, **changes):
    meta = {"axis_unit": "keV", "unit": "counts", "px": "2 nm", "modality": "STEM-EDS"} if meta is None else meta
    content = {name: value for name, value in (arrays() | changes).items() if value is not None}
    np.savez(path, meta=json.dumps(meta), **content)
    return path


def test_stored_arrays_come_back_with_their_meaning(tmp_path):
    data, stored = read_dataset(store(tmp_path / "a.npz")), arrays()
    np.testing.assert_array_equal(data.spectra, stored["spectra"])
    np.testing.assert_allclose(data.image, stored["image"], rtol=1e-6)
    np.testing.assert_allclose(data.target, stored["target"], rtol=1e-6)
    assert (data.axis.name, data.axis.unit, data.axis.size) == ("energy", "eV", 10)
    assert (data.axis.offset, data.axis.scale) == (pytest.approx(1000.0), pytest.approx(100.0))
    assert (data.pixel_m, data.signal, data.unit, data.pixel_known) == (2e-9, "EDS", "counts", True)
    assert data.fov_m == pytest.approx(16e-9)


def test_data_cannot_be_changed_after_reading(tmp_path):
    data = read_dataset(store(tmp_path / "a.npz"))
    with pytest.raises(ValueError, match="read-only"):
        data.spectra[0, 0, 0] = 1.0


def test_file_without_meta_or_target_is_read_with_stated_defaults(tmp_path):
    content = {k: v for k, v in arrays().items() if k != "target"}
    np.savez(tmp_path / "bare.npz", **content)
    data = read_dataset(tmp_path / "bare.npz")
    assert (data.pixel_m, data.pixel_known, data.signal, data.unit, data.target) == (
        UNKNOWN_PIXEL_M,
        False,
        "EELS",
        "",
        None,
    )


@pytest.mark.parametrize(
    ("text", "pixel_m"),
    [
        ("8.55 nm", 8.55e-9),
        ("0.921386 nm (50 y x 40 x)", 0.921386e-9),
        ("0.01181 x 0.01181 µm", 11.81e-9),
        ("40.8 nm", 40.8e-9),
        ("unknown", UNKNOWN_PIXEL_M),
    ],
)
def test_pixel_sizes_are_read_as_people_write_them(tmp_path, text, pixel_m):
    data = read_dataset(store(tmp_path / "a.npz", meta={"px": text, "unit": "counts"}))
    assert data.pixel_m == pytest.approx(pixel_m)
    assert data.pixel_known == (text != "unknown")


@pytest.mark.parametrize(
    ("text", "unit", "name", "factor"),
    [
        ("keV", "eV", "energy", 1000.0),
        ("energy loss eV (700 + 8n)", "eV", "energy", 1.0),
        ("V (sweep order, 64 steps)", "V", "bias", 1.0),
        ("none: one precomputed scalar", "", "channel", 1.0),
        ("nm", "m", "wavelength", 1e-9),
    ],
)
def test_axis_units_are_read_as_people_write_them(text, unit, name, factor):
    axis = calibrated_axis(np.array([2.0, 3.0, 4.0]), text)
    assert (axis.unit, axis.name) == (unit, name)
    np.testing.assert_allclose(axis.values(), factor * np.array([2.0, 3.0, 4.0]), rtol=1e-6)


def test_sweep_that_runs_back_and_forth_becomes_channel_numbers():
    axis = calibrated_axis(np.array([0.0, 4.0, 8.0, 4.0, 0.0, -4.0]), "V")
    assert (axis.unit, axis.values().tolist()) == ("", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])


def test_options_override_what_the_file_says(tmp_path):
    options = DatasetOptions.model_validate({"pixel": "5 nm", "signal": "XPS"}, context=FROM_FILE)
    data = read_dataset(store(tmp_path / "a.npz"), options)
    assert (data.pixel_m, data.signal) == (5e-9, "XPS")


def test_binning_keeps_every_count_and_the_place_of_the_axis(tmp_path):
    path = store(tmp_path / "a.npz")
    whole, reduced = read_dataset(path), read_dataset(path, DatasetOptions(bin_px=2, bin_channels=5))
    assert reduced.spectra.shape == (3, 4, 2)
    assert reduced.spectra.sum() == whole.spectra.sum()
    assert reduced.spectra[1, 2, 1] == whole.spectra[2:4, 4:6, 5:].sum()
    assert reduced.image[1, 2] == pytest.approx(whole.image[2:4, 4:6].mean())
    assert reduced.axis.values()[0] == pytest.approx(whole.axis.values()[:5].mean())
    assert reduced.fov_m == pytest.approx(whole.fov_m)


def test_what_is_not_counted_is_averaged_by_binning(tmp_path):
    path = store(tmp_path / "a.npz", meta={"unit": "a.u."})
    whole, reduced = read_dataset(path), read_dataset(path, DatasetOptions(bin_px=2))
    assert reduced.spectra[0, 0, 3] == pytest.approx(whole.spectra[:2, :2, 3].mean())


def test_incomplete_blocks_are_left_out(tmp_path):
    data = read_dataset(store(tmp_path / "a.npz"), DatasetOptions(bin_px=5, bin_channels=3))
    assert data.spectra.shape == (1, 1, 3)


def test_band_keeps_its_channels_only(tmp_path):
    path = store(tmp_path / "a.npz")
    options = DatasetOptions.model_validate({"band": ["1.2 keV", "1500 eV"]}, context=FROM_FILE)
    data = read_dataset(path, options)
    np.testing.assert_allclose(data.axis.values(), [1200, 1300, 1400, 1500])
    np.testing.assert_array_equal(data.spectra, read_dataset(path).spectra[..., 2:6])


def test_sum_of_the_spectra_can_stand_in_for_the_image(tmp_path):
    data = read_dataset(store(tmp_path / "a.npz"), DatasetOptions(image="spectra"))
    np.testing.assert_allclose(data.image, data.spectra.sum(axis=2))


@pytest.mark.skipif(not HAS_READERS, reason="needs the readers extra")
def test_hyperspy_file_is_read_with_the_image_beside_it(tmp_path):
    from rsciio.hspy import file_writer

    content = arrays()
    plane = [
        {"name": n, "size": s, "offset": 0.0, "scale": 3.0, "units": "nm", "navigate": True, "index_in_array": k}
        for k, (n, s) in enumerate((("y", 6), ("x", 8)))
    ]
    energy = {"name": "Energy", "size": 10, "offset": 1.0, "scale": 0.1, "units": "keV", "navigate": False}
    empty = {"original_metadata": {}, "learning_results": {}, "models": {}, "package_info": {}, "tmp_parameters": {}}
    spectra = {
        "data": content["spectra"],
        "axes": [*plane, energy | {"index_in_array": 2}],
        "metadata": {"Signal": {"signal_type": "EDS_TEM"}, "General": {"title": "map"}},
        "attributes": {"_lazy": False, "ragged": False},
    }
    image = {
        "data": content["image"],
        "axes": [axis | {"navigate": False} for axis in plane],
        "metadata": {"Signal": {"signal_type": ""}, "General": {"title": "HAADF"}},
        "attributes": {"_lazy": False, "ragged": False},
    }
    for name, item in (("map.hspy", spectra), ("haadf.hspy", image)):
        file_writer(str(tmp_path / name), item | empty)
    data = read_dataset(tmp_path / "map.hspy", DatasetOptions(image="haadf.hspy"))
    np.testing.assert_array_equal(data.spectra, content["spectra"])
    np.testing.assert_allclose(data.image, content["image"], rtol=1e-6)
    assert (data.pixel_m, data.signal, data.unit) == (pytest.approx(3e-9), "EDS", "counts")
    assert (data.axis.offset, data.axis.scale) == (pytest.approx(1000.0), pytest.approx(100.0))
    with pytest.raises(DataError, match="no image that fits"):
        read_dataset(tmp_path / "map.hspy")
    with pytest.raises(DataError, match="no such image"):
        read_dataset(tmp_path / "map.hspy", DatasetOptions(image="absent.hspy"))
    with pytest.raises(DataError, match="no spectrum image"):
        read_dataset(tmp_path / "haadf.hspy")


def test_reader_that_is_not_installed_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rsciio", None)
    (tmp_path / "a.dm4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"autoscope\[readers\]"):
        read_dataset(tmp_path / "a.dm4")


class FakeReaders:
    """Stands in for the package of readers; ``file_reader`` is the reader of all of them."""

    IO_PLUGINS = [{"name": "Fake", "file_extensions": ["pts", "fake"], "api": "rsciio"}]

    def __init__(self, answer):
        self.answer, self.asked = answer, {}

    def file_reader(self, name, **options):
        self.asked = options
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_event_lists_are_binned_while_they_are_read(tmp_path, monkeypatch):
    cube = {
        "data": np.ones((4, 4, 5), np.uint16),
        "axes": [
            {"name": "y", "size": 4, "offset": 0, "scale": 8.0, "units": "nm", "navigate": True},
            {"name": "x", "size": 4, "offset": 0, "scale": 8.0, "units": "nm", "navigate": True},
            {"name": "Energy", "size": 5, "offset": 0.0, "scale": 0.5, "units": "keV", "navigate": False},
        ],
    }
    fake = FakeReaders([cube, {"data": np.ones((8, 8)), "axes": []}])
    monkeypatch.setitem(sys.modules, "rsciio", fake)
    (tmp_path / "a.pts").write_bytes(b"x")
    options = DatasetOptions.model_validate({"band": ["0 keV", "2 keV"], "bin_px": 2}, context=FROM_FILE)
    data = read_dataset(tmp_path / "a.pts", options)
    assert (fake.asked["downsample"], fake.asked["cutoff_at_kV"]) == (2, pytest.approx(2.1))
    assert data.spectra.shape == (4, 4, 5)
    assert data.pixel_m == pytest.approx(8e-9)
    given = read_vendor_file(tmp_path / "a.pts", options.replace(pixel_m=3e-9))[0]
    assert given.pixel_m == pytest.approx(6e-9)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ModuleNotFoundError("No module named 'numba'", name="numba"), "pip install numba"),
        (RuntimeError("bad magic"), "bad magic"),
        ([], "no spectrum image"),
    ],
)
def test_what_a_reader_cannot_do_is_told_with_the_remedy(tmp_path, monkeypatch, answer, told):
    monkeypatch.setitem(sys.modules, "rsciio", FakeReaders(answer))
    path = tmp_path / "a.fake"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=told) as failure:
        read_dataset(path)
    assert str(path) in str(failure.value)


def test_value_can_be_built_from_arrays_in_memory():
    content = arrays()
    data = SpectrumImageData(
        content["image"], content["spectra"], calibrated_axis(content["axis"], "keV"), pixel_m=1e-9, meta={}
    )
    assert isinstance(Path(data.source), Path)
    assert data.target is None
