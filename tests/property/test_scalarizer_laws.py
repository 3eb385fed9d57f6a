"""Laws of perception: scaling, shifting, locality of scalarizers; blur and detector settings for sharpness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from autoscope.perception.bands import Coordinate, channels
from autoscope.perception.components import Component
from autoscope.perception.scalarizers import BandIntegral, BandRatio, CentreOfMass, Edge, PeakEnergy, PeakHeight
from autoscope.perception.sharpness import sharpness
from autoscope.records import Axis

SIZE = 40
COUNTS = arrays(np.float64, (SIZE,), elements=st.integers(0, 10_000).map(float))
POSITIVE = arrays(np.float64, (SIZE,), elements=st.integers(1, 10_000).map(float))
AXES = st.builds(
    lambda offset, scale: Axis(name="energy", unit="eV", size=SIZE, offset=offset, scale=scale),
    st.floats(1.0, 1e3),
    st.floats(0.1, 50.0),
)
AXIS = Axis(name="energy", unit="eV", size=SIZE, offset=100.0, scale=10.0)
EXAMPLES = settings(max_examples=40, deadline=None)


def between(axis, first, last):
    """The band from the middle of channel ``first`` to the middle of channel ``last``."""
    return tuple(Coordinate(axis.offset + axis.scale * k, "eV") for k in (first, last))


def value(scalarizer, spectrum, axis=AXIS, unit="counts"):
    values, stds = scalarizer.map_scalar(spectrum[None, None], axis, unit)
    return float(values[0, 0]), float(stds[0, 0])


@EXAMPLES
@given(AXES, st.integers(0, SIZE - 1), st.integers(0, SIZE - 1))
def test_band_between_channel_centres_holds_exactly_those_channels(axis, a, b):
    first, last = min(a, b), max(a, b)
    low, high = between(axis, first, last)
    wide = (Coordinate(low.value - 0.3 * axis.scale, "eV"), Coordinate(high.value + 0.3 * axis.scale, "eV"))
    assert channels(wide, axis).tolist() == list(range(first, last + 1))


@EXAMPLES
@given(COUNTS, st.integers(1, SIZE - 2))
def test_integrals_of_two_halves_add_up_to_the_whole(spectrum, cut):
    low = BandIntegral(BandIntegral.Config(band=(Coordinate(95.0, "eV"), Coordinate(100.0 + 10 * cut - 5, "eV"))))
    high = BandIntegral(BandIntegral.Config(band=(Coordinate(100.0 + 10 * cut - 5, "eV"), Coordinate(495.0, "eV"))))
    whole = value(BandIntegral(BandIntegral.Config()), spectrum)
    parts = value(low, spectrum)[0] + value(high, spectrum)[0]
    assert parts == pytest.approx(whole[0])


@EXAMPLES
@given(COUNTS)
def test_integral_of_counts_is_as_uncertain_as_its_root(spectrum):
    total, std = value(BandIntegral(BandIntegral.Config()), spectrum)
    assert std**2 == pytest.approx(max(total, 1.0))


@EXAMPLES
@given(COUNTS, st.floats(-50.0, 50.0), st.floats(-2.0, 2.0))
def test_background_windows_remove_every_straight_line(spectrum, level, slope):
    net = BandIntegral(
        BandIntegral.Config(band=between(AXIS, 15, 22), background=(between(AXIS, 2, 9), between(AXIS, 28, 36)))
    )
    line = level + slope * np.arange(SIZE)
    without, with_line = value(net, spectrum)[0], value(net, spectrum + line)[0]
    assert with_line == pytest.approx(without, abs=1e-6 * (1.0 + spectrum.max()))


@EXAMPLES
@given(POSITIVE, st.integers(-6, 6).map(lambda k: 2.0**k))
def test_ratio_and_centre_do_not_change_with_brightness_while_sums_and_heights_do(spectrum, factor):
    ratio = BandRatio(BandRatio.Config(numerator=between(AXIS, 3, 9), denominator=between(AXIS, 5, 30)))
    for same in (ratio, CentreOfMass(CentreOfMass.Config()), PeakEnergy(PeakEnergy.Config())):
        assert value(same, factor * spectrum)[0] == pytest.approx(value(same, spectrum)[0], rel=1e-6)
    for scaled in (BandIntegral(BandIntegral.Config()), PeakHeight(PeakHeight.Config())):
        assert value(scaled, factor * spectrum)[0] == pytest.approx(factor * value(scaled, spectrum)[0], rel=1e-6)


@EXAMPLES
@given(COUNTS, st.floats(-5.0, 5.0), st.floats(-5.0, 5.0), COUNTS)
def test_component_is_linear(first, a, b, second):
    component = Component(Component.Config(weights=tuple(np.sin(np.arange(SIZE)))))
    mixed = value(component, a * first + b * second)[0]
    apart = a * value(component, first)[0] + b * value(component, second)[0]
    assert mixed == pytest.approx(apart, abs=1e-6 * (1.0 + first.max() + second.max()))


@EXAMPLES
@given(POSITIVE, st.floats(-1e4, 1e4))
def test_places_move_with_the_axis(spectrum, by):
    moved = AXIS.replace(offset=AXIS.offset + by)
    for place in (CentreOfMass(CentreOfMass.Config()), PeakEnergy(PeakEnergy.Config())):
        at, std = value(place, spectrum)
        at_moved, std_moved = value(place, spectrum, moved)
        assert at_moved - by == pytest.approx(at, abs=1e-6 * (abs(by) + 1e3))
        assert std_moved == pytest.approx(std, rel=1e-6, abs=1e-9)


@EXAMPLES
@given(POSITIVE)
def test_centre_of_mass_lies_between_the_ends_of_the_axis(spectrum):
    at, _ = value(CentreOfMass(CentreOfMass.Config()), spectrum)
    assert AXIS.offset <= at <= AXIS.offset + AXIS.scale * (SIZE - 1)


@EXAMPLES
@given(st.floats(1.0, 1e6), st.floats(0.5, 6.0), st.floats(0.0, 1e5))
def test_edge_above_any_power_law_is_what_was_added(level, exponent, step):
    spectrum = level * (AXIS.values() / 200.0) ** -exponent
    edge = Edge(Edge.Config(background=between(AXIS, 2, 15), band=between(AXIS, 20, 29)))
    spectrum[20:30] += step
    assert value(edge, spectrum)[0] == pytest.approx(10 * step, abs=1e-5 * (spectrum.sum() + 10 * step))


@EXAMPLES
@given(COUNTS, COUNTS)
def test_channels_outside_the_bands_do_not_matter(spectrum, other):
    bands = between(AXIS, 5, 12), between(AXIS, 20, 28)
    changed = np.where(np.isin(np.arange(SIZE), [*range(5, 13), *range(20, 29)]), spectrum, other)
    edge = Edge(Edge.Config(background=bands[0], band=bands[1]))
    integral = BandIntegral(BandIntegral.Config(band=bands[1], background=(bands[0],)))
    for scalarizer in (edge, integral):
        assert value(scalarizer, spectrum) == value(scalarizer, changed)


@EXAMPLES
@given(COUNTS)
def test_value_and_uncertainty_are_finite_or_both_undefined(spectrum):
    for scalarizer in (
        BandIntegral(BandIntegral.Config()),
        BandRatio(BandRatio.Config(numerator=between(AXIS, 3, 9), denominator=between(AXIS, 5, 30))),
        CentreOfMass(CentreOfMass.Config()),
        Edge(Edge.Config(background=between(AXIS, 2, 15), band=between(AXIS, 20, 29))),
        PeakHeight(PeakHeight.Config()),
        PeakEnergy(PeakEnergy.Config()),
    ):
        at, std = value(scalarizer, spectrum)
        assert np.isfinite(at) == np.isfinite(std)
        assert np.isnan(std) or std > 0.0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 3.0), st.floats(0.3, 2.0))
def test_more_blur_is_never_sharper(seed, blur, more):
    scene = np.random.default_rng(seed).exponential(size=(96, 96)) ** 3
    sharp, soft, softer = (gaussian_filter(scene, s, mode="wrap") for s in (0.8, 0.8 + blur, 0.8 + blur + more))
    assert sharpness(sharp) >= sharpness(soft) >= sharpness(softer)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 1e4), st.floats(-1e5, 1e5))
def test_gain_and_offset_of_the_detector_do_not_change_the_sharpness(seed, gain, offset):
    rng = np.random.default_rng(seed)
    image = rng.poisson(gaussian_filter(rng.exponential(30.0, (64, 64)), 1.5))
    plain = sharpness(image)
    assert sharpness(gain * image + gain * offset) == pytest.approx(plain, rel=1e-3)
