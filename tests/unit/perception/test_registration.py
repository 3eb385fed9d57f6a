import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from autoscope.errors import FrameRejected
from autoscope.perception.registration import Shift, register
from autoscope.records import Axis, Frame, FrameMeta

SIZE = 128
STEP_M = 2e-9


def scene(points, dy, dx, *, height=60.0, base=20.0, width=1.5):
    """Spots on an even base, moved by (dy, dx) pixels."""
    place = np.arange(SIZE)
    rows = np.exp(-0.5 * ((place[:, None] - points[:, 0] - dy) / width) ** 2)
    columns = np.exp(-0.5 * ((place[:, None] - points[:, 1] - dx) / width) ** 2)
    return base + height * rows @ columns.T


def points(seed, count=250):
    return np.random.default_rng(seed).uniform(-SIZE / 2, 1.5 * SIZE, (count, 2))


def counted(seed, where, dy=0.0, dx=0.0, **options):
    return np.random.default_rng(seed).poisson(scene(where, dy, dx, **options))


def image_frame(data, pixel_m=STEP_M):
    axes = tuple(Axis(name=name, unit="m", size=size, scale=pixel_m) for name, size in zip("yx", data.shape))
    meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
    return Frame(meta, data)


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (3.0, -5.0), (0.4, 0.3), (-20.7, 11.2), (40.25, 30.5)])
def test_feature_at_x_in_the_reference_is_at_x_plus_dx_in_the_image(dy, dx):
    where = points(1)
    shift = register(counted(2, where), counted(3, where, dy, dx), STEP_M)
    assert shift.dx_m / STEP_M == pytest.approx(dx, abs=0.15)
    assert shift.dy_m / STEP_M == pytest.approx(dy, abs=0.15)
    assert shift.confidence > 0.5


def test_growing_column_index_is_positive_x():
    reference, image = np.zeros((64, 64)), np.zeros((64, 64))
    reference[30:34, 20:24], image[30:34, 25:29] = 100.0, 100.0
    shift = register(reference, image, 1.0)
    assert (round(shift.dx_m), round(shift.dy_m)) == (5, 0)


def test_sub_pixel_shift_is_as_good_as_that_of_scikit_image():
    errors, oracle = [], []
    for seed in range(8):
        where, (dy, dx) = points(seed), np.random.default_rng(seed).uniform(-4, 4, 2)
        pair = counted(seed + 50, where), counted(seed + 90, where, dy, dx)
        shift = register(*pair, 1.0)
        theirs = -phase_cross_correlation(*pair, upsample_factor=50, normalization=None)[0]
        errors.append(np.hypot(shift.dy_m - dy, shift.dx_m - dx))
        oracle.append(np.hypot(theirs[0] - dy, theirs[1] - dx))
    assert np.mean(errors) < 0.1
    assert np.mean(errors) < np.mean(oracle) + 0.02


def test_swapping_the_images_turns_the_shift_round():
    where = points(4)
    one, other = counted(5, where), counted(6, where, 7.3, -2.6)
    there, back = register(one, other, 1.0), register(other, one, 1.0)
    assert there.dx_m == pytest.approx(-back.dx_m, abs=0.05)
    assert there.dy_m == pytest.approx(-back.dy_m, abs=0.05)


def test_noise_alone_gives_low_confidence():
    pairs = [(np.random.default_rng(s).poisson(20.0, (2, SIZE, SIZE))) for s in range(6)]
    assert max(register(a, b, 1.0).confidence for a, b in pairs) < 0.3


def test_perfect_lattice_gives_low_confidence():
    grid = np.stack(np.meshgrid(np.arange(-40, 180, 16.0), np.arange(-40, 180, 16.0)), axis=-1).reshape(-1, 2)
    shift = register(counted(1, grid), counted(2, grid, 3.3, -2.2), 1.0)
    assert shift.confidence < 0.3


def test_other_specimen_gives_low_confidence():
    assert register(counted(1, points(1)), counted(2, points(2)), 1.0).confidence < 0.35


def test_other_brightness_contrast_and_shading_do_not_matter():
    where = points(7)
    shading = np.linspace(0.0, 200.0, SIZE)
    shift = register(counted(8, where), 3.0 * counted(9, where, 5.0, 9.0) + 500.0 + shading, 1.0)
    assert (shift.dy_m, shift.dx_m) == (pytest.approx(5.0, abs=0.2), pytest.approx(9.0, abs=0.2))


def test_frames_bring_their_own_pixel_size():
    where = points(1)
    pair = counted(2, where), counted(3, where, 2.0, -4.0)
    frames = (image_frame(data) for data in pair)
    assert register(*frames) == register(*pair, STEP_M)


def test_images_that_are_not_square_are_registered():
    where = points(1)
    shift = register(counted(2, where)[:80], counted(3, where, 4.0, 10.0)[:80], 1.0)
    assert (shift.dy_m, shift.dx_m) == (pytest.approx(4.0, abs=0.2), pytest.approx(10.0, abs=0.2))


@pytest.mark.parametrize(
    ("reference", "image", "pixel_m"),
    [
        (np.ones((64, 64)), np.eye(64), 1.0),
        (np.eye(64), np.eye(32), 1.0),
        (np.eye(8), np.eye(8), 1.0),
        (np.eye(64), np.full((64, 64), np.nan), 1.0),
        (np.eye(64), np.eye(64), None),
        (image_frame(np.eye(64)), image_frame(np.eye(64), 1e-9), None),
    ],
)
def test_pairs_that_cannot_be_compared_are_rejected(reference, image, pixel_m):
    with pytest.raises(FrameRejected):
        register(reference, image, pixel_m)


def test_shift_is_a_plain_value():
    shift = register(np.eye(64), np.eye(64), 1.0)
    assert Shift.model_validate_json(shift.model_dump_json()) == shift
