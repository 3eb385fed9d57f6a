"""The dark references of a run: which there are, which one a frame gets, and frames less it.

A fold over the dark acts that were done, in their order; by the ids of these acts the record tells for each frame what
was subtracted, so whoever reads a run again subtracts the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from autoscope.errors import FrameRejected, JournalCorrupt
from autoscope.guard.quality import snr_estimate
from autoscope.perception.dark import DarkReference, between, dark_reference, require_dark, same_dwell, subtract
from autoscope.records import TIME, Act, Action, Frame, FrameRef, Measure, Observation, Outcome, Scan, dark_frames

Load = Callable[[str], tuple[Frame, ...]]
"""Returns the dark frames of an act by its id."""
Ids = tuple[str, ...]


class Darks:
    """References by signal and dwell, the newest in use.

    A signal of which there is no reference is left as it is recorded. Of a signal that has one, a frame gets the
    reference of its own dwell, or the line between those of the next shorter and the next longer dwell (a pedestal and
    a dark current); a frame of any other dwell is refused rather than compared with frames that were corrected.
    Readings of an image detector at a point are told as those of an image, so they get the
    reference of the shortest dwell, that of images, whatever their own.
    """

    def __init__(self) -> None:
        self._references: dict[tuple[str, str], DarkReference] = {}
        self._newest: dict[str, dict[float, str]] = {}
        self._load: Load | None = None

    def recall(self, done: Iterable[tuple[Action, Outcome]], load: Callable[[FrameRef], Frame]) -> None:
        """Know the references among acts of a run that were recorded; their frames are read when first needed."""
        found = {o.act_id: (a, o) for a, o in done if dark_frames(a) and o.status == "done"}
        self._load = lambda act_id: tuple(load(ref) for ref in found[act_id][1].frames)
        self._newest = {}
        for act_id, (action, _) in found.items():
            self._use(act_id, action)

    def take(self, act: Act, seen: Observation) -> None:
        """Take a new reference into use.

        Raises
        ------
        FrameRejected
            The beam was not kept away, or the frames make no reference; those before stay in use.
        """
        if seen.state_before.blanked and seen.dose_e > 0.0:
            what, remedy = "electrons reached the sample while dark frames were recorded", "Look at the blanker"
            raise FrameRejected(what, where=act.act_id, value=seen.dose_e, limit="0 e", remedy=remedy)
        made = made_of(seen.frames, dark_frames(act.action), act.act_id)
        for signal, new in made.items():
            before = self._at(signal, new.dwell_s)
            if before is not None:
                require_dark(new, self._reference(before, signal))
        self._references |= {(act.act_id, signal): one for signal, one in made.items()}
        self._use(act.act_id, act.action)

    def ids(self, frame: Frame) -> Ids:
        """Return the acts whose references a frame gets; none where its signal has none.

        Raises
        ------
        FrameRejected
            Its signal has references, but none for its dwell.
        """
        signal, dwell_s = frame.meta.signal, frame.meta.dwell_s
        if (same := self._at(signal, dwell_s)) is not None:
            return (same,)
        known = self._newest.get(signal, {})
        if known and any(axis.name == TIME for axis in frame.meta.axes):
            return (known[min(known)],)
        shorter, longer = [d for d in known if d < dwell_s], [d for d in known if d > dwell_s]
        if shorter and longer:
            return known[max(shorter)], known[min(longer)]
        if known:
            raise FrameRejected(
                "no dark reference fits the dwell of this frame",
                where=f"frame {signal}",
                value=dwell_s,
                limit=" and ".join(f"{d:g} s" for d in sorted(known)),
                remedy="Take dark references of this dwell, or of a shorter and a longer one",
            )
        return ()

    def less(self, frame: Frame, ids: Ids) -> Frame:
        """Return a frame less the references of these acts.

        Raises
        ------
        FrameRejected
            It lies far below them.
        JournalCorrupt
            They are not to be had.
        """
        if not ids:
            return frame
        references = [self._reference(act_id, frame.meta.signal) for act_id in ids]
        one = references[0] if len(ids) == 1 else between(references[0], references[1], frame.meta.dwell_s)
        return subtract(frame, one)

    def told(self, frames: Iterable[Frame], used: Mapping[str, Ids]) -> tuple[Frame, ...]:
        """Return recorded frames as they were learnt from."""
        return tuple(self.less(frame, tuple(used.get(frame.meta.signal, ()))) for frame in frames)

    def _at(self, signal: str, dwell_s: float) -> str | None:
        known = self._newest.get(signal, {})
        return next((act_id for d, act_id in known.items() if same_dwell(d, dwell_s)), None)

    def _use(self, act_id: str, action: Action) -> None:
        if not isinstance(action, (Scan, Measure)):
            return
        for signal in action.signals if isinstance(action, Measure) else action.detectors:
            known = self._newest.setdefault(signal, {})
            for old in [dwell_s for dwell_s in known if same_dwell(dwell_s, action.dwell_s)]:
                del known[old]
            known[action.dwell_s] = act_id

    def _reference(self, act_id: str, signal: str) -> DarkReference:
        if (act_id, signal) not in self._references:
            try:
                frames = self._load(act_id) if self._load else ()
            except KeyError:
                frames = ()
            own = [frame for frame in frames if frame.meta.signal == signal]
            if not own:
                raise JournalCorrupt("the dark reference is not in the record", where=f"act {act_id}", value=signal)
            self._references[act_id, signal] = dark_reference(own)
        return self._references[act_id, signal]


def made_of(frames: tuple[Frame, ...], count: int, where: str) -> dict[str, DarkReference]:
    """Return the references that the frames of an act make, by signal.

    Raises
    ------
    FrameRejected
        There are not as many frames as were asked for.
    """
    by_signal: dict[str, list[Frame]] = {}
    for frame in frames:
        by_signal.setdefault(frame.meta.signal, []).append(frame)
    for signal, own in by_signal.items():
        if len(own) != count:
            what = f"there are not as many dark frames of {signal} as were asked for"
            raise FrameRejected(what, where=where, value=len(own), limit=count, remedy="Record them again")
    return {signal: dark_reference(own) for signal, own in by_signal.items()}


def measured_again(metrics: dict[str, float], frame: Frame) -> dict[str, float]:
    """Return the metrics of a recorded frame with those that the subtraction changed computed from what is left."""
    mean = float(np.mean(frame.data, dtype=np.float64))
    std = float(np.std(frame.data, dtype=np.float64))
    return metrics | {"mean": mean, "std": std, "snr_estimate": snr_estimate(frame.data, mean)}
