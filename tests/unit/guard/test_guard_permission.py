import math

import pytest

from autoscope.config import LimitsConfig
from autoscope.errors import ConfigError, DoseExceeded, LimitExceeded, Unsupported
from autoscope.exposure import electrons, predict
from autoscope.guard import Guard
from autoscope.records import (
    Axis,
    Blank,
    Budget,
    Capabilities,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Range,
    Scan,
    SetOptics,
    SetStimulus,
    SpectrumImage,
    SpectrumSignal,
    Timing,
    Value,
    Wait,
)

KINDS = (
    "move_stage",
    "set_optics",
    "scan",
    "measure",
    "spectrum_image",
    "set_stimulus",
    "load_sample",
    "blank",
    "wait",
)
RANGES = {
    "x_m": (-1e-3, 1e-3),
    "y_m": (-1e-3, 1e-3),
    "z_m": (-1e-4, 1e-4),
    "alpha_rad": (-0.5, 0.5),
    "beta_rad": (-0.4, 0.4),
    "defocus_m": (-1e-6, 2e-6),
    "stigmator_a_m": (-1e-7, 1e-7),
    "stigmator_b_m": (-2e-7, 2e-7),
    "beam_current_a": (1e-12, 1e-9),
    "convergence_rad": (1e-3, 40e-3),
    "fov_m": (1e-9, 4e-6),
    "width_px": (1, 4096),
    "height_px": (1, 4096),
    "rotation_rad": (-math.pi, math.pi),
    "centre_x_m": (-2e-6, 2e-6),
    "centre_y_m": (-2e-6, 2e-6),
    "dwell_s": (1e-7, 10.0),
    "duration_s": (0.0, 1e5),
    "temperature_k": (293.0, 1500.0),
}
SCOPE = Capabilities(
    instrument="bench", serial="7", simulated=True, voltage_v=200e3, actions=KINDS, detectors=("HAADF", "BF"),
    signals=(SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=64)),),
    ranges={name: Range(low=low, high=high) for name, (low, high) in RANGES.items()},
    tolerances={"x_m": 1e-9, "beam_current_a": 1e-13}, slots=3,
    timing=Timing(stage_settle_s=1.0, point_overhead_s=0.01, line_flyback_s=1e-5),
)  # fmt: skip
AT_REST = MicroscopeState(time_s=0.0, beam_current_a=1e-10, convergence_rad=0.03, voltage_v=200e3)
UNLIMITED = Budget()
SCAN = Scan(fov_m=1e-6, width_px=64, height_px=32, dwell_s=1e-6)
CUBE = SpectrumImage(fov_m=1e-6, width_px=8, height_px=4, dwell_s=1e-3)
POINT = Measure(x_m=1e-7, y_m=-1e-7, dwell_s=0.1)


def guard(scope=SCOPE, **limits):
    return Guard(LimitsConfig(**limits), scope, saturated_fraction=0.05)


def permit(action, state=AT_REST, left=UNLIMITED, scope=SCOPE, **limits):
    return guard(scope, **limits).permit(action, state, left)


@pytest.mark.parametrize(
    "action",
    [
        SCAN, CUBE, POINT, MoveStage(x_m=5e-4, alpha_rad=0.2), SetOptics(defocus_m=1e-6, beam_current_a=5e-10),
        SetStimulus(temperature_k=500.0), LoadSample(slot=2), Wait(duration_s=60.0), Blank(blanked=False),
    ],
)  # fmt: skip
def test_sound_action_is_permitted_at_its_predicted_cost(action):
    assert permit(action) == predict(action, AT_REST, SCOPE)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_the_instrument_lacks_is_unsupported(kind):
    scope = SCOPE.replace(actions=tuple(k for k in KINDS if k != kind))
    actions = [
        SCAN,
        CUBE,
        POINT,
        MoveStage(),
        SetOptics(),
        SetStimulus(),
        LoadSample(slot=0),
        Wait(duration_s=1.0),
        Blank(),
    ]
    action = next(a for a in actions if a.kind == kind)
    with pytest.raises(Unsupported, match=f"no such action.*'{kind}'"):
        permit(action, scope=scope)
    assert permit(action) is not None


