"""Images in which the sample moved: taken again, told in the record; no place is taken from one that still moved."""

import numpy as np
import pytest

from autoscope.perception.constellation import Match
from autoscope.perception.image_drift import ImageDrift
from autoscope.purposes import DRIFT_LIMIT_PX, DRIFT_PX
from autoscope.records import Scan
from policies.survey.config import GateConfig
from policies.survey.steadiness import Steadiness
from tests.unit.policies.test_finishing import SMALL
from tests.unit.policies.test_survey_run import assembled, run

PIXEL_M = 4e-9


def at(x_px=0.0):
    return Match(dx_m=x_px * PIXEL_M, dy_m=0.0, matched=30, confidence=0.9, std_m=1e-10)


def drift(x_px, y_px=0.0, *, sudden=False):
    return ImageDrift(dx_m=x_px * PIXEL_M, dy_m=y_px * PIXEL_M, std_m=0.2 * PIXEL_M, matched=30, sudden=sudden)


def steadiness(**changes):
    return Steadiness(GateConfig(**changes), 30.0)


def test_an_image_in_which_the_sample_moved_is_taken_again_at_most_so_often_and_then_not_believed():
    gate = steadiness(repeats=2)
    where = [gate.judge(3, at(10.0 * k), drift(4.0 + 2.5 * k), PIXEL_M) for k in range(3)]
    assert where == ["again", "again", "unfit"]
    assert "no place is taken from it" in gate.remark
    assert gate.judge(3, at(), drift(0.5), PIXEL_M) == "fit"


def test_after_a_steady_movement_it_waits_and_after_a_jump_it_does_not():
    gate = steadiness()
    gate.judge(3, at(), drift(np.e), PIXEL_M)
    assert gate.wait_s == pytest.approx(30.0)
    gate = steadiness()
    gate.judge(3, at(), drift(np.e, sudden=True), PIXEL_M)
    assert gate.wait_s == 0.0


def test_what_is_the_same_in_the_next_image_while_the_sample_stood_still_was_in_the_overview():
    gate = steadiness()
    assert gate.judge(3, at(0.0), drift(5.0), PIXEL_M) == "again"
    assert gate.judge(3, at(0.1), drift(5.1), PIXEL_M) == "fit"
    assert "overview" in gate.remark
    gate.next_act()
    assert gate.judge(3, at(0.1), drift(4.9), PIXEL_M) == "fit"
    assert (gate.remark, DRIFT_LIMIT_PX in gate.note) == ("", False)
    assert gate.judge(4, at(0.1), drift(4.9), PIXEL_M) == "again"  # another tile


def test_a_steady_movement_of_the_same_size_is_not_taken_for_one_of_the_overview():
    gate = steadiness(repeats=1)
    verdicts = [gate.judge(3, at(5.0 * k), drift(5.0), PIXEL_M) for k in range(2)]
    assert verdicts == ["again", "unfit"]


def test_distortion_that_all_images_have_is_not_taken_for_movement():
    gate = steadiness(max_drift_px=3.0)
    for tile in range(3):
        assert gate.judge(tile, at(), drift(2.0), PIXEL_M) == "fit"
    assert gate.note[DRIFT_PX] < 2.5
    assert gate.judge(9, at(), drift(3.9), PIXEL_M) == "fit"
    assert gate.note[DRIFT_PX] == pytest.approx(1.9)


def test_where_it_is_not_asked_or_cannot_be_told_nothing_is_held_against_an_image():
    gate = steadiness()
    assert gate.judge(0, at(), None, PIXEL_M) == "fit"
    assert gate.note == {}
    assert steadiness(max_drift_px=None).judge(0, at(), drift(50.0), PIXEL_M) == "fit"


def test_it_survives_its_state():
    gate, twin = steadiness(), steadiness()
    gate.judge(3, at(0.0), drift(5.0), PIXEL_M)
    twin.restore(gate.state())
    assert twin.state() == gate.state()
    assert twin.judge(3, at(0.0), drift(5.0), PIXEL_M) == gate.judge(3, at(0.0), drift(5.0), PIXEL_M) == "fit"


# --- on the simulated microscope ---


def images(steps):
    """Return where in the run its alignment images are."""
    return [k for k, s in enumerate(steps) if s.decision.purpose == "align" and isinstance(s.decision.action, Scan)]


SLOW = {"policy__options__align": {"dwell": "20 us"}, "policy__options__finish": {"confirm": 0, "try_again": False},
        "policy__options__visit": 3}  # fmt: skip


@pytest.fixture(scope="module")
def still():
    return run(assembled(**(SMALL | SLOW)))[1]


def told_after(steps, k):
    return steps[k + 1].decision.acquisition_parameters


def test_a_sample_that_stands_still_is_never_taken_for_moving(still):
    told = [told_after(still, k) for k in images(still) if k + 1 < len(still)]
    assert sum(DRIFT_PX in parameters for parameters in told) >= 5
    assert not any(DRIFT_LIMIT_PX in parameters for parameters in told)


def test_a_jump_in_the_middle_of_an_image_is_told_with_its_size_and_the_image_is_taken_again(still):
    k = next(k for k in images(still) if DRIFT_PX in told_after(still, k))
    image, scan = still[k].outcome, still[k].decision.action
    at_s = (image.state_before.time_s + image.state.time_s) / 2
    jump = {"kind": "drift_jump", "at": f"{at_s} s", "jump": "20 nm", "direction": "30 deg"}
    _, jumped, _ = run(assembled(**(SMALL | SLOW | {"environment__options__microscope__faults": {"events": [jump]}})))
    again = jumped[k + 1].decision
    assert again.purpose == "align"
    assert again.acquisition_parameters[DRIFT_PX] * scan.fov_m / scan.width_px == pytest.approx(20e-9, abs=3e-9)
    assert "jumped while the image before was written" in again.reason
    assert DRIFT_LIMIT_PX not in told_after(jumped, k + 1)
    assert jumped[k + 2].decision.purpose == "spectrum"


def test_under_a_steady_fast_drift_an_image_is_taken_again_after_a_wait():
    fast = {"environment__options__microscope__drift": {"ramp_x": "1.5 nm/s", "ramp_y": "0 nm/s"}}
    slow = {"policy__options__align": {"dwell": "100 us"}, "budget__time": "4 min"}
    _, steps, _ = run(assembled(**(SMALL | SLOW | fast | slow)))
    moved = [k for k in images(steps) if k + 1 < len(steps) and DRIFT_LIMIT_PX in told_after(steps, k)]
    assert len(moved) >= 2
    after = [steps[k + 1].decision for k in moved]
    assert {d.purpose for d in after} == {"settle"}
    assert after[0].acquisition_parameters[DRIFT_PX] == pytest.approx(
        2.5, abs=0.5
    )  # 6.55 s, less the overview's 0.34 s
    assert all(steps[k + 2].decision.purpose == "align" for k in moved)
