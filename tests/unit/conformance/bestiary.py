"""Drivers that are wrong in one way each: every one is a mistake somebody could make."""

import contextlib
import threading

import numpy as np

from autoscope.clock import SimClock
from autoscope.errors import NotReached, OutOfRange, Unsupported
from autoscope.records import Act, Frame, Measure, MoveStage, Observation, Scan, SetOptics
from environments.instruments.simulated import SimulatedInstrument


def sound(seed=1):
    return SimulatedInstrument(SimulatedInstrument.Config(), clock=SimClock(), rng=np.random.default_rng(seed))


class Wrong:
    """Passes everything on to a sound instrument; the others change one thing."""

    def __init__(self, seed=1):
        self.inner = sound(seed)

    def describe(self):
        return self.inner.describe()

    def state(self):
        return self.inner.state()

    def execute(self, act):
        return self.inner.execute(act)

    def make_safe(self):
        self.inner.make_safe()

    def changed(self, act, **fields):
        return Act(act_id=act.act_id, action=act.action.replace(**fields))


class Clamping(Wrong):
    def execute(self, act):
        if isinstance(act.action, (MoveStage, SetOptics)):
            ranges = self.describe().ranges
            given = act.action.model_dump(exclude_none=True, exclude={"kind"})
            held = {k: min(max(v, ranges[k].low), ranges[k].high) for k, v in given.items()}
            act = self.changed(act, **held)
        return self.inner.execute(act)


class MirroredStage(Wrong):
    """Converts the sign of x on the way in and on the way out, so that read-back agrees with the request."""

    def state(self):
        state = self.inner.state()
        return state.replace(x_m=-state.x_m)

    def execute(self, act):
        if isinstance(act.action, MoveStage) and act.action.x_m is not None:
            act = self.changed(act, x_m=-act.action.x_m)
        seen = self.inner.execute(act)
        before, after = (s.replace(x_m=-s.x_m) for s in (seen.state_before, seen.state))
        return Observation(seen.act_id, before, after, seen.frames)


class SwappedStage(Wrong):
    """Hands (y, x) to a vendor call that wants (x, y), and reads back the same way."""

    def state(self):
        return self._swap(self.inner.state())

    def _swap(self, state):
        return state.replace(x_m=state.y_m, y_m=state.x_m)

    def execute(self, act):
        if isinstance(act.action, MoveStage):
            act = self.changed(act, x_m=act.action.y_m, y_m=act.action.x_m)
        seen = self.inner.execute(act)
        return Observation(seen.act_id, self._swap(seen.state_before), self._swap(seen.state), seen.frames)


class MirroredScan(Wrong):
    def execute(self, act):
        return self.inner.execute(
            self.changed(act, centre_x_m=-act.action.centre_x_m) if isinstance(act.action, Scan) else act
        )


class OppositeRotation(Wrong):
    def execute(self, act):
        if not isinstance(act.action, Scan) or not act.action.rotation_rad:
            return self.inner.execute(act)
        seen = self.inner.execute(self.changed(act, rotation_rad=-act.action.rotation_rad))
        frames = tuple(Frame(f.meta.replace(rotation_rad=act.action.rotation_rad), f.data.copy()) for f in seen.frames)
        return Observation(seen.act_id, seen.state_before, seen.state, frames)


class Transposed(Wrong):
    """Gives images as [x, y]."""

    def execute(self, act):
        seen = self.inner.execute(act)
        if not isinstance(act.action, Scan):
            return seen
        return Observation(
            seen.act_id, seen.state_before, seen.state, tuple(Frame(f.meta, f.data.T.copy()) for f in seen.frames)
        )


class Repeating(Wrong):
    """Does an act again when it is sent again."""

    count = 0

    def execute(self, act):
        self.count += 1
        return self.inner.execute(Act(act_id=f"{act.act_id}-{self.count}", action=act.action))


class NotANumber(Wrong):
    """Reads back NaN for defocus while the beam is blanked."""

    def state(self):
        state = self.inner.state()
        return state.model_construct(**(state.model_dump() | {"defocus_m": float("nan")}))


class WrongShape(Wrong):
    def execute(self, act):
        seen = self.inner.execute(act)
        frames = tuple(Frame(f.meta, f.data[:-1].copy()) for f in seen.frames)
        return Observation(seen.act_id, seen.state_before, seen.state, frames)


