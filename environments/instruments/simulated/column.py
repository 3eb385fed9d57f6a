"""What the simulated microscope is made of, and what is so at this moment: probe, view, beam."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoscope.actions import CORRECTOR_FIELDS
from autoscope.chance import stream
from autoscope.protocols import Clock
from autoscope.records import (
    Measure,
    SetOptics,
    SpectrumSignal,
)
from environments.instruments.simulated.acquisition import Exposing, Scene
from environments.instruments.simulated.beam import Beam
from environments.instruments.simulated.capabilities import capabilities
from environments.instruments.simulated.carousel import Carousel
from environments.instruments.simulated.config import DetectorConfig, MicroscopeConfig
from environments.instruments.simulated.dark import DarkSignals
from environments.instruments.simulated.drift import Drift
from environments.instruments.simulated.faults import Faults
from environments.instruments.simulated.holder import Heater
from environments.instruments.simulated.memory import ActMemory, LogRecord, PhysicalLog
from environments.instruments.simulated.optics import Probe, form_probe
from environments.instruments.simulated.scan import Tilt, coil_matrix
from environments.instruments.simulated.spectrometer import Spectrometer
from environments.instruments.simulated.stage import Stage
from environments.sample.specimen import Specimen

Array = NDArray[np.float64]


class Column:
    """The parts of a simulated microscope, put together; the instrument acts with them."""

    def _assemble(self, config: MicroscopeConfig, specimens: Sequence[Specimen], clock: Clock, seed: int) -> None:
        self._config, self._clock = config, clock
        self._born_s = clock.now_s()
        self._carousel = Carousel(specimens, config.dose, config.carousel.will_not_load)
        self._can = capabilities(config, specimens)
        self._stage = Stage(config.stage, stream(seed, "stage"))
        self._drift = Drift(config.drift, stream(seed, "drift"))
        self._drift.loaded(0.0)
        self._spectrometer = Spectrometer(config.spectrometer, stream(seed, "spectrometer"))
        self._dark = DarkSignals(config.dark_signals, self._sizes(), int(stream(seed, "dark").integers(2**63)))
        self._faults = Faults(config.faults, stream(seed, "faults"))
        # the fastest of numpy's generators: noise is most of the work of an image
        self._noise = np.random.Generator(np.random.SFC64(stream(seed, "noise").integers(2**63, size=2).tolist()))
        self._beam = Beam(self._born_s)
        self._valves_open = True if config.valves else None
        self._heater = Heater(config.holder, self._born_s) if config.holder else None
        plain = SetOptics(
            defocus_m=0.0,
            stigmator_a_m=0.0,
            stigmator_b_m=0.0,
            beam_current_a=config.gun.beam_current_a,
            convergence_rad=config.lens.convergence_rad,
            energy_offset_ev=0.0 if config.spectrometer else None,
        )
        self._optics = plain.replace(**dict.fromkeys(CORRECTOR_FIELDS, 0.0)) if config.lens.corrector else plain
        self._probe = self._form_probe()
        self._coils = coil_matrix(config.scan)
        self._parked_m = (0.0, 0.0)
        self._memory = ActMemory(config.memory)
        self._log = PhysicalLog(config.memory)

    # --- what is so -------------------------------------------------------------------------------

    @property
    def _current_a(self) -> float:
        return float(self._optics.beam_current_a or 0.0)

    def _form_probe(self) -> Probe:
        settings = self._optics.model_dump(exclude={"kind", "defocus_m", "beam_current_a", "energy_offset_ev"})
        return form_probe(self._config.gun, self._config.lens, current_a=self._current_a, **settings)

    def _flat_defocus_m(self) -> float:
        return (self._optics.defocus_m or 0.0) + self._config.lens.hidden_defocus_m + self._stage.true_m[2]

    def _view(self, time_s: Array) -> Array:
        """Return the specimen points (n, 2) under the optical axis at times since the start, (n,)."""
        x_m, y_m, _ = self._stage.true_m
        view: Array = np.array([x_m, y_m]) + self._drift.at(time_s) + self._faults.jump_m(time_s)
        return view

    def _view_now(self) -> Array:
        view: Array = self._view(np.array([self._clock.now_s() - self._born_s]))[0]
        return view

    def _probe_place(self) -> Array:
        """Return the specimen point (2,) under the parked probe now."""
        offset = self._coils @ np.array(self._parked_m)
        place: Array = self._view_now() + Tilt(*self._stage.tilt_rad).stretch * offset
        return place

    def _scene(self, begin_s: float, stray_e: float, current_a: float) -> Scene:
        return Scene(
            specimen=self._carousel.specimen,
            exposed=self._carousel.exposed,
            probe=self._probe,
            view=self._view,
            defocus_m=self._flat_defocus_m(),
            tilt=Tilt(*self._stage.tilt_rad),
            current_a=current_a,
            start_s=begin_s - self._born_s,
            scanning=self._config.scan,
            coils=self._coils,
            stray_e=stray_e,
            dark=self._dark,
            loss_shift_ev=(self._optics.energy_offset_ev or 0.0) + self._spectrometer.drift_ev(begin_s - self._born_s),
        )

    def _detectors(self, names: Sequence[str]) -> tuple[DetectorConfig, ...]:
        known = {d.name: d for d in self._config.detectors}
        return tuple(known[name] for name in names)

    def _sizes(self) -> dict[str, int]:
        return {s.name: s.axis.size for s in self._can.signals} | dict.fromkeys(self._can.detectors, 1)

    def _signals(self, names: Sequence[str]) -> tuple[SpectrumSignal, ...]:
        known = {s.name: s for s in self._carousel.specimen.signals}
        return tuple(known[name] for name in names)

    # --- time, dose, log ----------------------------------------------------------------------------

    def _wait_until(self, end_s: float) -> None:
        self._clock.wait(max(end_s - self._clock.now_s(), 0.0))

    def _spans(self, action: Exposing) -> tuple[float, float]:
        """Return for how long the beam dwells on pixels, and for how long it flies back."""
        if isinstance(action, Measure):
            return action.dwell_s, 0.0
        pixels = action.width_px * action.height_px
        return action.dwell_s * pixels, self._config.scan.line_flyback_s * action.height_px

    def _expose_parked(self, until_s: float) -> None:
        dose_e = self._beam.pass_time(until_s, self._current_a)
        if dose_e > 0.0:
            place = self._probe_place()
            self._carousel.exposed.expose(place[:1], place[1:], dose_e)

    def _note(self, act_id: str, kind: str, start_s: float, on_before_s: float) -> None:
        x_m, y_m = (float(v) for v in self._probe_place())
        on_s = self._beam.on_s - on_before_s
        self._log.append(LogRecord(act_id, kind, start_s, self._clock.now_s(), x_m, y_m, on_s))
