import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage
from scipy.spatial import cKDTree

from autoscope.errors import FrameRejected
from autoscope.perception.image_noise import noise_line
from autoscope.perception.regions import FEATURE_NAMES, ParticleConfig, find_particles
from autoscope.records import Axis, Frame, FrameMeta

SIZE, PIXEL_M = 512, 2e-9


def image_frame(data, pixel_m=PIXEL_M, unit="m"):
    axes = tuple(Axis(name=name, unit=unit, size=size, scale=pixel_m) for name, size in zip("yx", np.shape(data)))
    meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
    return Frame(meta, np.asarray(data, dtype=np.float32))


def support(counts=100.0, holes=(), size=SIZE):
    """A support that varies by a third across the field, with round holes (row, column, radius)."""
    y, x = np.mgrid[:size, :size]
    image = counts * (1.0 + 0.3 * np.sin(3.0 * x / size + 1.0) + 0.2 * y / size)
    for row, column, radius in holes:
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = 0.02 * counts
    return ndimage.gaussian_filter(image, 1.0)


def disc(radius_px, row=0.0, column=0.0, half=12, fine=5):
    """A disc of height one with soft pixels, centred (row, column) off the middle of a (2 half + 1) square."""
    place = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    inside = (place[:, None] - row) ** 2 + (place[None] - column) ** 2 < radius_px**2
    return inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))


def planted(rng, *, count=100, snr=5.0, radii_px=(1.5, 4.0), holes=(), counts=100.0):
    """Discs at ``snr`` pixel noise levels above the support; returns the counted image and (row, column, radius)."""
    image = support(counts, holes)
    noise = np.sqrt(image)
    free = ndimage.distance_transform_edt(image > 0.5 * counts * 0.6)
    placed = []
    while len(placed) < count:
        row, column, radius = rng.uniform(14, SIZE - 15), rng.uniform(14, SIZE - 15), rng.uniform(*radii_px)
        i, j = round(row), round(column)
        apart = all(np.hypot(row - r, column - c) > radius + s + 2.5 for r, c, s in placed)
        if apart and free[i, j] > radius + 2:
            patch = np.s_[i - 12 : i + 13, j - 12 : j + 13]
            image[patch] += snr * noise[i, j] * disc(radius, row - i, column - j)
            placed.append((row, column, radius))
    return rng.poisson(image), np.array(placed)


def found_and_planted(regions, placed):
    """Return the regions' (row, column), and for each the index of the planted particle it lies on (-1: none)."""
    places = np.array([(r.y_m / PIXEL_M + SIZE / 2 - 0.5, r.x_m / PIXEL_M + SIZE / 2 - 0.5) for r in regions])
    distance, index = cKDTree(placed[:, :2]).query(places)
    return places, np.where(distance < np.maximum(placed[index, 2], 1.5), index, -1)


@pytest.mark.parametrize("holes", [(), ((100, 120, 60), (400, 511, 80), (505, 100, 50))])
def test_particles_of_few_pixels_are_found_on_an_uneven_support(holes):
    hits = planted_count = reported = 0
    for seed in range(2):
        image, placed = planted(np.random.default_rng(seed), holes=holes)
        regions = find_particles(image_frame(image))
        _, index = found_and_planted(regions, placed)
        hits += len(set(index[index >= 0]))
        planted_count += len(placed)
        reported += len(regions)
    assert hits / planted_count >= 0.95
    assert hits / reported >= 0.95


@pytest.mark.parametrize("counts", [3.0, 30.0, 1000.0])
def test_pure_noise_holds_no_particles(counts):
    numbers = [len(find_particles(image_frame(np.random.default_rng(s).poisson(counts, (512, 512))))) for s in range(3)]
    assert max(numbers) <= 2


@pytest.mark.parametrize("counts", [5.0, 100.0])
def test_edges_of_holes_are_not_particles(counts):
    image = np.random.default_rng(4).poisson(support(counts, ((100, 120, 60), (400, 511, 80), (505, 100, 50))))
    assert len(find_particles(image_frame(image))) <= 2


