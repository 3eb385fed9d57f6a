import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.errors import FrameRejected
from autoscope.perception.bands import Coordinate, channels
from autoscope.perception.scalarizers import BandIntegral, BandRatio, CentreOfMass, Edge, PeakEnergy, PeakHeight
from autoscope.protocols import Scalarizer
from autoscope.quantities import FROM_FILE
from autoscope.records import Axis, Frame, FrameMeta
from autoscope.registry import load

ENERGY = Axis(name="energy", unit="eV", size=200, offset=100.0, scale=10.0)
LOSS = Axis(name="energy_loss", unit="eV", size=160, offset=700.0, scale=8.0)
MAKES = {
    "band_integral": BandIntegral(BandIntegral.Config(band=("300 eV", "700 eV"))),
    "net": BandIntegral(
        BandIntegral.Config(band=("500 eV", "700 eV"), background=(("300 eV", "450 eV"), ("750 eV", "1 keV")))
    ),
    "band_ratio": BandRatio(BandRatio.Config(numerator=("300 eV", "700 eV"), denominator=("600 eV", "1.1 keV"))),
    "edge": Edge(Edge.Config(background=("300 eV", "600 eV"), band=("700 eV", "900 eV"))),
    "centre_of_mass": CentreOfMass(CentreOfMass.Config(band=("300 eV", "1.2 keV"))),
    "peak_height": PeakHeight(PeakHeight.Config(band=("500 eV", "900 eV"), fit_channels=9)),
    "peak_energy": PeakEnergy(PeakEnergy.Config(band=("500 eV", "900 eV"), fit_channels=9)),
}


def spectrum(data, axis=ENERGY, unit="counts", signal="EDS"):
    meta = FrameMeta(signal=signal, axes=(axis,), unit=unit, time_s=0.0, dwell_s=0.1, x_m=0.0, y_m=0.0)
    return Frame(meta, np.asarray(data))


def expected_counts():
    e = ENERGY.values()
    return 400.0 * (e / 300.0) ** -1.5 + 300.0 * np.exp(-0.5 * ((e - 700.0) / 60.0) ** 2)


@pytest.mark.parametrize("name", MAKES)
def test_stated_uncertainty_is_the_scatter_of_repeated_counting(name):
    scalarizer = MAKES[name]
    counted = np.random.default_rng(5).poisson(expected_counts(), (60, 50, ENERGY.size))
    values, stds = scalarizer.map_scalar(counted, ENERGY)
    tolerance = 0.25 if name == "peak_energy" else 0.08  # noise also chooses the window of a peak
    assert np.sqrt((stds**2).mean()) == pytest.approx(values.std(), rel=tolerance)


@pytest.mark.parametrize("name", ["band_integral", "net", "band_ratio", "edge", "centre_of_mass", "peak_energy"])
def test_mean_of_repeated_counting_is_the_value_of_the_expected_spectrum(name):
    scalarizer = MAKES[name]
    counted = np.random.default_rng(6).poisson(expected_counts(), (60, 50, ENERGY.size))
    values, _ = scalarizer.map_scalar(counted, ENERGY)
    truth = scalarizer.scalarize(spectrum(expected_counts()), "t").value
    assert values.mean() == pytest.approx(truth, abs=4.5 * values.std() / np.sqrt(values.size))


@pytest.mark.parametrize("name", MAKES)
def test_one_spectrum_and_a_map_give_the_same_number(name):
    counted = np.random.default_rng(7).poisson(expected_counts(), (3, 4, ENERGY.size)).astype(np.float32)
    values, stds = MAKES[name].map_scalar(counted, ENERGY)
    scalar = MAKES[name].scalarize(spectrum(counted[2, 1]), "t")
    assert (scalar.value, scalar.std) == (pytest.approx(values[2, 1]), pytest.approx(stds[2, 1]))