BEYOND = [
    (MoveStage(x_m=1.1e-3), "x_m"),
    (MoveStage(y_m=-1.1e-3), "y_m"),
    (MoveStage(z_m=2e-4), "z_m"),
    (MoveStage(alpha_rad=0.6), "alpha_rad"),
    (MoveStage(beta_rad=-0.45), "beta_rad"),
    (SetOptics(defocus_m=3e-6), "defocus_m"),
    (SetOptics(stigmator_a_m=1.5e-7), "stigmator_a_m"),
    (SetOptics(stigmator_b_m=-2.5e-7), "stigmator_b_m"),
    (SetOptics(beam_current_a=2e-9), "beam_current_a"),
    (SetOptics(convergence_rad=0.05), "convergence_rad"),
    (SCAN.replace(fov_m=5e-6), "fov_m"),
    (SCAN.replace(width_px=5000), "width_px"),
    (SCAN.replace(height_px=5000, width_px=4096), "height_px"),
    (SCAN.replace(rotation_rad=4.0), "rotation_rad"),
    (SCAN.replace(centre_x_m=2.1e-6), "centre_x_m"),
    (SCAN.replace(centre_y_m=-2.1e-6), "centre_y_m"),
    (SCAN.replace(dwell_s=1e-8), "dwell_s"),
    (CUBE.replace(dwell_s=11.0), "dwell_s"),
    (CUBE.replace(fov_m=1e-10), "fov_m"),
    (POINT.replace(dwell_s=11.0), "dwell_s"),
    (POINT.replace(x_m=2.1e-6), "field x_m"),
    (POINT.replace(y_m=2.1e-6), "field y_m"),
    (SetStimulus(temperature_k=1501.0), "temperature_k"),
    (Wait(duration_s=2e5), "duration_s"),
]


@pytest.mark.parametrize(("action", "axis"), BEYOND)
def test_value_outside_the_range_is_refused_naming_axis_value_limit_and_remedy(action, axis):
    with pytest.raises(LimitExceeded) as caught:
        permit(action)
    error = caught.value
    assert error.what.startswith(axis)
    assert error.where == action.kind
    assert isinstance(error.value, (int, float))
    assert str(error.limit).startswith("[")
    assert error.remedy


@pytest.mark.parametrize(("action", "axis"), BEYOND)
def test_value_is_free_where_nobody_declares_a_range(action, axis):
    free = SCOPE.replace(ranges={"temperature_k": Range(low=0.0, high=1e6)})
    assert permit(action, scope=free) == predict(action, AT_REST, free)


def test_aberrations_are_set_only_where_there_is_a_corrector_and_within_its_range():
    with pytest.raises(Unsupported, match="no such aberration of a corrector") as caught:
        permit(SetOptics(coma_a_m=0.0))
    assert caught.value.value == "coma_a_m"
    fitted = SCOPE.replace(ranges=dict(SCOPE.ranges) | {"coma_a_m": Range(low=-1e-6, high=1e-6)})
    assert permit(SetOptics(coma_a_m=-1e-6), scope=fitted) is not None
    with pytest.raises(LimitExceeded, match="coma_a_m"):
        permit(SetOptics(coma_a_m=1.1e-6), scope=fitted)
    with pytest.raises(Unsupported, match="coma_a_m"):
        permit(SetOptics(spherical_m=1e-6), scope=fitted)


@pytest.mark.parametrize("edge", [-1e-3, 1e-3])
def test_the_edge_itself_is_permitted(edge):
    permit(MoveStage(x_m=edge, y_m=edge))
    with pytest.raises(LimitExceeded):
        permit(MoveStage(x_m=math.nextafter(edge, 2 * edge)))


