"""An RL library's own algorithm learns on our environment, through nothing but the Gymnasium contract."""

import gymnasium
import numpy as np
import pytest

import environments  # noqa: F401  (registers the ids)
from environments.wrappers import TimeBudget

OPTIONS = {
    "microscope": {"specimens": [{"kind": "nanoparticles", "extent": ["300 nm", "300 nm"], "count": 3}]},
    "task": {
        "fov": "260 nm",
        "overview_px": 32,
        "map_px": 8,
        "dwell": "5 ms",
        "signal": "EELS",
        "reward": {"name": "band_integral", "options": {"band": ["1.5 eV", "3.5 eV"]}},
    },
}


class OneSpecimen(gymnasium.Wrapper):
    """Every episode is on the same specimen, and rewards are in units of what random positions bring."""

    scale = (0.0, 1.0)

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=11, options=options)

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, (reward - self.scale[0]) / self.scale[1], terminated, truncated, info


def mean_reward(environment, choose, episodes=6):
    total = []
    for _ in range(episodes):
        observation, _ = environment.reset()
        done = False
        while not done:
            observation, reward, terminated, truncated, _ = environment.step(choose(observation))
            total.append(reward)
            done = terminated or truncated
    return total


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_ppo_learns_where_the_plasmons_are():
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    base = gymnasium.make("autoscope/Simulated-v0", **OPTIONS)
    environment = OneSpecimen(TimeBudget(base, 0.2))  # eight spectra and their overheads
    rng = np.random.default_rng(0)

    def wander(_):
        return rng.uniform(-1, 1, 2).astype(np.float32)

    raw = mean_reward(environment, wander, episodes=30)
    environment.scale = (float(np.mean(raw)), float(np.std(raw)))
    at_random = mean_reward(environment, wander, episodes=30)
    model = stable_baselines3.PPO(
        "MultiInputPolicy", environment, n_steps=128, batch_size=64, gamma=0.0, learning_rate=3e-3, seed=0, device="cpu"
    )
    model.learn(4096)
    learnt = mean_reward(environment, lambda o: model.predict(o, deterministic=False)[0], episodes=30)
    standard_error = np.hypot(np.std(at_random), np.std(learnt)) / np.sqrt(min(len(at_random), len(learnt)))
    assert np.mean(learnt) - np.mean(at_random) > 4 * standard_error
