"""Place and dwell chosen together: bounds, repeatability, and less dose for the same result than one dwell."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.acquisition.exposure_choice import Exposure
from autoscope.chance import stream
from autoscope.exposure import electrons
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Decision,
    Finish,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Outcome,
    Range,
    Result,
    Scalar,
    Scan,
    SetOptics,
    SpectrumImage,
    SpectrumSignal,
    View,
)
from autoscope.wishes import Disc, Rectangle, Wishes
from policies.imaging import ImagingPolicy
from policies.imaging_acts import Optics, exposures_now
from policies.imaging_footprint import (
    STENCIL_WEIGHTS,
    disc_radius_m,
    stencil_on_lattice,
)

PITCH_M = 20e-9
CURRENT_A = 50e-12


class Counting:
    """Counts events at the pixels of a hidden rate map (h, w), with Poisson noise and first-order damage."""

    def __init__(self, rate, seed=0, critical=math.inf):
        self.rate, self.critical, self.rng = rate, critical, np.random.default_rng(seed)
        self.fluence, self.current, self.told = np.zeros(rate.size), CURRENT_A, []
        self.defocus = self.focus = 3e-7
        h, w = rate.shape
        self.stencils = {f: stencil_on_lattice(h, w, PITCH_M, disc_radius_m(f, 0.025)) for f in (0.0, 1.6e-6)}
        self.scan = Scan(fov_m=w * PITCH_M, width_px=w, height_px=h, dwell_s=1e-9)

    def state(self):
        return MicroscopeState(time_s=0.0, beam_current_a=self.current, defocus_m=self.defocus, convergence_rad=0.025)

    def view(self, pending=(), **budget):
        axis = Axis(name="energy", unit="eV", size=1)
        can = Capabilities(
            instrument="counting",
            serial="1",
            simulated=True,
            voltage_v=2e5,
            actions=("scan", "measure", "spectrum_image", "set_optics"),
            detectors=("HAADF",),
            signals=(SpectrumSignal(name="EDS", axis=axis),),
            native_scan=self.scan,
            ranges={"x_m": Range(low=-1.0, high=1.0)},
        )
        view = View(step=len(self.told), time_s=0.0, budget=Budget(**budget), state=self.state(), capabilities=can)
        return view.replace(pending=tuple(pending))

    def do(self, action):
        before, values, frames = self.state(), (), ()
        if isinstance(action, SetOptics):
            self.current = action.beam_current_a or self.current
            self.defocus = self.defocus if action.defocus_m is None else action.defocus_m
        elif isinstance(action, Scan):
            image = np.sqrt(self.rate) + 0.05 * np.sqrt(self.rate.max()) * self.rng.normal(size=self.rate.shape)
            frames = (Frame(self._meta("HAADF", "y", "x", shape=image.shape), image),)
        elif isinstance(action, SpectrumImage):
            shape = (action.height_px, action.width_px)
            rows, columns = (np.arange(n) * full // n + full // (2 * n) for n, full in zip(shape, self.rate.shape))
            counts = self.rng.poisson(self.rate[np.ix_(rows, columns)] * electrons(self.current, action.dwell_s))
            meta = self._meta("EDS", "y", "x", "energy", shape=(*shape, 1))
            frames = (Frame(meta, counts[..., None].astype(np.uint16)),)
        else:
            values = (self._counted(action),)
        outcome = Outcome(act_id="a", status="done", state_before=before, state=self.state(), values=values)
        return Result(outcome, frames)

    def _counted(self, action):
        pixel = self.pixel(action)
        dose = electrons(self.current, action.dwell_s)
        at = self.stencils[round(self.defocus - self.focus, 12)][pixel]
        np.add.at(self.fluence, at, 0.5 * dose * STENCIL_WEIGHTS / PITCH_M**2)
        intact = self.rate.ravel()[at] * np.exp(-self.fluence[at] / self.critical)
        np.add.at(self.fluence, at, 0.5 * dose * STENCIL_WEIGHTS / PITCH_M**2)
        count = float(self.rng.poisson(dose * STENCIL_WEIGHTS @ intact))
        return Scalar(name="silver", value=count, std=math.sqrt(max(count, 1.0)), unit="counts", scalarizer="planted")

    def _meta(self, signal, *names, shape):
        axes = tuple(Axis(name=n, unit="eV" if n == "energy" else "m", size=s) for n, s in zip(names, shape))
        return FrameMeta(signal=signal, axes=axes, time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)

    def pixel(self, action):
        h, w = self.rate.shape
        return int((action.y_m / PITCH_M) + h / 2) * w + int((action.x_m / PITCH_M) + w / 2)

    def run(self, policy, steps, **budget):
        """Drive a policy; return its decisions and its Finish."""
        decisions = []
        for _ in range(steps):
            decisions.append(decision := policy.ask(self.view(**budget)))
            if isinstance(decision, Finish):
                break
            result = self.do(decision.action)
            policy.tell(decision, result)
            self.told.append((decision, result))
        return decisions

    @property
    def dose_e(self):
        return float(self.fluence.sum() * PITCH_M**2)


def particles(seed=0, size=12):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    rate = np.full((size, size), 2e-8)
    for _ in range(6):
        cy, cx, height = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0.5e-6, 3e-6)
        rate += height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 3.0)
    return rate


def make(seed=1, **given):
    base = {"target": "silver", "dwells_s": (1e-3, 3e-3, 1e-2, 3e-2, 0.1), "initial": 8, "patch_px": 3}
    return ImagingPolicy(ImagingPolicy.Config(**(base | given)), rng=stream(seed, "policy"))


def measured(decisions):
    return [d for d in decisions if not isinstance(d, Finish) and isinstance(d.action, Measure)]


# --- what a decision says ----------------------------------------------------------------------------


def test_overview_comes_first_and_every_modelled_decision_says_what_it_foresees():
    decisions = Counting(particles()).run(make(), 20)
    assert decisions[0].purpose == "overview"
    for decision in decisions[10:]:
        parameters = decision.acquisition_parameters
        assert decision.action.dwell_s == parameters["dwell_s"] in (1e-3, 3e-3, 1e-2, 3e-2, 0.1)
        assert parameters["predicted_noise_std"] > 0.0
        assert decision.predicted_std > 0.0
        assert decision.acquisition_value >= max(c.value for c in decision.runners_up) * (1.0 - 0.2) - 1e-30
        at = (decision.action.x_m, decision.action.y_m)
        here = [c for c in decision.runners_up if (c.action.x_m, c.action.y_m) == at]
        assert 0 < len(here) < len(decision.runners_up)
        assert all(c.action.dwell_s != decision.action.dwell_s for c in here)


def test_predicted_counts_are_those_of_the_truth_within_their_uncertainty():
    world = Counting(particles(), seed=3)
    world.run(make(goal="map"), 60)
    z = []
    for decision, result in world.told[20:]:
        spread = math.hypot(decision.predicted_std, decision.acquisition_parameters["predicted_noise_std"])
        z.append((result.value("silver").value - decision.predicted_mean) / spread)
    assert abs(np.mean(z)) < 0.6
    assert 0.4 < np.std(z) < 1.8


def test_promising_places_are_looked_at_again_and_longer():
    decisions = measured(Counting(particles()).run(make(precision=0.08), 150))
    looks = {}
    for decision in decisions:
        looks.setdefault(decision.target, []).append(decision.action.dwell_s)
    assert max(len(dwells) for dwells in looks.values()) > 1
    most = max(looks.values(), key=sum)
    assert sum(most) > 5.0 * np.median([sum(dwells) for dwells in looks.values()])


def test_search_ends_when_the_highest_value_is_known_as_well_as_wanted():
    rate = particles(4)
    world, policy = Counting(rate), make(precision=0.1)
    end = world.run(policy, 300)[-1]
    assert isinstance(end, Finish)
    assert "known to" in end.reason
    estimate = policy.estimate()
    top = int(np.argmax(estimate.mean))
    assert rate.ravel()[top] > 0.8 * rate.max()
    assert estimate.std[top] <= 0.1 * estimate.mean[top]


# --- dose --------------------------------------------------------------------------------------------


@settings(max_examples=4, deadline=None)
@given(
    critical=st.floats(1e21, 1e24),
    share=st.floats(0.05, 1.0),
    goal=st.sampled_from(["maximise", "map"]),
    seed=st.integers(0, 9),
)
def test_no_place_ever_receives_more_than_its_share_of_the_critical_dose(critical, share, goal, seed):
    world = Counting(particles(seed, size=6), critical=critical)
    policy = make(goal=goal, critical_dose_e_per_m2=critical, dose_share=share, exposed_m=PITCH_M)
    world.run(policy, 25)
    assert world.fluence.max() <= share * critical * (1.0 + 1e-9)


def test_where_no_look_fits_the_bound_the_run_ends_without_any():
    world = Counting(particles(size=5), critical=1e18)
    decisions = world.run(make(critical_dose_e_per_m2=1e18, exposed_m=PITCH_M), 5)
    assert isinstance(decisions[-1], Finish)
    assert "dose" in decisions[-1].reason
    assert world.dose_e == 0.0


def test_values_measured_on_a_fading_specimen_are_told_as_of_the_pristine_one():
    rate = np.full((5, 5), 3e-6)
    critical = 6e22
    world = Counting(rate, critical=critical, seed=2)
    bounds = {"critical_dose_e_per_m2": critical, "dose_share": 1.0, "exposed_m": PITCH_M}
    policy = make(goal="map", dwells_s=(0.03,), initial=4, **bounds)
    world.run(policy, 52)
    assert world.fluence.mean() > 0.3 * critical
    assert policy.estimate().mean.mean() == pytest.approx(3e-6, rel=0.1)


def test_fixed_exposure_without_repeats_measures_every_place_once_with_one_dwell():
    decisions = Counting(particles(size=5)).run(make(dwells_s=(0.01,), repeats=False), 40)
    looks = measured(decisions)
    assert {d.action.dwell_s for d in looks} == {0.01}
    assert len({d.target for d in looks}) == len(looks) == 25
    assert isinstance(decisions[-1], Finish)


# --- repeatability -----------------------------------------------------------------------------------


def test_telling_everything_again_gives_the_same_decisions_however_often_it_was_asked():
    world, policy = Counting(particles()), make()
    world.run(policy, 35)
    again = make()
    for decision, result in world.told:
        again.tell(decision, result)
    assert json.dumps(again.state()) == json.dumps(policy.state())
    assert again.ask(world.view()) == policy.ask(world.view()) == policy.ask(world.view())


@pytest.mark.parametrize("after", [0, 1, 6, 25])
def test_restored_policy_decides_like_the_one_that_was_told(after):
    world, policy = Counting(particles()), make()
    world.run(policy, after)
    restored = make(seed=7)
    restored.restore(json.loads(json.dumps(policy.state())))
    assert restored.ask(world.view()) == policy.ask(world.view())


def test_pending_places_are_not_looked_at_twice_at_once():
    world, policy = Counting(particles()), make()
    world.run(policy, 20)
    first = policy.ask(world.view())
    second = policy.ask(world.view(pending=(first.action,)))
    assert second.target != first.target


# --- beam current, survey ----------------------------------------------------------------------------


def test_where_seconds_are_paid_the_largest_current_is_set_and_used():
    world = Counting(particles())
    decisions = world.run(make(currents_a=(CURRENT_A, 4 * CURRENT_A), per="second"), 25)
    assert any(isinstance(d.action, SetOptics) and d.action.beam_current_a == 4 * CURRENT_A for d in decisions)
    assert world.current == 4 * CURRENT_A


def test_survey_is_taken_once_and_its_pixels_count_as_very_short_looks():
    survey = {
        "width_px": 6,
        "height_px": 6,
        "dwell": "1 ms",
        "scalarizer": {"name": "band_integral", "options": {"signal": "EDS"}},
    }
    world, policy = Counting(particles()), make(survey=survey)
    decisions = world.run(policy, 6)
    assert [type(d.action).__name__ for d in decisions[:3]] == ["Scan", "SpectrumImage", "Measure"]
    assert policy._looks.doses_e[:36] == pytest.approx(electrons(CURRENT_A, 1e-3))
    assert decisions[2].acquisition != "diverse"


def test_survey_of_too_many_pixels_is_refused():
    with pytest.raises(ValueError, match="more than 500"):
        make(survey={"width_px": 40, "height_px": 40, "scalarizer": {"name": "band_integral"}})


# --- what it is for ----------------------------------------------------------------------------------


def test_joint_choice_confirms_the_highest_value_with_less_than_half_the_dose_of_a_fixed_dwell():
    spent = []
    for options in ({}, {"dwells_s": (0.1,), "repeats": False}):
        world = Counting(particles(1, size=8), seed=1)
        end = world.run(make(1, precision=0.1, **options), 100)[-1]
        assert isinstance(end, Finish)
        spent.append(world.dose_e)
    assert spent[1] > 2.0 * spent[0]


def test_search_for_the_lowest_place_names_one_as_low_as_any():
    rate = 3.2e-6 - particles(4, size=8)
    rate = np.maximum(rate, 2e-7)
    policy = make(goal="minimise", precision=0.15, dwells_s=(1e-2, 3e-2, 0.1))
    end = Counting(rate).run(policy, 150)[-1]
    assert isinstance(end, Finish)
    assert "lowest value is known" in end.reason
    lowest = int(np.argmin(policy.estimate().mean))
    assert rate.ravel()[lowest] <= rate.min() + 0.2 * np.ptp(rate) + 1e-7


# --- defocus -----------------------------------------------------------------------------------------

WIDE_M = 1.6e-6
"""Defocus that fills, with 25 mrad, a disc of two pixels' radius."""