@pytest.mark.parametrize("name", MAKES)
def test_configuration_as_plain_data_makes_the_same_scalarizer(name):
    scalarizer = MAKES[name]
    again = type(scalarizer)(type(scalarizer).Config.model_validate(scalarizer.config.plain(), context=FROM_FILE))
    assert again.config == scalarizer.config
    assert again.identity == scalarizer.identity


def test_band_integral_adds_the_channels_whose_centre_is_in_the_band():
    data = np.arange(ENERGY.size)
    scalar = BandIntegral(BandIntegral.Config(band=("0.12 keV", "150 eV"))).scalarize(spectrum(data), "Si")
    assert scalar.value == 2 + 3 + 4 + 5
    assert scalar.std == pytest.approx(np.sqrt(2 + 3 + 4 + 5))
    assert (scalar.name, scalar.unit) == ("Si", "counts")


def test_straight_background_is_removed_exactly_and_adds_its_noise():
    line = 1000.0 + 0.7 * ENERGY.values()
    line[50:60] += 30.0
    net = BandIntegral(
        BandIntegral.Config(band=("600 eV", "690 eV"), background=(("400 eV", "500 eV"), ("0.8 keV", "1 keV")))
    ).scalarize(spectrum(line), "t")
    gross = BandIntegral(BandIntegral.Config(band=("600 eV", "690 eV"))).scalarize(spectrum(line), "t")
    assert net.value == pytest.approx(300.0)
    assert net.std > gross.std


def test_spectrum_without_counts_is_not_claimed_to_be_exact():
    scalar = BandIntegral(BandIntegral.Config()).scalarize(spectrum(np.zeros(ENERGY.size)), "t")
    assert (scalar.value, scalar.std) == (0.0, 1.0)


def test_gain_of_the_detector_widens_the_uncertainty_by_its_root():
    data = np.full(ENERGY.size, 40.0)
    plain = BandIntegral(BandIntegral.Config()).scalarize(spectrum(data), "t")
    gained = BandIntegral(BandIntegral.Config(counts_per_event=9.0)).scalarize(spectrum(data), "t")
    assert gained.std == pytest.approx(3.0 * plain.std)


def test_single_precomputed_channel_is_passed_on_whole():
    axis = Axis(name="channel", unit="", size=1)
    scalar = BandIntegral(BandIntegral.Config()).scalarize(spectrum([0.25], axis, unit=""), "t")
    assert (scalar.value, scalar.std, scalar.unit) == (0.25, 0.0, "")


def test_noise_of_a_spectrum_that_is_not_counted_is_found_in_its_residuals():
    smooth = np.sin(np.linspace(0, 2, ENERGY.size))
    noisy = smooth + np.random.default_rng(1).normal(0, 0.05, (20, 50, ENERGY.size))
    _, stds = BandIntegral(BandIntegral.Config(band=("300 eV", "390 eV"))).map_scalar(noisy, ENERGY, unit="a.u.")
    assert stds.mean() == pytest.approx(0.05 * np.sqrt(10), rel=0.03)


def test_stated_channel_noise_replaces_the_estimate():
    scalarizer = BandIntegral(BandIntegral.Config(band=("300 eV", "390 eV"), noise_std=2.0))
    assert scalarizer.scalarize(spectrum(np.ones(ENERGY.size)), "t").std == pytest.approx(2.0 * np.sqrt(10))


def test_edge_on_an_exact_power_law_is_zero_and_its_step_is_found():
    e = LOSS.values()
    data = 3e9 * e**-2.7
    edge = Edge(Edge.Config(background=("800 eV", "925 eV"), band=("931 eV", "1010 eV")))
    assert edge.scalarize(spectrum(data.copy(), LOSS), "t").value == pytest.approx(0.0, abs=1e-6 * data.sum())
    data[(e >= 931) & (e <= 1010)] += 50.0
    assert edge.scalarize(spectrum(data, LOSS), "t").value == pytest.approx(500.0, rel=1e-6)


