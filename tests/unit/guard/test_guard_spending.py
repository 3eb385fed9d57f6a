import pytest

from autoscope.config import BudgetConfig
from autoscope.guard import Spending
from autoscope.records import Budget


def test_nothing_said_means_unlimited():
    spending = Spending(BudgetConfig())
    assert spending.left(1e9, 1e30, 10**9) == Budget()
    assert spending.exhausted(1e9, 1e30, 10**9) is None


def test_what_is_left_counts_from_the_start_of_the_run():
    spending = Spending(BudgetConfig(time_s=100.0, dose_e=1000.0, steps=5), started_s=20.0, started_dose_e=300.0)
    assert spending.left(20.0, 300.0, 0) == Budget(time_s=100.0, dose_e=1000.0, steps=5)
    assert spending.left(50.0, 700.0, 2) == Budget(time_s=70.0, dose_e=600.0, steps=3)


def test_less_than_nothing_is_never_left():
    spending = Spending(BudgetConfig(time_s=1.0, dose_e=1.0, steps=1))
    assert spending.left(5.0, 5.0, 5) == Budget(time_s=0.0, dose_e=0.0, steps=0)


@pytest.mark.parametrize(
    ("now_s", "dose_e", "steps", "reason"),
    [
        (99.9, 999.0, 4, None),
        (100.0, 0.0, 0, "the time budget of 100 s is spent"),
        (0.0, 1000.0, 0, "the dose budget of 1000 e is spent"),
        (0.0, 0.0, 5, "the budget of 5 steps is spent"),
        (200.0, 2000.0, 6, "the time budget of 100 s is spent"),
    ],
)
def test_what_is_exhausted_is_told_by_name(now_s, dose_e, steps, reason):
    spending = Spending(BudgetConfig(time_s=100.0, dose_e=1000.0, steps=5))
    assert spending.exhausted(now_s, dose_e, steps) == reason
