import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoscope.config import LimitsConfig
from autoscope.errors import AutoscopeError, DoseExceeded, FrameRejected, GuardViolation, LimitExceeded, Unsupported
from autoscope.exposure import predict
from autoscope.guard import Guard
from autoscope.guard.geometry import corners
from autoscope.records import (
    Axis,
    Budget,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    MoveStage,
    Range,
    Scan,
    SetOptics,
    SpectrumImage,
    SpectrumSignal,
    Timing,
    Wait,
)

STAGE = ("x_m", "y_m", "z_m", "alpha_rad", "beta_rad")
REACH = {"x_m": 1e-4, "y_m": 2e-4, "z_m": 5e-5, "alpha_rad": 0.5, "beta_rad": 0.3}
OPTICS = {"defocus_m": (-1e-6, 2e-6), "beam_current_a": (1e-12, 1e-9), "convergence_rad": (1e-3, 4e-2)}
FIELD = {"fov_m": (1e-9, 4e-6), "centre_x_m": (-2e-6, 2e-6), "centre_y_m": (-2e-6, 2e-6), "dwell_s": (1e-7, 10.0)}
SIZE = {"width_px": (1.0, 2048.0), "height_px": (1.0, 2048.0), "duration_s": (0.0, 1e4)}
RANGES = {name: (-high, high) for name, high in REACH.items()} | OPTICS | FIELD | SIZE
PLAY = 1e-8
SCOPE = Capabilities(
    instrument="bench", serial="7", simulated=True, voltage_v=200e3,
    actions=("move_stage", "set_optics", "scan", "measure", "spectrum_image", "wait"), detectors=("HAADF",),
    signals=(SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=16)),),
    ranges={name: Range(low=low, high=high) for name, (low, high) in RANGES.items()},
    tolerances=dict.fromkeys(STAGE, PLAY), timing=Timing(stage_settle_s=0.5, line_flyback_s=1e-4),
)  # fmt: skip

within = {name: st.floats(-1.5 * high, 1.5 * high) for name, high in REACH.items()}
starts = st.fixed_dictionaries(within).map(lambda place: MicroscopeState(time_s=0.0, beam_current_a=1e-10, **place))
moves = st.fixed_dictionaries({n: st.none() | v for n, v in within.items()}).map(lambda place: MoveStage(**place))
scans = st.builds(
    Scan,
    fov_m=st.floats(1e-10, 6e-6),
    width_px=st.integers(1, 3000),
    height_px=st.integers(1, 3000),
    dwell_s=st.floats(1e-8, 1e-4),
    centre_x_m=st.floats(-3e-6, 3e-6),
    centre_y_m=st.floats(-3e-6, 3e-6),
    rotation_rad=st.floats(-7.0, 7.0),
)
cubes = scans.map(lambda s: SpectrumImage(**{k: v for k, v in s.model_dump().items() if k != "kind"}))
points = st.builds(Measure, x_m=st.floats(-3e-6, 3e-6), y_m=st.floats(-3e-6, 3e-6), dwell_s=st.floats(1e-8, 20.0))
waits = st.builds(Wait, duration_s=st.floats(0.0, 2e4))
optics = st.builds(
    SetOptics, defocus_m=st.none() | st.floats(-2e-6, 3e-6), beam_current_a=st.none() | st.floats(1e-13, 2e-9)
)
actions = moves | scans | cubes | points | waits | optics
budgets = st.builds(
    Budget,
    time_s=st.none() | st.floats(0.0, 1e4),
    dose_e=st.none() | st.floats(0.0, 1e11),
    steps=st.none() | st.integers(0, 3),
)
states = st.builds(lambda s, on: s.replace(blanked=not on), starts, st.booleans())


@given(start=starts, move=moves, high_m=st.floats(0.0, 1e-4))
@settings(max_examples=300)
def test_every_point_of_a_permitted_path_is_inside_the_limits(start, move, high_m):
    limits = LimitsConfig(x_m=(-high_m, high_m))
    inside = dict(RANGES) | {"x_m": (-high_m, high_m)}
    try:
        Guard(limits, SCOPE, saturated_fraction=0.1).permit(move, start, Budget())
    except LimitExceeded:
        permitted = False
    else:
        permitted = True
    begins = {a: getattr(start, a) for a in STAGE}
    ends = {a: begins[a] if getattr(move, a) is None else getattr(move, a) for a in STAGE}
    if permitted:
        for part in np.linspace(0.0, 1.0, 11):
            for axis in STAGE:
                place = begins[axis] + part * (ends[axis] - begins[axis])
                assert inside[axis][0] - PLAY <= place <= inside[axis][1] + PLAY
        for axis in STAGE:
            if getattr(move, axis) is not None:
                assert inside[axis][0] <= ends[axis] <= inside[axis][1]
    else:  # and a path that is wholly inside is never refused
        assert not all(inside[a][0] <= v[a] <= inside[a][1] for a in STAGE for v in (begins, ends))