def test_limits_of_the_run_narrow_the_range_of_the_instrument():
    permit(MoveStage(x_m=5e-6), x_m=(0.0, 1e-5))
    for x_m in (-1e-9, 1.1e-5):
        with pytest.raises(LimitExceeded, match="x_m"):
            permit(MoveStage(x_m=x_m), x_m=(0.0, 1e-5))
    with pytest.raises(LimitExceeded, match="y_m"):
        permit(MoveStage(y_m=2e-5), y_m=(0.0, 1e-5))
    with pytest.raises(LimitExceeded, match="z_m"):
        permit(MoveStage(z_m=2e-5), z_m=(0.0, 1e-5))


def test_limits_of_the_run_never_widen_the_range_of_the_instrument():
    with pytest.raises(LimitExceeded, match=r"0\.001"):
        permit(MoveStage(x_m=2e-3), x_m=(-1.0, 1.0))
    with pytest.raises(LimitExceeded):
        permit(POINT.replace(dwell_s=20.0), max_dwell_s=100.0)
    with pytest.raises(LimitExceeded):
        permit(SetOptics(beam_current_a=5e-9), max_beam_current_a=1e-8)


@pytest.mark.parametrize("action", [SCAN.replace(dwell_s=0.2), CUBE.replace(dwell_s=0.2), POINT.replace(dwell_s=0.2)])
def test_dwell_above_the_limit_of_the_run_is_refused(action):
    with pytest.raises(LimitExceeded, match=r"dwell_s.*limit \[1e-07, 0\.1\] s"):
        permit(action, max_dwell_s=0.1)


@pytest.mark.parametrize("bound", [(1.0, 2.0), (1e-4, -1e-4)])
def test_limits_that_leave_nothing_are_a_configuration_error(bound):
    with pytest.raises(ConfigError, match="limits: x_m"):
        guard(x_m=bound)


def test_limit_without_a_range_of_the_instrument_holds_alone():
    free = SCOPE.replace(ranges={})
    permit(MoveStage(x_m=1.0), scope=free, x_m=(0.0, 2.0))
    with pytest.raises(LimitExceeded):
        permit(MoveStage(x_m=3.0), scope=free, x_m=(0.0, 2.0))


def test_no_move_is_permitted_from_outside_though_it_ends_inside():
    outside = AT_REST.replace(x_m=2e-5)
    with pytest.raises(LimitExceeded, match="by hand"):
        permit(MoveStage(x_m=5e-6), outside, x_m=(0.0, 1e-5))


def test_no_move_of_another_axis_is_permitted_from_outside():
    with pytest.raises(LimitExceeded, match="outside what is permitted in x_m"):
        permit(MoveStage(y_m=0.0), AT_REST.replace(x_m=-2e-5), x_m=(0.0, 1e-5))


def test_read_back_beyond_the_edge_by_less_than_the_tolerance_may_still_move():
    permit(MoveStage(x_m=5e-6), AT_REST.replace(x_m=1e-5 + 0.9e-9), x_m=(0.0, 1e-5))
    permit(MoveStage(x_m=5e-6), AT_REST.replace(x_m=-0.9e-9), x_m=(0.0, 1e-5))
    with pytest.raises(LimitExceeded):
        permit(MoveStage(x_m=5e-6), AT_REST.replace(x_m=1e-5 + 1.1e-9), x_m=(0.0, 1e-5))
    with pytest.raises(LimitExceeded):
        permit(MoveStage(x_m=1e-5 + 0.9e-9), x_m=(0.0, 1e-5))  # the tolerance is none of the target


def test_axis_without_tolerance_has_none():
    for axis, beyond in (("y_m", 1e-3 + 1e-9), ("z_m", 1e-4 + 1e-9), ("alpha_rad", 0.5001)):
        with pytest.raises(LimitExceeded, match=f"outside what is permitted in {axis}"):
            permit(MoveStage(x_m=0.0), AT_REST.replace(**{axis: beyond}))
    with pytest.raises(LimitExceeded, match="beam current"):
        permit(SCAN, AT_REST.replace(beam_current_a=2e-9), scope=SCOPE.replace(tolerances={}))


