"""Spectra of a tile's particles: what the place needs before, why one is taken, what it taught."""

from __future__ import annotations

import math

from autoscope.records import Action, Decision, Measure, Result, View, Wait
from policies.survey.finishing import CONFIRM as ERRAND
from policies.survey.situation import Situation
from policies.survey.spectrum import CONFIRM, SHOWN, Forecast, Reading, read, spectrum_decision, why_measured


class Measuring:
    """Takes spectra of the particles in the queue and enters what they say.

    Parameters
    ----------
    now : Situation
        What the survey knows.
    """

    def __init__(self, now: Situation) -> None:
        self._now = now

    # --- ask ---

    def before(self, view: View) -> Decision | None:
        """Return what the place needs before a spectrum: to be verified, found again, or waited for."""
        now = self._now
        if view.suspensions > now.verified:
            why = "the run was held meanwhile: verify the place on its particles"
            target = f"{now.tile_name()} after suspension {view.suspensions}"
            return now.align(why).replace(target=target)
        time_s, dwell_s = view.state.time_s, now.dwell_s(now.line(view)[0])
        wait_s = now.place.wait_s(time_s, dwell_s)
        if wait_s > 0.0:
            why = f"the stage still creeps: {wait_s:.1f} s until a spectrum of {dwell_s:.2g} s is sharp"
            return Decision(action=Wait(duration_s=wait_s), purpose="settle", reason=why, target=now.tile_name())
        if now.place.is_due(time_s, dwell_s):
            std_m = now.place.std_m(time_s + dwell_s / 2)
            return now.align(f"the place would be known to {std_m * 1e9:.2g} nm only: look again")
        return None

    def decide(self, view: View) -> Decision:
        """Return the decision to take a spectrum of the particle that is next in the queue."""
        now, time_s = self._now, view.state.time_s
        if now.errand == ERRAND:
            return self._confirm(now.queue[0], time_s)
        line, marks = now.line(view), view.wishes.marked
        asked, config = line[:SHOWN], now.config
        share = now.dwell_s(asked[0]) / config.dwell_s if now.counts else 1.0
        forecast = Forecast.of(now.ranking, now.catalogue, asked, share)
        why = why_measured(forecast.chance[0], now.ranking.rate, config.target, visiting=now.visiting)
        alike = now.itinerary.likeness.reason(now.catalogue, asked[0], marks)
        reason = CONFIRM if asked[0] == now.doubtful else why + alike + now.screening.reason()
        probes = [self._probe(p, time_s) for p in asked]
        return spectrum_decision(line, probes, forecast, reason, now.ranking, config.beta)

    def _confirm(self, particle: int, time_s: float) -> Decision:
        now = self._now
        known = now.finishing.sum_of(particle, now.catalogue)
        return Decision(
            action=self._probe(particle, time_s),
            purpose="confirm",
            reason=now.finishing.reason(particle, now.catalogue, now.config.target),
            target=f"particle {particle}",
            predicted_mean=known.mean,
            predicted_std=known.std * math.sqrt(1 + known.count),  # of the mean, and of one more like those before
            acquisition=ERRAND,
            acquisition_value=known.snr,
        )

    def _probe(self, particle: int, time_s: float) -> Measure:
        now = self._now
        x_m, y_m = now.catalogue.offset_m(particle)
        dwell_s = now.dwell_s(particle)
        dx_m, dy_m = now.place.shift_m(time_s + dwell_s / 2)
        return now.config.probe(x_m + dx_m, y_m + dy_m, dwell_s)

    # --- tell ---

    def measured(self, particle: int, action: Action, result: Result) -> None:
        """Take in the spectrum of a particle."""
        now = self._now
        dwell_s = action.dwell_s if isinstance(action, Measure) else now.config.dwell_s
        reading = read(result, now.config, dwell_s)
        doubt = self._took_in(particle, reading, short=dwell_s < now.config.dwell_s)
        now.doubtful = particle if doubt else None
        now.done_with(particle)
        if doubt:
            now.queue.insert(0, particle)
        now.mode = ("measure" if reading.hit else "align") if now.queue else "choose"
        self._learn()

    def confirmed(self, particle: int, result: Result) -> None:
        """Take in one more spectrum of a find; the tile is imaged again where it was missed."""
        now = self._now
        reading = read(result, now.config, now.config.dwell_s)
        now.finishing.told(particle, reading, now.catalogue)
        now.queue = now.to_confirm()
        now.mode = ("measure" if reading.hit else "align") if now.queue else "choose"

    def _took_in(self, particle: int, reading: Reading, *, short: bool) -> bool:
        """Enter a spectrum unless it leaves doubt; return whether it does."""
        now = self._now
        if reading.value is None:
            now.catalogue.missed(particle)
            return False
        now.counts = reading.counts
        if short and now.screening.is_suspect(reading.value):
            return True  # not entered: the particle stays open until a full spectrum has decided
        now.catalogue.record(particle, reading.value, reading.std, short=short)
        if not short:
            now.screening.tell(reading.value, reading.std)
            now.itinerary.dwell_s = now.screening.dwell_s
        return False

    def _learn(self) -> None:
        now = self._now
        if now.config.strategy == "in_order":
            return
        if now.catalogue.measured_count >= now.ranking.known_n + now.config.refit_every:
            now.ranking.take_in(now.catalogue)