@given(scan=scans | cubes)
@settings(max_examples=300)
def test_every_point_of_a_permitted_scan_is_inside_the_field(scan):
    guard = Guard(LimitsConfig(), SCOPE, saturated_fraction=0.1)
    try:
        guard.permit(scan, MicroscopeState(time_s=0.0), Budget())
    except LimitExceeded:
        return
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, 7), np.linspace(-0.5, 0.5, 7))
    u, v = u * scan.fov_m, v * scan.fov_m * scan.height_px / scan.width_px
    turn = complex(math.cos(scan.rotation_rad), math.sin(scan.rotation_rad))
    grid = (u + 1j * v) * turn + complex(scan.centre_x_m, scan.centre_y_m)
    assert np.abs(grid.real).max() <= 2e-6 * (1 + 1e-6)
    assert np.abs(grid.imag).max() <= 2e-6 * (1 + 1e-6)


@given(scan=scans)
def test_corners_are_those_of_the_turned_rectangle(scan):
    found = np.array([complex(x, y) for x, y in corners(scan)])
    centre = complex(scan.centre_x_m, scan.centre_y_m)
    height_m = scan.fov_m * scan.height_px / scan.width_px
    assert np.allclose(found.mean(), centre, rtol=0, atol=1e-12 * (1e-6 + height_m) + 1e-18)
    sides = np.abs(np.roll(found, -1) - found)
    np.testing.assert_allclose(sides, [scan.fov_m, height_m] * 2, rtol=1e-6, atol=1e-20)


@given(action=actions, state=states, left=budgets)
@settings(max_examples=400)
def test_permitted_act_never_passes_what_is_left(action, state, left):
    guard = Guard(LimitsConfig(), SCOPE, saturated_fraction=0.1)
    try:
        cost = guard.permit(action, state, left)
    except AutoscopeError as error:
        assert isinstance(error, (GuardViolation, Unsupported))  # noqa: PT017 - any other error would be a defect
        return
    predicted = predict(action, state, SCOPE)
    assert cost.time_s == predicted.time_s
    assert cost.dose_e >= predicted.dose_e
    assert left.time_s is None or cost.time_s <= left.time_s or cost.time_s == 0.0
    assert left.dose_e is None or cost.dose_e <= left.dose_e or cost.dose_e == 0.0
    assert left.steps is None or left.steps >= 1


SOUND = {
    "x_m": lambda v: MoveStage(x_m=v),
    "y_m": lambda v: MoveStage(y_m=v),
    "z_m": lambda v: MoveStage(z_m=v),
    "alpha_rad": lambda v: MoveStage(alpha_rad=v),
    "beta_rad": lambda v: MoveStage(beta_rad=v),
    "defocus_m": lambda v: SetOptics(defocus_m=v),
    "beam_current_a": lambda v: SetOptics(beam_current_a=v),
    "convergence_rad": lambda v: SetOptics(convergence_rad=v),
    "fov_m": lambda v: Scan(fov_m=v, width_px=8, height_px=8, dwell_s=1e-6),
    "centre_x_m": lambda v: Scan(fov_m=2e-9, width_px=8, height_px=8, dwell_s=1e-6, centre_x_m=v),
    "centre_y_m": lambda v: Measure(x_m=0.0, y_m=v, dwell_s=1e-3),
    "dwell_s": lambda v: Measure(x_m=0.0, y_m=0.0, dwell_s=v),
    "width_px": lambda v: Scan(fov_m=1e-6, width_px=math.ceil(v), height_px=1, dwell_s=1e-6),
    "height_px": lambda v: Scan(fov_m=1e-9, width_px=2048, height_px=math.ceil(v), dwell_s=1e-6),
    "duration_s": lambda v: Wait(duration_s=v),
}


