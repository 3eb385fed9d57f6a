"""Whole runs against planted trouble: an image that tells nothing, models that lie, models that are too sure."""

import numpy as np
import pytest
from scipy import ndimage

from autoscope.chance import stream
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Outcome,
    Result,
    Scalar,
    Scan,
    SpectrumSignal,
    View,
)
from autoscope.surrogates.gp import GaussianProcess
from policies.gp import GaussianProcessPolicy
from policies.sobol import SobolPolicy

SIDE, NOISE_STD = 20, 0.02
STATE = MicroscopeState(time_s=0.0, beam_current_a=1e-10)
SCAN = Scan(fov_m=SIDE * 1e-9, width_px=SIDE, height_px=SIDE, dwell_s=1e-6)
CAPABILITIES = Capabilities(
    instrument="stored",
    serial="1",
    simulated=True,
    voltage_v=2e5,
    actions=("scan", "measure"),
    detectors=("HAADF",),
    signals=(SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=4)),),
    native_scan=SCAN,
)


class Run:
    """One campaign of a policy on an image and a target (20, 20), noise added to every value."""

    def __init__(self, cls, image, target, seed, measurements, **settings):
        self.target, self.decisions, self.pixels, self.values = target, [], [], []
        self.policy = cls(cls.Config(target="t", **settings), rng=stream(seed, "policy"))
        noise = np.random.default_rng(seed)
        while len(self.values) < measurements:
            view = View(step=0, time_s=0.0, budget=Budget(), state=STATE, capabilities=CAPABILITIES)
            decision = self.policy.ask(view)
            values, frames = (), ()
            if isinstance(decision.action, Measure):
                at_m = np.array([decision.action.y_m, decision.action.x_m])
                i, j = np.floor((at_m / SCAN.fov_m + 0.5) * SIDE).astype(int).tolist()
                self.decisions.append(decision)
                self.pixels.append(i * SIDE + j)
                self.values.append(float(target[i, j] + NOISE_STD * noise.normal()))
                values = (Scalar(name="t", value=self.values[-1], std=NOISE_STD, unit="1", scalarizer="planted/1/0"),)
            else:
                axes = (Axis(name="y", unit="m", size=SIDE), Axis(name="x", unit="m", size=SIDE))
                meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0)
                frames = (Frame(meta, image.copy()),)
            outcome = Outcome(act_id="a", status="done", state_before=STATE, state=STATE, values=values)
            self.policy.tell(decision, Result(outcome, frames))

    @property
    def best(self):
        """Highest true value after each measurement, as a share of the range of the map."""
        low, high = self.target.min(), self.target.max()
        return (np.maximum.accumulate(self.target.ravel()[self.pixels]) - low) / (high - low)

    def found_at(self, share=0.95):
        hits = np.flatnonzero(self.best >= share)
        return int(hits[0]) + 1 if len(hits) else len(self.pixels) + 1


