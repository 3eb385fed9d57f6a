"""How the instrument stands, as it was last read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from autoscope.dashboard.panel import TextPanel, pair
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wording import electrons, quantity

_FIELDS = (
    ("stage x", "x_m", "m"),
    ("stage y", "y_m", "m"),
    ("stage z", "z_m", "m"),
    ("tilt \N{GREEK SMALL LETTER ALPHA}", "alpha_rad", "rad"),
    ("tilt \N{GREEK SMALL LETTER BETA}", "beta_rad", "rad"),
    ("defocus", "defocus_m", "m"),
    ("stigmator a", "stigmator_a_m", "m"),
    ("stigmator b", "stigmator_b_m", "m"),
    ("beam current", "beam_current_a", "A"),
    ("convergence", "convergence_rad", "rad"),
    ("voltage", "voltage_v", "V"),
    ("temperature", "temperature_k", "K"),
    ("bias", "bias_v", "V"),
)


class InstrumentPanel(TextPanel):
    """Stage, optics, beam and dose."""

    TITLE = "instrument"

    def show(self, sight: Sight) -> None:
        """Show the state after the act looked at, or the newest."""
        outcome = sight.detail.outcome if sight.detail and sight.at is not None else None
        state = outcome.state.model_dump() if outcome else sight.model.state
        about = sight.model.header.get("capabilities") or {}
        self.border_title = f"instrument: {about.get('instrument', '')} {about.get('serial', '')}".strip()
        self.update(Content("\n").join(_lines(state)) if state else Content("not read back yet"))


def _lines(state: Mapping[str, Any]) -> list[Content]:
    blanked = state.get("blanked", True)
    beam = ("blanked", "$success") if blanked else ("ON", "bold $warning")
    known = [(name, quantity(float(state[key]), unit, 4)) for name, key, unit in _FIELDS if state.get(key) is not None]
    known.append(("counted", electrons(float(state.get("dose_e") or 0.0))))
    known.append(("sample slot", str(state.get("sample_slot", 0))))
    return [pair("beam", beam), *(pair(name, text) for name, text in known)]
