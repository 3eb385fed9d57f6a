"""What the simulated microscope can do, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoscope.actions import CORRECTOR_FIELDS, OPTICS_FIELDS
from autoscope.errors import ConfigError, OutOfRange, Unsupported
from autoscope.records import (
    Action,
    Capabilities,
    LoadSample,
    Measure,
    MoveStage,
    Range,
    Scan,
    SetOptics,
    SetStimulus,
    SpectrumImage,
    SpectrumSignal,
    Timing,
    Wait,
)
from environments.instruments.simulated.acquisition import POINT_READINGS
from environments.instruments.simulated.config import MicroscopeConfig
from environments.sample.specimen import Specimen

ALWAYS = ("move_stage", "set_optics", "scan", "measure", "spectrum_image", "load_sample", "blank", "wait")
LONGEST_WAIT_S = 30 * 86400.0


def capabilities(config: MicroscopeConfig, specimens: Sequence[Specimen]) -> Capabilities:
    """Return the capabilities of a microscope with these specimens in its carousel.

    ``ranges["x_m"]`` and ``["y_m"]`` are those of the stage; points of `Measure` and centres of scans share
    ``["centre_x_m"]`` and ``["centre_y_m"]``, what the deflectors reach.

    Raises
    ------
    ConfigError
        Two specimens give a signal of one name on different energy axes.
    """
    return Capabilities(
        instrument=config.name,
        serial=config.serial,
        simulated=True,
        voltage_v=config.gun.voltage_v,
        actions=(*ALWAYS, *(("set_stimulus",) if config.holder else ()), *(("set_valves",) if config.valves else ())),
        detectors=tuple(d.name for d in config.detectors),
        signals=_common_signals(specimens),
        ranges={name: Range(low=low, high=high) for name, (low, high) in _bounds(config, len(specimens)).items()},
        tolerances=dict.fromkeys(("x_m", "y_m", "z_m"), config.stage.tolerance_m)
        | dict.fromkeys(("alpha_rad", "beta_rad"), config.stage.tilt_tolerance_rad),
        timing=Timing(
            stage_speed_m_per_s=config.stage.speed_m_per_s,
            stage_settle_s=config.stage.settle_s,
            optics_settle_s=config.lens.settle_s,
            line_flyback_s=config.scan.line_flyback_s,
            frame_overhead_s=config.scan.frame_overhead_s,
            point_overhead_s=config.scan.point_overhead_s,
            sample_load_s=config.carousel.load_s,
        ),
        slots=len(specimens),
        point_readings=POINT_READINGS,
        dark=True,
    )


def _common_signals(specimens: Sequence[Specimen]) -> tuple[SpectrumSignal, ...]:
    found: dict[str, SpectrumSignal] = {}
    for slot, specimen in enumerate(specimens):
        for signal in specimen.signals:
            if found.setdefault(signal.name, signal) != signal:
                raise ConfigError(
                    "one spectrometer has one energy axis, but two specimens give the signal on different ones",
                    where=f"specimens[{slot}].{signal.name}",
                    value=signal.axis,
                    limit=found[signal.name].axis,
                    remedy="Give all specimens of the carousel the same energy axis",
                )
    return tuple(found.values())


def _bounds(config: MicroscopeConfig, slots: int) -> dict[str, tuple[float, float]]:
    stage, lens, scan = config.stage, config.lens, config.scan
    bounds = {
        "x_m": stage.x_range_m,
        "y_m": stage.y_range_m,
        "z_m": stage.z_range_m,
        "alpha_rad": stage.alpha_range_rad,
        "beta_rad": stage.beta_range_rad,
        "defocus_m": lens.defocus_range_m,
        "stigmator_a_m": lens.stigmator_range_m,
        "stigmator_b_m": lens.stigmator_range_m,
        "convergence_rad": lens.convergence_range_rad,
        "beam_current_a": config.gun.beam_current_range_a,
        "fov_m": scan.fov_range_m,
        "centre_x_m": scan.offset_range_m,
        "centre_y_m": scan.offset_range_m,
        "dwell_s": scan.dwell_range_s,
        "width_px": (1.0, float(scan.max_pixels)),
        "height_px": (1.0, float(scan.max_pixels)),
        "duration_s": (0.0, LONGEST_WAIT_S),
        "slot": (0.0, float(slots - 1)),
    }
    if lens.corrector:
        bounds |= dict.fromkeys(("coma_a_m", "coma_b_m"), lens.corrector.coma_range_m)
        bounds |= dict.fromkeys(("threefold_a_m", "threefold_b_m"), lens.corrector.threefold_range_m)
        bounds["spherical_m"] = lens.corrector.spherical_range_m
    if config.spectrometer:
        bounds["energy_offset_ev"] = config.spectrometer.offset_range_ev
    if config.holder:
        bounds["temperature_k"] = (config.holder.ambient_k, config.holder.max_k)
    return bounds


_FRAME = ("fov_m", "width_px", "height_px", "dwell_s", "centre_x_m", "centre_y_m")
_CHECKED: dict[type[object], dict[str, str]] = {
    MoveStage: {n: n for n in ("x_m", "y_m", "z_m", "alpha_rad", "beta_rad")},
    SetOptics: {n: n for n in OPTICS_FIELDS},
    Scan: {n: n for n in _FRAME},
    SpectrumImage: {n: n for n in _FRAME},
    Measure: {"x_m": "centre_x_m", "y_m": "centre_y_m", "dwell_s": "dwell_s"},
    SetStimulus: {"temperature_k": "temperature_k"},
    LoadSample: {"slot": "slot"},
    Wait: {"duration_s": "duration_s"},
}
"""For each action, its checked fields and the range each must lie in."""


def admit(action: Action, can: Capabilities, specimen: Specimen, max_frame_bytes: int) -> None:
    """Let an action pass, or refuse it before anything is done.

    Raises
    ------
    Unsupported
        The instrument or the loaded specimen has no such action, stimulus, detector or signal.
    OutOfRange
        A value lies outside its range, or a spectrum image would be too large.
    """
    _admit_kind(action, can)
    for kind, wanted, known in _names(action, can, specimen):
        for name in wanted:
            if name not in known:
                raise Unsupported(f"no such {kind}", where=action.kind, value=name, limit=", ".join(known) or "none")
    for field, key in _CHECKED.get(type(action), {}).items():
        value = getattr(action, field)
        if value is not None and key in CORRECTOR_FIELDS and key not in can.ranges:
            raise Unsupported(
                "this microscope has no corrector for it; nothing was done",
                where=f"{action.kind}.{field}",
                value=value,
                remedy="Give it one: lens: {corrector: {}}",
            )
        if value is not None and key not in can.ranges:
            raise Unsupported("this microscope cannot set it", where=f"{action.kind}.{field}", value=value)
        if value is not None and value not in can.ranges[key]:
            bounds = can.ranges[key]
            raise OutOfRange(
                "the value is outside the instrument's range; nothing was done",
                where=f"{action.kind}.{field}",
                value=value,
                limit=f"[{bounds.low!r}, {bounds.high!r}]",
                remedy="Ask for a value within it",
            )
    if isinstance(action, SpectrumImage):
        _admit_size(action, can, max_frame_bytes)


def _admit_kind(action: Action, can: Capabilities) -> None:
    if action.kind not in can.actions:
        raise Unsupported("no such action on this instrument", where=action.kind, limit=", ".join(can.actions))
    if isinstance(action, SetStimulus) and action.bias_v is not None:
        raise Unsupported("the holder heats but applies no bias", where="set_stimulus.bias_v", value=action.bias_v)


def _names(
    action: Action, can: Capabilities, specimen: Specimen
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    if isinstance(action, Scan | SpectrumImage | Measure):
        yield "image detector", action.detectors, can.detectors
    if isinstance(action, Measure | SpectrumImage):
        yield "spectrum signal", action.signals, tuple(s.name for s in specimen.signals)


def _admit_size(action: SpectrumImage, can: Capabilities, limit: int) -> None:
    channels = sum(s.axis.size for name in action.signals if (s := can.signal(name)))
    size = 2 * action.width_px * action.height_px * channels
    if size > limit:
        raise OutOfRange(
            "the spectrum image is larger than the instrument's memory; nothing was done",
            where="spectrum_image",
            value=size,
            limit=f"{limit} bytes",
            remedy="Ask for fewer pixels or signals",
        )
