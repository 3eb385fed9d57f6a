"""The catalyst: population statistics, what a sharp beam sees of it, and what tells rare particles apart."""

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from autoscope.config import Document
from autoscope.errors import ConfigError, Unsupported
from environments.sample import CatalystConfig, build_specimen
from environments.sample.catalyst_config import HolesConfig, RareConfig, SupportConfig
from environments.sample.damage import DamageConfig
from environments.sample.height import HeightConfig

SMALL = CatalystConfig(extent_m=(6e-6, 6e-6), rare=RareConfig(fraction=0.05))
CLEAN = SupportConfig(holes=None, patch_m=0.0)
SEE_ALL = DamageConfig(contamination_max_m=0.0)


def build(config, seed=0, voltage_v=200e3):
    return build_specimen(config, rng=np.random.default_rng(seed), voltage_v=voltage_v)


@pytest.fixture(scope="module")
def specimen():
    return build(SMALL)


@pytest.fixture(scope="module")
def large():
    return build(CatalystConfig(density_per_m2=4e13, rare=RareConfig(fraction=0.03)), seed=7).truth()


def band(specimen, signal, low_ev, high_ev):
    energy = next(s.axis for s in specimen.signals if s.name == signal).values()
    return (energy >= low_ev) & (energy <= high_ev)


def test_number_of_particles_is_density_times_film(large):
    film = 20e-6**2 - math.pi * np.sum(large["hole_radius_m"] ** 2)
    expected = 4e13 * film
    assert abs(len(large["x_m"]) - expected) < 5 * math.sqrt(expected)


def test_rare_share_is_within_binomial_bounds(large):
    n = len(large["x_m"])
    assert abs(large["is_rare"].sum() - 0.03 * n) < 4 * math.sqrt(0.03 * 0.97 * n)


def test_radii_are_log_normal_about_the_configured_median(large):
    logs = np.log(large["radius_m"][~large["is_rare"]] / 5e-9)
    assert np.median(logs) == pytest.approx(0.0, abs=0.02)
    assert logs.std() == pytest.approx(0.2, abs=0.01)


def test_rare_particles_are_slightly_larger(large):
    rare = large["is_rare"]
    ratio = np.median(large["radius_m"][rare]) / np.median(large["radius_m"][~rare])
    assert ratio == pytest.approx(1.1, abs=0.03)


def test_no_particle_touches_another_or_lies_over_a_hole(large):
    xy = np.column_stack([large["x_m"], large["y_m"]])
    pairs = cKDTree(xy).query_pairs(6e-8, output_type="ndarray")
    gap = np.hypot(*(xy[pairs[:, 0]] - xy[pairs[:, 1]]).T) - large["radius_m"][pairs].sum(axis=1)
    assert gap.min() > 0
    holes = np.column_stack([large["hole_x_m"], large["hole_y_m"]])
    distance = np.hypot(*(xy[:, None] - holes[None]).transpose(2, 0, 1))
    assert np.all(distance > large["hole_radius_m"])


def share_with_rare_neighbour(truth, radius_m=5e-7):
    xy = np.column_stack([truth["x_m"], truth["y_m"]])
    pairs = cKDTree(xy).query_pairs(radius_m, output_type="ndarray")
    both, either = truth["is_rare"][pairs].all(axis=1).sum(), truth["is_rare"][pairs].sum() / 2
    return both / either


def test_rare_particles_cluster_and_independent_ones_do_not(large):
    lone = build(CatalystConfig(density_per_m2=4e13, rare=RareConfig(fraction=0.03, clustering=0.0)), seed=7).truth()
    assert share_with_rare_neighbour(lone) == pytest.approx(0.03, abs=0.008)
    assert share_with_rare_neighbour(large) > 0.045


def test_how_much_rare_particles_cluster_does_not_depend_on_the_context():
    config = CatalystConfig(density_per_m2=4e13, density_contrast=0.0)
    shares = {
        context: sum(
            share_with_rare_neighbour(
                build(config.replace(rare=RareConfig(fraction=0.05, context=context)), seed=seed).truth()
            )
            for seed in (0, 3)
        )
        for context in (0.0, 0.9)
    }
    # a field that were not kept at unit variance would give 1.3
    assert 0.7 < shares[0.9] / shares[0.0] < 1.15


