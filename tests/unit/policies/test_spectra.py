"""What the policy for whole spectra promises."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.perception.bands import Coordinate
from autoscope.records import Axis, Finish, Frame, FrameMeta, Measure
from policies.spectra import SpectraConfig, SpectraPolicy

ENERGY = Axis(name="energy", unit="eV", size=24, offset=100.0, scale=2.0)
SMALL = {"signal": "EELS", "initial": 5, "refit_every": 4, "patch_px": 5, "components": 2, "target": "spectrum"}


def peak(centre):
    return np.exp(-0.5 * ((np.arange(24) - centre) / 2.0) ** 2)


@pytest.fixture
def spectral(world):
    """Return a world whose pixels hold two peaks: one follows the image, one lies in a corner like the rest."""
    h, w = world.image.shape
    y, x = np.mgrid[:h, :w]
    corner = np.exp(-((y - 2) ** 2 + (x - 2) ** 2) / 18.0)
    world.spectra = 20.0 + 200.0 * world.target[..., None] * peak(8) + 300.0 * corner[..., None] * peak(17)
    rng, told = np.random.default_rng(3), world.do

    def do(decision):
        result = told(decision)
        if not isinstance(decision.action, Measure) or result.outcome.status != "done":
            return result
        clean = world.spectra.reshape(-1, 24)[world.pixel(decision.action)]
        meta = FrameMeta(signal="EELS", axes=(ENERGY,), time_s=0.0, dwell_s=0.1, x_m=0.0, y_m=0.0, unit="counts")
        return world.result(decision.action, frames=(Frame(meta, rng.poisson(clean).astype(np.float32)),))

    world.do = do
    return world


def test_spectra_are_learnt_and_nothing_is_measured_twice(make, spectral):
    decisions = spectral.run(make(SpectraPolicy, **SMALL), 40)
    assert len(set(spectral.measured())) == 39
    assert decisions[-1].acquisition == "max_variance"
    assert decisions[-1].fit.model == "spectral"


def test_the_spectrum_everywhere_is_told_better_than_by_the_mean(make, spectral):
    policy = make(SpectraPolicy, **SMALL)
    spectral.run(policy, 60)
    model = policy._catch_up()
    mean, _ = model.predict_spectra(policy._table.values)
    truth = spectral.spectra.reshape(-1, 24)
    error = np.sqrt(np.mean((mean - truth) ** 2))
    assert error < 0.4 * np.sqrt(np.mean((truth.mean(axis=0) - truth) ** 2))


def test_the_band_wanted_is_found(make, spectral):
    band = (Coordinate(128.0, "eV"), Coordinate(140.0, "eV"))
    policy = make(SpectraPolicy, acquisition="upper_confidence_bound", band=band, **SMALL)
    decisions = spectral.run(policy, 40)
    strength = spectral.spectra[..., 14:21].sum(axis=-1).ravel()
    assert strength[spectral.measured()].max() > 0.9 * strength.max()
    said = decisions[-1]
    assert abs(said.predicted_mean - strength[spectral.pixel(said.action)]) < 5.0 * (said.predicted_std + 30.0)
    assert "128.0 eV" in said.reason


def test_novelty_sees_both_kinds_of_spectrum_soon(make, spectral):
    spectral.run(make(SpectraPolicy, acquisition="novelty", **SMALL), 30)
    seen = spectral.spectra.reshape(-1, 24)[spectral.measured()]
    for channel in (8, 17):
        assert seen[:, channel].max() > 0.5 * spectral.spectra[..., channel].max()


@pytest.mark.parametrize("steps", [4, 6, 9, 13, 16])
def test_a_restored_policy_goes_on_to_the_bit(make, spectral, through_json, same, steps):
    policy = make(SpectraPolicy, **SMALL)
    spectral.run(policy, steps)
    restored = make(SpectraPolicy, seed=9, **SMALL)
    restored.restore(through_json(policy.state()))
    for _ in range(4):
        decision = policy.ask(spectral.view())
        same(decision, restored.ask(spectral.view()))
        result = spectral.do(decision)
        for each in (policy, restored):
            each.tell(decision, result)


def test_a_pending_spectrum_makes_its_place_known(make, spectral):
    policy = make(SpectraPolicy, **SMALL)
    spectral.run(policy, 20)
    first = policy.ask(spectral.view())
    second = policy.ask(spectral.view(pending=(first.action,)))
    assert (first.action.x_m, first.action.y_m) != (second.action.x_m, second.action.y_m)
    assert second.acquisition_value <= first.acquisition_value


def test_a_signal_that_is_never_recorded_ends_the_run_saying_so(make, world):
    decisions = world.run(make(SpectraPolicy, **SMALL), 12)
    assert isinstance(decisions[-1], Finish)
    assert "'EELS'" in decisions[-1].reason


@pytest.mark.parametrize("wrong", [{"acquisition": "upper_confidence_bound"}, {"components": 0}, {"initial": 2}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        SpectraConfig(**(SMALL | wrong))
