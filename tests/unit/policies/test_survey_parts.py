import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist

from autoscope.perception.constellation import match
from autoscope.perception.focus_map import FocusMap
from autoscope.perception.regions import Region
from autoscope.records import Axis, Frame, FrameMeta, MicroscopeState
from policies.focus import FocusConfig, FocusSearch
from policies.survey.catalogue import MAX_TRIES, Catalogue
from policies.survey.config import AreaConfig, ExampleConfig, KeepFocusConfig, TileConfig
from policies.survey.focus_pair_series import FocusPairSeries
from policies.survey.keep_focus import KeepFocus
from policies.survey.likeness import Likeness
from policies.survey.ranking import Ranking, threshold, unlike_each_other
from policies.survey.tiles import core_m, tile_centres_m

lengths = st.floats(0.3e-6, 20e-6)


@given(lengths, lengths, st.floats(0.5e-6, 3e-6), st.floats(0, 0.3))
def test_tiles_cover_the_area_and_their_cores_divide_it(width_m, height_m, fov_m, overlap):
    area = AreaConfig(x_m=(0.0, width_m), y_m=(-height_m, 0.0))
    tile = TileConfig(fov_m=fov_m, overlap=overlap)
    centres, core = tile_centres_m(area, tile), core_m(area, tile)
    assert len(centres) * core[0] * core[1] == pytest.approx(width_m * height_m)
    assert max(core) <= fov_m * (1 - overlap) * (1 + 1e-6)
    assert centres[:, 0].min() - core[0] / 2 == pytest.approx(0.0, abs=1e-12)
    assert centres[:, 1].max() + core[1] / 2 == pytest.approx(0.0, abs=1e-12)


def test_the_serpentine_never_moves_by_more_than_one_tile():
    centres = tile_centres_m(AreaConfig(x_m=(0.0, 9e-6), y_m=(0.0, 5e-6)), TileConfig(fov_m=1e-6, overlap=0.0))
    steps = np.abs(np.diff(centres, axis=0)).sum(axis=1)
    assert np.allclose(steps, 1e-6)


def scattered(seed, n=40, size_m=1e-6):
    return np.random.default_rng(seed).uniform(-size_m / 2, size_m / 2, (n, 2))


@given(st.integers(0, 99), st.floats(-1.4e-7, 1.4e-7), st.floats(-1.4e-7, 1.4e-7))
def test_a_displacement_is_found_among_missing_extra_and_jittered_particles(seed, dx_m, dy_m):
    rng = np.random.default_rng(seed)
    reference = scattered(seed)
    kept = reference[rng.random(len(reference)) > 0.2]
    found = np.vstack([kept + np.array([dx_m, dy_m]) + rng.normal(0, 1e-9, kept.shape), scattered(seed + 1000, 6)])
    agreed = match(reference, found, reach_m=150e-9, tolerance_m=5e-9)
    assert agreed.dx_m == pytest.approx(dx_m, abs=2e-9)
    assert agreed.dy_m == pytest.approx(dy_m, abs=2e-9)
    assert agreed.confidence > 0.5


@pytest.mark.parametrize("seed", range(10))
def test_two_unrelated_fields_are_not_taken_for_the_same(seed):
    agreed = match(scattered(seed), scattered(seed + 500), reach_m=150e-9, tolerance_m=5e-9)
    assert agreed.confidence < 0.3


def test_an_empty_field_gives_no_confidence():
    assert match(np.zeros((0, 2)), scattered(1), reach_m=1e-7, tolerance_m=5e-9).confidence == 0.0


def test_the_focus_map_learns_a_tilted_bumpy_sample_and_knows_where_it_does_not_know():
    def height(x_m, y_m):
        return 0.01 * x_m - 0.006 * y_m + 60e-9 * np.sin(x_m / 3e-6)

    learnt = FocusMap(length_m=6e-6, amplitude_m=200e-9, noise_m=20e-9)
    assert learnt.predict(0.0, 0.0)[1] == float("inf")
    for x_m, y_m in np.random.default_rng(0).uniform(-10e-6, 10e-6, (25, 2)):
        learnt.add(float(x_m), float(y_m), float(height(x_m, y_m)))
    errors = [learnt.predict(x, y)[0] - height(x, y) for x, y in np.random.default_rng(1).uniform(-8e-6, 8e-6, (50, 2))]
    assert np.std(errors) < 40e-9
    assert learnt.predict(0.0, 0.0)[1] < learnt.predict(60e-6, 60e-6)[1]