def test_on_a_specimen_too_delicate_for_a_focused_look_the_probe_is_widened_and_focus_restored_at_the_end():
    critical = 1.5 * electrons(CURRENT_A, 0.03) / PITCH_M**2
    world = Counting(particles(2, size=8), critical=critical)
    policy = make(goal="map", dwells_s=(0.03,), defoci_m=(0.0, WIDE_M), initial=4, **delicate(critical))
    decisions = world.run(policy, 16)
    last = world.told[-1][0]
    assert {d.acquisition_parameters["defocus_m"] for d in measured(decisions)} == {WIDE_M}
    settings = [d.action for d in decisions if isinstance(d, Decision) and isinstance(d.action, SetOptics)]
    assert settings[0].defocus_m == WIDE_M + world.focus
    assert last.purpose != "overview"
    assert policy.ask(world.view(steps=1)).action == SetOptics(defocus_m=world.focus)


def delicate(critical):
    return {"critical_dose_e_per_m2": critical, "dose_share": 0.5, "exposed_m": PITCH_M}


def test_a_defocus_that_the_instrument_refuses_is_given_up():
    critical = 1.5 * electrons(CURRENT_A, 0.03) / PITCH_M**2
    world = Counting(particles(2, size=6), critical=critical)
    policy = make(goal="map", dwells_s=(0.03,), defoci_m=(0.0, WIDE_M), initial=4, **delicate(critical))
    world.run(policy, 1)
    while isinstance(decision := policy.ask(world.view()), Decision):
        assert isinstance(decision.action, SetOptics)
        state = world.state()
        refused = Outcome(act_id="a", status="refused", state_before=state, state=state)
        policy.tell(decision, Result(refused, ()))
        world.told.append((decision, refused))
        assert len(world.told) < 10
    assert "dose" in decision.reason


