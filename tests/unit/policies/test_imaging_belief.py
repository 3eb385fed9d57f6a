"""What looks make believed: averages out of focus, trends in brightness, honest widths, when a place is named."""

import math

import numpy as np
import pytest

from autoscope.acquisition.exposure_choice import CountingNoise, useful_electrons
from autoscope.surrogates.features import describe
from autoscope.surrogates.prior import Prior
from autoscope.surrogates.surrogate import Scaling
from policies.imaging_belief import Belief, Inputs, Learnt, learn
from policies.imaging_footprint import (
    STENCIL,
    STENCIL_WEIGHTS,
    brightness,
    disc_radius_m,
    spread_side_m,
    stencil_on_lattice,
)
from policies.imaging_model import Looks, Pooled
from policies.imaging_worth import Foreseen, Wanted, worth

PITCH_M = 20e-9
WIDE_M = 1.6e-6


def test_a_look_out_of_focus_is_believed_to_be_an_average_over_its_disc():
    inputs, candidates, learnt, stencil = believed()
    values = np.linspace(0.0, 1.0, 36) ** 2
    average = values[stencil] @ STENCIL_WEIGHTS
    seen = Pooled(candidates, average, np.full(36, 1e-8), np.ones(36), np.ones(36, dtype=np.int64))
    belief = Belief(inputs, candidates, seen, learnt)
    assert belief.seen_through(1)[0] == pytest.approx(average, abs=1e-3)
    assert belief.seen_through(1)[1].max() < 0.5 * belief.std.max()


def believed(slope=0.0, jitter=0.02):
    y, x = np.mgrid[:6, :6].reshape(2, 36)
    place = np.stack([x, y], axis=1).astype(float)
    stencil = stencil_on_lattice(6, 6, PITCH_M, PITCH_M)
    inputs = Inputs(place, (), (0, 1), np.linspace(-1.0, 2.0, 36), (stencil,))
    prior = Prior("matern52", ((0, 1),), ((2.0, 2.0),), (1.0,), jitter=jitter)
    learnt = Learnt("place", prior, slope, Scaling(0.0, 1.0), CountingNoise(0.0, 1.0), 0, 0.0)
    return inputs, np.arange(36), learnt, stencil


@pytest.mark.parametrize("slope", [0.0, 0.7])
def test_belief_in_averages_equals_conditioning_the_whole_field_by_linear_algebra(slope):
    inputs, candidates, learnt, stencil = believed(slope)
    weights = np.zeros((36, 36))
    np.add.at(weights, (np.arange(36)[:, None], stencil), STENCIL_WEIGHTS)
    prior = learnt.prior.covariance(inputs.features, inputs.features) + 0.02 * np.eye(36)
    prior += slope * np.outer(inputs.brightness, inputs.brightness)
    pixels, blurs = np.array([3, 14, 14, 30]), np.array([0, 0, 1, 1])
    looks = np.where(blurs[:, None] == 1, weights[pixels], np.eye(36)[pixels])
    rates, noise = np.array([0.3, 1.0, 0.5, -0.2]), np.array([0.1, 0.2, 0.05, 0.3])
    gain = prior @ looks.T @ np.linalg.inv(looks @ prior @ looks.T + np.diag(noise))
    after = prior - gain @ looks @ prior
    belief = Belief(inputs, candidates, Pooled(pixels, rates, noise, np.ones(4), blurs), learnt)
    assert belief.mean == pytest.approx(gain @ rates)
    assert belief.std == pytest.approx(np.sqrt(np.diagonal(after)))
    assert belief.covariance(np.array([2, 20])) == pytest.approx(after[:, [2, 20]])
    mean, std = belief.seen_through(1)
    assert mean == pytest.approx(weights @ gain @ rates)
    assert std == pytest.approx(np.sqrt(np.diagonal(weights @ after @ weights.T)))


