"""Frames as the run learnt from them: less the dark reference that was in use."""

from __future__ import annotations

from collections.abc import Callable

from autoscope.engine.dark import Darks
from autoscope.errors import FrameRejected
from autoscope.records import Frame, FrameRef
from autoscope.report.story import RunStory

Load = Callable[[FrameRef], Frame]


def as_learnt_from(story: RunStory, load: Load) -> Load:
    """Return what loads a recorded frame and subtracts what the run subtracted; the frame itself where it did not."""
    if not story.less:
        return load
    darks = Darks()
    darks.recall(story.darks, load)

    def corrected(ref: FrameRef) -> Frame:
        try:
            return darks.less(load(ref), story.less.get(ref.file, ()))
        except FrameRejected:  # a record of another version: better the picture as it was recorded than none
            return load(ref)

    return corrected