def test_current_and_defocus_are_set_in_one_act_and_not_again_while_it_is_pending():
    optics, exposure = Optics(3e-7, 0.025), Exposure(0.1, 2 * CURRENT_A, WIDE_M)
    world = Counting(particles(size=4))
    setting = optics.setting(exposure, world.view())
    assert setting == SetOptics(beam_current_a=2 * CURRENT_A, defocus_m=3e-7 + WIDE_M)
    assert optics.setting(exposure, world.view(pending=(setting,))) is None


def test_a_robust_specimen_is_searched_in_focus():
    world = Counting(particles(), seed=2)
    decisions = world.run(make(precision=0.15, defoci_m=(0.0, WIDE_M)), 40)
    chosen = [d.acquisition_parameters["defocus_m"] for d in measured(decisions)]
    assert np.mean([f == 0.0 for f in chosen]) > 0.7


# --- binning -----------------------------------------------------------------------------------------

SUM = {"name": "band_integral", "options": {"signal": "EDS"}}


class Summing(Counting):
    """Scans small squares, too; the beam destroys nothing."""

    def do(self, action):
        if not isinstance(action, SpectrumImage) or action.width_px > 5:
            return super().do(action)
        side, (h, w) = action.width_px, self.rate.shape
        assert action.fov_m == pytest.approx(side * PITCH_M)
        offset = (np.arange(side) + 0.5 - side / 2.0) * PITCH_M
        rows, columns = (np.rint((c + offset) / PITCH_M + n / 2 - 0.5).astype(int) for c, n in self._middle(action))
        assert 0 <= rows.min() <= rows.max() < h
        assert 0 <= columns.min() <= columns.max() < w
        counts = self.rng.poisson(self.rate[np.ix_(rows, columns)] * electrons(self.current, action.dwell_s))
        frames = (Frame(self._meta("EDS", "y", "x", "energy", shape=(side, side, 1)), counts[..., None].astype(float)),)
        state = self.state()
        return Result(Outcome(act_id="a", status="done", state_before=state, state=state), frames)

    def _middle(self, action):
        h, w = self.rate.shape
        return (action.centre_y_m, h), (action.centre_x_m, w)


