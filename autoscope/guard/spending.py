"""What a run has spent of its budget."""

from __future__ import annotations

import math

from autoscope.config import BudgetConfig
from autoscope.records import Budget


class Spending:
    """Counts time, electrons, steps and bytes from the start of a run against its budget. Keeps no state of its own.

    Parameters
    ----------
    budget : BudgetConfig
        What the run may spend.
    started_s : float
        The clock when the run started; later instants are told on the same clock.
    started_dose_e : float
        What the instrument had counted when the run started (``MicroscopeState.dose_e`` counts from its own start).
    deadline_s : float
        The clock when the run has to be over; infinite where nobody said so.

    Examples
    --------
    >>> spending = Spending(BudgetConfig(time_s=60.0, steps=3), started_s=10.0)
    >>> spending.left(now_s=40.0, dose_e=0.0, steps=1)
    Budget(time_s=30.0, dose_e=None, steps=2, bytes=None, area=None)
    >>> spending.exhausted(now_s=71.0, dose_e=0.0, steps=1)
    'the time budget of 60 s is spent'
    """

    def __init__(
        self,
        budget: BudgetConfig,
        *,
        started_s: float = 0.0,
        started_dose_e: float = 0.0,
        deadline_s: float = math.inf,
    ) -> None:
        self._budget, self._started_s, self._started_dose_e = budget, started_s, started_dose_e
        self._deadline_s = deadline_s

    def left(self, now_s: float, dose_e: float, steps: int, data_bytes: int = 0) -> Budget:
        """Return what is left, never below zero; None where the budget says nothing.

        Parameters
        ----------
        now_s : float
            The clock.
        dose_e : float
            What the instrument has counted by now.
        steps : int
            Acts done by now.
        data_bytes : int
            Frames kept by now.
        """
        budget, spent_e = self._budget, dose_e - self._started_dose_e
        return Budget(
            time_s=self._time_left_s(now_s),
            dose_e=None if budget.dose_e is None else max(budget.dose_e - spent_e, 0.0),
            steps=None if budget.steps is None else max(budget.steps - steps, 0),
            bytes=None if budget.data_bytes is None else max(int(budget.data_bytes) - data_bytes, 0),
        )

    def _time_left_s(self, now_s: float) -> float | None:
        given_s = math.inf if self._budget.time_s is None else self._budget.time_s - (now_s - self._started_s)
        left_s = min(given_s, self._deadline_s - now_s)
        return None if math.isinf(left_s) else max(left_s, 0.0)

    def exhausted(self, now_s: float, dose_e: float, steps: int, data_bytes: int = 0) -> str | None:
        """Return why nothing more can be done, as a phrase; None while there is something left of everything."""
        return self.over(self.left(now_s, dose_e, steps, data_bytes), now_s)

    def over(self, left: Budget, now_s: float) -> str | None:
        """Return why nothing more can be done where so much is left now; see `exhausted`."""
        if left.time_s == 0.0 and now_s >= self._deadline_s:
            return f"it had to finish by {self._budget.finish_by}"
        if left.time_s == 0.0:
            return f"the time budget of {self._budget.time_s:g} s is spent"
        if left.dose_e == 0.0:
            return f"the dose budget of {self._budget.dose_e:g} e is spent"
        if left.steps == 0:
            return f"the budget of {self._budget.steps} steps is spent"
        if left.bytes == 0:
            return f"the data budget of {self._budget.data_bytes:g} bytes is spent"
        return None
