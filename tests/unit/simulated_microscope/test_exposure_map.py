"""Bookkeeping of fluence, against numpy's histogram."""

from __future__ import annotations

import numpy as np
import pytest

from environments.instruments.simulated import DoseConfig
from environments.instruments.simulated.exposure_map import ExposureMap

CELL = 20e-9


def fresh(extent_m=(1e-6, 0.6e-6), max_cells=2048):
    return ExposureMap(extent_m, DoseConfig(cell_m=CELL, max_cells=max_cells))


def test_map_equals_a_histogram_of_the_points():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-0.5e-6, 0.5e-6, (30, 40)), rng.uniform(-0.3e-6, 0.3e-6, (30, 40))
    exposed = fresh()
    exposed.expose(x, y, 5.0)
    exposed.expose(x[:3], y[:3], np.full((3, 40), 2.0))
    weights = np.full((30, 40), 5.0)
    weights[:3] += 2.0
    edges = [np.linspace(-0.3e-6, 0.3e-6, 31), np.linspace(-0.5e-6, 0.5e-6, 51)]
    expected = np.histogram2d(y.ravel(), x.ravel(), bins=edges, weights=weights.ravel())[0]
    assert exposed.fluence_e_per_m2() == pytest.approx(expected / CELL**2)


def test_electrons_beside_the_specimen_are_counted_but_give_no_fluence():
    exposed = fresh()
    x, y = np.array([0.0, 9e-6, -9e-6, 0.0]), np.array([0.0, 0.0, 0.0, 1.0])
    told = exposed.expose(x, y, 1000.0)
    assert exposed.outside_e == 3000.0
    assert exposed.total_e == 4000.0
    assert told.tolist() == pytest.approx([500.0 / CELL**2, 0.0, 0.0, 0.0])
    assert exposed.read(x, y)[1:].tolist() == [0.0, 0.0, 0.0]


def test_fluence_told_is_that_in_the_middle_of_the_exposure():
    exposed = fresh()
    here = np.array([1e-9])
    assert exposed.expose(here, here, 100.0) * CELL**2 == pytest.approx(50.0)
    assert exposed.expose(here, here, 100.0) * CELL**2 == pytest.approx(150.0)
    assert exposed.read(here, here) * CELL**2 == pytest.approx(200.0)


def test_cells_grow_so_that_the_map_stays_within_its_size():
    exposed = fresh(extent_m=(1e-3, 1e-3), max_cells=100)
    assert exposed.cell_m == pytest.approx(10e-6)
    assert exposed.fluence_e_per_m2().shape == (100, 100)


def test_large_fields_in_blocks_lose_no_electron():
    exposed = fresh()
    x, y = np.meshgrid(np.linspace(-0.4e-6, 0.4e-6, 400), np.linspace(-0.2e-6, 0.2e-6, 300))
    exposed.expose(x, y, 3.0)
    assert exposed.total_e == 3.0 * 400 * 300