def test_centroid_and_radius_are_those_of_the_particle():
    image, placed = planted(np.random.default_rng(1), count=60, snr=15.0, radii_px=(2.5, 5.0))
    regions = find_particles(image_frame(image))
    places, index = found_and_planted(regions, placed)
    on = index >= 0
    assert on.sum() >= 58
    assert np.sqrt(np.square(places[on] - placed[index[on], :2]).mean(axis=0)).max() < 0.15
    radii_px = np.array([r.radius_m / PIXEL_M for r in regions])
    assert np.abs(radii_px[on] / placed[index[on], 2] - 1.0).mean() < 0.1


def test_position_is_measured_from_the_centre_of_the_frame():
    image = np.full((100, 140), 50.0)
    image[28:33, 98:103] += 200.0
    (region,) = find_particles(image_frame(np.random.default_rng(0).poisson(image)), ParticleConfig(max_radius_m=20e-9))
    assert region.x_m == pytest.approx((100 + 0.5 - 70) * PIXEL_M, abs=0.1 * PIXEL_M)
    assert region.y_m == pytest.approx((30 + 0.5 - 50) * PIXEL_M, abs=0.1 * PIXEL_M)


def test_touching_particles_are_told_apart_and_a_large_one_stays_whole():
    image = support(200.0)
    for column, radius in ((100, 4.0), (109, 4.0), (300, 9.0)):
        image[244:269, column - 12 : column + 13] += 300.0 * disc(radius)
    regions = find_particles(image_frame(np.random.default_rng(2).poisson(image)))
    columns = sorted(round(r.x_m / PIXEL_M + SIZE / 2 - 0.5) for r in regions)
    assert columns == [100, 109, 300]


def test_contrast_is_the_height_above_the_support():
    image = np.full((256, 256), 400.0)
    image[116:141, 116:141] += 250.0 * disc(7.0)
    (region,) = find_particles(image_frame(np.random.default_rng(3).poisson(image)))
    assert region.mean_contrast == pytest.approx(250.0, rel=0.1)
    assert region.peak_contrast == pytest.approx(250.0, rel=0.15)


def test_result_does_not_depend_on_gain_and_offset_of_the_detector():
    image, _ = planted(np.random.default_rng(5), count=40)
    plain = find_particles(image_frame(image))
    scaled = find_particles(image_frame(image * 37.0 + 5000.0))
    assert len(scaled) == pytest.approx(len(plain), abs=1)
    assert scaled[0].peak_contrast == pytest.approx(37.0 * plain[0].peak_contrast, rel=0.05)


def test_dark_particles_are_found_when_asked_for():
    image = np.full((200, 200), 400.0)
    image[88:113, 88:113] -= 200.0 * disc(4.0)
    frame = image_frame(np.random.default_rng(0).poisson(image))
    assert find_particles(frame) == ()
    (region,) = find_particles(frame, ParticleConfig(polarity="dark"))
    assert abs(region.x_m) < 2 * PIXEL_M
    assert region.mean_contrast == pytest.approx(200.0, rel=0.2)


def test_fibre_across_the_field_is_not_a_particle():
    image = np.full((300, 300), 100.0)
    image[150:153, 40:260] += 80.0
    assert find_particles(image_frame(np.random.default_rng(0).poisson(image))) == ()


def test_elongation_tells_a_rod_from_a_disc():
    image = np.full((200, 200), 100.0)
    image[38:63, 38:63] += 200.0 * disc(4.0)
    image[148:153, 140:158] += 200.0
    regions = find_particles(image_frame(np.random.default_rng(0).poisson(image)))
    round_one, rod = sorted(regions, key=lambda r: r.eccentricity)
    assert round_one.eccentricity < 0.5 < 0.9 < rod.eccentricity


def test_features_follow_their_names_and_leave_the_position_out():
    image, _ = planted(np.random.default_rng(1), count=5)
    region = find_particles(image_frame(image))[0]
    assert region.features() == tuple(getattr(region, name) for name in FEATURE_NAMES)
    assert not {"x_m", "y_m"} & set(FEATURE_NAMES)


