"""Measured spectrum images: read, scalarized as docs/data.md recommends, replayed. Skipped where they are absent."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from autoscope.clock import SimClock
from autoscope.quantities import FROM_FILE
from autoscope.records import Act, Measure
from autoscope.registry import load
from environments.datasets import DatasetOptions, read_dataset
from environments.instruments.replay import ReplayInstrument

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("AUTOSCOPE_DATA", ROOT.parent / "shared" / "data"))
FETCHED = ROOT / "data"

LOOP_V = 8.5 * np.concatenate([np.arange(16), np.arange(16, -16, -1), np.arange(-16, 0)]) / 16
LOOP_WEIGHTS = tuple((np.roll(LOOP_V, 1) - np.roll(LOOP_V, -1)) / 2)  # the area inside the loop is - sum of P dV

SETS = [
    ("eds_stem_sio2_128x128", "band_integral", {"band": ["1.66 keV", "1.88 keV"]}, 1.0, 0.999),
    ("eels_cuzn_coreloss", "edge", {"background": ["800 eV", "925 eV"], "band": ["931 eV", "1010 eV"]}, 0.0, 0.999),
    ("eels_nanocubes_dkl_scalar", "band_integral", {}, 0.0, 0.999999),
    (
        "eds_sem_agal_50x50",
        "band_integral",
        {"band": ["2.85 keV", "3.1 keV"], "background": [["2.2 keV", "2.6 keV"], ["3.6 keV", "4.0 keV"]]},
        1.0,
        0.99,
    ),
    ("beps_pto_50x50", "component", {"weights": LOOP_WEIGHTS}, 0.0, 0.99),
]


def stored(name):
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    return path


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "kind", "options", "smooth_px", "least"), SETS, ids=[s[0] for s in SETS])
def test_recommended_scalarizer_agrees_with_the_stored_target(name, kind, options, smooth_px, least):
    data = read_dataset(stored(name))
    plugin = load("scalarizers", kind)
    scalarizer = plugin(plugin.Config.model_validate(options, context=FROM_FILE))
    values, stds = scalarizer.map_scalar(data.spectra, data.axis, data.unit)
    smooth = gaussian_filter(values, smooth_px) if smooth_px else values
    assert np.corrcoef(smooth.ravel(), data.target.ravel())[0, 1] > least
    assert np.isfinite(stds).all()


@pytest.mark.real_data
@pytest.mark.parametrize("name", [s[0] for s in SETS])
def test_measured_data_replay_pixel_by_pixel(name):
    path = stored(name)
    instrument = ReplayInstrument(ReplayInstrument.Config(path=path), clock=SimClock())
    native, signal = instrument.describe().native_scan, instrument.describe().signals[0].name
    spectra, pixel_m = np.load(path)["spectra"], native.fov_m / native.width_px
    rng = np.random.default_rng(0)
    for k in range(50):
        i, j = int(rng.integers(native.height_px)), int(rng.integers(native.width_px))
        x_m, y_m = (j + 0.5 - native.width_px / 2) * pixel_m, (i + 0.5 - native.height_px / 2) * pixel_m
        act = Act(act_id=str(k), action=Measure(x_m=x_m, y_m=y_m, dwell_s=0.05, signals=(signal,)))
        np.testing.assert_array_equal(instrument.execute(act).frames[0].data, spectra[i, j])


def halves_agree(data, options):
    """Correlation of the maps of two random halves of the counts, smoothed by a pixel."""
    plugin = load("scalarizers", "band_integral")
    scalarizer = plugin(plugin.Config.model_validate(options, context=FROM_FILE))
    half = np.random.default_rng(0).binomial(data.spectra.astype(int), 0.5)
    maps = [scalarizer.map_scalar(part, data.axis)[0] for part in (half, data.spectra - half)]
    one, other = (gaussian_filter(values, 1.0).ravel() for values in maps)
    return np.corrcoef(one, other)[0, 1]


def fetched(name):
    if importlib.util.find_spec("rsciio") is None:
        pytest.skip("needs the readers extra")
    path = FETCHED / name
    if not path.is_file():
        pytest.skip("run 'make data' first")
    return path


@pytest.mark.real_data
def test_jeol_event_map_shows_iron(monkeypatch):
    if importlib.util.find_spec("numba") is None:
        pytest.skip("the reader of event lists needs numba")
    options = {"band": ["0.2 keV", "10 keV"], "bin_px": 4, "bin_channels": 4, "image": "View000_0000000.img"}
    path = fetched("jeol/View000_0000006.pts")
    data = read_dataset(path, DatasetOptions.model_validate(options, context=FROM_FILE))
    assert data.image.shape == (128, 128)
    assert data.pixel_m == pytest.approx(4 * 8.69140625e-9, rel=1e-6)
    iron = {"band": ["6.2 keV", "6.6 keV"], "background": [["5.6 keV", "6.1 keV"], ["7.3 keV", "7.8 keV"]]}
    assert halves_agree(data, iron) > 0.95


@pytest.mark.real_data
def test_bruker_map_shows_aluminium_that_its_image_does_not():
    options = {"band": ["0.2 keV", "10 keV"], "bin_channels": 4}
    path = fetched("bruker/P45_the_default_job.bcf")
    data = read_dataset(path, DatasetOptions.model_validate(options, context=FROM_FILE))
    assert data.spectra.shape == (75, 100, 245)
    aluminium = {"band": ["1.40 keV", "1.60 keV"], "background": [["0.75 keV", "0.9 keV"], ["1.98 keV", "2.2 keV"]]}
    assert halves_agree(data, aluminium) > 0.35
