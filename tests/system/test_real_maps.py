"""The whole loop on measured spectrum images, wherever they are on this machine (``make data``)."""

import pytest

from autoscope.quantities import FROM_FILE
from environments.datasets import DatasetOptions, read_dataset
from tests.figures.learning import ROOT, measurements_to_level, true_map
from tests.figures.main_job import map_tasks

TASKS = map_tasks()


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not TASKS, reason="no real maps here: run make data")
@pytest.mark.parametrize("task", TASKS, ids=[t.name for t in TASKS])
def test_a_model_finds_a_high_place_of_a_real_map_in_fewer_spectra_than_chance(task):
    # Chance needs 1 / (share of such pixels) spectra on average, and 0.69 of that in the median.
    truth = true_map(task)
    expected = 1.0 / float((truth >= truth.min() + 0.8 * (truth.max() - truth.min())).mean())
    found = sorted(measurements_to_level(task, "gp", seed, share=0.8, limit=int(expected)) for seed in range(3))
    assert found[1] <= 0.5 * expected


@pytest.mark.real_data
@pytest.mark.parametrize("task", TASKS, ids=[t.name for t in TASKS])
def test_a_real_map_is_read_with_its_axis_and_pixel_size(task):
    options = DatasetOptions.model_validate(task.data.get("read", {}), context=FROM_FILE)
    data = read_dataset(ROOT / task.data["path"], options)
    assert data.image.shape == data.spectra.shape[:2]
    assert data.axis.size == data.spectra.shape[2]
    assert 0 < data.pixel_m < 1e-4
    assert data.spectra.sum() > 0
