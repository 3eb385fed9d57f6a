"""Which way the image goes: the stage, the scan's offset and its rotation, looked at by registration.

With the stage at ``(X, Y)`` a point ``(x, y)`` of a scan looks at the specimen point ``(X + x, Y + y)``
(`autoscope.records`), so a feature moves by minus the step of the stage, and by minus the step of the scan's centre.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoscope.errors import FrameRejected, Unsupported
from autoscope.perception.registration import register
from autoscope.perception.sharpness import sharpness
from autoscope.records import Frame, Scan
from autoscope.testing.conformance.bench import Bench, line, told
from autoscope.testing.conformance.report import Check

Image = NDArray[np.float64]
Look = Callable[[float, float], tuple[Frame, Frame]]
"""Takes a step in metres and a dwell time in seconds; returns images before and after the step."""

FIELDS_M = (2e-6, 1e-6, 500e-9, 4e-6, 250e-9)
"""Widths in which something to recognise is looked for."""
PART = 0.125
"""Step of stage and scan as a part of the field."""
SURE = 0.25
"""Least confidence of a registration that is believed."""
CERTAIN = 0.7
"""Confidence at which no other field is tried."""
STRAIGHT_RAD = math.radians(20.0)
"""Largest angle between the way the image went and the way it should have gone."""
STRETCH = 0.3
"""Part of the step asked for by which the step seen may differ, besides the play of the stage."""
ROTATION_RAD = 0.35
CHANGED = 0.5
"""Least change of sharpness, as a part of it, that a step of defocus must make."""

_STAGE_REMEDY = "Correct sign, order or rotation of the stage axes where the driver converts them"
_SCAN_REMEDY = "Correct sign or order of the scan's centre where the driver converts it"


def check_axes(bench: Bench) -> Iterator[Check]:
    """Check sign and order of stage axes, scan offsets and scan rotation."""
    if not bench.can_do("scan") or bench.can.native_scan:
        why = "stored data have one image only" if bench.can.native_scan else "it takes no images"
        yield line("axes", "the image goes the right way", "not applicable", why)
        return
    scan = _scan_with_content(bench)
    if scan is None:
        why = "nothing to recognise: two images of one place do not match. Bring a sample with structure into view"
        yield line("axes", "the image goes the right way", "not applicable", why)
        return
    for axis in ("x", "y"):
        if bench.can_do("move_stage") and f"{axis}_m" in bench.can.ranges:
            yield _stage_check(bench, scan, axis)
    for check, name in ((_offset_check, "x"), (_offset_check, "y"), (_rotation_check, "")):
        try:
            yield check(bench, scan, name)
        except Unsupported as error:
            yield line("axes", "offset and rotation of scans go the right way", "not applicable", told(error))
    yield from _defocus_check(bench, scan)


def _scan_with_content(bench: Bench) -> Scan | None:
    """Return the image that a second one of the same place is recognised in best; None where in none."""
    best: tuple[float, Scan | None] = (SURE, None)
    for fov_m in _widths_m(bench):
        scan = bench.scan(fov_m=fov_m)
        try:
            shift = register(_image(bench, scan), _image(bench, scan))
        except FrameRejected:
            continue
        still = math.hypot(shift.dx_m, shift.dy_m) < PART / 4.0 * fov_m
        if still and shift.confidence > best[0]:
            best = shift.confidence, scan
        if best[0] > CERTAIN:
            break
    return best[1]


def _widths_m(bench: Bench) -> list[float]:
    """Return the fields to try; gently, a step of the stage is no longer than permitted."""
    wanted = (bench.steps.fov_m,) if bench.steps.fov_m else FIELDS_M
    most_m = bench.steps.stage_m / PART if bench.gentle else math.inf
    ranges = bench.can.ranges
    if "centre_x_m" in ranges and "fov_m" in ranges:  # a corner of a turned or shifted field must be within reach
        reach_m = max(ranges["centre_x_m"].high, ranges["fov_m"].high / 2.0)
        most_m = min(most_m, reach_m / (0.5 * math.sqrt(2.0) + PART))
    return list(dict.fromkeys(bench.inside("fov_m", min(fov_m, most_m)) for fov_m in wanted))


def _image(bench: Bench, scan: Scan) -> Frame:
    return bench.do(scan).frames[0]


def _stage_check(bench: Bench, scan: Scan, axis: str) -> Check:
    promise, field = f"with the stage at +{axis} the image goes to -{axis}", f"{axis}_m"
    home_m, range_m = getattr(bench.instrument.state(), field), bench.can.ranges[field]
    if home_m + PART * scan.fov_m not in range_m or PART * scan.fov_m < bench.can.tolerances.get(field, 0.0):
        why = f"a step of {PART * scan.fov_m:g} m is out of range or below the stage's tolerance"
        return line("axes", promise, "not applicable", why)

    def look(step_m: float, dwell_s: float) -> tuple[Frame, Frame]:
        longer = scan.replace(dwell_s=dwell_s)
        reference = _image(bench, longer)
        try:
            bench.do(bench.setting(field, home_m + step_m))
            return reference, _image(bench, longer)
        finally:
            bench.do(bench.setting(field, home_m))

    return _judged(bench, promise, scan, (axis, field), look, _STAGE_REMEDY)


def _offset_check(bench: Bench, scan: Scan, axis: str) -> Check:
    promise, field = f"with the scan's centre at +{axis} the image goes to -{axis}", f"centre_{axis}_m"

    def look(step_m: float, dwell_s: float) -> tuple[Frame, Frame]:
        longer = scan.replace(dwell_s=dwell_s)
        return _image(bench, longer), _image(bench, longer.replace(**{field: step_m}))

    return _judged(bench, promise, scan, (axis, field), look, _SCAN_REMEDY)


def _judged(bench: Bench, promise: str, scan: Scan, names: tuple[str, str], look: Look, remedy: str) -> Check:
    """Judge which way the image goes; look once more, closer and longer, where it is not recognised."""
    axis, field = names
    detail = ""
    for part, longer in ((PART, 1.0), (PART / 4.0, 4.0), (PART / 2.0, 8.0)):
        step_m = part * scan.fov_m
        shift = register(*look(step_m, bench.inside("dwell_s", longer * scan.dwell_s)))
        if shift.confidence >= SURE:
            expected = (-step_m, 0.0) if axis == "x" else (0.0, -step_m)
            seen = (shift.dx_m, shift.dy_m)
            verdict = _named(seen, expected, bench.can.tolerances.get(field, 0.0) / step_m)
            detail = "image went ({:+.0f}, {:+.0f}) nm, expected ({:+.0f}, {:+.0f}) nm".format(
                *(1e9 * value for value in (*seen, *expected))
            )
            detail += f": {verdict}" if verdict else ""
            return line("axes", promise, not verdict, detail, remedy)
        detail = f"the image is not recognised (confidence {shift.confidence:.2f}); it may have gone out of view"
    return line("axes", promise, "failed", detail, remedy)


def _named(seen: tuple[float, float], expected: tuple[float, float], play: float = 0.0) -> str:
    """Return what is wrong with a step of the image; empty if nothing is.

    Examples
    --------
    >>> _named((1.0, 0.0), (-1.0, 0.0)), _named((0.0, 1.0), (-1.0, 0.0))
    ('the axis is mirrored', 'x and y are swapped')
    >>> _named((0.0, 0.0), (-1.0, 0.0)), _named((-1.0, 0.1), (-1.0, 0.0))
    ('it did not move', '')
    """
    length = math.hypot(*seen) / math.hypot(*expected)
    if length < 0.2:
        return "it did not move"
    along = seen[0] * expected[0] + seen[1] * expected[1]
    across = expected[0] * seen[1] - expected[1] * seen[0]
    angle = math.atan2(across, along)
    if abs(angle) > math.pi - STRAIGHT_RAD:
        return "the axis is mirrored"
    if abs(abs(angle) - math.pi / 2.0) < STRAIGHT_RAD:
        return "x and y are swapped"
    if abs(angle) > STRAIGHT_RAD:
        return f"stage and scan are turned by {math.degrees(angle):.0f} degrees against each other"
    return "" if abs(length - 1.0) <= STRETCH + play else f"the step seen is {length:.2g} times the one asked for"


def _rotation_check(bench: Bench, scan: Scan, _: str = "") -> Check:
    """Check the sense of rotation: the centre of pixel (u, v) lies at R(rotation) (u, v)."""
    promise = "a scan turned by a positive angle looks from x towards y"
    reference = _smooth(_image(bench, scan))
    turned = _smooth(_image(bench, bench.scan(fov_m=scan.fov_m, rotation_rad=ROTATION_RAD)))
    likeness = {sense: _alike(_turn(reference, sense * ROTATION_RAD), turned) for sense in (1, -1, 0)}
    best = max(likeness, key=lambda sense: likeness[sense])
    rest = max(value for sense, value in likeness.items() if sense != best)
    detail = ", ".join(f"{name} {likeness[k]:.2f}" for k, name in ((1, "right"), (-1, "opposite"), (0, "not turned")))
    if likeness[best] < 0.3 or likeness[best] - rest < 0.05:
        return line("axes", promise, "not applicable", f"the image does not tell (likeness: {detail})")
    named = {1: "", -1: "; the sense is opposite", 0: "; the rotation has no effect"}[best]
    remedy = "Correct the sign of the rotation where the driver converts it"
    return line("axes", promise, best == 1, f"likeness: {detail}{named}", remedy)


def _smooth(frame: Frame) -> Image:
    return np.asarray(ndimage.gaussian_filter(np.asarray(frame.data, np.float64), 1.5))


def _turn(image: Image, angle_rad: float) -> Image:
    """Return what a scan turned by an angle would see, from one that was not."""
    middle = (np.array(image.shape) - 1.0) / 2.0
    v, u = (np.arange(size) - centre for size, centre in zip(image.shape, middle))
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    x = cosine * u[None] - sine * v[:, None] + middle[1]
    y = sine * u[None] + cosine * v[:, None] + middle[0]
    return np.asarray(ndimage.map_coordinates(image, [y, x], order=1, mode="nearest"))


def _alike(first: Image, second: Image) -> float:
    """Return the correlation coefficient over the disc that both images show."""
    y, x = (np.arange(size) - (size - 1.0) / 2.0 for size in first.shape)
    disc = np.hypot(y[:, None], x[None]) < 0.48 * min(first.shape)
    a, b = first[disc], second[disc]
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0.0 and b.std() > 0.0 else 0.0


def _defocus_check(bench: Bench, scan: Scan) -> Iterator[Check]:
    promise, step_m = "defocus changes how sharp the image is", bench.step("defocus_m")
    if not bench.can_do("set_optics") or "defocus_m" not in bench.can.ranges:
        return
    home_m = bench.instrument.state().defocus_m
    if bench.gentle or home_m + step_m not in bench.can.ranges["defocus_m"]:
        yield line("axes", promise, "not applicable", "gentle: the step is too small to see" if bench.gentle else "")
        return
    before = sharpness(_image(bench, scan))
    try:
        bench.do(bench.setting("defocus_m", home_m + step_m))
        after = sharpness(_image(bench, scan))
    finally:
        bench.do(bench.setting("defocus_m", home_m))
    again = sharpness(_image(bench, scan))
    detail = f"sharpness {before:.3g} -> {after:.3g} (cycles/pixel)^2 for {step_m * 1e6:+.2g} um"
    if min(abs(after - before), abs(after - again)) > max(CHANGED * after, CHANGED * before, abs(again - before)):
        yield line("axes", promise, "passed", detail)
    elif bench.can.simulated:
        yield line("axes", promise, "not applicable", f"{detail}: this simulation's image ignores defocus")
    else:
        yield line("axes", promise, "failed", detail, "Check the unit of defocus, or use a larger --defocus-step")