def test_averages_between_candidates_are_believed_as_they_are_and_not_as_the_candidates():
    inputs, _, learnt, _ = believed()
    seen = Pooled(np.arange(36), np.linspace(0.0, 1.0, 36) ** 2, np.full(36, 1e-2), np.ones(36), np.zeros(36, np.int64))
    few = np.array([8, 11, 26, 29])
    sparse, dense = (Belief(inputs, candidates, seen, learnt) for candidates in (few, np.arange(36)))
    assert sparse.mean == pytest.approx(dense.mean[few])
    for ours, theirs in zip(sparse.seen_through(1), dense.seen_through(1), strict=True):
        assert ours == pytest.approx(theirs[few])
    contrast = dense.covariance(few[:1])
    assert sparse.averaged(sparse.covariance(np.array([0])), 1) == pytest.approx(dense.averaged(contrast, 1)[few])


def test_stencil_has_the_second_moments_of_an_even_disc():
    assert STENCIL_WEIGHTS.sum() == pytest.approx(1.0)
    assert STENCIL.T @ (STENCIL_WEIGHTS[:, None] * STENCIL) == pytest.approx(np.eye(2) / 4.0)


def test_a_wider_probe_lets_more_electrons_meet_intact_material():
    radius_m = disc_radius_m(WIDE_M, 0.025)
    areas = np.array([spread_side_m(PITCH_M, r) ** 2 for r in (0.0, radius_m)])
    assert areas[1] - areas[0] == pytest.approx(math.pi * radius_m**2)
    focused, wide = useful_electrons(1e7, 0.0, areas, 1e22)
    assert wide > 3.0 * focused


# --- honesty -----------------------------------------------------------------------------------------


def test_brightness_is_followed_where_it_tells_the_target_and_dropped_where_it_does_not():
    rng = np.random.default_rng(5)
    shown = rng.normal(size=(12, 12))
    table = describe(shown, 3, 4)
    inputs = Inputs(np.asarray(table.values, float), (*table.components, *table.jets), table.place, brightness(shown))
    pixels = rng.choice(144, 40, replace=False)
    for rates, trend in ((2.0 + inputs.brightness, True), (np.sin(np.arange(144) / 30.0), False)):
        doses = np.full(40, 1e4)
        noisy = rates[pixels] + 0.05 * rng.normal(size=40)
        looks = Looks(pixels, noisy, np.full(40, 0.05), doses, np.zeros(40, dtype=np.int64))
        assert learn(inputs, looks).member.startswith("trend") == trend


def test_forecasts_that_were_far_off_widen_the_belief():
    inputs, _, _, _ = believed()
    rng = np.random.default_rng(0)
    looks = Looks(np.arange(36), rng.normal(size=36), np.full(36, 0.1), np.ones(36), np.zeros(36, dtype=np.int64))
    honest, wrong = (learn(inputs, looks, scale * rng.normal(size=40)).widening for scale in (1.0, 4.0))
    assert 1.0 <= honest < 1.5 < wrong


def test_no_place_is_named_while_another_may_still_be_better():
    inputs, candidates, learnt, _ = believed()
    pixels = np.array([0, 35])
    wanted = Wanted("maximise", 0.9, 0.1, 2.0, "electron")
    everything = np.ones((36, 1), dtype=bool)
    found = []
    for variance in (0.3, 1e-4):
        every = np.arange(36) if variance < 0.01 else pixels
        rates = np.where(every == 0, 2.0, 0.1)
        seen = Pooled(every, rates, np.full(len(every), variance), np.ones(len(every)), np.zeros(len(every), int))
        belief = Belief(inputs, candidates, seen, learnt)
        foreseen = Foreseen(belief, learnt.noise, np.full((36, 1), 100.0), (0,), 1.0)
        found.append(worth(foreseen, wanted, everything, candidates))
    assert (found[0].name, found[0].done) == ("settling", None)
    assert "no other is likely better" in found[1].done
