"""The order of visiting places."""

import itertools

import numpy as np
import pytest

from autoscope.acquisition.travel import ordered_by_travel, way_m


@pytest.mark.parametrize("count", [0, 1, 2, 5, 7])
def test_few_places_are_visited_on_the_shortest_way_of_all(count):
    rng = np.random.default_rng(count)
    for _ in range(5):
        points, start = rng.normal(size=(count, 2)), rng.normal(size=2)
        ways = [way_m(points, start, np.array(p, dtype=int)) for p in itertools.permutations(range(count))]
        assert way_m(points, start, ordered_by_travel(points, start)) == pytest.approx(min(ways, default=0.0))


def test_places_on_a_line_are_visited_along_it():
    shuffled = np.random.default_rng(0).permutation(30)
    points = np.stack([1e-9 * (1.0 + shuffled), np.zeros(30)], axis=1)
    assert list(shuffled[ordered_by_travel(points, np.zeros(2))]) == list(range(30))


def test_many_places_are_visited_on_a_way_no_reversal_shortens():
    rng = np.random.default_rng(4)
    points, start = rng.uniform(size=(40, 2)), np.zeros(2)
    order = ordered_by_travel(points, start)
    length = way_m(points, start, order)
    for i, j in itertools.combinations(range(41), 2):
        other = np.concatenate([order[:i], order[i:j][::-1], order[j:]])
        assert way_m(points, start, other) >= length - 1e-9
    assert length < 0.35 * way_m(points, start, np.arange(40))


def test_the_way_is_the_sum_of_its_pieces():
    points = np.array([[3.0, 4.0], [3.0, 0.0]])
    assert way_m(points, np.zeros(2), np.array([0, 1])) == 9.0
    assert way_m(points, np.zeros(2), np.array([1, 0])) == 7.0