def smooth(seed, width_px=4.0):
    """Return a random smooth map (20, 20) with zero mean and unit spread."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), width_px, mode="wrap")
    return (field - field.mean()) / field.std()


def rough(seed):
    return np.random.default_rng(1000 + seed).normal(size=(SIDE, SIDE))


def belief(run, name):
    """Return the belief in one member at the end."""
    return run.policy._committee.weights().get(name, 0.0)


# --- what the image tells ---


def test_an_image_that_tells_nothing_is_soon_disbelieved_and_costs_nothing():
    together, alone, beliefs = [], [], []
    for seed in range(10):
        image, target = rough(seed), smooth(seed)
        run = Run(GaussianProcessPolicy, image, target, seed, 32, patch_px=5)
        beliefs.append(belief(run, "coordinates"))
        together.append(run.best)
        alone.append(Run(GaussianProcessPolicy, image, target, seed, 32, features="coordinates").best)
    regret = np.mean(1.0 - np.array(together), axis=1) - np.mean(1.0 - np.array(alone), axis=1)
    error = regret.std(ddof=1) / np.sqrt(len(regret))
    assert np.median(beliefs) > 0.9
    assert regret.mean() < 0.03 + 2.0 * error
    assert np.median([b[-1] for b in together]) > 0.95


def test_an_image_that_tells_everything_is_believed_and_beats_coordinates():
    regrets, beliefs = [], []
    for seed in range(6):
        image = ndimage.gaussian_filter(rough(seed), 0.7)
        target = np.tanh(image / image.std()) + 0.3 * (image / image.std())
        run = Run(GaussianProcessPolicy, image, target, seed, 30, patch_px=5)
        other = Run(GaussianProcessPolicy, image, target, seed, 30, features="coordinates")
        beliefs.append(belief(run, "gp"))
        regrets.append([np.mean(1.0 - run.best), np.mean(1.0 - other.best)])
    assert min(beliefs) > 0.95
    assert np.divide(*np.mean(regrets, axis=0)) < 0.75


# --- models that lie ---


class Sick(GaussianProcess):
    """Certain of a pattern that has nothing to do with the target, and of having been right about its own data."""

    def _pattern(self, x):
        spread = self._scaling_.factor
        pattern = self._scaling_.shift + 2.0 * spread * np.sin(40.0 * x.sum(axis=1, dtype=np.float64))
        return pattern, np.full(len(x), 0.02 * spread)

    def predict(self, x):
        return self._pattern(x)

    def pool_posterior(self):
        return self._pattern(self._pool)

    def pool_std_given(self, x, noise_std):
        return self._pattern(self._pool)[1]

    def leave_one_out(self):
        y, _, _ = super().leave_one_out()
        return y, y + 0.0, np.full(len(y), 0.02 * self._scaling_.factor)


class OneSick(GaussianProcessPolicy):
    def _make_members(self, table):
        return {
            "gp": Sick(self._groups(table), "matern52"),
            "coordinates": GaussianProcess((table.place,), "matern52"),
        }


class AllSick(GaussianProcessPolicy):
    def _make_members(self, table):
        return {"gp": Sick(self._groups(table), "matern52"), "coordinates": Sick((table.place,), "matern52")}


def test_a_sick_model_is_stepped_over_and_the_maximum_is_found_no_later_than_by_filling_space():
    late, found, filled = [], [], []
    for seed in range(6):
        image, target = rough(seed), smooth(seed)
        run = Run(OneSick, image, target, seed, 40, patch_px=5)
        late += [d.fit.model for d in run.decisions[25:] if d.predicted_mean is not None]
        found.append(run.found_at())
        filled.append(Run(SobolPolicy, image, target, seed, 200).found_at())
    assert set(late) == {"coordinates"}
    assert np.median(found) <= np.median(filled)
    assert max(found) <= 40


def test_when_every_model_is_sick_every_other_place_at_least_fills_space_and_the_record_says_why():
    shares = []
    for seed in range(3):
        run = Run(AllSick, rough(seed), smooth(seed), seed, 70, patch_px=5)
        rungs = [d.fit.rung for d in run.decisions if d.fit is not None]
        assert "space_filling" in rungs[:30]
        last = run.decisions[45:]
        assert {d.fit.rung for d in last} == {"space_filling"}
        free = [d for d in last if d.predicted_mean is None]
        assert all("worse than a plain guess" in d.reason for d in free)
        shares.append(len(free) / len(last))
        assert run.best[-1] > 0.8
    assert min(shares) >= 0.45


# --- models that are too sure ---


class TooSure(GaussianProcess):
    """Claims a quarter of its uncertainty, about its own data as well."""

    def predict(self, x):
        mean, std = super().predict(x)
        return mean, 0.25 * std

    def pool_posterior(self):
        mean, std = super().pool_posterior()
        return mean, 0.25 * std

    def pool_std_given(self, x, noise_std):
        return 0.25 * super().pool_std_given(x, noise_std)

    def leave_one_out(self):
        y, mean, std = super().leave_one_out()
        return y, mean, 0.25 * std

    @property
    def jitter_std(self):
        return 0.25 * super().jitter_std


class AllTooSure(GaussianProcessPolicy):
    def _make_members(self, table):
        return {"coordinates": TooSure((table.place,), "matern52")}


@pytest.mark.parametrize("rule", ["upper_confidence_bound", "max_variance"])
def test_published_forecasts_of_models_that_are_too_sure_become_honest(rule):
    coverage, scales = [], []
    for seed in range(4):
        run = Run(AllTooSure, rough(seed), smooth(seed, 2.0), seed, 60, acquisition={"name": rule})
        inside = [
            abs(value - d.predicted_mean) <= 1.6448536 * np.hypot(d.predicted_std, NOISE_STD * d.calibration.scale)
            for d, value in zip(run.decisions, run.values, strict=True)
            if d.calibration is not None and d.calibration.n >= 15
        ]
        coverage.append(np.mean(inside))
        scales.append(run.decisions[-1].calibration.scale)
    assert 0.8 <= np.mean(coverage) <= 0.97
    assert np.median(scales) > 2.0