def test_edge_of_few_counts_is_unbiased_where_plain_log_log_fitting_is_not():
    e = LOSS.values()
    expected = 3.0 * (e / 860.0) ** -3
    counted = np.random.default_rng(3).poisson(expected, (60, 60, LOSS.size))
    config = Edge.Config(background=("750 eV", "925 eV"), band=("931 eV", "1010 eV"))
    values, stds = Edge(config).map_scalar(counted, LOSS)
    before, band = channels(config.background, LOSS), channels(config.band, LOSS)
    x, y = np.log(e[before] / 860.0), np.log(np.maximum(counted.reshape(-1, LOSS.size)[:, before], 0.5))
    plain = np.polynomial.polynomial.polyfit(x, y.T, 1)
    extrapolated = np.exp(plain[0][:, None] + plain[1][:, None] * np.log(e[band] / 860.0)).sum(axis=1)
    naive = counted.reshape(-1, LOSS.size)[:, band].sum(axis=1) - extrapolated
    error = values.std() / np.sqrt(values.size)
    assert abs(np.median(values)) < 0.15 * values.std()
    assert abs(naive.mean()) > 10 * error
    assert np.median(stds) == pytest.approx(1.4826 * np.median(np.abs(values - np.median(values))), rel=0.15)


def test_edge_of_an_empty_spectrum_is_zero():
    edge = Edge(Edge.Config(background=("800 eV", "925 eV"), band=("931 eV", "1010 eV")))
    scalar = edge.scalarize(spectrum(np.zeros(LOSS.size), LOSS), "t")
    assert (scalar.value, scalar.std) == (0.0, 1.0)


def test_peak_of_a_parabola_is_found_between_channels():
    e = ENERGY.values()
    data = 500.0 - 0.01 * (e - 733.0) ** 2 + 5000.0
    energy = PeakEnergy(PeakEnergy.Config()).scalarize(spectrum(data), "t")
    height = PeakHeight(PeakHeight.Config()).scalarize(spectrum(data), "t")
    assert energy.value == pytest.approx(733.0, abs=1e-6)
    assert height.value == pytest.approx(5500.0)
    assert (energy.unit, height.unit) == ("eV", "counts")


def test_place_of_a_peak_in_flat_noise_is_as_uncertain_as_the_band_is_wide():
    data = np.arange(ENERGY.size)[::-1] + 100.0
    scalar = PeakEnergy(PeakEnergy.Config(band=("300 eV", "1.2 keV"))).scalarize(spectrum(data), "t")
    assert scalar.std == pytest.approx(910.0 / np.sqrt(12))


def test_ratio_with_an_empty_denominator_is_refused_and_nan_in_maps():
    ratio = BandRatio(BandRatio.Config(numerator=("300 eV", "400 eV"), denominator=("600 eV", "700 eV")))
    data = np.zeros(ENERGY.size)
    with pytest.raises(FrameRejected, match="undefined"):
        ratio.scalarize(spectrum(data), "t")
    values, stds = ratio.map_scalar(data[None, None], ENERGY)
    assert np.isnan([values[0, 0], stds[0, 0]]).all()
    kept = BandRatio(ratio.config.replace(pseudocounts=0.5)).scalarize(spectrum(data), "t")
    assert kept.value == 1.0


def test_centre_of_mass_of_an_empty_band_is_refused():
    with pytest.raises(FrameRejected, match="undefined"):
        CentreOfMass(CentreOfMass.Config()).scalarize(spectrum(np.zeros(ENERGY.size)), "t")


def test_band_beyond_the_axis_is_refused_with_both_ranges():
    with pytest.raises(FrameRejected) as refusal:
        BandIntegral(BandIntegral.Config(band=("2 keV", "3 keV"))).scalarize(spectrum(np.ones(ENERGY.size)), "t")
    assert "[2000, 3000] eV" in str(refusal.value)
    assert "[95, 2095] eV" in str(refusal.value)


def test_band_in_a_unit_of_another_dimension_is_refused():
    with pytest.raises(FrameRejected, match="does not convert"):
        BandIntegral(BandIntegral.Config(band=("2 nm", "3 nm"))).scalarize(spectrum(np.ones(ENERGY.size)), "t")