def local_density(truth, radius_m=7e-7):
    xy = np.column_stack([truth["x_m"], truth["y_m"]])
    inner = np.abs(xy).max(axis=1) < 9.3e-6
    counts = np.array([len(found) for found in cKDTree(xy).query_ball_point(xy, radius_m)])
    return counts[inner], truth["is_rare"][inner]


@pytest.mark.parametrize(("context", "sign"), [(0.9, 1), (-0.9, -1)])
def test_visible_density_tells_about_rare_particles_as_configured(context, sign):
    rare = RareConfig(fraction=0.05, context=context)
    counts, is_rare = local_density(build(CatalystConfig(density_per_m2=3e13, rare=rare), seed=11).truth())
    assert sign * (counts[is_rare].mean() - counts[~is_rare].mean()) > 0.1 * counts.mean()


def test_a_sharp_beam_sees_every_particle_at_its_true_place(specimen):
    truth = specimen.truth()
    x, y, radius = truth["x_m"], truth["y_m"], truth["radius_m"]
    alone = cKDTree(np.column_stack([x, y])).query(np.column_stack([x, y]), k=2)[0][:, 1] > 4e-8
    assert alone.mean() > 0.8
    here = specimen.structure.thickness_m(x, y, "elastic")[1:]
    assert np.allclose(here.sum(axis=0), 2 * radius, rtol=1e-6, atol=0)
    assert np.array_equal(here[1] > 0, truth["is_rare"])
    inside, outside = (specimen.structure.thickness_m(x + f * radius, y, "elastic")[1:] for f in (0.99, 1.01))
    assert np.all(inside.sum(axis=0) > 0)
    assert not outside[:, alone].any()
    seen, film = (specimen.image_yield("HAADF", x + f * radius, y, 0.0) for f in (0.0, 1.01))
    assert np.all(seen[alone] > 3 * film[alone])


def test_haadf_of_a_particle_is_the_closed_form():
    specimen = build(SMALL.replace(support=CLEAN, damage=SEE_ALL))
    truth = specimen.truth()
    i = int(np.flatnonzero(~truth["is_rare"])[0])
    radius, offset = truth["radius_m"][i], 0.6 * truth["radius_m"][i]
    film = specimen.image_yield("HAADF", np.array(1.0), np.array(0.0), 0.0)
    found = specimen.image_yield("HAADF", np.array(truth["x_m"][i] + offset), np.array(truth["y_m"][i]), 0.0)
    section = specimen._images.section_m2("HAADF")[[e.symbol for e in specimen.elements].index("Pt")]
    chord = 2 * math.sqrt(radius**2 - offset**2)
    assert 1 - found == pytest.approx((1 - film) * math.exp(-section * 6.62e28 * chord), rel=1e-3)


def test_integrated_contrast_is_the_volume_of_the_particle():
    config = CatalystConfig(extent_m=(2e-6, 2e-6), support=CLEAN, damage=SEE_ALL, rare=RareConfig(fraction=0.0))
    specimen = build(config)
    truth = specimen.truth()
    step = 2e-10
    line = (np.arange(128) - 63.5) * step
    x, y = np.meshgrid(truth["x_m"][0] + line, truth["y_m"][0] + line)
    volume = specimen.structure.thickness_m(x, y, "elastic")[1].sum() * step**2
    inside = np.hypot(truth["x_m"] - truth["x_m"][0], truth["y_m"] - truth["y_m"][0]) < 1e-8
    assert inside.sum() == 1
    assert volume == pytest.approx(4 / 3 * math.pi * truth["radius_m"][0] ** 3, rel=3e-3, abs=0)


def test_holes_are_vacuum_for_every_signal(specimen):
    truth = specimen.truth()
    x, y = truth["hole_x_m"], truth["hole_y_m"]
    for dose in (0.0, 1e28):
        assert not specimen.image_yield("HAADF", x, y, dose).any()
        assert np.all(specimen.image_yield("BF", x, y, dose) == 1.0)
        assert not specimen.spectrum("EDS", x, y, dose).any()
        assert not specimen.spectrum("EELS_CORE", x, y, dose).any()
        low = specimen.spectrum("EELS", x, y, dose)
        assert np.allclose(low[:, ~band(specimen, "EELS", -3.0, 3.0)], 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("signal", "low_ev", "high_ev", "contrast"), [("EDS", 6750, 7150, 3), ("EELS_CORE", 777, 800, 1.3)]
)
def test_rare_particles_stand_out_in_spectra(specimen, signal, low_ev, high_ev, contrast):
    truth = specimen.truth()
    spectra = specimen.spectrum(signal, truth["x_m"], truth["y_m"], 0.0)
    window = spectra[:, band(specimen, signal, low_ev, high_ev)].sum(axis=1)
    rare = truth["is_rare"]
    assert window[rare].mean() > contrast * window[~rare].mean()


