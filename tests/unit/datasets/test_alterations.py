"""Alterations of stored maps: thinning is exact, truth shares no noise with the draw, controls say nothing."""

import numpy as np
import pytest
from scipy import stats

from autoscope.clock import SimClock
from autoscope.errors import DataError, InstrumentError
from autoscope.quantities import FROM_FILE
from autoscope.records import Act, Axis, Measure
from environments.alterations import AlterationConfig, RecordedMap, altered
from environments.datasets import SpectrumImageData
from environments.instruments.replay import ReplayInstrument


def recorded(spectra, unit="counts"):
    spectra = np.asarray(spectra, np.float32)
    image = np.arange(spectra[..., 0].size, dtype=np.float32).reshape(spectra.shape[:2])
    axis = Axis(name="channel", unit="", size=spectra.shape[-1])
    data = SpectrumImageData(image=image, spectra=spectra, axis=axis, pixel_m=1e-9, meta={}, unit=unit)
    return RecordedMap(data, data.spectra, "as recorded")


def test_thinned_counts_are_poisson_of_the_smaller_dose_and_share_nothing_with_what_is_left_over():
    rng = np.random.default_rng(0)
    whole = rng.poisson(40.0, (120, 120, 1))
    made = altered(recorded(whole), AlterationConfig(keep=0.25), root=1)
    kept, left = np.asarray(made.data.spectra).ravel(), np.asarray(made.expected).ravel()
    edges = [0, 6, 8, 9, 10, 11, 12, 14, np.inf]
    observed = np.histogram(kept, np.array(edges) - 0.5)[0]
    expected = np.diff(stats.poisson(10.0).cdf(np.array(edges) - 1)) * kept.size
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3
    assert abs(stats.pearsonr(kept, left).statistic) < 4 / np.sqrt(kept.size)
    assert left.mean() == pytest.approx(10.0, rel=0.02)


def test_thinning_is_the_same_for_the_same_seed_and_another_for_another():
    source = recorded(np.full((8, 8, 2), 50))
    one, same, other = (altered(source, AlterationConfig(keep=0.5), root=r).data.spectra for r in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("spectra", "unit", "config"),
    [
        (np.full((4, 4, 1), 2.5), "counts", AlterationConfig(keep=0.5)),
        (np.full((4, 4, 1), 2.0), "a.u.", AlterationConfig(keep=0.5)),
        (np.full((4, 4, 1), 2.0), "counts", AlterationConfig(noise=0.1)),
    ],
    ids=["fractions", "no_counts", "noise_on_counts"],
)
def test_alterations_that_the_data_do_not_allow_are_refused(spectra, unit, config):
    with pytest.raises(DataError):
        altered(recorded(spectra, unit), config, root=0)


def test_added_noise_has_the_spread_asked_for_and_leaves_the_truth_alone():
    source = recorded(np.random.default_rng(0).normal(0.0, 2.0, (80, 80, 2)), unit="a.u.")
    made = altered(source, AlterationConfig(noise=0.5), root=3)
    added = np.asarray(made.data.spectra) - np.asarray(source.data.spectra)
    assert added.std() == pytest.approx(1.0, rel=0.05)
    assert np.array_equal(made.expected, source.expected)


def test_shuffled_labels_move_spectra_truth_and_target_together_and_leave_the_image():
    source = recorded(np.arange(64).reshape(8, 8, 1))
    made = altered(source, AlterationConfig(labels="shuffled"), root=5)
    assert np.array_equal(made.data.image, source.data.image)
    assert np.array_equal(made.expected, made.data.spectra)
    assert sorted(np.ravel(made.data.spectra)) == sorted(np.ravel(source.data.spectra))
    assert abs(stats.spearmanr(np.ravel(made.data.spectra), np.arange(64)).statistic) < 0.5


def test_a_meaningless_image_keeps_its_values_and_loses_its_places():
    source = recorded(np.arange(64).reshape(8, 8, 1))
    made = altered(source, AlterationConfig(image="meaningless"), root=5)
    assert np.array_equal(made.data.spectra, source.data.spectra)
    assert sorted(np.ravel(made.data.image)) == sorted(np.ravel(source.data.image))
    assert not np.array_equal(made.data.image, source.data.image)


@pytest.fixture
def path(tmp_path):
    spectra = np.repeat(np.arange(100.0).reshape(10, 10, 1), 3, axis=2).astype(np.float32)
    np.savez(tmp_path / "m.npz", image=spectra[..., 0], spectra=spectra, axis=np.arange(3.0), meta='{"px": "1 nm"}')
    return tmp_path / "m.npz"


def instrument(path, clock=None, seed=0, **options):
    config = ReplayInstrument.Config.model_validate({"path": str(path), "dwell": "1 s"} | options, context=FROM_FILE)
    return ReplayInstrument(config, clock=clock or SimClock(), rng=np.random.default_rng(seed))


def test_a_drifting_specimen_answers_with_the_place_that_has_come_under_the_probe(path):
    clock = SimClock()
    made = instrument(path, clock, drift="1 nm/s")
    centre = Measure(x_m=0.5e-9, y_m=0.5e-9, dwell_s=1.0, signals=("EELS",))
    values = [float(made.execute(Act(act_id=str(k), action=centre)).frames[0].data[0]) for k in range(4)]
    assert values[0] == 55.0
    assert len(set(values)) == 4
    clock.wait(100.0)
    with pytest.raises(InstrumentError, match="outside the recorded field"):
        made.execute(Act(act_id="late", action=centre))


def test_expected_spectra_are_those_of_the_pixels_asked_for(path):
    frame = instrument(path).expected("EELS", np.array([[-4.5e-9, -4.5e-9], [4.5e-9, -3.5e-9]]), 1.0)
    assert frame.data[:, 0].tolist() == [0.0, 19.0]
    assert [axis.size for axis in frame.meta.axes] == [2, 3]


def test_a_simulated_specimen_in_place_of_a_file_counts_anew_for_each_seed_around_the_same_truth():
    specimen = {"kind": "nanoparticles", "extent": ["200 nm", "200 nm"], "count": 2}
    source = {"specimen": specimen, "seed": 1, "fov": "150 nm", "side_px": 12, "band": ["1.2 eV", "2.6 eV"]}
    made = [
        ReplayInstrument(
            ReplayInstrument.Config.model_validate({"specimen": source, "dwell": "50 ms"}, context=FROM_FILE),
            clock=SimClock(),
            rng=np.random.default_rng(seed),
        )
        for seed in (0, 1)
    ]
    places = np.array([[x, y] for x in (-6e-9, 6e-9) for y in (-6e-9, 6e-9)])
    truths = [one.expected("EELS", places, 0.05).data for one in made]
    draws = [one._data.spectra for one in made]
    assert np.array_equal(*truths)
    assert not np.array_equal(*draws)
    wanted = np.asarray(made[0]._recorded.expected, np.float64)
    chi = (np.asarray(draws[0]) - wanted) / np.sqrt(wanted)
    assert chi.std() == pytest.approx(1.0, abs=0.1)


def test_either_a_file_or_a_specimen_is_needed():
    with pytest.raises(ValueError, match="either 'path'"):
        ReplayInstrument.Config()
