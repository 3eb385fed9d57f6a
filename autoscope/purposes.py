"""Words by which decisions say what they are for, where others than the policy that decided go by them."""

from __future__ import annotations

DARK_REFERENCE = "dark_reference"
"""Purpose of acts that record what detectors give without beam."""
UPKEEP = ("zero_loss", DARK_REFERENCE)
"""Purposes of acts that look after the instrument: what they record is no measurement of the sample."""
INSIDE = "in_depth"
"""Purpose of spectra inside a find, on the pixels of a small field: no places of a survey's ranking."""
DRIFT_PX, DRIFT_STD_PX, DRIFT_LIMIT_PX = "image_drift_px", "image_drift_std_px", "image_drift_limit_px"
"""Parameters of the decision after an image: how far the sample moved while it was written, how surely, and, where it
surely moved further, how far it may."""
UNFIT = "image_unfit"
"""Parameter of the decision after an image of which the metrics are not as usual: 1 where it is not learnt from but
taken again, 0 where it was no better when repeated and is taken as it is."""