def test_point_at_the_edge_of_the_field_passes_in_spite_of_rounding():
    for sign in (-1, 1):
        permit(POINT.replace(x_m=sign * 2e-6 * (1 + 1e-10)))
        with pytest.raises(LimitExceeded):
            permit(POINT.replace(x_m=sign * 2e-6 * (1 + 1e-8)))


def test_corner_of_a_scan_outside_the_field_is_refused_though_its_centre_is_inside():
    permit(SCAN.replace(fov_m=1e-6, centre_x_m=1.5e-6))
    with pytest.raises(LimitExceeded, match="field x_m"):
        permit(SCAN.replace(fov_m=1e-6, centre_x_m=1.6e-6))
    with pytest.raises(LimitExceeded, match="field y_m"):
        permit(SCAN.replace(fov_m=1e-6, height_px=64, centre_y_m=-1.6e-6))


def test_rotation_brings_a_corner_out_of_the_field():
    full = Scan(fov_m=4e-6, width_px=64, height_px=64, dwell_s=1e-6)
    permit(full)
    permit(full.replace(rotation_rad=math.pi / 2))
    with pytest.raises(LimitExceeded, match="field"):
        permit(full.replace(rotation_rad=0.1))
    permit(full.replace(fov_m=2.8e-6, rotation_rad=math.pi / 4))


def test_field_is_that_of_the_largest_scan_where_no_offsets_are_declared():
    scope = SCOPE.replace(ranges={"fov_m": Range(low=1e-9, high=4e-6)})
    permit(POINT.replace(x_m=2e-6), scope=scope)
    permit(POINT.replace(x_m=-2e-6), scope=scope)
    with pytest.raises(LimitExceeded, match="field x_m"):
        permit(POINT.replace(x_m=2.1e-6), scope=scope)


def test_field_of_stored_data_is_their_image_also_when_it_is_tall():
    native = Scan(fov_m=1e-6, width_px=10, height_px=30, dwell_s=1e-6, centre_y_m=1e-6)
    scope = SCOPE.replace(ranges={"fov_m": Range(low=1e-6, high=1e-6)}, native_scan=native)
    permit(native, scope=scope)
    permit(POINT.replace(x_m=0.0, y_m=2.5e-6), scope=scope)
    with pytest.raises(LimitExceeded, match="field y_m"):
        permit(POINT.replace(x_m=0.0, y_m=2.6e-6), scope=scope)
    with pytest.raises(LimitExceeded, match="field x_m"):
        permit(POINT.replace(x_m=0.6e-6), scope=scope)


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (SCAN.replace(detectors=("HAADF", "LAADF")), "detector.*LAADF.*HAADF, BF"),
        (CUBE.replace(detectors=("X",)), "detector.*X"),
        (CUBE.replace(signals=("EELS", "EDS")), "signal.*EDS.*EELS"),
        (POINT.replace(signals=("EDS",)), "signal.*EDS"),
        (SCAN.replace(detectors=()), "without detector or signal"),
        (POINT.replace(signals=()), "without detector or signal"),
        (CUBE.replace(signals=(), detectors=()), "without detector or signal"),
        (LoadSample(slot=3), "slot.*3.*0, 1, 2"),
        (SetStimulus(bias_v=1.0), "stimulus.*bias_v.*temperature_k"),
    ],
)
def test_what_the_instrument_lacks_is_named_with_what_it_has(action, named):
    with pytest.raises(Unsupported, match=named):
        permit(action)


def test_negative_slot_is_unsupported_even_if_validation_was_evaded():
    with pytest.raises(Unsupported):
        permit(LoadSample.model_construct(kind="load_sample", slot=-1))


def test_spectrum_image_needs_no_image_detector():
    permit(CUBE.replace(detectors=()))


