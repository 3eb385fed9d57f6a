"""The survey as a state machine: what to do follows from what was told, and nothing else.

This room asks; `telling` learns what came of an act, `measuring` takes spectra, `situation` is all they know.

::

    choose --travel--> (focus* --set focus-->) overview --> measure (scouts) --> choose
    choose --travel--> (set focus -->)          align    --> measure (visit) --> choose
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from autoscope.errors import ConfigError
from autoscope.exposure import predict
from autoscope.protocols import JsonValue
from autoscope.records import Action, Candidate, Decision, Finish, MoveStage, Result, Stage, View, Wait
from autoscope.wishes import Wishes
from policies.survey.config import SurveyConfig
from policies.survey.finishing import AGAIN, CONFIRM
from policies.survey.in_depth import DEPTH
from policies.survey.itinerary import Visit
from policies.survey.measuring import Measuring
from policies.survey.plan import planned_stages
from policies.survey.situation import Situation
from policies.survey.spectrum import digest
from policies.survey.telling import Telling


class SurveyPolicy:
    """Surveys an area overnight: tiles in focus, particles found, spectra where they are worth most."""

    checkpointed: ClassVar[bool] = True
    """Its state is all that it knows: see `autoscope.protocols.Checkpointed`."""
    follows: frozenset[str] = frozenset({"marked"})
    """See `autoscope.protocols.Steerable`."""

    class Config(SurveyConfig):
        """The area, the images, the spectra and how the time is shared."""

    def __init__(self, config: Config, *, rng: np.random.Generator) -> None:
        self._now = Situation(config, rng)
        self._measuring = Measuring(self._now)
        self._telling = Telling(self._now, self._measuring)

    def ask(self, view: View) -> Decision | Finish:
        """Return the next act of the survey, or Finish when nothing worth it fits the budget."""
        decision = self._next(view)
        if isinstance(decision, Decision):
            decision = self._noting_the_image(decision)
        if isinstance(decision, Decision) and not _fits(decision.action, view):
            act = f"the next act ({decision.purpose}) does not fit what is left of the budget"
            return Finish(reason=f"{act}: {self._whole()}")
        return decision

    def _noting_the_image(self, decision: Decision) -> Decision:
        """Return the decision with what was told of the image before it."""
        steady, gate = self._now.steady, self._now.gate
        remark = "".join(f"; {one}" for one in (gate.remark, steady.remark) if one)
        parameters = decision.acquisition_parameters | gate.note | steady.note
        return decision.replace(reason=decision.reason + remark, acquisition_parameters=parameters)

    def _next(self, view: View) -> Decision | Finish:
        now = self._now
        if now.upkeep.urgent and (due := self._due(view)) is not None:
            return due
        match now.mode:
            case "focus":
                return now.focus.next_decision(now.tile_name())
            case "overview":
                return now.look("overview", now.config.tile.scan(), "first look at this tile")
            case "align" if now.steady.wait_s > 0.0:
                why = f"the sample still moves: {now.steady.wait_s:.0f} s to settle before it is imaged again"
                wait = Wait(duration_s=now.steady.wait_s)
                return Decision(action=wait, purpose="settle", reason=why, target=now.tile_name())
            case "align":
                return now.align("find the particles again after moving or drifting")
            case "wide":
                wide = now.config.align.wide_scan()
                return now.look("find", wide, "the particles are not where they should be: look further around")
            case "return" if now.tile not in now.place.beyond(view):
                return self._travel(view, now.tile, f"back to where {now.tile_name()} is now", (), now.errand)
            case "measure":
                return self._measuring.before(view) or self._measuring.decide(view)
            case "in_depth" if (deeper := now.depth.next_decision(view)) is not None:
                return deeper
            case _:
                return self._look_after(view, self._choose(view))

    def _look_after(self, view: View, chosen: Decision | Finish) -> Decision | Finish:
        """Return what is due for the instrument before the next site, else what was chosen."""
        now = self._now
        if isinstance(chosen, Finish):
            return chosen
        due = self._due(view)
        if due is not None:
            return due
        return chosen.replace(reason=chosen.reason + now.upkeep.remark)

    def _due(self, view: View) -> Decision | None:
        due = self._now.upkeep.next_decision(view, self._now.thin_place(view.state.time_s))
        return due if due is not None and _fits(due.action, view) else None

    def _choose(self, view: View) -> Decision | Finish:
        now = self._now
        barred = now.place.beyond(view)
        but = now.itinerary.left_out(barred, now.catalogue)
        unseen = now.itinerary.next_unseen(view, now.catalogue, now.ranking, barred)
        if unseen is not None:
            return self._travel(view, unseen[0], unseen[1] + but, ())
        visits = now.itinerary.visits(now.catalogue, now.ranking, view, barred)
        if visits:
            whose = now.itinerary.likeness.by_whom(now.catalogue, view.wishes.marked)
            return self._travel(view, visits[0].tile, visits[0].reason() + whose + but, visits[1:4])
        return self._with_what_is_left(view, barred, but) or Finish(reason=self._why_finished(barred) + but)

    def _with_what_is_left(self, view: View, barred: frozenset[int], but: str) -> Decision | None:
        """Return what is worth doing when nothing in the tiles seen is open any more, or None."""
        now = self._now
        late = now.itinerary.next_unseen(view, now.catalogue, now.ranking, barred, in_their_time=False)
        if late is not None:
            return self._travel(view, late[0], f"{late[1]}; nothing else is left to do{but}", ())
        if now.config.strategy != "agent":
            return None
        for particle in now.finishing.unsure(now.catalogue):
            tile = int(now.catalogue.column("tile")[particle])
            out = tile in barred or now.itinerary.gives_up(tile)
            if not out and now.itinerary.has_time(tile, now.config.dwell_s, view):
                reason = now.finishing.reason(particle, now.catalogue, now.config.target)
                return self._travel(view, tile, reason + but, (), CONFIRM)
        again = now.itinerary.to_try_again(now.catalogue, barred, view) if now.finishing.may_try_again() else None
        return self._travel(view, again[0], again[1] + but, (), AGAIN) if again else self._deeper(view, barred, but)

    def _deeper(self, view: View, barred: frozenset[int], but: str) -> Decision | None:
        """Return the way to the next find that a campaign is begun on, or None."""
        now = self._now
        for particle in now.to_go_into():
            tile = int(now.catalogue.column("tile")[particle])
            if tile not in barred and now.itinerary.has_time(tile, now.config.dwell_s, view):
                value, std = now.catalogue.value(particle)
                why = f"a campaign inside particle {particle}: {now.config.target} {value:.4g} ± {std:.2g} stands out"
                return self._travel(view, tile, why + but, (), DEPTH)
        return None

    def _whole(self) -> str:
        now = self._now
        n, measured = len(now.catalogue), now.catalogue.measured_count
        seen, tiles = now.itinerary.seen_count(), len(now.centres_m)
        whole = f"{seen} of {tiles} tiles seen, {measured} of {n} particles measured"
        finish = now.finishing.summary(now.catalogue) + now.depth.summary()
        return whole + (finish if now.config.strategy == "agent" else "")

    def _why_finished(self, barred: frozenset[int]) -> str:
        now = self._now
        tiles, particles = now.itinerary.waiting(now.catalogue, barred)
        if tiles or particles:
            left = f"{tiles} tiles not seen, {particles} particles not looked at"
            return f"nothing worth doing fits what is left of the budget ({left}): {self._whole()}"
        given_up, (lost_tiles, lost) = now.catalogue.given_up(), now.itinerary.lost(now.catalogue)
        buts = []
        if given_up:
            buts.append(f"{len(given_up)} particles given up after {now.catalogue.most_tries()} tries each")
        if lost_tiles:
            buts.append(f"{lost_tiles} tiles given up with {lost} particles not measured")
        return f"all done{' but ' if buts else ''}{' and '.join(buts)}: {self._whole()}"

    def _travel(
        self, view: View, tile: int, reason: str, others: tuple[Visit, ...] | list[Visit], errand: str = ""
    ) -> Decision:
        now = self._now
        time_s = view.state.time_s
        runners_up = tuple(Candidate(action=self._move(v.tile, time_s), value=v.value_per_s) for v in others)
        return Decision(
            action=self._move(tile, time_s),
            purpose="travel",
            reason=reason,
            target=f"tile {tile}",
            acquisition=errand,
            acquisition_parameters={"beta": now.itinerary.beta_now(view)} if now.config.settle_from else {},
            runners_up=runners_up,
            candidates=len(now.centres_m),
            candidates_sha256=digest(np.asarray(now.centres_m, dtype="<f8")),
            fit=now.ranking.summary,
            data_sha256=now.ranking.data_sha256,
        )

    def _move(self, tile: int, time_s: float) -> MoveStage:
        x_m, y_m = self._now.place.aim(tile, time_s)
        return MoveStage(x_m=x_m, y_m=y_m)

    def tell(self, decision: Decision, result: Result) -> None:
        """Take in what came of an act; a failed act is tried once more, then given up."""
        self._telling.tell(decision, result)

    def check_wishes(self, wishes: Wishes) -> None:
        """Return where it can follow these wishes; see `autoscope.protocols.Steerable`.

        Raises
        ------
        ConfigError
            The survey measures in order and ranks nothing, or a mark lies beyond its tiles.
        """
        config, (x_m, y_m) = self._now.config, self._now.centres_m.T
        if wishes.marked and config.strategy == "in_order":
            raise ConfigError("a survey in order does not heed marks", remedy="Use strategy: agent")
        for mark in wishes.marked:
            if not mark.place.contains(x_m, y_m, config.tile.fov_m / 2).any():
                raise ConfigError("the mark lies beyond all tiles of the survey", value=mark.place.words())

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the stages of the survey with predicted acts, time and dose."""
        return planned_stages(self._now.config, self._now.centres_m, view)

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return self._now.state()

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        self._now.restore(state)


def _fits(action: Action, view: View) -> bool:
    cost, left = predict(action, view.state, view.capabilities), view.budget
    in_time = left.time_s is None or cost.time_s <= left.time_s
    return in_time and (left.dose_e is None or cost.dose_e <= left.dose_e)
