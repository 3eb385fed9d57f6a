import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import environments  # noqa: F401  (registers the ids)
from autoscope.errors import AutoscopeError, ConfigError
from autoscope.protocols import Environment
from autoscope.records import Act, Measure
from environments.wrappers import DoseBudget, TimeBudget

SMALL = {
    "microscope": {"specimens": [{"kind": "nanoparticles", "extent": ["300 nm", "300 nm"], "count": 4}]},
    "task": {"fov": "150 nm", "overview_px": 48, "map_px": 16, "dwell": "10 ms"},
}


@pytest.fixture
def replay_options(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "map.npz"
    image, spectra = rng.random((12, 9)).astype(np.float32), rng.poisson(5.0, (12, 9, 8)).astype(np.float32)
    np.savez(path, image=image, spectra=spectra, axis=np.arange(8.0, dtype=np.float32), meta='{"px": "1 nm"}')
    return {"data": {"path": str(path)}, "task": {"map_px": 8}}


@pytest.fixture(params=["simulated", "replay", "microscope"])
def environment(request, replay_options):
    microscope = {"instrument": {"name": "replay", "options": replay_options["data"]}, "task": {"map_px": 8}}
    options = {"simulated": SMALL, "replay": replay_options, "microscope": microscope}[request.param]
    return gymnasium.make(f"autoscope/{request.param.capitalize()}-v0", **options)


def test_environments_pass_the_gymnasium_checker(environment):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*infinity.*")  # a measured value has no honest upper bound
        check_env(environment.unwrapped, skip_render_check=True)


def test_environments_keep_the_protocol_of_the_engine(environment):
    assert isinstance(environment.unwrapped, Environment)


def test_the_same_seed_gives_the_same_episode_and_another_seed_another(environment):
    def episode(seed):
        rng = np.random.default_rng(0)
        first, _ = environment.reset(seed=seed)
        rewards = [environment.step(rng.uniform(-1, 1, 2).astype(np.float32))[1] for _ in range(4)]
        return first["overview"], rewards

    (one, one_rewards), (two, two_rewards) = episode(3), episode(3)
    assert np.array_equal(one, two)
    assert one_rewards == two_rewards
    if "Simulated" in environment.spec.id:
        assert not np.array_equal(one, episode(4)[0])


def test_a_typed_act_and_an_array_go_through_the_same_instrument(environment):
    inner, centre = environment.unwrapped, np.zeros(2, np.float32)
    inner.reset(seed=1)
    action = inner._task.decode(centre)
    *_, by_array = inner.step(centre)
    inner.reset(seed=1)
    *_, by_act = inner.step(Act(act_id="a", action=action))
    assert by_act["observation"].frames == by_array["observation"].frames
    assert by_act["observation"].act_id == "a"


def test_a_bare_reset_takes_no_dose():
    environment = gymnasium.make("autoscope/Simulated-v0", **SMALL).unwrapped
    environment.reset(seed=1, options={"bare": True})
    assert environment.read_state().dose_e == 0.0
    environment.reset(seed=1)
    assert environment.read_state().dose_e > 0.0


def test_truth_is_told_in_info_at_reset_and_never_observed():
    environment = gymnasium.make("autoscope/Simulated-v0", **SMALL)
    observation, info = environment.reset(seed=1)
    assert info["truth"]
    assert set(observation) == {"overview", "mask", "measured", "position"}


def test_the_maps_show_where_was_measured(environment):
    environment.reset(seed=1)
    observation, *_ = environment.step(np.array([-0.99, 0.99], np.float32))
    size = observation["mask"].shape[0]
    assert np.argwhere(observation["mask"] == 1.0).tolist() == [[size - 1, 0]]


def test_the_dose_budget_terminates_and_the_time_budget_truncates():
    plain = gymnasium.make("autoscope/Simulated-v0", **SMALL).unwrapped
    plain.reset(seed=1)
    *_, info = plain.step(np.zeros(2, np.float32))
    one_e = info["observation"].dose_e
    scan_e = plain.read_state().dose_e - one_e
    by_dose = DoseBudget(plain, scan_e + 2.5 * one_e)
    by_dose.reset(seed=1)
    ends = [by_dose.step(np.zeros(2, np.float32))[2] for _ in range(4)]
    assert ends.index(True) <= 3
    by_time = TimeBudget(plain, 0.05)
    by_time.reset(seed=1)
    steps = [by_time.step(np.zeros(2, np.float32)) for _ in range(8)]
    assert steps[-1][3]
    assert not any(s[2] for s in steps)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_budget_is_refused(bad):
    env = gymnasium.make("autoscope/Simulated-v0", **SMALL).unwrapped
    for wrapper in (DoseBudget, TimeBudget):
        with pytest.raises(ConfigError, match="positive and finite"):
            wrapper(env, bad)


def test_a_step_before_reset_says_so():
    environment = gymnasium.make("autoscope/Simulated-v0", **SMALL).unwrapped
    with pytest.raises(AutoscopeError, match="has not been reset"):
        environment.step(np.zeros(2, np.float32))


def test_replay_through_arrays_returns_the_stored_spectrum_of_that_pixel(replay_options):
    environment = gymnasium.make("autoscope/Replay-v0", **replay_options).unwrapped
    environment.reset(seed=1)
    stored = np.load(replay_options["data"]["path"])["spectra"]
    order = np.random.default_rng(5).permutation(12 * 9)
    for index in order:
        i, j = divmod(int(index), 9)
        at = np.array([(j + 0.5) / 9 * 2 - 1, (i + 0.5) / 12 * 2 - 1], np.float32)
        *_, info = environment.step(at)
        assert np.array_equal(info["observation"].frames[0].data, stored[i, j])
        assert isinstance(info["observation"].act_id, str)


def test_a_measure_record_can_be_given_directly(replay_options):
    environment = gymnasium.make("autoscope/Replay-v0", **replay_options).unwrapped
    environment.reset(seed=1)
    *_, info = environment.step(Measure(x_m=0.0, y_m=0.5e-9, dwell_s=0.05, signals=("EELS",)))
    assert info["observation"].frames[0].meta.signal == "EELS"
