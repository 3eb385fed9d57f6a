"""Who stands in for a policy that has not answered in time: the runners-up of its last decision."""

from __future__ import annotations

from autoscope.records import Action, Decision


class StandIns:
    """Remembers the latest decision of each purpose, and every action that was ever decided."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[int, Decision]] = {}
        self._decided: set[Action] = set()

    def note(self, decision: Decision, step: int) -> None:
        """Take note of a decision that is written down, whoever made it."""
        self._decided.add(decision.action)
        if decision.decided_by != RUNNER_UP:
            self._latest[decision.purpose] = (step, decision)

    def is_open(self, action: Action) -> bool:
        """Return whether nobody has decided for this action yet."""
        return action not in self._decided

    def choose(self, purpose: str, deadline_s: float) -> Decision | None:
        """Return the best runner-up of the latest decision of a purpose that nobody has decided for since.

        Returns
        -------
        Decision or None
            Says who decided and why; None where no runner-up is left.
        """
        step, latest = self._latest.get(purpose, (0, None))
        if latest is None:
            return None
        open_ = [(rank, c) for rank, c in enumerate(latest.runners_up, start=1) if self.is_open(c.action)]
        if not open_:
            return None
        rank, candidate = open_[0]
        reason = (
            f"The policy had not decided {deadline_s:g} s after the last act, so runner-up {rank} of step {step}, "
            "the best that is not taken yet, stands in."
        )
        return Decision(
            action=candidate.action,
            purpose=purpose,
            reason=reason,
            predicted_mean=candidate.mean,
            predicted_std=candidate.std,
            acquisition=latest.acquisition,
            acquisition_value=candidate.value,
            acquisition_parameters=latest.acquisition_parameters,
            candidates=len(open_),
            fit=latest.fit,
            data_sha256=latest.data_sha256,
            decided_by=RUNNER_UP,
        )


RUNNER_UP = "runner_up"
"""``decided_by`` of a decision that a runner-up of an earlier one made."""