def sums(decisions):
    return [d for d in decisions if not isinstance(d, Finish) and isinstance(d.action, SpectrumImage)]


def summing(**given):
    return make(**({"binnings": (1, 3), "scalarizer": SUM, "goal": "map", "initial": 6} | given))


def test_on_a_specimen_too_delicate_for_a_point_squares_are_summed():
    critical = 1.5 * electrons(CURRENT_A, 0.03) / PITCH_M**2
    world = Summing(particles(2, size=9))
    decisions = world.run(summing(dwells_s=(0.03,), initial=4, **delicate(critical)), 12)
    assert len(sums(decisions)) >= 4
    assert not measured(decisions)
    assert all("summed over 3 x 3 pixels" in d.reason for d in sums(decisions)[5:])
    assert all(d.action.detectors == () for d in sums(decisions))  # an image would be saturated, and is not wanted


def test_what_a_square_is_foretold_to_hold_is_what_it_holds():
    world = Summing(np.full((9, 9), 2e-6))
    world.rate[:, :4] = 8e-6
    policy = summing(dwells_s=(0.1,), critical_dose_e_per_m2=1.5 * electrons(CURRENT_A, 0.1) / PITCH_M**2)
    world.run(policy, 30)
    told = [(d, r) for d, r in world.told if isinstance(d.action, SpectrumImage) and d.predicted_mean is not None]
    assert len(told) >= 5
    for decision, result in told:
        noise = decision.acquisition_parameters["predicted_noise_std"]
        fades = decision.acquisition_parameters["useful_e"] / decision.acquisition_parameters["dose_e"]
        error = decision.predicted_mean - fades * result.frames[0].data.sum()
        assert abs(error) < 5.0 * math.hypot(decision.predicted_std, noise)