@given(axis=st.sampled_from(sorted(RANGES)), part=st.floats(0.01, 0.99))
@settings(max_examples=200)
def test_slip_of_a_unit_by_a_thousand_is_refused_on_every_axis(axis, part):
    value = max(RANGES[axis][1] * part, RANGES[axis][0])
    guard, state = (
        Guard(LimitsConfig(), SCOPE, saturated_fraction=0.1),
        MicroscopeState(time_s=0.0, beam_current_a=1e-10),
    )
    guard.permit(SOUND[axis](value), state, Budget())
    with pytest.raises(LimitExceeded):
        guard.permit(SOUND[axis](value * 1e3), state, Budget())


def test_every_range_has_its_slip_tested():
    assert set(SOUND) == set(RANGES)


@given(fluence=st.floats(1e10, 1e25), state=starts)
@settings(max_examples=100)
def test_fluence_of_a_permitted_scan_is_below_the_limit_and_a_thousandfold_is_refused(fluence, state):
    scan = Scan(fov_m=1e-6, width_px=16, height_px=16, dwell_s=1e-5)
    cost = predict(scan, state, SCOPE)
    assume(cost.dose_e_per_m2 > 0)
    guard = Guard(LimitsConfig(max_dose_e_per_m2=fluence), SCOPE, saturated_fraction=0.1)
    if cost.dose_e_per_m2 <= fluence:
        guard.permit(scan, state, Budget())
    else:
        with pytest.raises(DoseExceeded):
            guard.permit(scan, state, Budget())
    tight = Guard(LimitsConfig(max_dose_e_per_m2=cost.dose_e_per_m2 / 1e3), SCOPE, saturated_fraction=0.1)
    with pytest.raises(DoseExceeded):
        tight.permit(scan, state, Budget())


def framed(data, signal):
    axes = tuple(Axis(name=n, unit="m", size=s) for n, s in zip("yxe"[-data.ndim :], data.shape))
    return Frame(FrameMeta(signal=signal, axes=axes, time_s=0.0, dwell_s=1e-6, x_m=0.0, y_m=0.0), data)


CASES = [
    (Scan(fov_m=1e-6, width_px=6, height_px=5, dwell_s=1e-6), "HAADF", (5, 6)),
    (Measure(x_m=0.0, y_m=0.0, dwell_s=1e-3), "EELS", (16,)),
    (SpectrumImage(fov_m=1e-6, width_px=3, height_px=2, dwell_s=1e-3), "EELS", (2, 3, 16)),
]


@given(case=st.sampled_from(CASES), data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_not_a_number_anywhere_in_any_frame_is_rejected(case, data, seed):
    action, signal, shape = case
    dtype = data.draw(st.sampled_from(["<f2", "<f4", "<f8", ">f4"]))
    values = np.random.default_rng(seed).poisson(9.0, shape).astype(dtype)
    guard = Guard(LimitsConfig(), SCOPE, saturated_fraction=0.1)
    metrics = guard.check(framed(values.copy(), signal), action)
    assert all(math.isfinite(v) for v in metrics.values())
    places = data.draw(st.lists(st.integers(0, values.size - 1), min_size=1, max_size=values.size))
    values.flat[places] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(FrameRejected, match="NaN or infinity"):
        guard.check(framed(values, signal), action)


@given(
    shape=st.lists(st.integers(1, 17), min_size=1, max_size=3).map(tuple),
    dtype=st.sampled_from(["u1", "<i4", "<f4", "<f8"]),
    value=st.floats(allow_nan=True, width=32),
    seed=st.integers(0, 2**32 - 1),
    case=st.sampled_from(CASES),
)
@settings(max_examples=200)
def test_any_frame_is_either_rejected_or_has_finite_metrics(shape, dtype, value, seed, case):
    action, signal, proper = case
    rng = np.random.default_rng(seed)
    shape = proper if seed % 2 else shape
    with np.errstate(all="ignore"):
        values = np.where(rng.random(shape) < 0.3, np.float64(value), rng.poisson(3.0, shape))
        values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 200) if dtype[-2] in "ui" else values
        values = values.astype(dtype)
    try:
        metrics = Guard(LimitsConfig(), SCOPE, saturated_fraction=0.1).check(framed(values, signal), action)
    except FrameRejected:
        return
    assert values.shape == proper
    assert all(math.isfinite(v) for v in metrics.values())
    assert 0.0 <= metrics["saturated_fraction"] <= 0.1