def series(search, peak_m, width_m=750e-9):
    while (defocus_m := search.next_defocus_m()) is not None:
        search.tell(defocus_m, float(np.exp(-(((defocus_m - peak_m) / width_m) ** 2))))
    return search


@settings(deadline=None)
@given(st.floats(-1.5e-6, 1.5e-6))
def test_a_focus_series_finds_a_peak_even_beyond_its_first_span(peak_m):
    search = series(FocusSearch(FocusConfig(max_images=12), 0.0), peak_m)
    best_m, _, trusted = search.best()
    assert trusted
    assert best_m == pytest.approx(peak_m, abs=120e-9)
    assert len(search.seen) <= 12


def test_a_series_over_an_empty_field_ends_early_and_is_not_trusted():
    search = FocusSearch(FocusConfig(), 0.0)
    while (defocus_m := search.next_defocus_m()) is not None:
        search.tell(defocus_m, 0.0)
    assert len(search.seen) == FocusConfig().images
    assert not search.best()[2]


def pictured(data, pixel_m=2.6e-9):
    axes = tuple(Axis(name=n, unit="m", size=s, scale=pixel_m) for n, s in zip("yx", data.shape, strict=True))
    return Frame(FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0), data)


def probed(rng, defocus_m, astigmatism_m, *, pixel_m=2.6e-9, alpha_rad=10e-3):
    """Return scattered dots seen with a Gaussian probe of a defocus and an astigmatism (0 degrees)."""
    dots = np.zeros((256, 256))
    dots[tuple(np.random.default_rng(5).integers(0, 256, (2, 120)))] = 400.0
    k_y, k_x = (np.fft.fftfreq(256, pixel_m) for _ in "yx")
    rays_x, rays_y = (defocus_m + s * astigmatism_m for s in (1, -1))
    damped = np.exp(-0.5 * (np.pi * alpha_rad) ** 2 * ((rays_x * k_x[None]) ** 2 + (rays_y * k_y[:, None]) ** 2))
    sharp = np.exp(-2.0 * (np.pi * 1.5 * pixel_m) ** 2 * (k_x[None] ** 2 + k_y[:, None] ** 2))
    image = np.fft.ifft2(np.fft.fft2(dots) * damped * sharp).real
    return image + 0.2 * rng.standard_normal(image.shape)


@pytest.mark.parametrize(("focus_m", "astigmatism_m"), [(0.0, 0.0), (120e-9, 0.0), (-200e-9, 150e-9)])
def test_two_images_tell_focus_and_astigmatism(focus_m, astigmatism_m):
    series, rng = FocusPairSeries(0.0, 600e-9, 200e-9, 150e-9), np.random.default_rng(1)
    while (defocus_m := series.next_defocus_m()) is not None:
        frame = pictured(probed(rng, defocus_m - focus_m, astigmatism_m))
        series.tell(frame, MicroscopeState(time_s=0.0, defocus_m=defocus_m, convergence_rad=10e-3))
        series = FocusPairSeries.restored(series.state())
    found = series.best()
    assert found.trusted
    assert found.defocus_m == pytest.approx(focus_m, abs=60e-9)
    assert found.stigmators_m[0] == pytest.approx(-astigmatism_m, abs=60e-9)


def test_a_pair_over_an_empty_field_is_not_trusted():
    series, rng = FocusPairSeries(50e-9, 600e-9, 200e-9, 50e-9), np.random.default_rng(1)
    while (defocus_m := series.next_defocus_m()) is not None:
        state = MicroscopeState(time_s=0.0, defocus_m=defocus_m, convergence_rad=10e-3)
        series.tell(pictured(100.0 + rng.standard_normal((128, 128))), state)
    assert not series.best().trusted


