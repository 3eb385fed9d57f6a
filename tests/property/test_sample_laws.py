"""Laws every simulated specimen keeps, whatever its configuration."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.sample import CatalystConfig, Crystal2dConfig, NanoparticlesConfig, build_specimen
from environments.sample.catalyst_config import RareConfig
from environments.sample.damage import DamageConfig

DAMAGE = DamageConfig(critical_dose_e_per_m2={"Co": 1e26, "S": 1e26, "Ag": 1e27}, contamination_max_m=0.0)
CONFIGS = {
    "catalyst": CatalystConfig(extent_m=(2e-6, 2e-6), rare=RareConfig(fraction=0.2)),
    "core_shell": CatalystConfig(extent_m=(2e-6, 2e-6), rare=RareConfig(fraction=0.2, structure="core_shell")),
    "nanoparticles": NanoparticlesConfig(extent_m=(8e-7, 8e-7), count=6),
    "crystal2d": Crystal2dConfig(extent_m=(5e-9, 5e-9)),
}


@functools.cache
def built(name, seed=0, damaged=False):
    config = CONFIGS[name].replace(damage=DAMAGE) if damaged else CONFIGS[name]
    return build_specimen(config, rng=np.random.default_rng(seed), voltage_v=80e3 if name == "crystal2d" else 200e3)


names = st.sampled_from(sorted(CONFIGS))
doses = st.floats(0.0, 1e32)
places = st.lists(st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)), min_size=1, max_size=9)


def positions(specimen, fractions):
    x, y = np.array(fractions).T
    return x * specimen.extent_m[0], y * specimen.extent_m[1]


@given(names, places, doses)
@settings(max_examples=60, deadline=None)
def test_yields_lie_between_zero_and_one_and_share_the_beam(name, fractions, dose):
    specimen = built(name)
    x, y = positions(specimen, fractions)
    haadf, bright = (specimen.image_yield(d, x, y, np.full(x.shape, dose)) for d in ("HAADF", "BF"))
    for seen in (haadf, bright):
        assert seen.shape == x.shape
        assert np.all((seen >= 0) & (seen <= 1))
    assert np.all(haadf + bright <= 1 + 1e-12)


@given(names, places, doses)
@settings(max_examples=60, deadline=None)
def test_spectra_are_finite_non_negative_and_never_more_than_the_beam(name, fractions, dose):
    specimen = built(name)
    x, y = positions(specimen, fractions)
    for signal in specimen.signals:
        counts = specimen.spectrum(signal.name, x, y, dose)
        assert counts.shape == (*x.shape, signal.axis.size)
        assert np.all(np.isfinite(counts))
        assert np.all(counts >= 0)
        assert np.all(counts.sum(axis=-1) <= 1 + 1e-9)


@given(names, st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_the_same_seed_gives_the_same_specimen(name, seed):
    config = CONFIGS[name]
    twins = [build_specimen(config, rng=np.random.default_rng(seed), voltage_v=200e3) for _ in range(2)]
    first, second = (twin.truth() for twin in twins)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    x, y = positions(twins[0], [(0.1, -0.2), (-0.3, 0.4)])
    assert np.array_equal(twins[0].height_m(x, y), twins[1].height_m(x, y))
    assert np.array_equal(*(t.spectrum("EELS", x, y, 0.0) for t in twins))


@given(names, st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_another_seed_gives_another_specimen(name, seed):
    first, second = (
        build_specimen(CONFIGS[name], rng=np.random.default_rng(s), voltage_v=200e3).truth() for s in (seed, seed + 1)
    )
    same = first["x_m"].shape == second["x_m"].shape and np.array_equal(first["x_m"], second["x_m"])
    assert not (same and np.array_equal(first["is_rare"], second["is_rare"]))


@given(names, places)
@settings(max_examples=40, deadline=None)
def test_no_dose_is_pristine(name, fractions):
    fresh, damaged = built(name), built(name, damaged=True)
    x, y = positions(fresh, fractions)
    assert np.array_equal(fresh.image_yield("HAADF", x, y, 0.0), damaged.image_yield("HAADF", x, y, 0.0))
    for signal in fresh.signals:
        assert np.array_equal(fresh.spectrum(signal.name, x, y, 0.0), damaged.spectrum(signal.name, x, y, 0.0))


@given(names, places, doses, doses)
@settings(max_examples=60, deadline=None)
def test_damage_only_ever_removes(name, fractions, one, other):
    specimen = built(name, damaged=True)
    x, y = positions(specimen, fractions)
    less, more = sorted((one, other))
    assert np.all(specimen.areal_per_m2(x, y, more) <= specimen.areal_per_m2(x, y, less))
    before, after = (specimen.image_yield("HAADF", x, y, dose) for dose in (less, more))
    assert np.all(after <= before + 1e-12)
    for signal in ("EDS", "EELS_CORE"):
        if any(s.name == signal for s in specimen.signals):
            counts = [specimen.spectrum(signal, x, y, dose).sum(axis=-1) for dose in (less, more)]
            assert np.all(counts[1] <= counts[0] * (1 + 1e-9))


@given(st.sampled_from(["catalyst", "nanoparticles"]), places, doses, doses)
@settings(max_examples=40, deadline=None)
def test_contamination_only_ever_brightens_what_is_durable(name, fractions, one, other):
    config = CONFIGS[name].replace(damage=DamageConfig())
    specimen = build_specimen(config, rng=np.random.default_rng(1), voltage_v=200e3)
    x, y = positions(specimen, fractions)
    less, more = (specimen.image_yield("HAADF", x, y, dose) for dose in sorted((one, other)))
    assert np.all(more >= less)


@given(names, places)
@settings(max_examples=30, deadline=None)
def test_a_place_has_one_answer_however_it_is_asked(name, fractions):
    specimen = built(name)
    x, y = positions(specimen, fractions)
    together = specimen.image_yield("HAADF", x, y, 0.0)
    alone = [float(specimen.image_yield("HAADF", a, b, 0.0)) for a, b in zip(x, y)]
    assert together == pytest.approx(alone, rel=1e-12, abs=0)


@given(st.floats(0.0, 0.4), st.floats(0.0, 3.0), st.floats(-1.0, 1.0), st.floats(5e12, 5e13), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_rare_share_keeps_its_expectation_for_any_clustering(fraction, clustering, context, density, seed):
    rare = RareConfig(fraction=fraction, clustering=clustering, context=context, cluster_length_m=5e-7)
    config = CatalystConfig(extent_m=(4e-6, 4e-6), density_per_m2=density, rare=rare)
    truth = build_specimen(config, rng=np.random.default_rng(seed), voltage_v=200e3).truth()
    n = len(truth["x_m"])
    # strong clustering saturates the chance of some particles at one, which can only lower the share
    assert truth["is_rare"].sum() <= fraction * n + 6 * np.sqrt(fraction * n) + 3
    if fraction * np.exp(clustering**2 / 2 + 3 * clustering) < 1:
        assert truth["is_rare"].sum() >= fraction * n - 6 * np.sqrt(fraction * n) - 3
