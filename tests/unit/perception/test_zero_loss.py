"""The zero-loss peak: unbiased, honest about its uncertainty, and refused where there is none."""

import numpy as np
import pytest

from autoscope.errors import FrameRejected
from autoscope.perception.zero_loss import zero_loss
from autoscope.records import Axis, Frame, FrameMeta

AXIS = Axis(name="energy_loss", unit="eV", size=400, offset=-5.0, scale=0.1)


def spectrum(counts, axis=AXIS):
    return Frame(FrameMeta(signal="EELS", axes=(axis,), time_s=0.0, dwell_s=0.1, x_m=0.0, y_m=0.0), np.array(counts))


def mean(at_ev, top=3000.0, fwhm_ev=0.8):
    energy = AXIS.values()
    plasmon = 0.05 * top * np.exp(-0.5 * ((energy - 15.0) / 3.0) ** 2)
    return top * np.exp(-0.5 * ((energy - at_ev) / (fwhm_ev / 2.3548)) ** 2) + np.where(energy > 4.0, plasmon, 0.0)


@pytest.mark.parametrize("at_ev", [0.0, 0.337, -1.25, 2.049])
@pytest.mark.parametrize("top", [300.0, 3e5])
def test_the_place_is_unbiased_and_its_uncertainty_honest(at_ev, top):
    rng = np.random.default_rng([7, int(1e3 * abs(at_ev)), int(top)])
    found = np.array([zero_loss(spectrum(rng.poisson(mean(at_ev, top)))) for _ in range(400)])
    z = (found[:, 0] - at_ev) / found[:, 1]
    assert abs(z.mean()) < 4 / np.sqrt(400) + 0.1
    # which channels are above half is chosen by the same noise: the scatter may be somewhat larger
    assert 0.9 < z.std() < 1.4


def test_more_counts_make_it_surer_as_their_square_root():
    few, many = (zero_loss(spectrum(mean(0.2, top)))[1] for top in (1e3, 1e5))
    assert few / many == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (np.full(400, 20), "too few counts"),
        (mean(-5.0), "end of its axis"),
        (np.where(np.arange(400) == 50, 5000, 10), "too narrow"),
    ],
)
def test_what_is_no_peak_is_refused_with_the_reason(counts, why):
    with pytest.raises(FrameRejected, match=why):
        zero_loss(spectrum(counts))


def test_an_image_is_refused():
    with pytest.raises(FrameRejected, match="not one spectrum"):
        zero_loss(spectrum(np.ones(400), Axis(name="energy", unit="keV", size=400)))