@pytest.mark.parametrize("action", [SCAN, CUBE, POINT, Blank(blanked=False)])
def test_no_beam_on_the_sample_while_its_current_is_above_the_limit(action):
    strong = AT_REST.replace(beam_current_a=6e-10)
    with pytest.raises(LimitExceeded, match=r"beam current is above.*6e-10"):
        permit(action, strong, max_beam_current_a=5e-10)
    permit(action, AT_REST.replace(beam_current_a=5e-10 + 0.9e-13), max_beam_current_a=5e-10)
    permit(action, AT_REST.replace(beam_current_a=5e-10 + 1e-13), max_beam_current_a=5e-10)
    permit(SetOptics(beam_current_a=1e-10), strong, max_beam_current_a=5e-10)


def test_beam_too_weak_for_the_range_harms_nothing():
    permit(SCAN, AT_REST.replace(beam_current_a=0.0))


def test_fluence_of_a_scan_is_limited():
    fluence = predict(SCAN, AT_REST, SCOPE).dose_e_per_m2
    permit(SCAN, max_dose_e_per_m2=fluence)
    with pytest.raises(DoseExceeded, match="fluence"):
        permit(SCAN, max_dose_e_per_m2=fluence * 0.999)
    with pytest.raises(DoseExceeded, match="fluence"):
        permit(CUBE, max_dose_e_per_m2=fluence)


def test_fluence_of_a_parked_probe_is_bounded_by_its_airy_disc():
    # 200 kV: 2.508 pm; 30 mrad: 0.61 * 2.508e-12 / 0.03 = 51 pm
    area_m2 = math.pi * (0.61 * 2.5079e-12 / 0.03) ** 2
    fluence = electrons(1e-10, 0.1) / area_m2
    permit(POINT, max_dose_e_per_m2=fluence * 1.01)
    with pytest.raises(DoseExceeded, match="fluence"):
        permit(POINT, max_dose_e_per_m2=fluence * 0.99)
    permit(POINT, AT_REST.replace(voltage_v=0.0), max_dose_e_per_m2=fluence * 1.01)  # the instrument's own voltage
    permit(POINT, AT_REST.replace(defocus_m=1e-6), max_dose_e_per_m2=fluence * 0.01)


def test_parked_probe_of_unknown_size_is_refused_where_fluence_is_limited():
    unknown = AT_REST.replace(convergence_rad=0.0)
    with pytest.raises(DoseExceeded, match="convergence"):
        permit(POINT, unknown, max_dose_e_per_m2=1e30)
    permit(POINT, unknown)
    permit(POINT, unknown.replace(beam_current_a=0.0), max_dose_e_per_m2=1e-3)


def test_time_left_is_never_passed():
    cost = predict(SCAN, AT_REST, SCOPE)
    permit(SCAN, left=Budget(time_s=cost.time_s))
    with pytest.raises(LimitExceeded, match=r"wait: .*time left.*limit 0\.5 s"):
        permit(Wait(duration_s=1.0), left=Budget(time_s=0.5))
    with pytest.raises(LimitExceeded, match="time left"):
        permit(SCAN, left=Budget(time_s=math.nextafter(cost.time_s, 0.0)))


def test_dose_left_is_never_passed():
    cost = predict(SCAN, AT_REST, SCOPE)
    permit(SCAN, left=Budget(dose_e=cost.dose_e))
    with pytest.raises(DoseExceeded, match="electrons"):
        permit(SCAN, left=Budget(dose_e=math.nextafter(cost.dose_e, 0.0)))


def test_steps_left_are_never_passed():
    permit(Wait(duration_s=0.0), left=Budget(steps=1))
    with pytest.raises(LimitExceeded, match=r"no steps are left \(got 0, limit 1\)"):
        permit(Wait(duration_s=0.0), left=Budget(steps=0))


def test_act_without_cost_fits_into_nothing_left():
    permit(Wait(duration_s=0.0), left=Budget(time_s=0.0, dose_e=0.0))
    permit(Wait(duration_s=0.0), left=Budget(time_s=-1.0, dose_e=-1.0))


def test_not_even_one_electron_too_many_is_permitted():
    weak = AT_REST.replace(beam_current_a=electrons(1.0, 1.0) ** -1 * 5.0)  # 5 electrons a second
    assert permit(POINT, weak, Budget(dose_e=0.6)).dose_e == pytest.approx(0.5)
    with pytest.raises(DoseExceeded):
        permit(POINT, weak, Budget(dose_e=0.4))


