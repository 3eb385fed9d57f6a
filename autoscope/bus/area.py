"""What every place of the sample has received, by the ledger: over all runs, sessions and lives of the server."""

from __future__ import annotations

import json

from autoscope.bus.ledger import Charged, Ledger
from autoscope.bus.messages import Done
from autoscope.bus.serving import DoseConfig
from autoscope.guard import AreaDose
from autoscope.records import MicroscopeState, MoveStage

SAMPLES = "samples"
"""Fact of the ledger: from which act on which sample was in the instrument."""


def area_of(config: DoseConfig, sample: str, ledger: Ledger) -> AreaDose | None:
    """Return the map of the sample that is served now, with all that the ledger says it has received.

    Acts nobody answered must have been settled. What failed or is unknown is charged what it may have cost, wherever
    the stage may have stood.

    Returns
    -------
    AreaDose or None
        None where the configuration limits no dose per area.
    """
    spans = _spans(ledger, sample)
    if config.max_area_e_per_m2 is None:
        return None
    area = AreaDose(config.max_area_e_per_m2, config.area_cell_m)
    places = _Places(area)
    for charged in ledger.charged():
        if any(first < charged.number <= last for first, last in spans):
            places.take(charged)
    return area


def _spans(ledger: Ledger, sample: str) -> list[tuple[float, float]]:
    """Return the intervals of act numbers during which a sample was served, having noted that it is now."""
    known: list[list[object]] = json.loads(ledger.fact(SAMPLES, lambda: "[]"))
    if not known or known[-1][1] != sample:
        known.append([ledger.last_number() if known else 0, sample])
        ledger.set_fact(SAMPLES, json.dumps(known))
    ends = [float(str(first)) for first, _ in known[1:]] + [float("inf")]
    return [(float(str(first)), end) for (first, name), end in zip(known, ends) if name == sample]


class _Places:
    """Charges acts to where the stage stood, as far as answers tell it."""

    def __init__(self, area: AreaDose) -> None:
        self._area = area
        self._possible = [MicroscopeState(time_s=0.0)]

    def take(self, charged: Charged) -> None:
        action, answer = charged.act.action, charged.answer
        if isinstance(answer, Done):
            counted_e = answer.state.dose_e - answer.state_before.dose_e
            dose_e = counted_e if answer.state.dose_e > 0.0 else charged.expected_dose_e
            self._area.charge(action, answer.state_before, answer.state, dose_e)
            self._possible = [answer.state]
            return
        for state in self._possible:
            self._area.charge(action, state, state, charged.expected_dose_e)
        if isinstance(action, MoveStage):
            asked = action.model_dump(exclude={"kind"}, exclude_none=True)
            self._possible.append(self._possible[-1].replace(**asked))
