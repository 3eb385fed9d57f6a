"""The kit for policies: ours keep every promise, and each way of breaking one is told by name."""

import re
from pathlib import Path

import numpy as np
import pytest

from autoscope.chance import stream
from autoscope.config import ConfigModel
from autoscope.quantities import PositiveDuration
from autoscope.records import Decision, Finish, Measure
from autoscope.testing import check_policy

ROOT = Path(__file__).resolve().parents[3]


class Steady:
    """Keeps every promise: measures random places, the number of outcomes told decides which."""

    class Config(ConfigModel):
        dwell_s: PositiveDuration = 0.1

    lookahead = True

    def __init__(self, config, *, rng):
        self._config, self._root, self._told = config, int(rng.integers(2**63)), 0

    def ask(self, view):
        nth = self._told + len(view.pending)
        x_m, y_m = (float(v) for v in stream(self._root, f"place {nth}").uniform(-9e-8, 9e-8, 2))
        if view.budget.time_s is not None and view.budget.time_s < self._config.dwell_s:
            return Finish(reason="no time is left")
        return self.measure(x_m, y_m, view)

    def measure(self, x_m, y_m, view):
        signal = view.capabilities.signals[0].name
        action = Measure(x_m=x_m, y_m=y_m, dwell_s=self._config.dwell_s, signals=(signal,))
        return Decision(action=action, purpose="spectrum", reason="a random place")

    def tell(self, decision, result):
        self._told += 1

    def state(self):
        return {"root": self._root, "told": self._told}

    def restore(self, state):
        self._root, self._told = state["root"], state["told"]


class Global(Steady):
    def ask(self, view):
        return self.measure(float(np.random.uniform(-9e-8, 9e-8)), 0.0, view)  # noqa: NPY002


class Stubborn(Steady):
    def ask(self, view):
        return self.measure(0.0, 0.0, view)


class Outside(Steady):
    def ask(self, view):
        return self.measure(1.0, 0.0, view)


class Unpacked(Steady):
    def state(self):
        return {"root": np.arange(3), "told": 0}


class Forgetful(Steady):
    def restore(self, state):
        self._told = state["told"]


class Growing(Steady):
    """Right in a new object, wrong in one that knows something."""

    def restore(self, state):
        self._root, self._told = state["root"], (self._told or 0) + state["told"]


class Brittle(Steady):
    def tell(self, decision, result):
        super().tell(decision, result)
        _ = result.outcome.values[0]


class Silent(Steady):
    def measure(self, x_m, y_m, view):
        return super().measure(x_m, y_m, view).model_copy(update={"reason": ""})


class Certain(Steady):
    def measure(self, x_m, y_m, view):
        return super().measure(x_m, y_m, view).replace(predicted_mean=1.0, predicted_std=-1.0)


class Wordless(Steady):
    def ask(self, view):
        return "left"


class Peeking(Steady):
    """Reaches for what no policy is given: the living environment."""

    def ask(self, view):
        import gc

        from environments.base import InstrumentEnvironment

        found = [thing for thing in gc.get_objects() if issubclass(type(thing), InstrumentEnvironment)]
        worlds = [world for world in found if not world._closed]
        sum_ = float(worlds[-1]._instrument._data.spectra[0, 0].sum()) if worlds else 0.0
        return self.measure(1e-9 * self._told + (3e-9 if sum_ else 0.0), 0.0, view)


@pytest.mark.parametrize("policy", [Steady, "random", "grid", "sobol", "gp"], ids=str)
def test_a_policy_that_keeps_its_promises_passes(policy):
    report = check_policy(policy, steps=12)
    assert report.ok, str(report)
    assert report.count("passed") >= 13


def test_dwells_that_the_instrument_does_not_take_end_the_run_with_those_that_it_does():
    assert check_policy("imaging", {"dwells": ["10 ms", "50 ms"]}, steps=6).ok
    report = check_policy("imaging", {"dwells": ["10 ms"]}, steps=6)
    assert report.ok, str(report)
    assert "it takes 1e-05 s, 0.05 s: set policy.options.dwells" in str(report)


@pytest.mark.parametrize(
    ("policy", "broken"),
    [
        (Global, "whatever the global generators"),
        (Stubborn, "does not ask again for what is under way"),
        (Stubborn, "measures no place twice"),
        (Outside, "asks for nothing the instrument cannot do"),
        (Unpacked, "is plain data"),
        (Forgetful, "makes another policy decide as the one it came from"),
        (Growing, "sets a policy back that has learnt more since"),
        (Brittle, "faults can be checked"),
        (Silent, "says why"),
        (Certain, "standard deviations that are not negative"),
        (Wordless, "runs until its budget is spent"),
        (Peeking, "without the instrument"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_broken_promise_is_told_by_name_with_a_remedy(policy, broken):
    report = check_policy(policy, steps=6)
    told = [check for check in report.failed if broken in check.promise]
    assert told, str(report)


def test_a_class_that_cannot_be_made_is_a_finding_and_no_error():
    report = check_policy("random", {"no_such_option": 1})
    assert not report.ok
    assert "no_such_option" in str(report)


def test_places_measured_twice_are_allowed_where_that_is_said():
    report = check_policy(Stubborn, steps=10, repeats=True)
    assert not any("twice" in check.promise for check in report.checks)


def test_the_policy_of_the_documentation_keeps_its_promises():
    text = (ROOT / "docs" / "plugins.md").read_text()
    source = next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Wander" in b)
    names = {}
    exec(source, names)
    report = check_policy(names["Wander"])
    assert report.ok, str(report)