def test_rare_particles_hardly_stand_out_in_haadf(specimen):
    truth = specimen.truth()
    here = specimen.image_yield("HAADF", truth["x_m"], truth["y_m"], 0.0)
    rare = truth["is_rare"]
    assert abs(here[rare].mean() - here[~rare].mean()) < 1.0 * here[~rare].std()


def test_rare_eds_signal_is_stoichiometric():
    """Cobalt K over platinum L photons equals the ratio of atoms times the ratio of cross-sections."""
    specimen = build(SMALL.replace(support=CLEAN, rare=RareConfig(fraction=0.2, atomic_fraction=0.4)))
    truth = specimen.truth()
    rare = truth["is_rare"]
    areal = specimen.areal_per_m2(truth["x_m"][rare], truth["y_m"][rare], 0.0)
    symbols = [e.symbol for e in specimen.elements]
    assert np.allclose(areal[symbols.index("Co")] / areal[symbols.index("Pt")], 0.4 / 0.6, rtol=1e-6)


def test_core_shell_particles_hide_the_rare_element_inside():
    rare = RareConfig(structure="core_shell", fraction=0.2, core_radius_fraction=0.6, atomic_fraction=0.5)
    specimen = build(SMALL.replace(support=CLEAN, rare=rare))
    truth = specimen.truth()
    one = np.flatnonzero(truth["is_rare"])[0]
    across = np.array([0.0, 0.5, 0.7, 0.9]) * truth["radius_m"][one]
    thickness = specimen.structure.thickness_m(truth["x_m"][one] + across, np.full(4, truth["y_m"][one]), "core")
    radius = truth["radius_m"][one]
    assert thickness[2, 0] == pytest.approx(2 * 0.6 * radius, rel=1e-9, abs=0)
    assert thickness[1, 0] == pytest.approx(2 * 0.4 * radius, rel=1e-9, abs=0)
    assert thickness[2, 1] > 0
    assert np.all(thickness[2, 2:] == 0)
    assert np.all(thickness[1, 2:] > 0)


def test_patches_cover_the_configured_share():
    config = CatalystConfig(support=SupportConfig(holes=None, patch_share=0.3, patch_length_m=4e-7), density_per_m2=0.0)
    x, y = np.meshgrid(np.linspace(-9.9e-6, 9.9e-6, 300), np.linspace(-9.9e-6, 9.9e-6, 300))
    thickness = build(config).structure.thickness_m(x, y, "elastic")[0]
    assert np.mean(thickness > 1.5e-8) == pytest.approx(0.3, abs=0.04)
    assert thickness.min() == 1.5e-8


def test_beyond_the_extent_empty_support_goes_on(specimen):
    x, y = np.array([4e-6, -5e-5, 1.0]), np.array([0.0, 7e-5, -1.0])
    thickness = specimen.structure.thickness_m(x, y, "elastic")
    assert np.all(thickness[0] >= 1.5e-8)
    assert not thickness[1:].any()
    assert np.all(np.isfinite(specimen.height_m(x, y)))
    for signal in specimen.signals:
        assert np.all(np.isfinite(specimen.spectrum(signal.name, x, y, 0.0)))


def test_height_is_what_was_configured():
    flat = build(SMALL.replace(height=HeightConfig(tilt_x_rad=0.02)))
    assert np.allclose(flat.height_m(np.array([0.0, 1e-6]), np.zeros(2)), [0.0, math.tan(0.02) * 1e-6], atol=0)


def test_dose_removes_the_sensitive_element_and_only_it():
    damage = DamageConfig(critical_dose_e_per_m2={"Co": 1e26}, contamination_max_m=0.0)
    specimen = build(SMALL.replace(damage=damage))
    truth = specimen.truth()
    x, y = truth["x_m"][truth["is_rare"]], truth["y_m"][truth["is_rare"]]
    fresh, spent = specimen.areal_per_m2(x, y, 0.0), specimen.areal_per_m2(x, y, 3e26)
    for i, atom in enumerate(specimen.elements):
        expected = math.exp(-3) if atom.symbol == "Co" else 1.0
        assert np.allclose(spent[i], expected * fresh[i], atol=0)
    assert np.all(specimen.image_yield("HAADF", x, y, 3e26) < specimen.image_yield("HAADF", x, y, 0.0))