def test_brightest_comes_first():
    image, _ = planted(np.random.default_rng(1), count=30)
    contrasts = [r.peak_contrast for r in find_particles(image_frame(image))]
    assert contrasts == sorted(contrasts, reverse=True)


@pytest.mark.parametrize(
    "frame",
    [
        image_frame(np.full((64, 64), np.nan)),
        image_frame(np.ones((20, 20))),
        image_frame(np.ones((64, 64)), unit="eV"),
        image_frame(np.ones(64)),
    ],
)
def test_what_is_no_usable_image_is_rejected(frame):
    with pytest.raises(FrameRejected):
        find_particles(frame)


def test_image_without_any_variation_holds_no_particles():
    assert find_particles(image_frame(np.zeros((128, 128)))) == ()


def test_radii_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="larger"):
        ParticleConfig(min_radius_m=5e-9, max_radius_m=5e-9)


@pytest.mark.parametrize(("gain", "offset", "read_variance"), [(1.0, 0.0, 0.0), (3.0, 200.0, 0.0), (2.0, -50.0, 100.0)])
def test_noise_line_recovers_gain_and_offset_of_the_detector(gain, offset, read_variance):
    rng = np.random.default_rng(0)
    mean = np.broadcast_to(np.linspace(5.0, 80.0, 512), (512, 512))
    image = gain * rng.poisson(mean) + offset + np.sqrt(read_variance) * rng.normal(size=mean.shape)
    line = noise_line(image.astype(np.float32))
    assert line.gain == pytest.approx(gain, rel=0.05)
    assert line.variance(gain * 40.0 + offset) == pytest.approx(gain**2 * 40.0 + read_variance, rel=0.05)


def test_noise_line_of_one_brightness_passes_through_the_origin():
    line = noise_line(np.random.default_rng(0).poisson(30.0, (256, 256)).astype(np.float32))
    assert line.intercept == 0.0
    assert line.gain == pytest.approx(1.0, rel=0.05)


def test_noise_line_of_an_image_around_zero_is_level():
    line = noise_line(np.random.default_rng(0).normal(0.0, 3.0, (256, 256)).astype(np.float32))
    assert line.gain == 0.0
    assert line.intercept == pytest.approx(9.0, rel=0.05)


def test_stabilised_image_has_unit_noise_and_comes_back():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(2.0 * rng.poisson(np.linspace(20.0, 200.0, 512), (512, 512)), 1.5)
    line = noise_line((2.0 * rng.poisson(np.linspace(20.0, 200.0, 512), (512, 512))).astype(np.float32))
    power = 1.0 / (4.0 * np.pi * 1.5**2)
    scaled = line.stabilised(smooth.astype(np.float32), power)
    spread = (scaled - scaled.mean(axis=0)).std(axis=0)
    assert spread[:100].mean() == pytest.approx(1.0, rel=0.1)
    assert spread[-100:].mean() == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(line.restored(scaled, power), smooth, rtol=1e-3)


@pytest.mark.filterwarnings("error")
def test_particles_beside_vacuum_that_is_black_beyond_what_was_digitised_are_found():
    rng, image, placed = np.random.default_rng(3), np.zeros((SIZE, SIZE)), []
    image[:, 340:] = 20.0
    for row, column in ((r, c) for r in range(40, SIZE - 30, 60) for c in (380, 440)):
        image[row - 12 : row + 13, column - 12 : column + 13] += 40.0 * disc(5.0, 0.3, -0.2)
        placed.append((row + 0.3, column - 0.2, 5.0))
    regions = find_particles(image_frame(rng.poisson(image)), ParticleConfig(max_radius_m=20e-9))
    _, on = found_and_planted(regions, np.array(placed))
    assert set(on) >= set(range(len(placed)))
    assert len(regions) <= 1.2 * len(placed)


@pytest.mark.filterwarnings("error")
def test_an_image_of_one_value_has_a_level_line_and_no_particles():
    assert noise_line(np.full((64, 64), 7.0, dtype=np.float32)).gain == 0.0
    assert find_particles(image_frame(np.full((64, 64), 7.0)), ParticleConfig()) == ()
