"""Budgets as Gymnasium wrappers: dose reached terminates, time or steps spent truncates."""

from __future__ import annotations

from typing import Any

import gymnasium

from autoscope.errors import ConfigError
from autoscope.records import Observation
from environments.base import InstrumentEnvironment
from environments.task import Arrays


class DoseBudget(gymnasium.Wrapper[Arrays, Any, Arrays, Any]):
    """Terminates an episode when the electrons on the sample since reset reach a budget.

    Parameters
    ----------
    env : gymnasium.Env
        An instrument environment (possibly wrapped).
    dose_e : float
        Electrons.
    """

    def __init__(self, env: gymnasium.Env[Arrays, Any], dose_e: float) -> None:
        super().__init__(env)
        self._budget_e, self._start_e = _positive(dose_e, "dose_e"), 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Reset and begin to count."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._start_e = _instrument(self).read_state().dose_e
        return observation, info

    def step(self, action: Any) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Step, and terminate when the budget is reached."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        spent = _typed(info).state.dose_e - self._start_e
        return observation, float(reward), terminated or spent >= self._budget_e, truncated, info


class TimeBudget(gymnasium.Wrapper[Arrays, Any, Arrays, Any]):
    """Truncates an episode when the instrument time since reset reaches a budget.

    Parameters
    ----------
    env : gymnasium.Env
        An instrument environment (possibly wrapped).
    time_s : float
        Seconds on the instrument's clock.
    """

    def __init__(self, env: gymnasium.Env[Arrays, Any], time_s: float) -> None:
        super().__init__(env)
        self._budget_s, self._start_s = _positive(time_s, "time_s"), 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Reset and begin to count."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._start_s = _instrument(self).read_state().time_s
        return observation, info

    def step(self, action: Any) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Step, and truncate when the budget is reached."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        spent = _typed(info).state.time_s - self._start_s
        return observation, float(reward), terminated, truncated or spent >= self._budget_s, info


def _instrument(env: gymnasium.Env[Arrays, Any]) -> InstrumentEnvironment:
    inner = env.unwrapped
    if not isinstance(inner, InstrumentEnvironment):
        raise ConfigError("budget wrappers need an instrument environment", value=type(inner).__name__)
    return inner


def _typed(info: dict[str, Any]) -> Observation:
    observation = info["observation"]
    assert isinstance(observation, Observation)  # noqa: S101  (an invariant of InstrumentEnvironment, not input)
    return observation


def _positive(value: float, name: str) -> float:
    if not 0.0 < value < float("inf"):
        raise ConfigError("a budget must be positive and finite", where=name, value=value)
    return value
