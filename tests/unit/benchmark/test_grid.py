"""The grid: what is validated, what a key depends on, and that seeds are shared by policies alone."""

import pytest

from autoscope.errors import ConfigError
from tests.unit.benchmark.worlds import grid, plain


def keys(made):
    return {(c.environment, c.policy, c.repetition): c.key for c in made.cells(range(2))}


def test_every_combination_of_environment_policy_budget_and_seed_is_a_cell_of_its_own(tmp_path):
    made = grid(tmp_path, budgets=[{"measurements": 4}, {"measurements": 8}])
    cells = list(made.cells(range(3)))
    assert len(cells) == len({cell.key for cell in cells}) == 2 * 2 * 3
    assert [cell.budget for cell in cells[:2]] == ["4 measurements", "8 measurements"]


def test_policies_of_one_seed_meet_the_same_chance_and_those_of_another_seed_or_map_do_not(tmp_path):
    other = {"hill": plain(tmp_path)["environments"]["hill"], "valley": plain(tmp_path)["environments"]["hill"]}
    seeds = {
        (c.environment, c.repetition): {
            d.run["seed"] for d in made.cells([c.repetition]) if d.environment == c.environment
        }
        for made in [grid(tmp_path, environments=other)]
        for c in made.cells(range(2))
    }
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set().union(*seeds.values())) == 4


def test_a_key_survives_new_policies_new_seeds_and_a_new_label(tmp_path):
    before = keys(grid(tmp_path))
    after = keys(
        grid(tmp_path, policies={"sobol": {"name": "sobol"}, "chance": {"name": "random"}}, seeds={"count": 9})
    )
    assert after["hill", "chance", 1] == before["hill", "random", 1]


@pytest.mark.parametrize(
    "changed",
    [
        {"opening": 2},
        {"maps_at": [3]},
        {"decision_time": "1 s"},
        {"seed": 5},
        {"budgets": [{"measurements": 9}]},
        {"policies": {"random": {"name": "random", "options": {"stride_px": 2}}}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_key_changes_with_everything_the_result_depends_on(tmp_path, changed):
    assert keys(grid(tmp_path))["hill", "random", 0] != keys(grid(tmp_path, **changed))["hill", "random", 0]


def test_a_key_changes_with_the_content_of_the_data_file(tmp_path):
    import numpy as np

    before = keys(grid(tmp_path))
    with np.load(tmp_path / "small.npz") as stored:
        np.savez(tmp_path / "small.npz", **(dict(stored) | {"image": stored["image"] + 1}))
    assert keys(grid(tmp_path))["hill", "random", 0] != before["hill", "random", 0]


def test_a_cell_survives_the_way_to_another_process(tmp_path):
    from autoscope.benchmark.grid import Cell

    cell = next(iter(grid(tmp_path).cells([0])))
    assert Cell.read(cell.text()).key == cell.key


def test_what_the_task_says_is_filled_into_the_options_of_policies_that_have_them(tmp_path):
    cell = next(iter(grid(tmp_path).cells([0])))
    options = cell.run["policy"]["options"]
    assert (options["target"], options["dwell"], options["points"]) == ("signal", "0.05 s", 8)


def test_what_a_policy_says_itself_wins(tmp_path):
    made = grid(tmp_path, policies={"random": {"name": "random", "options": {"points": 5}}})
    assert next(iter(made.cells([0]))).run["policy"]["options"]["points"] == 5


def test_controls_become_environments_of_their_own(tmp_path):
    task = plain(tmp_path)["environments"]["hill"] | {"controls": ["shuffled_labels", "meaningless_image"]}
    cells = [c for c in grid(tmp_path, environments={"hill": task}).cells([0]) if c.policy == "random"]
    assert [(c.environment, c.control) for c in cells] == [
        ("hill", ""),
        ("hill [shuffled_labels]", "shuffled_labels"),
        ("hill [meaningless_image]", "meaningless_image"),
    ]
    assert cells[1].run["environment"]["options"]["data"]["alter"]["labels"] == "shuffled"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"policies": {"random": {"name": "randm"}}}, "Did you mean 'random'"),
        ({"policies": {"gp": {"name": "gp", "options": {"kernl": "rbf"}}}}, "kernl"),
        ({"budgets": [{}]}, "needs measurements, time or dose"),
        ({"budgets": []}, "budgets"),
        ({"environments": {}}, "environments"),
        ({"policies": {"a/b": {"name": "random"}}}, "is no label"),
        ({"metrics": 3}, "metrics"),
    ],
    ids=["policy", "option", "endless", "no_budget", "no_environment", "label", "metrics"],
)
def test_a_wrong_configuration_is_refused_with_what_is_wrong(tmp_path, changed, told):
    with pytest.raises(ConfigError, match=told):
        grid(tmp_path, **changed)


def test_controls_of_an_environment_that_has_none_are_refused(tmp_path):
    task = {
        "environment": {"name": "simulated"},
        "scalarizers": {"s": {"name": "band_integral"}},
        "controls": ["shuffled_labels"],
    }
    with pytest.raises(ConfigError, match="no negative controls"):
        grid(tmp_path, environments={"sim": task})