def test_squares_restore_and_repeat():
    world, policy = Summing(particles(3, size=9)), summing(dwells_s=(3e-3, 0.03))
    world.run(policy, 20)
    restored = summing(seed=5, dwells_s=(3e-3, 0.03))
    restored.restore(json.loads(json.dumps(policy.state())))
    assert restored.ask(world.view()) == policy.ask(world.view())


def test_binning_needs_a_scalarizer_and_a_single_pixel_to_choose():
    for wrong in ({"scalarizer": None}, {"binnings": (3,)}, {"binnings": (1, 3, 3)}, {"binnings": (1, 99)}):
        with pytest.raises(ValueError, match="binnings"):
            summing(**wrong)


# --- what people want --------------------------------------------------------------------------------


def steered(world, policy, wishes, steps):
    """Return the decisions under wishes that stand from the first to the last."""
    decisions = []
    for _ in range(steps):
        decision = policy.ask(world.view().replace(wishes=wishes))
        if isinstance(decision, Finish):
            break
        decisions.append(decision)
        policy.tell(decision, world.do(decision.action))
    return decisions


@pytest.mark.parametrize("heed", ["excluded", "pinned", "within"])
def test_looks_are_taken_where_people_want_them(heed):
    world, half = Counting(particles()), Rectangle(x_m=(-1e-6, -15e-9), y_m=(-1e-6, 1e-6))
    wishes = Wishes(**{heed: half if heed == "within" else (half,)}, sent="order-1" if heed == "within" else "")
    looks = measured(steered(world, make(), wishes, 25))
    left = [look.action.x_m < 0.0 for look in looks]
    assert len(looks) > 15
    assert not any(left) if heed == "excluded" else all(left)
    assert all(look.order == wishes.sent for look in looks)


def test_an_ordered_dwell_replaces_those_configured_where_the_instrument_takes_it():
    world = Counting(particles())
    looks = measured(steered(world, make(), Wishes(dwell_s=0.02), 12))
    assert {look.action.dwell_s for look in looks} == {0.02}
    refusing = world.view().capabilities.replace(choices={"dwell_s": (0.01, 0.1)})
    view = world.view().replace(wishes=Wishes(dwell_s=0.02), capabilities=refusing)
    assert {e.dwell_s for e in exposures_now(make().config, view)} == {0.01, 0.1}


def test_a_place_somebody_sends_it_to_is_measured_although_the_search_is_done():
    world, policy = Counting(particles()), make(precision=0.3)
    decisions = world.run(policy, 300)
    assert isinstance(decisions[-1], Finish)
    there = Wishes(within=Disc(x_m=0.0, y_m=0.0), sent="order-1")
    decision = policy.ask(world.view().replace(wishes=there))
    assert decision.order == "order-1"
    assert abs(decision.action.x_m) <= PITCH_M
