"""Features of pixels: patches by brute force, jets blind to rotation, tables that repeat."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from sklearn.decomposition import PCA

from autoscope.errors import DataError
from autoscope.surrogates.features import (
    SAMPLED_PATCHES,
    coordinates,
    describe,
    describe_place,
    jets,
    patches,
    principal_components,
)
from autoscope.surrogates.rings import ring_filters


def image(height=12, width=9, seed=0):
    return np.random.default_rng(seed).normal(size=(height, width))


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_patches_are_cut_around_each_pixel_from_the_image_reflected_at_its_edges(size):
    picture = image()
    found = patches(picture, size)
    assert found.shape == (12 * 9, size, size)

    def mirrored(k, n):
        period = 2 * (n - 1)
        return n - 1 - abs(n - 1 - k % period)

    for i, j in ((0, 0), (11, 8), (5, 4), (1, 7)):
        rows = [mirrored(i - size // 2 + a, 12) for a in range(size)]
        columns = [mirrored(j - size // 2 + b, 9) for b in range(size)]
        np.testing.assert_array_equal(found[i * 9 + j], picture[np.ix_(rows, columns)])


def test_jets_do_not_change_when_the_specimen_is_turned():
    picture = image(16, 16)
    turned = jets(np.rot90(picture).copy()).reshape(16, 16, -1)
    np.testing.assert_allclose(turned, np.rot90(jets(picture).reshape(16, 16, -1)), atol=1e-9)


def test_jets_are_standardised_and_there_are_four_a_scale():
    values = jets(image(20, 30), (1.0, 3.0))
    assert values.shape == (600, 8)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(values.std(axis=0), 1.0, atol=1e-10)


def test_the_laplacian_of_a_bright_disc_is_lowest_at_its_centre():
    y, x = np.mgrid[:31, :31]
    disc = np.exp(-((x - 15) ** 2 + (y - 15) ** 2) / 18.0)
    laplacian = jets(disc, (2.0,))[:, 2].reshape(31, 31)
    assert np.unravel_index(laplacian.argmin(), laplacian.shape) == (15, 15)


def test_principal_components_are_uncorrelated_and_in_order_of_spread():
    rows = np.random.default_rng(0).normal(size=(300, 6)) * [5, 3, 2, 1, 0.5, 0.1]
    scores = principal_components(rows, 4)
    covariance = np.cov(scores.T, bias=True)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0.0, atol=1e-8)
    assert np.diag(covariance)[0] == pytest.approx(1.0)
    assert (np.diff(np.diag(covariance)) < 0).all()


def test_coordinates_grow_with_column_and_row_by_the_same_step():
    place = coordinates(5, 10).reshape(5, 10, 2)
    assert np.diff(place[:, :, 0], axis=1) == pytest.approx(np.sqrt(12) / 10)
    assert np.diff(place[:, :, 1], axis=0) == pytest.approx(np.sqrt(12) / 10)
    assert place.reshape(-1, 2).mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_a_table_names_its_columns_and_repeats_to_the_bit():
    first, second = (describe(image(20, 20), 5, 6) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)
    assert (len(first.components), len(first.jets), len(first.place)) == (6, 12, 2)
    assert sorted((*first.components, *first.jets, *first.place)) == list(range(first.values.shape[1]))


def test_contrast_and_offset_of_the_image_do_not_matter():
    picture = image(20, 20)
    plain, stretched = describe(picture, 5, 6).values, describe(1e4 * picture + 3e5, 5, 6).values
    np.testing.assert_allclose(stretched, plain, atol=2e-6)


def test_only_the_patches_asked_for_are_cut():
    picture, wanted = image(), np.array([0, 50, 107])
    np.testing.assert_array_equal(patches(picture, 4, wanted), patches(picture, 4)[wanted])


def test_principal_components_equal_those_of_scikit_learn_but_for_sign():
    rows = np.random.default_rng(1).normal(size=(400, 9)) * np.linspace(3, 0.5, 9) + 7.0
    theirs = PCA(5).fit_transform(rows)
    np.testing.assert_allclose(np.abs(principal_components(rows, 5)), np.abs(theirs / theirs[:, 0].std()), atol=1e-6)


def test_the_sign_of_a_component_does_not_depend_on_chance():
    rows = np.random.default_rng(2).normal(size=(200, 4)) * [4, 2, 1, 0.5]
    scores = principal_components(rows, 3)
    for k in range(3):  # the column that loads most goes up with the score
        loadings = rows.T @ scores[:, k]
        assert loadings[np.abs(loadings).argmax()] > 0


def test_axes_from_sampled_patches_describe_a_large_image_as_all_patches_would():
    picture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(180, 180)), 1.5)
    assert picture.size > SAMPLED_PATCHES
    found = describe(picture, 5, 3).values[:, :3]
    rows = patches((picture - picture.mean()) / picture.std(), 5).reshape(picture.size, -1)
    theirs = PCA(3).fit_transform(rows)
    for k in range(3):
        assert abs(np.corrcoef(found[:, k], theirs[:, k])[0, 1]) > 0.98


def test_the_memory_needed_beyond_the_table_does_not_grow_with_the_patches():
    picture = np.random.default_rng(0).normal(size=(200, 200))
    describe(picture[:20, :20], 11, 4)  # lazy imports are not ours to count
    tracemalloc.start()
    table = describe(picture, 21, 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.values.dtype == np.float32
    assert peak < 60e6 < 200 * 200 * 21 * 21 * 4  # all patches at once, even in single precision, would not fit


def test_a_quarter_turn_of_the_specimen_leaves_invariant_features_as_they_are():
    picture = image(24, 24)
    upright = describe(picture, 7, 6, rotation_invariant=True)
    turned = describe(np.rot90(picture).copy(), 7, 6, rotation_invariant=True)
    invariant = [*upright.components, *upright.jets]
    expected = np.rot90(upright.values.reshape(24, 24, -1)).reshape(24 * 24, -1)
    np.testing.assert_allclose(turned.values[:, invariant], expected[:, invariant], atol=1e-4)


def test_a_structure_and_its_turned_copy_in_one_image_look_alike_only_if_asked():
    one = ndimage.gaussian_filter(image(24, 24), 0.7)
    both = np.hstack([one, np.rot90(one)])

    def disagreement(rotation_invariant):
        table = describe(both, 7, 6, rotation_invariant=rotation_invariant)
        scores = table.values[:, list(table.components)].reshape(24, 48, -1)
        left, right = np.rot90(scores[:, :24])[4:-4, 4:-4], scores[:, 24:][4:-4, 4:-4]
        return np.abs(left - right).max()

    assert disagreement(True) < 1e-4
    assert disagreement(False) > 0.5


@pytest.mark.parametrize("degrees", [17.0, 45.0])
def test_any_turn_hardly_changes_ring_strengths_in_the_interior(degrees):
    picture = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(81, 81)), 2.0)
    turned = ndimage.rotate(picture, degrees, reshape=False, order=5, mode="reflect")
    filters, centre = ring_filters(11), np.array([40 * 81 + 40])
    offsets = [(0, 0), (6, 3), (-9, 4), (2, -12)]
    angle = np.deg2rad(degrees)
    for dy, dx in offsets:
        # scipy turns counter-clockwise as displayed: output (y, x) shows input R (y, x)
        y, x = np.cos(angle) * dy - np.sin(angle) * dx, np.sin(angle) * dy + np.cos(angle) * dx
        moved = ndimage.shift(turned, (-y, -x), order=5, mode="nearest")
        still = ndimage.shift(picture, (-dy, -dx), order=5, mode="nearest")
        a, b = (filters.strengths(patches(p, 11, centre).reshape(1, -1))[0] for p in (moved, still))
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b)


def test_learnt_columns_are_taken_along_and_must_belong_to_the_image():
    picture, learnt = image(6, 5), np.arange(60.0).reshape(30, 2)
    table = describe(picture, 3, 2, encoded=learnt)
    np.testing.assert_array_equal(table.values[:, list(table.encoder)], learnt)
    assert sorted((*table.components, *table.jets, *table.place, *table.encoder)) == list(range(table.values.shape[1]))
    with pytest.raises(DataError):
        describe(picture, 3, 2, encoded=learnt[1:])


@pytest.mark.parametrize("picture", [np.full((8, 8), 7.0), image(1, 5), image(3, 2)], ids=["flat", "one line", "tiny"])
def test_images_with_little_in_them_give_finite_features(picture):
    assert np.isfinite(describe(picture, 7, 16).values).all()
    for size in (1, 2, 7):
        assert np.isfinite(describe(picture, size, 16, rotation_invariant=True).values).all()


def test_without_an_image_only_the_place_is_known():
    table = describe_place(3, 4)
    assert (table.values.shape, table.components, table.jets, table.place) == ((12, 2), (), (), (0, 1))


@pytest.mark.parametrize("picture", [np.array([[1.0, np.nan]]), np.zeros(5), np.zeros((0, 3))])
def test_what_is_no_image_is_refused(picture):
    with pytest.raises(DataError):
        describe(picture, 3, 2)
