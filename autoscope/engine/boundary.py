"""Between two acts: people are heard, what they order is written down and done, and their word is waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from autoscope.engine.desk import Desk, Intent
from autoscope.engine.events import Ended, RunStatus
from autoscope.engine.history import read_history
from autoscope.engine.judging import Situation, judge
from autoscope.engine.policy_thread import Calls
from autoscope.engine.rebuilding import Stored
from autoscope.engine.retelling import retell
from autoscope.engine.steering import Attended, Inbox, Posted
from autoscope.engine.watching import tell_waiting
from autoscope.errors import AutoscopeError, OrderRefused, Overruled, PluginError
from autoscope.guard.hazard import hazard
from autoscope.interventions import Approve, EmergencyStop, Order, Pause, Receipt, Stop, Veto
from autoscope.journal import JournalReader, Readable
from autoscope.records import Budget, Intervention, Measure, MicroscopeState

SHOWN = {"action", "target", "predicted_mean", "predicted_std", "runners_up", "pair"}
"""Of a suggestion, what people choose by."""
AWAITING, WENT_ON = "awaiting", "went_on"
"""``event`` of the notes that say that an act waits for a person's word, and that nobody gave it in time."""


class Boundary:
    """Hears people at the boundaries of the steps of one run.

    Parameters
    ----------
    desk : Desk
        Of the run.
    inbox : Inbox
        Where orders wait.
    calls : Calls
        Where the policy's calls run.
    before : callable
        Called with the pen held before an order is written down: what is over is written first.
    quiet : callable
        Returns when the policy has been told all that is over and is not at work.
    aborted : callable
        Returns the act that an order has ended at once; empty where none was running.
    """

    def __init__(
        self,
        desk: Desk,
        inbox: Inbox,
        calls: Calls,
        *,
        before: Callable[[], None] = lambda: None,
        quiet: Callable[[], None] = lambda: None,
        aborted: Callable[[str], str] = lambda order: "",
    ) -> None:
        self._desk, self._inbox, self._calls = desk, inbox, calls
        self._before, self._quiet, self._aborted = before, quiet, aborted
        self._waiting: deque[Posted] = deque()
        self._their_clock = inbox.clock if isinstance(inbox, Attended) else desk.job.clock
        self._words: dict[str, Intervention] = {}

    # --- what the walks call --------------------------------------------------------------------------

    def cross(self, step: int, proposal: Intent | None = None) -> None:
        """Do what people have ordered before a step; while they want a pause, wait.

        Raises
        ------
        Ended
            They want the run to end.
        """
        self._hear(step, proposal)
        while self._desk.standing.paused is not None:
            self._wait(None)
            self._hear(step, proposal)

    def overruled(self, proposal: Intent, state: MicroscopeState) -> Overruled | None:
        """Return why an act that is decided is not to be done, as far as people have spoken already."""
        word = self._words.pop(proposal.act.act_id, None)
        if word is not None and word.command == "veto":
            return Overruled(f"vetoed by {word.who}: {word.why or 'no reason given'}")
        action = proposal.decision.action
        if isinstance(action, Measure) and self._desk.standing.bars(action, state):
            return Overruled("a person excluded this place after it was chosen")
        return None

    def leave(self, proposal: Intent, state: MicroscopeState, left: Budget) -> Overruled | None:
        """Return why an act is not to be done, or None where it may be; waits where a person's word is needed.

        Raises
        ------
        Ended
            They want the run to end.
        """
        if (overruled := self.overruled(proposal, state)) is not None or not (
            need := self._need(proposal, state, left)
        ):
            return overruled
        rule = self._desk.standing.autonomy
        self._ask(proposal, need, rule.timeout_s, rule.on_timeout)
        since_s, patient = self._their_clock.now_s(), False
        while True:
            self.cross(proposal.step, proposal)
            if proposal.act.act_id in self._words:
                return self.overruled(proposal, state)
            if not self._need(proposal, state, left):
                return self.overruled(proposal, state)
            rule = self._desk.standing.autonomy
            waited_s = self._their_clock.now_s() - since_s
            left_s = None if patient or rule.timeout_s is None else rule.timeout_s - waited_s
            if left_s is None or left_s > 0.0:
                self._wait(left_s)
                continue
            if rule.on_timeout == "skip":
                return Overruled(f"nobody approved it within {rule.timeout_s:g} s")
            patient = rule.on_timeout == "pause"
            self._note({"event": WENT_ON, "act_id": proposal.act.act_id, "after_s": rule.timeout_s,
                        "then": rule.on_timeout}, proposal.step)  # fmt: skip
            if not patient:
                return None

    def hear_out(self, suggestion: Intent, patience_s: float) -> float | None:
        """Wait for people to answer a suggestion that is not decided; the instrument is safe meanwhile.

        Returns
        -------
        float or None
            Their seconds of silence, 0 where nobody attends the run; None where somebody ordered something.

        Raises
        ------
        Ended
            They want the run to end.
        """
        decision = suggestion.decision
        pair = "" if decision.pair is None else " The pair: acts {} and {}.".format(*decision.pair)
        self._ask(suggestion, f"a suggestion waits for your choice: {decision.reason}{pair}", patience_s)
        heeded, since_s, silence_s = self._desk.standing.heeded, self._their_clock.now_s(), 0.0
        while True:
            self.cross(suggestion.step, suggestion)
            if self._desk.standing.heeded > heeded:
                self._words.pop(suggestion.act.act_id, None)  # the suggestion was meant, not what follows it
                return None
            silence_s = self._their_clock.now_s() - since_s
            if not isinstance(self._inbox, Attended) or silence_s >= patience_s:
                return silence_s if isinstance(self._inbox, Attended) else 0.0
            self._wait(patience_s - silence_s)

    def close(self, why: str) -> None:
        """Answer whoever was not heard any more."""
        for posted in [*self._waiting, *map(_posted, self._inbox.take())]:
            if isinstance(posted.said, Order):
                posted.answer(_receipt(posted.said, "refused", why))
        self._waiting.clear()

    # --- hearing --------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float | None) -> None:
        came = isinstance(self._inbox, Attended) and self._inbox.wait(timeout_s)
        if not came and (timeout_s is None or not isinstance(self._inbox, Attended)):
            raise Ended(RunStatus.STOPPED, "a person's word was waited for, and nobody can give it any more")

    def _hear(self, step: int, proposal: Intent | None) -> None:
        self._waiting.extend(map(_posted, self._inbox.take()))
        while self._waiting:
            posted = self._waiting.popleft()
            if isinstance(posted.said, Intervention):
                self._keep(posted.said, step)
                continue
            try:
                self._take(posted.said, posted, step, proposal)
            except OrderRefused as error:
                posted.answer(_receipt(posted.said, "refused", f"{error.what}. {error.remedy}".rstrip(". ")))

    def _take(self, order: Order, posted: Posted, step: int, proposal: Intent | None) -> None:
        desk = self._desk
        now = Situation(desk, proposal, self._their_clock.wall(), self._is_done, self._aborted(order.id))
        effect = judge(order, now)
        retelling = desk.standing.retells(order.command)
        if retelling:
            self._quiet()
        intervention = Intervention.of(
            order, posted.through, told=desk.evidence.told if retelling else None, effect=effect
        )
        try:
            record = self._write(intervention, step)
        except AutoscopeError as error:
            posted.answer(_receipt(order, "refused", f"it could not be written down: {error}"))
            raise
        posted.answer(_receipt(order, "accepted", _words(effect), record, step))
        self._do(intervention)

    def _keep(self, intervention: Intervention, step: int) -> None:
        self._write(intervention, step)
        self._do(intervention)

    def _write(self, intervention: Intervention, step: int) -> int:
        with self._desk.pen:
            self._before()
            return self._desk.heed(intervention, step)

    def _do(self, intervention: Intervention) -> None:
        match command := intervention.parsed():
            case Stop():
                raise Ended(RunStatus.STOPPED, f"stopped by {intervention.who} ({intervention.why})")
            case EmergencyStop():
                self._make_safe()
                raise Ended(RunStatus.STOPPED, f"emergency stop by {intervention.who} ({intervention.why})")
            case Pause():
                self._make_safe()
            case Approve() | Veto():
                self._words[command.act_id] = intervention
            case _ if self._desk.standing.retells(command):
                self._calls.submit(self._retell).result()
            case _:
                pass

    def _make_safe(self) -> None:
        environment = self._desk.job.environment
        environment.make_safe()
        environment.read_state()

    # --- telling again --------------------------------------------------------------------------------

    def _retell(self) -> None:
        desk = self._desk
        desk.use_scalarizers()
        journal = self._journal()
        told = list(read_history(journal).outcomes())[: desk.evidence.told]
        source = Stored(journal)
        evidence = retell(desk.job.policy, desk.blank, told, source, desk.standing, desk.job.scalarizers)
        desk.evidence = evidence

    def _is_done(self, act_id: str) -> bool:
        return any(
            record.body.get("act_id") == act_id and record.body.get("status") == "done" and record.body.get("values")
            for record in self._journal().records("outcome")
        )

    def _journal(self) -> Readable:
        recorder = self._desk.recorder
        if isinstance(recorder, Readable):
            return recorder
        folder = getattr(recorder, "folder", None)
        if folder is None:
            raise PluginError("this journal cannot be read back while it is written", where=type(recorder).__name__)
        return JournalReader.open(folder)

    # --- a person's word ------------------------------------------------------------------------------

    def _need(self, proposal: Intent, state: MicroscopeState, left: Budget) -> str:
        match self._desk.standing.autonomy.level:
            case "each_step":
                return "every act needs a person's word"
            case "hazardous_only":
                return hazard(proposal.decision.action, state, proposal.cost, left)
            case _:
                return ""

    def _ask(self, proposal: Intent, need: str, timeout_s: float | None, then: str = "") -> None:
        body: dict[str, object] = {"event": AWAITING, "act_id": proposal.act.act_id, "because": need}
        body |= {"timeout_s": timeout_s} | ({"on_timeout": then} if then else {})
        decision = proposal.decision
        if decision.consult_s is not None:  # it has no intent in which people could read it
            body["suggestion"] = decision.model_dump(mode="json", include=SHOWN, exclude_none=True)
        self._note(body, proposal.step)
        tell_waiting(self._desk.listener, decision, need)
        self._make_safe()

    def _note(self, body: Mapping[str, object], step: int) -> None:
        with self._desk.pen:
            self._before()
            self._desk.recorder.append("note", body, step=step)


def _posted(arrived: Posted | Intervention) -> Posted:
    return arrived if isinstance(arrived, Posted) else Posted(arrived)


def _receipt(order: Order, status: str, reason: str, record: int | None = None, step: int | None = None) -> Receipt:
    fields = {"order": order.id, "status": status, "command": order.command.command, "who": order.who}
    return Receipt.model_validate(fields | {"reason": reason, "record": record, "step": step})


def _words(effect: dict[str, object]) -> str:
    if "from" in effect:
        return f"taken over from {effect['from']}"
    return f"act {effect['act_id']} was ended" if "act_id" in effect else ""