class Stuck(Wrong):
    """Says yes to a move of the stage and stays."""

    def execute(self, act):
        if isinstance(act.action, MoveStage):
            state = self.inner.state()
            return Observation(act.act_id, state, state)
        return self.inner.execute(act)


class Nanometres(Wrong):
    """Takes the field for nanometres where micrometres were meant: the label is a thousand times too small."""

    def execute(self, act):
        seen = self.inner.execute(act)
        if not isinstance(act.action, Scan):
            return seen
        frames = tuple(
            Frame(f.meta.replace(axes=tuple(a.replace(scale=a.scale * 1e-3) for a in f.meta.axes)), f.data.copy())
            for f in seen.frames
        )
        return Observation(seen.act_id, seen.state_before, seen.state, frames)


class FreeOfCharge(Wrong):
    """Counts no dose."""

    def state(self):
        return self.inner.state().replace(dose_e=0.0)

    def execute(self, act):
        seen = self.inner.execute(act)
        before, after = (s.replace(dose_e=0.0) for s in (seen.state_before, seen.state))
        return Observation(seen.act_id, before, after, seen.frames)


class AnyName(Wrong):
    """Takes the first detector for one it does not know."""

    def execute(self, act):
        if isinstance(act.action, Scan) and not set(act.action.detectors) <= {"HAADF", "BF"}:
            act = self.changed(act, detectors=("HAADF",))
        return self.inner.execute(act)


class Unsafe(Wrong):
    """Loses its connection and lets make_safe fail with it."""

    def make_safe(self):
        raise ConnectionError("no answer from the column")


class OneThread(Wrong):
    """Serves only the thread that made it, like a COM object."""

    def __init__(self, seed=1):
        super().__init__(seed)
        self.home = threading.get_ident()

    def execute(self, act):
        if threading.get_ident() != self.home:
            raise RuntimeError("called from another thread")
        return self.inner.execute(act)


class WrongError(Wrong):
    """Refuses as its vendor does."""

    def execute(self, act):
        try:
            return self.inner.execute(act)
        except (OutOfRange, Unsupported) as error:
            raise ValueError(error.what) from None


class Impatient(Wrong):
    """Answers before the time of the exposure has passed."""

    def execute(self, act):
        seen = self.inner.execute(act)
        return Observation(
            seen.act_id, seen.state_before, seen.state.replace(time_s=seen.state_before.time_s), seen.frames
        )


class LeftOpen(Wrong):
    """Forgets the blanker."""

    def make_safe(self):
        with contextlib.suppress(NotReached):
            self.inner.state()


class NarrowDescription(Wrong):
    """Offers spectra without naming a signal."""

    def describe(self):
        return self.inner.describe().replace(signals=(), detectors=("HAADF", "HAADF"))


class WrongEnergy(Wrong):
    """Describes one energy axis and labels another."""

    def execute(self, act):
        seen = self.inner.execute(act)
        if not isinstance(act.action, Measure):
            return seen
        frames = tuple(
            Frame(f.meta.replace(axes=(f.meta.axes[0].replace(scale=2.0 * f.meta.axes[0].scale),)), f.data.copy())
            for f in seen.frames
        )
        return Observation(seen.act_id, seen.state_before, seen.state, frames)


CAUGHT = {
    Clamping: r"x_m out of range.*clamped",
    MirroredStage: r"stage at \+x.*mirrored",
    SwappedStage: r"stage at \+x.*swapped",
    MirroredScan: r"centre at \+x.*mirrored",
    OppositeRotation: r"turned by a positive angle.*opposite",
    Transposed: r"shape \[y, x\].*wrong shape",
    Repeating: r"move sent again late.*the stage went",
    NotANumber: r"finite values.*defocus_m",
    WrongShape: r"shape \[y, x\].*wrong shape",
    Stuck: r"x_m is set and read back.*asked for",
    Nanometres: r"shape \[y, x\].*pixels of",
    FreeOfCharge: r"adds its electrons.*0 e counted",
    AnyName: r"unknown detector is refused.*was done instead",
    Unsafe: r"make_safe blanks.*ConnectionError",
    OneThread: r"another thread.*RuntimeError",
    WrongError: r"out of range.*ValueError",
    Impatient: r"at least its dwell time.*0 s",
    LeftOpen: r"make_safe blanks.*the beam is on",
    NarrowDescription: r"describes itself consistently.*without a spectrum signal",
    WrongEnergy: r"axes described.*described as",
}
"""Each wrong driver, and how the kit must name its mistake."""