def test_focus_is_kept_with_few_series_once_the_height_map_is_known():
    config = KeepFocusConfig(pairs=False)
    grain = np.random.default_rng(0).standard_normal((96, 96))
    keep, series_taken, errors = KeepFocus(config), 0, []
    for x_m, y_m in tile_centres_m(AreaConfig(), TileConfig(fov_m=2e-6)):
        truth = -(0.01 * x_m + 50e-9 * np.sin(y_m / 3e-6)) - 300e-9
        keep.arrive(float(x_m), float(y_m))
        imaged = False
        while keep.busy:
            decision = keep.next_decision("tile")
            if decision.action.kind == "set_optics":
                keep.told_setting(decision.action.defocus_m)
                current = decision.action.defocus_m
            else:
                imaged = True
                blurred = gaussian_filter(grain, 1.0 + 3.0 * abs(current - truth) / 1e-6, mode="wrap")
                keep.told_image(pictured(blurred), MicroscopeState(time_s=0.0, defocus_m=current))
        series_taken += imaged
        errors.append(abs(current - truth))
    assert series_taken < 0.3 * len(errors)
    assert np.quantile(errors, 0.95) < config.tolerance_m


def region(x_m, y_m, bright=1.0):
    return Region(
        x_m=x_m, y_m=y_m, area_m2=1e-16, radius_m=5e-9 * bright, mean_contrast=bright, peak_contrast=2 * bright,
        snr=9.0, eccentricity=0.1,
    )  # fmt: skip


