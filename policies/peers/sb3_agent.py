"""A stable-baselines3 agent: PPO with the library's defaults, trained beforehand on random fields to pick a proposal.

Reinforcement learning has no recommended recipe for this problem. This is the learnt acquisition function of Volpp et
al., "Meta-learning acquisition functions for transfer learning in Bayesian optimization" (ICLR 2020), made small: the
agent sees, of a few proposed places, what is cheap to know, and picks one. It has no model, so it gives no map.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from policies.field import FieldConfig
from policies.peers.peer import Judge, Judgement, PeerConfig, PeerPolicy
from policies.peers.proposals import FEATURES, PROPOSALS, Field, propose
from policies.pixels import Indices

Array = NDArray[np.float64]


class SB3Config(PeerConfig):
    """How the agent is trained; the same agent serves all runs of a process."""

    training_steps: PositiveInt = 20_480
    """Ten of the library's default rollouts of 2048."""
    training_seed: NonNegativeInt = 0


class SB3Policy(PeerPolicy):
    """Eight places are proposed, some by chance and some near the best or alike; a trained PPO agent picks one."""

    Config: ClassVar[type[FieldConfig]] = SB3Config
    model, acquisition = "stable-baselines3 PPO", "agent_probability"

    def __init__(self, config: SB3Config, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._config = config

    def _make_judge(self) -> Judge:
        agent = trained(self._config.training_steps, self._config.training_seed)
        return SB3Judge(agent, Field(self._places, self._patches))


class SB3Judge:
    """The agent before a field of candidates."""

    def __init__(self, agent: Any, field: Field) -> None:
        self._agent, self._field = agent, field

    def judge(self, taken: Indices, values: Array, stds: Array, seed: int) -> Judgement:
        """Return the agent's probability of each proposal, and nothing elsewhere; see `Judge.judge`."""
        import torch

        proposals, seen = propose(self._field, taken, values, np.random.default_rng(seed))
        with torch.no_grad():
            observed = torch.as_tensor(seen.astype(np.float32))[None]
            probabilities = self._agent.policy.get_distribution(observed).distribution.probs[0]
        scores = np.full(len(self._field.places), -np.inf)
        scores[proposals] = probabilities.double().numpy()[: len(proposals)]
        unknown = np.full(len(scores), np.nan)
        return Judgement(scores, unknown, unknown)


@functools.lru_cache(maxsize=4)
def trained(steps: int, seed: int) -> Any:
    """Return the agent trained for so many steps; once a process, the same each time."""
    import gymnasium as gym
    import torch
    from gymnasium import spaces
    from stable_baselines3 import PPO

    class Game(gym.Env[Any, Any]):
        """Forty places on a random field, five given; the reward is by how much the best known place got better."""

        observation_space = spaces.Box(-np.inf, np.inf, (PROPOSALS * FEATURES,), np.float32)
        action_space = spaces.Discrete(PROPOSALS)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            self._field, self._truth = random_field(self.np_random)
            self._taken = [int(i) for i in self.np_random.choice(len(self._truth), START, replace=False)]
            return self._look(), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            before = float(self._truth[self._taken].max())
            self._taken.append(int(self._proposals[min(int(action), len(self._proposals) - 1)]))
            gained = max(float(self._truth[self._taken[-1]]) - before, 0.0)
            return self._look(), gained, False, len(self._taken) >= LENGTH, {}

        def _look(self) -> Any:
            taken = np.array(self._taken)
            self._proposals, seen = propose(self._field, taken, self._truth[taken], self.np_random)
            return seen.astype(np.float32)

    with torch.random.fork_rng(devices=[]):
        return PPO("MlpPolicy", Game(), seed=seed, device="cpu", verbose=0).learn(steps)


START, LENGTH, SIDE, PATCH = 5, 40, 24, 5


def random_field(rng: np.random.Generator) -> tuple[Field, Array]:
    """Return a random field of spots: what is seen of it, and the target (m,) in 0..1, which only some spots have."""
    from policies.peers.inputs import patches, places

    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    image, target = 0.05 * rng.normal(size=(SIDE, SIDE)), 0.1 * x * rng.uniform()
    for _ in range(int(rng.integers(4, 14))):
        centre, radius, weight = rng.uniform(size=2), rng.uniform(0.03, 0.12), rng.uniform(0.2, 1.0)
        spot = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * radius**2))
        image += weight * spot
        target = target + spot * weight * float(rng.uniform() < 0.6)
    pixels = np.arange(SIDE * SIDE)
    scaled = (target - target.min()) / (float(np.ptp(target)) or 1.0)
    return Field(places((SIDE, SIDE), pixels), patches(image, pixels, PATCH)), scaled.ravel()
