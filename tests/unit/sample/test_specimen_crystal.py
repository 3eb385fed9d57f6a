"""The two-dimensional crystal: lattice, defects, and what resolves them."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter

from environments.sample import (
    CatalystConfig,
    Crystal2dConfig,
    NanoparticlesConfig,
    Specimen,
    SpecimenConfig,
    build_specimen,
)
from environments.sample.crystal2d import LATTICES, delocalisation_m
from environments.sample.damage import DamageConfig
from environments.sample.kinematics import Electron


def build(config, seed=0, voltage_v=60e3):
    return build_specimen(config, rng=np.random.default_rng(seed), voltage_v=voltage_v)


@pytest.fixture(scope="module")
def mos2():
    return build(Crystal2dConfig(extent_m=(1.2e-8, 1e-8), dopant_fraction=0.05, vacancy_fraction=0.03))


@pytest.mark.parametrize("crystal", sorted(LATTICES))
def test_columns_have_the_density_and_neighbour_distance_of_the_lattice(crystal):
    truth = build(Crystal2dConfig(crystal=crystal, extent_m=(1e-8, 1e-8))).truth()
    constant = LATTICES[crystal].constant_m
    cell = constant**2 * math.sqrt(0.75)
    assert len(truth["x_m"]) == pytest.approx(2 * 1e-16 / cell, rel=0.02)
    x, y = truth["x_m"], truth["y_m"]
    centre = int(np.argmin(np.hypot(x, y)))
    distance = np.sort(np.hypot(x - x[centre], y - y[centre]))
    assert np.allclose(distance[1:4], constant / math.sqrt(3), rtol=1e-9, atol=0)
    assert np.allclose(distance[4:10], constant, rtol=1e-9, atol=0)


def test_defects_are_within_binomial_bounds(mos2):
    truth = mos2.truth()
    metal = np.isin(truth["symbol"], ["Mo", "V"])
    doped = truth["is_rare"].sum()
    assert abs(doped - 0.05 * metal.sum()) < 4 * math.sqrt(0.05 * metal.sum())
    assert np.all(truth["symbol"][truth["is_rare"]] == "V")
    sulphur = 2 * (~metal).sum()
    assert abs(truth["missing_atoms"].sum() - 0.03 * sulphur) < 4 * math.sqrt(0.03 * sulphur)
    assert np.all(truth["atoms"][~metal] + truth["missing_atoms"][~metal] == 2)


def test_integrated_image_counts_the_scattering_atoms(mos2):
    x, y = np.meshgrid(np.linspace(-8e-9, 8e-9, 641), np.linspace(-7e-9, 7e-9, 561))
    pixel = (x[0, 1] - x[0, 0]) * (y[1, 0] - y[0, 0])
    thickness = mos2.structure.thickness_m(x, y, "elastic")
    truth = mos2.truth()
    for material, layer in zip(mos2.structure.materials, thickness):
        atoms = truth["atoms"][truth["symbol"] == material.name].sum()
        assert layer.sum() * pixel * material.atoms_per_m3 == pytest.approx(atoms, rel=2e-3)


def test_core_losses_see_as_many_atoms_but_blurred(mos2):
    x, y = np.meshgrid(np.linspace(-8e-9, 8e-9, 641), np.linspace(-7e-9, 7e-9, 561))
    sharp, wide = (mos2.structure.thickness_m(x, y, by)[2] for by in ("elastic", "core"))
    assert wide.sum() == pytest.approx(sharp.sum(), rel=2e-3, abs=0)
    assert wide.max() < 0.6 * sharp.max()


def test_heavier_atoms_are_brighter_and_vacancies_darker(mos2):
    truth = mos2.truth()
    here = mos2.image_yield("HAADF", truth["x_m"], truth["y_m"], 0.0)
    molybdenum = here[truth["symbol"] == "Mo"].mean()
    pair = here[(truth["symbol"] == "S") & (truth["atoms"] == 2)].mean()
    single = here[(truth["symbol"] == "S") & (truth["atoms"] == 1)].mean()
    dopant = here[truth["is_rare"]].mean()
    assert molybdenum > pair > 1.8 * single
    assert molybdenum > 2 * dopant


def test_the_dopants_edge_appears_at_dopants_only(mos2):
    truth = mos2.truth()
    loss = next(s.axis for s in mos2.signals if s.name == "EELS_CORE").values()
    spectra = mos2.spectrum("EELS_CORE", truth["x_m"], truth["y_m"], 0.0)
    jump = spectra[:, (loss > 514) & (loss < 530)].mean(axis=1) - spectra[:, (loss > 480) & (loss < 505)].mean(axis=1)
    metal = truth["symbol"] == "Mo"
    assert jump[truth["is_rare"]].min() > 0
    assert np.median(jump[metal]) < 0.05 * np.median(jump[truth["is_rare"]])


def test_deeper_edges_are_more_localised_and_faster_beams_less():
    slow, fast = Electron(60e3), Electron(300e3)
    assert delocalisation_m("V", slow) < delocalisation_m("C", slow) < delocalisation_m("C", fast)


def test_outside_the_crystal_is_vacuum(mos2):
    x, y = np.array([5e-8, -1.0]), np.zeros(2)
    assert not mos2.image_yield("HAADF", x, y, 1e28).any()
    assert not mos2.spectrum("EELS_CORE", x, y, 1e28).any()


def test_mass_loss_darkens_sulphur_columns_by_the_exponential():
    config = Crystal2dConfig(
        extent_m=(6e-9, 6e-9),
        damage=DamageConfig(critical_dose_e_per_m2={"S": 1e27}, contamination_max_m=0.0),
    )
    specimen = build(config)
    truth = specimen.truth()
    pick = truth["symbol"] == "S"
    x, y = truth["x_m"][pick], truth["y_m"][pick]
    index = [e.symbol for e in specimen.elements].index("S")
    fresh, spent = specimen.areal_per_m2(x, y, 0.0), specimen.areal_per_m2(x, y, 2e27)
    assert np.allclose(spent[index], math.exp(-2) * fresh[index], atol=0)
    assert np.all(specimen.image_yield("HAADF", x, y, 2e27) < specimen.image_yield("HAADF", x, y, 0.0))


def test_valence_losses_of_a_damaged_crystal_fade_with_the_lost_element():
    damage = DamageConfig(critical_dose_e_per_m2={"S": 1e27}, contamination_max_m=0.0)
    specimen = build(Crystal2dConfig(extent_m=(6e-9, 6e-9), damage=damage, dopant_fraction=0.0))
    loss = next(s.axis for s in specimen.signals if s.name == "EELS").values()
    window = (loss > 8.0) & (loss < 60.0)
    fresh, some, all_lost = (
        specimen.spectrum("EELS", np.zeros(1), np.zeros(1), dose)[0, window].sum() for dose in (0.0, 1e27, 1e31)
    )
    assert 0.1 * fresh < all_lost < 0.9 * fresh
    # a film of a few atoms scatters once at most, so that losses are linear in what is left
    assert (some - all_lost) / (fresh - all_lost) == pytest.approx(math.exp(-1), rel=0.02)


def test_a_dopant_must_be_foreign_and_known():
    with pytest.raises(ValueError, match="must differ"):
        Crystal2dConfig(dopant="Mo")
    with pytest.raises(ValueError, match="no data"):
        Crystal2dConfig(dopant="Zz")


@pytest.mark.parametrize(
    ("kind", "model"),
    [("catalyst", CatalystConfig), ("nanoparticles", NanoparticlesConfig), ("crystal2d", Crystal2dConfig)],
)
def test_the_kind_selects_the_specimen(kind, model):
    config = TypeAdapter(SpecimenConfig).validate_python({"kind": kind})
    assert type(config) is model
    specimen: Specimen = build(config, voltage_v=100e3)
    assert specimen.name == kind
    assert specimen.extent_m == config.extent_m
    for signal in specimen.signals:
        assert signal.axis.unit == "eV"
        assert signal.axis.name == ("energy" if signal.name == "EDS" else "energy_loss")
        assert specimen.spectrum(signal.name, np.zeros((2, 3)), np.zeros((2, 3)), 0.0).shape == (2, 3, signal.axis.size)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind"):
        TypeAdapter(SpecimenConfig).validate_python({"kind": "banana"})
