"""All that is seen at one moment, and the one who looks: reads what is new and what the screens will want of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from autoscope.attention.reasons import Reason, Severity
from autoscope.dashboard.details import Details, Picture, StepDetail, is_image
from autoscope.dashboard.follow import Follower
from autoscope.dashboard.maps import MapSource, NoMaps
from autoscope.dashboard.model import RunModel
from autoscope.dashboard.remarks import Remark
from autoscope.dashboard.source import Source
from autoscope.dashboard.verdict import Verdict, judge, verdict_of
from autoscope.errors import AutoscopeError, BusError
from autoscope.model_maps import ModelMaps
from autoscope.purposes import DARK_REFERENCE
from autoscope.records import Frame, FrameRef, Outcome

NEW_PICTURES = 2
"""Images read for the map at one look; the others come at the next ones."""
MOST_PICTURES = 200
"""Images on the map."""
ON_THE_WAY = frozenset({"focus", "align", DARK_REFERENCE})
"""Purposes whose images show no place worth remembering."""


@dataclass(frozen=True)
class Sight:
    """One moment of a run, with what the screens draw of it."""

    model: RunModel
    verdict: Verdict
    at: int | None = None
    """The step looked back at; None: the newest."""
    detail: StepDetail | None = None
    """The decision looked at."""
    image: Frame | None = None
    spectrum: Frame | None = None
    spectrum_step: int | None = None
    pictures: tuple[Picture, ...] = field(default=())
    maps: ModelMaps | None = None
    problem: str = ""
    """Why something could not be read just now."""

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What was written between the acts up to the moment, oldest first."""
        if self.at is None or self.at + 1 >= len(self.model.steps):
            return self.model.remarks
        before = self.model.steps.intent_seq[self.at + 1]
        return tuple(remark for remark in self.model.remarks if remark.seq < before)

    @property
    def step(self) -> int:
        """The step that is shown; -1 before the first."""
        return len(self.model.steps) - 1 if self.at is None else self.at


class Onlooker:
    """Looks at a run again and again, and remembers what it has read.

    Parameters
    ----------
    source : Source
        The run.
    stopwatch : callable
        Real seconds.
    maps : MapSource, optional
        Where the model's maps come from.
    """

    def __init__(self, source: Source, stopwatch: Callable[[], float], maps: MapSource | None = None) -> None:
        self.source, self._follower = source, Follower(source, stopwatch)
        self._details, self._maps = Details(source), maps or NoMaps()
        self._sight: Sight | None = None
        self._why = ""

    def look(self, at: int | None = None, *, maps: bool = False) -> tuple[Sight, bool]:
        """Return what is seen now and whether it differs from what was seen last.

        Parameters
        ----------
        at : int, optional
            The step to look back at.
        maps : bool
            Whether the model's maps are wanted; a run makes them only while they are.
        """
        unreachable = ""
        try:
            news = self._follower.poll()
        except BusError as error:
            news, unreachable = False, str(error)
        model = self._follower.model()
        verdict = judge(model, unreachable=unreachable)
        before = self._sight
        shown = self._maps.latest(at, model) if maps else None
        why, self._why = self._why, self._maps.why_none() if maps else ""
        same = before is not None and why == self._why and not news and before.at == at and before.verdict == verdict
        if same and before is not None and before.maps is shown and not self._unread(model, at):
            return before, False
        self._sight = self._seen(model, verdict, at, shown)
        return self._sight, True

    def why_no_maps(self) -> str:
        """Return why there are no maps of the model."""
        return self._maps.why_none()

    def close(self) -> None:
        """Let go of the run; it does not notice."""
        self._maps.close()
        self.source.close()

    def _seen(self, model: RunModel, verdict: Verdict, at: int | None, maps: ModelMaps | None) -> Sight:
        if not model.whole:
            return Sight(model, verdict, at, maps=maps)
        steps, step = model.steps, len(model.steps) - 1 if at is None else at
        problem, detail, image, spectrum, spectrum_step = "", None, None, None, None
        pictures: tuple[Picture, ...] = ()
        try:
            detail = self._details.step(steps, step)
            image = self._newest(model, step, steps.images, is_image)[1]
            spectrum_step, spectrum = self._newest(model, step, steps.spectra, _is_spectrum)
            pictures = self._pictures(model, step)
        except BusError as error:
            problem, verdict = str(error), judge(model, unreachable=str(error))
        except AutoscopeError as error:
            problem = str(error)
            verdict = verdict_of(verdict.doing, (Reason("damaged", f"record damaged: {error}", Severity.TROUBLE),))
        return Sight(model, verdict, at, detail, image, spectrum, spectrum_step, pictures, maps, problem)

    def _newest(
        self, model: RunModel, step: int, counts: np.ndarray[tuple[int], np.dtype[np.int64]],
        wanted: Callable[[FrameRef], bool],
    ) -> tuple[int | None, Frame | None]:  # fmt: skip
        having = np.flatnonzero(counts[: step + 1])
        if not having.size:
            return None, None
        newest = int(having[-1])
        found = self._details.step(model.steps, newest)
        ref = next((r for r in _frames(found.outcome if found else None) if wanted(r)), None)
        return newest, self._details.frame(ref) if ref else None

    def _pictured(self, model: RunModel, step: int) -> list[int]:
        """Return the steps whose images belong on the map, newest last."""
        steps = model.steps
        away = [number for number, purpose in enumerate(steps.purposes) if purpose in ON_THE_WAY]
        wanted = (steps.images[: step + 1] > 0) & ~np.isin(steps.purpose[: step + 1], away)
        return [int(k) for k in np.flatnonzero(wanted)[-MOST_PICTURES:]]

    def _pictures(self, model: RunModel, step: int) -> tuple[Picture, ...]:
        wanted = self._pictured(model, step)
        missing = [k for k in wanted if not self._details.has_picture(k)][-NEW_PICTURES:]
        here = [k for k in wanted if self._details.has_picture(k) or k in missing]
        found = (self._details.picture(model.steps, k) for k in here)
        return tuple(picture for picture in found if picture is not None)

    def _unread(self, model: RunModel, at: int | None) -> bool:
        step = len(model.steps) - 1 if at is None else at
        return model.whole and any(not self._details.has_picture(k) for k in self._pictured(model, step))


def _frames(outcome: Outcome | None) -> tuple[FrameRef, ...]:
    return outcome.frames if outcome else ()


def _is_spectrum(ref: FrameRef) -> bool:
    return len(ref.shape) == 1