def filled(n=200, seed=0):
    rng = np.random.default_rng(seed)
    catalogue = Catalogue()
    for tile in range(4):
        centre = (float(tile % 2) * 2e-6, float(tile // 2) * 2e-6)
        spots = rng.uniform(-1e-6, 1e-6, (n // 4, 2))
        catalogue.add(tile, centre, [region(float(x), float(y), float(rng.uniform(0.5, 2))) for x, y in spots])
    return catalogue


def test_particles_keep_their_numbers_and_stage_positions():
    catalogue = Catalogue()
    assert catalogue.add(0, (1e-6, 2e-6), [region(1e-7, 2e-7)]) == [0]
    assert catalogue.add(3, (0.0, 0.0), [region(0.0, 0.0), region(1e-8, 0.0)]) == [1, 2]
    assert catalogue.column("x")[0] == pytest.approx(1.1e-6)
    assert catalogue.in_tile(3).tolist() == [1, 2]
    assert catalogue.offset_m(0) == (1e-7, 2e-7)


def test_measured_and_often_missed_particles_are_no_longer_open():
    catalogue = filled(8)
    catalogue.record(3, 1.0, 0.1)
    for _ in range(MAX_TRIES):
        catalogue.missed(5)
    catalogue.missed(6)
    assert np.flatnonzero(~catalogue.open()).tolist() == [3, 5]


def auc(score, label):
    """Area under the receiver operating characteristic: the chance that a positive outranks a negative."""
    order = np.argsort(np.argsort(score))
    n = label.sum()
    return (order[label].sum() - n * (n - 1) / 2) / n / (len(label) - n)


def test_the_ranking_learns_that_a_region_and_a_look_matter():
    catalogue = filled(800)
    x, bright = catalogue.column("x"), catalogue.features()[:, 1]
    rng = np.random.default_rng(1)
    interesting = rng.random(len(catalogue)) < np.where((x > 1e-6) & (bright > np.median(bright)), 0.3, 0.02)
    for particle in rng.permutation(len(catalogue))[:250]:
        catalogue.record(int(particle), float(100.0 * interesting[particle] + rng.normal(0, 1.0)), 1.0)
    ranking = Ranking(400, 2e-6, 0)
    ranking.take_in(catalogue)
    chance, std = ranking.probability(catalogue)
    still = catalogue.open()
    assert auc(chance[still], interesting[still]) > 0.7
    assert ((chance > 0) & (chance <= 1) & (std > 0)).all()
    assert np.mean(chance[still]) == pytest.approx(np.mean(interesting[still]), abs=0.05)


def test_a_few_finds_do_not_make_certainties_of_their_neighbours():
    catalogue = filled(400)
    for particle in range(100):
        catalogue.record(particle, 100.0 if particle in (3, 40, 77) else float(particle % 7), 1.0)
    ranking = Ranking(400, 2e-6, 0)
    ranking.take_in(catalogue)
    assert ranking.probability(catalogue)[0].max() < 0.3


def test_the_target_expected_lies_between_common_and_interesting_values():
    catalogue = filled(400)
    for particle in range(100):
        catalogue.record(particle, 100.0 if particle % 20 == 3 else float(particle % 7), 1.0)
    ranking = Ranking(400, 2e-6, 0)
    ranking.take_in(catalogue)
    chance, mean, std = ranking.expected(catalogue, [200, 300])
    assert ((mean > 3.0) & (mean < 100.0)).all()
    assert np.allclose(chance, ranking.probability(catalogue)[0][[200, 300]])
    assert (std >= np.sqrt(chance * (1 - chance)) * 90).all()


@pytest.mark.parametrize(("finds", "counted"), [(5, 5), (1, 11)])
def test_what_stands_out_is_interesting_and_where_too_few_do_the_upper_tenth(finds, counted):
    values = np.random.default_rng(0).normal(0.0, 1.0, 101)
    values[:finds] = 50.0
    assert int(np.sum(values > threshold(values, np.ones(101)))) == pytest.approx(counted, abs=1)


def test_the_ranking_is_a_function_of_what_was_measured_in_order_and_survives_its_state():
    catalogue = filled(200)
    for particle in range(60):
        catalogue.record(particle, float(np.sin(particle)), 0.1)
    one, two = Ranking(40, 2e-6, 7), Ranking(40, 2e-6, 7)
    one.take_in(catalogue)
    catalogue.record(150, 9.0, 0.1)
    two.restore(one.state(), catalogue)
    for a, b in zip(one.probability(catalogue), two.probability(catalogue), strict=True):
        assert np.array_equal(a, b)
    assert one.data_sha256 == two.data_sha256


def test_with_little_data_all_particles_are_alike():
    catalogue = filled(40)
    catalogue.record(0, 5.0, 0.1)
    ranking = Ranking(40, 2e-6, 7)
    ranking.take_in(catalogue)
    assert not ranking.ready
    assert len(set(ranking.probability(catalogue)[0])) == 1


def test_scouts_are_more_unlike_each_other_than_a_random_choice():
    features = np.random.default_rng(3).normal(size=(60, 4))
    chosen = unlike_each_other(features, 6)
    assert len(set(chosen)) == 6
    random = [pdist(features[np.random.default_rng(k).permutation(60)[:6]]).min() for k in range(50)]
    assert pdist(features[chosen]).min() > np.quantile(random, 0.95)
    assert unlike_each_other(features[:0], 3) == []


def test_particles_like_the_operators_examples_come_first_with_the_reason():
    catalogue = filled(400)
    bright = catalogue.features()[:, 1]
    best, worst = int(np.argmax(bright)), int(np.argmin(bright))
    places = [(catalogue.column("x")[k], catalogue.column("y")[k]) for k in (best, worst)]
    examples = [
        ExampleConfig(x_m=float(x) + 20e-9, y_m=float(y), interesting=k == 0) for k, (x, y) in enumerate(places)
    ]
    likeness = Likeness(examples, 100e-9)
    alike = likeness.probability(catalogue)
    assert auc(alike, bright > np.quantile(bright, 0.9)) > 0.95
    assert "like the 1 examples" in likeness.reason(catalogue, best)
    assert Likeness((), 100e-9).probability(catalogue) is None
    assert Likeness([ExampleConfig(x_m=1.0, y_m=1.0)], 100e-9).probability(catalogue) is None


def test_the_tile_of_an_example_is_seen_first():
    centres = tile_centres_m(AreaConfig(), TileConfig(fov_m=2e-6))
    likeness = Likeness([ExampleConfig(x_m=9.1e-6, y_m=9.2e-6)], 100e-9)
    (tile,) = likeness.tiles(centres)
    assert np.abs(centres[tile] - [9.1e-6, 9.2e-6]).max() < 1.1e-6


def test_what_focus_takes_up_replaces_what_it_knew_instead_of_adding_to_it():
    keeper = KeepFocus(KeepFocusConfig())
    keeper._map.add(0.0, 0.0, 1e-7)
    keeper._map.add(1e-6, 0.0, 2e-7)
    for _ in range(3):
        keeper.restore(keeper.state())
    assert keeper._map.points == [(0.0, 0.0, 1e-7), (1e-6, 0.0, 2e-7)]