def test_band_between_two_channels_is_refused():
    with pytest.raises(FrameRejected, match="no channel"):
        channels((Coordinate(101.0, "eV"), Coordinate(109.0, "eV")), ENERGY)


def test_band_without_unit_fits_an_axis_without_unit_only():
    axis = Axis(name="channel", unit="", size=10)
    scalarizer = BandIntegral(BandIntegral.Config.model_validate({"band": [2, "4"]}, context=FROM_FILE))
    assert scalarizer.scalarize(spectrum(np.ones(10), axis), "t").value == 3
    with pytest.raises(FrameRejected, match="does not convert"):
        scalarizer.scalarize(spectrum(np.ones(ENERGY.size)), "t")


def test_band_keeps_its_channels_on_an_axis_that_runs_downwards():
    axis = Axis(name="energy", unit="eV", size=5, offset=140.0, scale=-10.0)
    assert channels((Coordinate(110.0, "eV"), Coordinate(0.12, "keV")), axis).tolist() == [2, 3]


@pytest.mark.parametrize(
    "band",
    [["3 keV", "2 keV"], ["1 keV", "1000 eV"], ["one", "2 keV"], ["1 kev", "2 kev"], [True, 2], ["nan eV", "2 eV"]],
)
def test_band_that_makes_no_sense_is_refused_when_configured(band):
    with pytest.raises(ValidationError):
        BandIntegral.Config.model_validate({"band": band}, context=FROM_FILE)


def test_edge_with_its_background_behind_it_is_refused_when_configured():
    with pytest.raises(ValidationError, match="must end"):
        Edge.Config(background=("950 eV", "1 keV"), band=("931 eV", "1010 eV"))


def test_even_number_of_fit_channels_is_refused_when_configured():
    with pytest.raises(ValidationError, match="odd"):
        PeakHeight.Config(fit_channels=4)


@pytest.mark.parametrize(
    "frame",
    [
        spectrum(np.ones(4), Axis(name="x", unit="m", size=4)),
        Frame(spectrum(np.ones(4)).meta.replace(axes=(ENERGY, ENERGY)), np.ones((2, 2))),
    ],
)
def test_what_is_not_one_spectrum_neither_fits_nor_is_scalarized(frame):
    scalarizer = BandIntegral(BandIntegral.Config())
    assert not scalarizer.fits(frame)
    with pytest.raises(FrameRejected, match="is not one spectrum"):
        scalarizer.scalarize(frame, "t")


def test_scalarizer_for_one_signal_leaves_others_alone():
    scalarizer = BandIntegral(BandIntegral.Config(signal="EELS"))
    assert not scalarizer.fits(spectrum(np.ones(ENERGY.size), signal="EDS"))
    assert scalarizer.fits(spectrum(np.ones(ENERGY.size), signal="EELS"))


@pytest.mark.parametrize("data", [np.full(ENERGY.size, np.nan), np.ones(ENERGY.size - 1), [np.inf] * ENERGY.size])
def test_damaged_spectrum_is_rejected(data):
    with pytest.raises(FrameRejected):
        BandIntegral(BandIntegral.Config()).scalarize(spectrum(data), "t")


def test_identity_tells_options_apart_and_names_the_version():
    one, other = (BandIntegral(BandIntegral.Config(band=("1 keV", top))) for top in ("1.5 keV", "1.6 keV"))
    assert one.identity != other.identity
    assert one.identity.startswith("band_integral/1/")
    assert len(one.identity.rsplit("/", 1)[1]) == 8


@pytest.mark.parametrize(
    "name", ["band_integral", "peak_height", "peak_energy", "band_ratio", "edge", "centre_of_mass", "component"]
)
def test_every_registered_scalarizer_loads_under_its_own_name(name):
    plugin = load("scalarizers", name)
    assert plugin.kind == name


def test_scalarizers_keep_the_protocol():
    assert all(isinstance(scalarizer, Scalarizer) for scalarizer in MAKES.values())
