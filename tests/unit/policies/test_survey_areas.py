"""Several areas, the order of tiles, and what is chosen where there is not time for all."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.survey.config import AreaConfig, SurveyConfig, TileConfig
from policies.survey.reconnaissance import Reconnaissance
from policies.survey.tiles import count_of, tiles_of

TILE = TileConfig(fov_m=1e-6, overlap=0.0)


def area(x_um, y_um, side_um=3.0):
    return AreaConfig(x_m=(x_um * 1e-6, (x_um + side_um) * 1e-6), y_m=(y_um * 1e-6, (y_um + side_um) * 1e-6))


def way_m(tiles):
    return float(np.hypot(*np.diff(tiles.centres_m, axis=0).T).sum())


places = st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=1, max_size=9, unique=True)


@settings(max_examples=40, deadline=None)
@example([area(0.0, -124.0), area(-32.0, -108.0), area(-40.0, 0.0)])
@given(places.map(lambda given: [area(4.0 * x, 4.0 * y) for x, y in given]))
def test_every_area_is_covered_once_and_the_way_by_travel_is_never_longer(areas):
    given_, short = (tiles_of(areas, TILE, by_travel=how) for how in (False, True))
    assert len(given_) == len(short) == sum(count_of(a, TILE) for a in areas)
    assert {tuple(c) for c in given_.centres_m.round(12)} == {tuple(c) for c in short.centres_m.round(12)}
    for number, one in enumerate(areas):
        inside = short.centres_m[short.areas == number]
        assert len(inside) == count_of(one, TILE)
        assert one.x_m[0] <= inside[:, 0].min() and inside[:, 0].max() <= one.x_m[1]  # noqa: PT018
    assert way_m(short) <= way_m(given_) * (1 + 1e-9)


def test_areas_in_a_bad_order_are_visited_in_a_good_one():
    areas = [area(x, 0.0) for x in (0.0, 80.0, 10.0, 90.0, 20.0)]
    given_, short = (tiles_of(areas, TILE, by_travel=how) for how in (False, True))
    assert way_m(short) < 0.5 * way_m(given_)
    assert list(dict.fromkeys(short.areas.tolist())) == [0, 2, 4, 1, 3]


def test_each_tile_has_the_core_of_its_own_area():
    tiles = tiles_of([area(0, 0, 3.0), area(10, 0, 2.5)], TILE, by_travel=False)
    assert tiles.cores_m[0] == pytest.approx((1e-6, 1e-6))
    assert tiles.cores_m[-1] == pytest.approx((2.5e-6 / 3, 2.5e-6 / 3))


def test_areas_beyond_any_night_are_refused():
    with pytest.raises(ValueError, match="tiles, more than"):
        SurveyConfig(target="x", areas=(area(0, 0, 1000.0), area(5000, 0, 1000.0)), tile=TileConfig(fov_m=1e-7))


def lattice(side):
    x, y = np.meshgrid(np.arange(side) * 1e-6, np.arange(side) * 1e-6)
    return np.column_stack([x.ravel(), y.ravel()])


def test_the_first_tiles_are_spread_over_the_whole_area():
    centres = lattice(10)
    scout = Reconnaissance(centres, 2e-6)
    seen = []
    for _ in range(scout.coarse):
        unseen = [t for t in range(len(centres)) if t not in seen]
        tile, why = scout.choose(unseen, seen, np.zeros(len(seen)), np.ones(len(unseen)))
        assert "coarse picture" in why
        seen.append(tile)
    gaps = np.hypot(*(centres[:, None] - centres[None, seen]).transpose(2, 0, 1)).min(axis=1)
    assert gaps.max() < 3e-6  # nobody is far from a tile that was seen


@pytest.mark.parametrize("seed", range(5))
def test_then_the_tiles_around_what_was_found_come_first(seed):
    """A rich spot is found with a third of the tiles that a serpentine needs on average."""
    centres = lattice(12)
    rng = np.random.default_rng(seed)
    spot = centres[rng.integers(len(centres))]
    true = 5.0 * np.exp(-np.sum((centres - spot) ** 2, axis=1) / (2 * (2e-6) ** 2))
    scout, seen = Reconnaissance(centres, 2e-6), []
    for _ in range(48):
        unseen = [t for t in range(len(centres)) if t not in seen]
        seen.append(scout.choose(unseen, seen, true[seen], np.ones(len(unseen)))[0])
    assert true[seen].sum() > 2.0 * true.sum() * 48 / len(centres)
