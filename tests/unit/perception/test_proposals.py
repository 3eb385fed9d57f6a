import numpy as np
import pytest
from scipy import ndimage

from autoscope.errors import FrameRejected
from autoscope.perception.few_shot import FewShot
from autoscope.perception.proposals import FEATURES, ProposalConfig, describe, diverse, novelty, propose, standardised
from autoscope.records import Axis, Frame, FrameMeta

PIXEL_M = 4e-9
SIZE = ProposalConfig(size_m=40e-9, count=6)


def framed(data):
    y, x = (
        Axis(name=n, unit="m", size=s, scale=PIXEL_M, offset=(0.5 - s / 2) * PIXEL_M)
        for n, s in zip("yx", data.shape, strict=True)
    )
    return Frame(FrameMeta(signal="HAADF", axes=(y, x), time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0), data)


def film(seed, *, odd=()):
    """Return a film of one texture with odd patches of another at places (row, column)."""
    rng = np.random.default_rng(seed)
    image = 100.0 + 5.0 * ndimage.gaussian_filter(rng.standard_normal((192, 192)), 3.0) * 6.0
    for row, column in odd:
        image[row : row + 14, column : column + 14] += 60.0 * rng.standard_normal((14, 14))
    return framed(image + rng.standard_normal(image.shape))


def near(proposal, row, column):
    y, x = (row + 7 - 96) * PIXEL_M, (column + 7 - 96) * PIXEL_M
    return np.hypot(proposal.x_m - x, proposal.y_m - y) < 60e-9


@pytest.mark.parametrize("seed", range(4))
def test_what_is_unlike_everything_else_is_proposed_first_with_the_numbers(seed):
    found = propose(film(seed, odd=[(40, 120)]), SIZE)
    assert near(found[0], 40, 120)
    assert len(found) == 6
    assert found[0].score == max(p.score for p in found)
    assert "robust standard deviations from the median" in found[0].reason
    assert any(name in found[0].reason for name in FEATURES)


def test_what_was_seen_before_is_no_longer_novel():
    frame = film(1, odd=[(40, 120)])
    fresh = propose(frame, SIZE)
    _, before = describe(film(2, odd=[(10, 20), (100, 30), (60, 150), (140, 90), (20, 100), (150, 160)]), SIZE)
    again = propose(frame, SIZE, seen=np.vstack([before] * 3))
    assert again[0].score < fresh[0].score


def test_diversity_prefers_a_second_kind_to_more_of_the_first():
    features = np.array([[5.0, 0.0], [5.1, 0.0], [5.2, 0.1], [0.0, 4.0], [0.0, 0.0]])
    score = np.array([5.0, 4.9, 4.8, 4.0, 0.1])
    assert diverse(features, score, 2, 0.0) == [0, 1]
    assert diverse(features, score, 2, 1.0) == [0, 3]


def test_novelty_is_the_distance_to_the_most_similar_others():
    line = np.array([[0.0], [1.0], [2.0], [10.0]])
    assert novelty(line, line, 1) == pytest.approx([1.0, 1.0, 1.0, 8.0])


@pytest.mark.parametrize("bad", ["nan", "small"])
def test_an_image_that_cannot_be_divided_is_refused(bad):
    data = np.full((64, 64), np.nan) if bad == "nan" else np.ones((16, 16))
    with pytest.raises(FrameRejected, match="larger than four patches"):
        propose(framed(data))


def kinds(rng, n=300):
    """Return features of three kinds, and which is which."""
    label = rng.choice(3, n, p=[0.8, 0.12, 0.08])
    middle = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 1.0], [0.0, 4.0, -1.0]])
    return middle[label] + rng.normal(0.0, 0.7, (n, 3)), label


def auc(score, positive):
    order = np.argsort(np.argsort(score))
    n = positive.sum()
    return (order[positive].sum() - n * (n - 1) / 2) / n / (len(positive) - n)


@pytest.mark.parametrize("seed", range(5))
def test_one_example_ranks_its_kind_first_and_a_counter_example_sharpens_it(seed):
    features, label = kinds(np.random.default_rng(seed))
    wanted, other = int(np.flatnonzero(label == 2)[0]), int(np.flatnonzero(label == 1)[0])
    one = FewShot(features, [wanted], [], "abc")
    assert one.ready
    assert auc(one.probability(features), label == 2) > 0.9
    three = FewShot(features, np.flatnonzero(label == 2)[:3].tolist(), [other], "abc")
    assert auc(three.probability(features), label == 2) > 0.95
    assert three.probability(features)[label == 1].mean() < one.probability(features)[label == 2].mean()
    assert "3 examples" in three.reason(features[wanted])


def test_without_examples_everything_is_alike():
    features, _ = kinds(np.random.default_rng(0))
    shot = FewShot(features, [], [3], "abc")
    assert not shot.ready
    assert set(shot.probability(features)) == {0.5}
    assert shot.reason(features[0]) == "no example was given"


def test_features_are_measured_in_robust_standard_deviations_and_outliers_do_not_widen_them():
    rng = np.random.default_rng(0)
    known = rng.normal(5.0, 2.0, (1000, 1))
    known[:100] = 1e6
    assert float(np.std(standardised(known[100:], known))) == pytest.approx(0.9, abs=0.15)
