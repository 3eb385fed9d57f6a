"""Features of pixels: patches by brute force, jets blind to rotation, tables that repeat."""

import numpy as np
import pytest

from autoscope.errors import DataError
from autoscope.surrogates.features import coordinates, describe, describe_place, jets, patches, principal_components


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
    np.testing.assert_allclose(np.abs(stretched), np.abs(plain), atol=1e-6)


@pytest.mark.parametrize("picture", [np.full((8, 8), 7.0), image(1, 5), image(3, 2)], ids=["flat", "one line", "tiny"])
def test_images_with_little_in_them_give_finite_features(picture):
    assert np.isfinite(describe(picture, 7, 16).values).all()


def test_without_an_image_only_the_place_is_known():
    table = describe_place(3, 4)
    assert (table.values.shape, table.components, table.jets, table.place) == ((12, 2), (), (), (0, 1))


@pytest.mark.parametrize("picture", [np.array([[1.0, np.nan]]), np.zeros(5), np.zeros((0, 3))])
def test_what_is_no_image_is_refused(picture):
    with pytest.raises(DataError):
        describe(picture, 3, 2)
