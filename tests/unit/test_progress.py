import io

import pytest
from rich.console import Console

from autoscope.cli.progress import LiveProgress
from autoscope.config import RunConfig
from autoscope.engine.events import StepEvent
from autoscope.engine.watching import Acquiring
from autoscope.records import Budget, Decision, MicroscopeState, Outcome, Scalar, Wait


def event(step, value):
    state = MicroscopeState(time_s=0.0)
    scalar = Scalar(name="co_k", value=value, std=1.0, unit="counts", scalarizer="x/1/0")
    outcome = Outcome(act_id=str(step), status="done", state_before=state, state=state, values=(scalar,))
    decision = Decision(action=Wait(duration_s=1.0), purpose="spectrum", reason="because", target=f"particle {step}")
    return StepEvent(step, decision, outcome, Budget(time_s=1800.0 * step, dose_e=1e9, steps=step + 1), 0.01)


def shown(terminal):
    config = RunConfig.model_validate(
        {"name": "night", "environment": {"name": "e"}, "policy": {"name": "p"}, "budget": {"time": "10 h"}}
    )
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with LiveProgress(config, console) as progress:
        for step, value in ((0, 5.0), (1, 90.0), (500, 7.0)):
            progress.on_step(event(step, value))
        console.print(progress._draw())
    return console.file.getvalue()


def test_progress_shows_the_best_so_far_with_its_place_and_the_last_reason():
    text = shown(terminal=True)
    assert "best co_k" in text
    assert "particle 1" in text
    assert "because" in text
    assert "3 acts: 3 spectrum; 0 in vain" in text


def test_progress_shows_how_far_an_acquisition_is_until_its_step_is_over():
    config = RunConfig.model_validate({"name": "n", "environment": {"name": "e"}, "policy": {"name": "p"}})
    console = Console(file=io.StringIO(), width=120)
    with LiveProgress(config, console) as progress:
        progress.on_acquiring(Acquiring("EELS", 1024, 4096))
        console.print(progress._draw())
        assert "acquiring EELS: 1024 of 4096 points (25%)" in console.file.getvalue()
        progress.on_step(event(0, 1.0))
        console.file.truncate(0)
        console.print(progress._draw())
        assert "acquiring" not in console.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "log"])
def test_progress_says_that_a_person_is_waited_for_until_the_step_is_over(terminal):
    config = RunConfig.model_validate({"name": "n", "environment": {"name": "e"}, "policy": {"name": "p"}})
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    told = event(3, 1.0)
    with LiveProgress(config, console) as progress:
        progress.on_waiting(told.decision, "a person chooses")
        said = "waits for a person (a person chooses): wait particle 3"
        assert (said in console.file.getvalue()) is not terminal
        console.print(progress._draw())
        assert said in console.file.getvalue()
        progress.on_step(told)
        console.file.truncate(0)
        console.print(progress._draw())
        assert "waits for" not in console.file.getvalue()


def test_without_a_terminal_a_line_is_printed_now_and_then():
    lines = [line for line in shown(terminal=False).splitlines() if "250.00 h" in line]
    assert len(lines) >= 1
    assert "best co_k 90 (particle 1)" in lines[0]