def test_contamination_brightens_the_film_slightly(specimen):
    x, y = np.array([1.0]), np.array([0.0])
    fresh, grown = (specimen.image_yield("HAADF", x, y, dose)[0] for dose in (0.0, 1e28))
    assert 1.1 < grown / fresh < 2.0


def test_dose_may_be_a_map(specimen):
    x, y = np.meshgrid(np.linspace(-1e-6, 1e-6, 90), np.linspace(-1e-6, 1e-6, 70))
    dose = np.zeros(x.shape)
    dose[30:, :] = 1e27
    mixed = specimen.image_yield("HAADF", x, y, dose)
    assert np.array_equal(mixed[:30], specimen.image_yield("HAADF", x, y, 0.0)[:30])
    assert np.allclose(mixed[30:], specimen.image_yield("HAADF", x, y, 1e27)[30:], atol=0)


def test_an_image_equals_its_points_one_by_one(specimen):
    x, y = np.meshgrid(np.linspace(-1e-6, 1e-6, 150), np.linspace(0, 2e-6, 130))
    image = specimen.image_yield("HAADF", x, y, 0.0)
    assert image.std() > 0
    assert np.allclose(image.ravel(), specimen.image_yield("HAADF", x.ravel(), y.ravel(), 0.0), rtol=1e-12, atol=0)
    assert image[5, 7] == pytest.approx(float(specimen.image_yield("HAADF", x[5, 7], y[5, 7], 0.0)))


def test_unknown_signals_and_detectors_are_refused(specimen):
    with pytest.raises(Unsupported, match="EDS, EELS, EELS_CORE"):
        specimen.spectrum("CBED", np.zeros(1), np.zeros(1), 0.0)
    with pytest.raises(Unsupported, match="HAADF"):
        specimen.image_yield("ABF", np.zeros(1), np.zeros(1), 0.0)


def test_signals_switched_off_are_absent():
    specimen = build(SMALL.replace(eds=None, low_loss=None))
    assert [s.name for s in specimen.signals] == ["EELS_CORE"]
    with pytest.raises(Unsupported):
        specimen.spectrum("EDS", np.zeros(1), np.zeros(1), 0.0)


def test_too_many_particles_are_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="Lower the density"):
        build(CatalystConfig(extent_m=(4e-7, 4e-7), density_per_m2=1e16, support=CLEAN))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metal": "Xx"}, "no data for this element"),
        ({"metal": "Co"}, "must differ"),
        ({"radius_m": -1.0}, "must be in"),
        ({"radius": "5"}, "unit"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        CatalystConfig(**change)


def test_holes_are_displaced_both_ways_yet_never_merge(large):
    x, y, radius = large["hole_x_m"], large["hole_y_m"], large["hole_radius_m"]
    for position in (x, y):
        off_lattice = (position / 2.5e-6) % 1.0 - 0.5
        off_lattice = np.where(np.abs(off_lattice) > 0.25, off_lattice - np.sign(off_lattice) * 0.5, off_lattice)
        assert 0.03 < off_lattice.std() < 0.2
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1.0 * np.eye(len(x))
    assert np.all(distance > radius[:, None] + radius)


def test_holes_that_leave_no_film_are_refused():
    with pytest.raises(ValueError, match="leave no film"):
        HolesConfig(pitch_m=1e-6, radius_m=6e-7)


def test_people_write_it_with_units_and_it_survives_a_round_trip():
    text = """
kind: catalyst
extent: [8 um, 6 um]
density: 25 um^-2
radius: 4.5 nm
damage: {critical_dose: {Co: 1e8 e/nm^2}}
rare: {element: Ni, structure: core_shell, fraction: 0.02}
eds: {resolution: 135 eV, solid_angle_sr: 0.7}
"""
    config = Document(text, "specimen.yaml").validate(CatalystConfig)
    assert config.extent_m == (8e-6, 6e-6)
    assert config.density_per_m2 == pytest.approx(2.5e13)
    assert config.damage.critical_dose_e_per_m2["Co"] == pytest.approx(1e26)
    assert CatalystConfig.model_validate(config.plain()) == config
