"""What a run has spent of its budget."""

from __future__ import annotations

from autoscope.config import BudgetConfig
from autoscope.records import Budget


class Spending:
    """Counts time, electrons and steps from the start of a run against its budget. Keeps no state of its own.

    Parameters
    ----------
    budget : BudgetConfig
        What the run may spend.
    started_s : float
        The clock when the run started; later instants are told on the same clock.
    started_dose_e : float
        What the instrument had counted when the run started (``MicroscopeState.dose_e`` counts from its own start).

    Examples
    --------
    >>> spending = Spending(BudgetConfig(time_s=60.0, steps=3), started_s=10.0)
    >>> spending.left(now_s=40.0, dose_e=0.0, steps=1)
    Budget(time_s=30.0, dose_e=None, steps=2)
    >>> spending.exhausted(now_s=71.0, dose_e=0.0, steps=1)
    'the time budget of 60 s is spent'
    """

    def __init__(self, budget: BudgetConfig, *, started_s: float = 0.0, started_dose_e: float = 0.0) -> None:
        self._budget, self._started_s, self._started_dose_e = budget, started_s, started_dose_e

    def left(self, now_s: float, dose_e: float, steps: int) -> Budget:
        """Return what is left, never below zero; None where the budget says nothing.

        Parameters
        ----------
        now_s : float
            The clock.
        dose_e : float
            What the instrument has counted by now.
        steps : int
            Acts done by now.
        """
        budget = self._budget
        time_s, spent_e = now_s - self._started_s, dose_e - self._started_dose_e
        return Budget(
            time_s=None if budget.time_s is None else max(budget.time_s - time_s, 0.0),
            dose_e=None if budget.dose_e is None else max(budget.dose_e - spent_e, 0.0),
            steps=None if budget.steps is None else max(budget.steps - steps, 0),
        )

    def exhausted(self, now_s: float, dose_e: float, steps: int) -> str | None:
        """Return why nothing more can be done, as a phrase; None while there is something left of everything."""
        left = self.left(now_s, dose_e, steps)
        if left.time_s == 0.0:
            return f"the time budget of {self._budget.time_s:g} s is spent"
        if left.dose_e == 0.0:
            return f"the dose budget of {self._budget.dose_e:g} e is spent"
        if left.steps == 0:
            return f"the budget of {self._budget.steps} steps is spent"
        return None
