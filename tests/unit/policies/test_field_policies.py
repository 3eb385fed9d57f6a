"""What every policy for one field of view promises, whatever its rule."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.errors import Unsupported
from autoscope.records import Finish, Measure, Scan, Wait
from autoscope.registry import load
from policies.field import FieldPolicy, OverviewConfig
from policies.grid import GridPolicy
from policies.pixels import PixelGrid, image_from_plain, image_to_plain
from policies.random import RandomPolicy
from policies.sobol import SobolPolicy

ALL = ("random", "grid", "sobol", "gp", "deep_kernel")
SMALL = {
    "gp": {"initial": 4, "refit_every": 3},
    "deep_kernel": {"initial": 4, "refit_every": 3, "cold_steps": 10, "warm_steps": 3, "hidden": 8},
}


@pytest.fixture(params=ALL)
def policy_of(request, make):
    cls = load("policies", request.param)
    return lambda seed=1, **settings: make(cls, seed, **(SMALL.get(request.param, {}) | settings))


def test_the_overview_comes_first_and_is_the_only_image_of_stored_data(policy_of, world):
    decision = policy_of().ask(world.view())
    assert decision.action == world.scan
    assert decision.purpose == "overview"


def test_the_overview_is_as_configured_where_any_scan_is_possible(policy_of, make_world):
    overview = OverviewConfig(fov_m=2e-8, width_px=40, height_px=20, dwell_s=2e-6, detector="BF")
    decision = policy_of(overview=overview).ask(make_world(native=False).view())
    expected = Scan(fov_m=2e-8, width_px=40, height_px=20, dwell_s=2e-6, detectors=("BF",))
    assert decision.action == expected


def test_spectra_are_taken_at_exact_pixel_centres_and_never_twice(policy_of, world):
    decisions = world.run(policy_of(), 16)
    grid, pixels = PixelGrid(world.scan), world.measured()
    assert len(set(pixels)) == len(pixels) == 15
    for decision, pixel in zip(decisions[1:], pixels, strict=True):
        assert (decision.action.x_m, decision.action.y_m) == grid.position(pixel)
        assert decision.target == "pixel {},{}".format(*divmod(pixel, 22))
        assert decision.purpose == "spectrum"
        assert decision.action.signals == ("EELS", "EDS")


def test_every_decision_carries_what_is_needed_to_say_why(policy_of, world):
    decisions = world.run(policy_of(), 12)[1:]
    for k, decision in enumerate(decisions):
        assert len(decision.reason) > 20
        assert decision.candidates == 18 * 22 - k
        assert len(decision.runners_up) >= 3
        places = [world.pixel(c.action) for c in decision.runners_up] + [world.pixel(decision.action)]
        assert len(set(places)) == len(places)
    for field in ("candidates_sha256", "data_sha256", "random_state_sha256"):
        assert len({getattr(d, field) for d in decisions}) == len(decisions)


def test_asking_twice_gives_the_same_answer(policy_of, world, same):
    policy = policy_of()
    world.run(policy, 9)
    same(policy.ask(world.view()), policy.ask(world.view()))


@pytest.mark.parametrize("told", [0, 1, 3, 9, 12])
def test_a_restored_policy_decides_as_one_told_everything_again(policy_of, world, told, same, through_json):
    original = policy_of()
    world.run(original, told)
    folded, restored = policy_of(), policy_of(seed=99)
    for decision, result in world.told:
        folded.tell(decision, result)
    restored.restore(through_json(original.state()))
    for _ in range(4):
        expected = original.ask(world.view())
        result = world.do(expected)
        for policy in (folded, restored):
            same(policy.ask(world.view()), expected)
            policy.tell(expected, result)
        original.tell(expected, result)
    assert through_json(restored.state())["values"] == through_json(original.state())["values"]


def test_another_seed_measures_elsewhere_unless_the_rule_has_no_chance(policy_of, make_world):
    places = []
    for seed in (1, 1, 2):
        world = make_world()
        policy = policy_of(seed)
        world.run(policy, 8)
        places.append(world.measured())
    assert places[0] == places[1]
    assert (places[0] == places[2]) == isinstance(policy, GridPolicy)


def test_the_run_ends_when_the_points_asked_for_are_measured(policy_of, world):
    *_, last = world.run(policy_of(points=6), 20)
    assert isinstance(last, Finish)
    assert len(world.measured()) == 6


def test_the_run_ends_when_no_pixel_is_left(policy_of, world):
    policy = policy_of(stride_px=6)
    *_, last = world.run(policy, 60)
    assert isinstance(last, Finish)
    assert sorted(world.measured()) == sorted(PixelGrid(world.scan).strided(6))


def test_a_pixel_that_fails_twice_is_left_alone_and_teaches_nothing(policy_of, make_world):
    world = make_world(failing=set(range(0, 396, 3)))
    policy = policy_of()
    world.run(policy, 30)
    pixels, counts = np.unique(world.measured(), return_counts=True)
    failed = np.isin(pixels, list(world.failing))
    assert failed.any()
    assert counts.max() == 2
    assert (counts[~failed] == 1).all()
    assert not world.failing & set(policy._pixels_)
    assert len(policy._values_) == (~failed).sum()


def test_a_pending_pixel_is_not_chosen_again(policy_of, world):
    policy = policy_of()
    world.run(policy, 8)
    pending = []
    for _ in range(4):
        decision = policy.ask(world.view(pending))
        pending.append(decision.action)
    pixels = [world.pixel(a) for a in pending] + world.measured()
    assert len(set(pixels)) == len(pixels)


def test_while_the_overview_is_pending_the_policy_waits(policy_of, world):
    assert isinstance(policy_of().ask(world.view([world.scan])).action, Wait)


def test_a_run_goes_on_by_place_alone_when_no_overview_can_be_had(policy_of, world):
    policy = policy_of()
    for _ in range(2):
        decision = policy.ask(world.view())
        assert isinstance(decision.action, Scan)
        policy.tell(decision, world.result(decision.action, "rejected"))
    decisions = world.run(policy, 8)
    assert all(isinstance(d.action, Measure) for d in decisions)
    assert len(set(world.measured())) == 8


def test_a_spectrum_somebody_else_decided_is_learnt_from(policy_of, world):
    policy = policy_of()
    world.run(policy, 3)
    decision = policy.ask(world.view())
    x_m, y_m = PixelGrid(world.scan).position(200)
    by_hand = decision.replace(action=decision.action.replace(x_m=x_m + 3e-10, y_m=y_m - 3e-10), decided_by="human")
    policy.tell(by_hand, world.do(by_hand))
    assert policy._pixels_[-1] == 200
    far = decision.replace(action=decision.action.replace(x_m=1.0))
    policy.tell(far, world.result(far.action))
    assert len(policy._pixels_) == 3


@pytest.mark.parametrize("budget", [{"time_s": 0.05}, {"dose_e": 10.0}, {"steps": 0}])
def test_the_run_ends_when_the_next_spectrum_cannot_be_paid(policy_of, world, budget):
    policy = policy_of()
    world.run(policy, 2)
    assert isinstance(policy.ask(world.view(**budget)), Finish)
    assert not isinstance(policy.ask(world.view(time_s=0.11, dose_e=1e10, steps=1)), Finish)


def test_a_misnamed_target_ends_the_run_instead_of_burning_the_sample(policy_of, world):
    *_, last = world.run(policy_of(target="brigthness"), 30)
    assert isinstance(last, Finish)
    assert "brigthness" in last.reason
    assert len(world.measured()) <= 10


def test_a_rotated_overview_is_refused_before_it_is_taken(make, make_world):
    world = make_world()
    view = world.view()
    turned = view.replace(capabilities=view.capabilities.replace(native_scan=world.scan.replace(rotation_rad=0.1)))
    with pytest.raises(Unsupported, match="rotated"):
        make(RandomPolicy).ask(turned)


def test_an_instrument_without_spectra_is_refused(make, world):
    policy = make(RandomPolicy)
    world.run(policy, 1)
    view = world.view()
    with pytest.raises(Unsupported, match="no spectra"):
        policy.ask(view.replace(capabilities=view.capabilities.replace(signals=())))


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.floats(1e-10, 1e-3),
    st.floats(-1e-3, 1e-3),
    st.floats(-1e-3, 1e-3),
    st.data(),
)
def test_no_rounding_moves_a_pixel_centre_into_another_pixel(width, height, fov_m, x_m, y_m, data):
    scan = Scan(fov_m=fov_m, width_px=width, height_px=height, dwell_s=1e-6, centre_x_m=x_m, centre_y_m=y_m)
    grid, pixel = PixelGrid(scan), data.draw(st.integers(0, width * height - 1))
    assert grid.pixel_at(*grid.position(pixel)) == pixel


def test_places_outside_the_overview_are_no_pixel(world):
    grid = PixelGrid(world.scan)
    assert grid.pixel_at(3e-9 + 11.1e-9, -7e-9) is None
    assert grid.pixel_at(3e-9, -7e-9 - 9.1e-9) is None


def test_an_image_survives_being_written_as_plain_data():
    image = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_array_equal(image_from_plain(image_to_plain(image)), image)


def test_a_grid_is_even_and_walked_without_jumps(make, world):
    policy = make(GridPolicy, points=20)
    world.run(policy, 21)
    i, j = np.divmod(world.measured(), 22)
    assert len(np.unique(i)) * len(np.unique(j)) >= 20
    assert np.diff(np.unique(i)).max() - np.diff(np.unique(i)).min() <= 1
    assert np.diff(np.unique(j)).max() - np.diff(np.unique(j)).min() <= 1
    steps = np.abs(np.diff(i)) + np.abs(np.diff(j))
    assert steps.max() <= max(np.diff(np.unique(i)).max(), np.diff(np.unique(j)).max())


def test_sobol_points_leave_smaller_holes_than_random_ones(make, make_world):
    def largest_hole(cls, seed):
        world = make_world()
        world.run(make(cls, seed), 33)
        i, j = np.divmod(world.measured(), 22)
        y, x = np.mgrid[:18, :22]
        return np.sqrt((y[..., None] - i) ** 2 + (x[..., None] - j) ** 2).min(axis=2).max()

    holes = {cls: np.mean([largest_hole(cls, seed) for seed in range(5)]) for cls in (SobolPolicy, RandomPolicy)}
    assert holes[SobolPolicy] < 0.9 * holes[RandomPolicy]


def test_random_pixels_are_uniform_over_the_field(make, make_world):
    firsts = []
    for seed in range(400):
        world = make_world()
        policy = make(RandomPolicy, seed)
        world.run(policy, 2)
        firsts += world.measured()
    quarter = np.bincount(np.asarray(firsts) * 4 // 396, minlength=4)
    assert quarter.min() > 65


def test_policies_without_a_model_never_load_torch():
    names = ", ".join(f"policies.{name}" for name in ("random", "grid", "sobol", "raster", "gp", "deep_kernel"))
    program = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_all_field_policies_are_registered():
    assert all(issubclass(load("policies", name), FieldPolicy) for name in ALL)
