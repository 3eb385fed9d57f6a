"""What an encoder learns from an image alone: textures apart, turned structures alike, the same for a seed."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from autoscope.errors import DataError
from autoscope.surrogates.encoder import STRIP_PX, Encoder, Training, encode, vicreg
from autoscope.surrogates.features import patches

QUICK = Training(steps=12)


def texture(shape, sigma, seed):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (field - field.mean()) / field.std()


def purity(features, labels, k=5):
    """Return the share of the k nearest neighbours that have one's own label."""
    distance = cdist(features, features)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :k]
    return (labels[nearest] == labels[:, None]).mean()


@pytest.mark.parametrize("rotation_invariant", [False, True])
def test_two_textures_of_equal_contrast_are_told_apart_better_than_by_their_pixels(rotation_invariant):
    side, patch = 108, 11
    picture = np.hstack([texture((side, side // 2), 1.0, 0), texture((side, side // 2), 2.0, 1)])
    picture += 0.3 * np.random.default_rng(2).normal(size=picture.shape)
    learnt = encode(picture, patch, 6, np.random.default_rng(0), rotation_invariant=rotation_invariant, training=QUICK)
    at = np.arange(patch // 2 + 1, side, patch + 1)  # patches that do not overlap, or neighbours would be twins
    y, x = (a.ravel() for a in np.meshgrid(at, at[np.abs(at - side // 2) > patch // 2], indexing="ij"))
    pixels, labels = y * side + x, x > side // 2
    raw = patches(picture, patch, pixels).reshape(len(pixels), -1)
    ours, theirs = purity(learnt[pixels], labels), purity(raw, labels)
    assert ours > 0.75
    assert ours > theirs + 0.2


def test_a_seed_gives_the_same_features_to_the_bit_and_leaves_the_global_generator_alone():
    picture = texture((30, 25), 1.5, 0)
    before = torch.random.get_rng_state()
    first, second, other = (
        encode(picture, 7, 4, np.random.default_rng(s), training=Training(steps=5)) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1
    assert torch.equal(torch.random.get_rng_state(), before)


def test_features_are_uncorrelated_single_precision_and_the_most_reliable_comes_first():
    learnt = encode(texture((31, 20), 1.5, 0), 5, 3, np.random.default_rng(0), training=QUICK)
    assert (learnt.shape, learnt.dtype) == ((620, 3), np.float32)
    np.testing.assert_allclose(learnt.mean(axis=0), 0.0, atol=1e-5)
    spread = learnt.std(axis=0)
    assert spread[0] == pytest.approx(1.0, abs=1e-4)
    assert (np.diff(spread) <= 0).all()
    np.testing.assert_allclose(np.corrcoef(learnt.T), np.eye(3), atol=1e-4)


def disagreement(rotation_invariant, quarter_turns=1):
    """Return how differently a structure and its turned copy, side by side in one image, are described."""
    one = texture((48, 48), (3.0, 0.7), 5)
    both = np.hstack([one, np.rot90(one, quarter_turns)])
    learnt = encode(both, 7, 4, np.random.default_rng(0), rotation_invariant=rotation_invariant, training=QUICK)
    described = learnt.reshape(48, 96, 4)
    left, right = np.rot90(described[:, :48], quarter_turns), described[:, 48:]
    return np.abs(left - right)[8:-8, 8:-8].mean()


def test_a_structure_turned_by_a_quarter_is_described_alike_if_and_only_if_asked():
    assert disagreement(True) < 1e-3
    assert disagreement(False) > 0.1


def test_the_best_features_of_a_structure_turned_by_any_angle_are_more_alike_if_asked():
    one = texture((80, 80), (3.0, 0.7), 5)
    both = np.hstack([one, ndimage.rotate(one, 45.0, reshape=False, order=3, mode="reflect")])

    def difference(rotation_invariant):
        learnt = encode(
            both, 9, 4, np.random.default_rng(0), rotation_invariant=rotation_invariant, training=Training(steps=40)
        )
        left, right = np.split(learnt.reshape(80, 160, 4)[:, :, :2], 2, axis=1)
        back = np.stack([ndimage.rotate(right[:, :, k], -45.0, reshape=False, order=1) for k in range(2)], axis=2)
        return np.abs(left - back)[26:-26, 26:-26].mean()

    assert difference(True) < 0.7 * difference(False)


def test_strips_of_a_large_image_join_without_a_seam():
    torch.manual_seed(0)
    network = Encoder(7, 3)
    from autoscope.surrogates.encoder import _strips

    padded = torch.randn(STRIP_PX + 20 + 2 * network.halo, 30)
    with torch.no_grad():
        torch.testing.assert_close(_strips(network, padded), network(padded[None, None])[0])


def test_the_loss_is_zero_only_for_equal_descriptions_of_unit_spread_without_repetition():
    rows = torch.as_tensor(np.linalg.qr(np.random.default_rng(0).normal(size=(500, 4)))[0])
    rows = rows - rows.mean(0)
    rows = torch.linalg.qr(rows)[0] * np.sqrt(500 * 1.01)
    assert float(vicreg(rows, rows)) == pytest.approx(0.0, abs=1e-6)
    assert float(vicreg(rows, rows.roll(1, 0))) > 10.0  # other places
    assert float(vicreg(0.1 * rows, 0.1 * rows)) > 10.0  # collapsed
    repeated = rows[:, [0, 0, 0, 0]]
    assert float(vicreg(repeated, repeated)) > 1.0


@pytest.mark.parametrize("picture", [np.full((12, 12), 3.0), np.ones((1, 9)), np.arange(6.0).reshape(3, 2)])
@pytest.mark.parametrize("rotation_invariant", [False, True])
def test_images_with_little_in_them_give_finite_features(picture, rotation_invariant):
    learnt = encode(
        picture, 7, 3, np.random.default_rng(0), rotation_invariant=rotation_invariant, training=Training(steps=3)
    )
    assert np.isfinite(learnt).all()


@pytest.mark.parametrize("picture", [np.array([[1.0, np.nan]]), np.zeros(5), np.zeros((0, 3))])
def test_what_is_no_image_is_refused(picture):
    with pytest.raises(DataError):
        encode(picture, 3, 2, np.random.default_rng(0))