def test_beam_left_on_costs_electrons_all_the_time():
    on = AT_REST.replace(blanked=False)
    assert permit(Wait(duration_s=10.0), on).dose_e == electrons(1e-10, 10.0)
    assert permit(Wait(duration_s=10.0)).dose_e == 0.0
    with pytest.raises(DoseExceeded):
        permit(Wait(duration_s=10.0), on, Budget(dose_e=1e6))
    scanned = permit(SCAN, on)
    assert scanned.dose_e == electrons(1e-10, scanned.time_s)


def test_raising_the_current_with_the_beam_on_is_costed_at_the_higher_current():
    scope = SCOPE.replace(timing=Timing(optics_settle_s=2.0))
    on = AT_REST.replace(blanked=False)
    assert permit(SetOptics(beam_current_a=5e-10), on, scope=scope).dose_e == electrons(5e-10, 2.0)
    assert permit(SetOptics(beam_current_a=5e-11), on, scope=scope).dose_e == electrons(1e-10, 2.0)


def test_blanking_is_permitted_whatever_is_left():
    permit(Blank(), AT_REST.replace(blanked=False, beam_current_a=1.0), Budget(time_s=0.0, dose_e=0.0, steps=0))
    with pytest.raises(LimitExceeded, match="no steps"):
        permit(Blank(blanked=False), left=Budget(steps=0))


@pytest.mark.parametrize(
    "action",
    [
        MoveStage().model_copy(update={"x_m": math.nan}),
        POINT.model_copy(update={"x_m": math.nan}),
        POINT.model_copy(update={"dwell_s": math.nan}),
        SCAN.model_copy(update={"fov_m": math.nan}),
        SCAN.model_copy(update={"rotation_rad": math.nan}),
        Wait.model_construct(kind="wait", duration_s=math.inf),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scope", [SCOPE, SCOPE.replace(ranges={})])
def test_nan_that_evaded_validation_is_refused(action, scope):
    with pytest.raises(LimitExceeded):
        permit(action, scope=scope)


@pytest.mark.parametrize(
    "action",
    [
        SCAN.replace(dwell_s=1e308, width_px=4000, height_px=4000),
        SCAN.replace(fov_m=1e-200),
        MoveStage(x_m=1e300),
    ],
)
def test_cost_beyond_numbers_is_refused(action):
    with pytest.raises(LimitExceeded, match="beyond numbers"):
        permit(action, scope=SCOPE.replace(ranges={}))


def test_kind_of_action_nobody_taught_the_guard_goes_nowhere():
    class Teleport(Value):
        kind: str = "teleport"

    with pytest.raises(AssertionError, match="teleport"):
        permit(Teleport(), scope=SCOPE.replace(actions=("teleport",)))


@pytest.mark.parametrize(("width_px", "fov_m", "fits"), [(64, 1e-6, True), (65, 1e-6, False), (64, 1.1e-6, False)])
def test_a_field_with_choices_takes_no_neighbour(width_px, fov_m, fits):
    scope = SCOPE.replace(choices={"width_px": (64.0, 128.0), "fov_m": (0.5e-6, 1e-6)})
    action = SCAN.replace(width_px=width_px, fov_m=fov_m)
    if fits:
        assert permit(action, scope=scope) == predict(action, AT_REST, scope)
    else:
        with pytest.raises(LimitExceeded, match="no such"):
            permit(action, scope=scope)


def test_patterns_cost_the_bytes_of_both_their_axes():
    axis = Axis(name="kx", unit="rad", size=16)
    scope = SCOPE.replace(signals=(SpectrumSignal(name="4D", axis=axis, rows=axis.replace(name="ky", size=8)),))
    action = CUBE.replace(signals=("4D",), detectors=())
    assert permit(action, scope=scope).bytes == 2 * 2 * 8 * 4 * 16 * 8
