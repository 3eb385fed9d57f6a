"""A simulated person of known taste compares pairs: how well the taste is learnt, by which pairs are asked.

The person answers like Bradley and Terry's: the better one with probability 1 / (1 + exp(-gap)). Taste is a smooth
random function (a Gaussian-process sample, of a length between 1 and 4) of four features; 30 of 300 things were
measured and can be shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import spearmanr, wilcoxon

from autoscope.acquisition.pairs import next_pair
from autoscope.surrogates.preference import PreferenceModel
from tests.figures.figure import Figure

SEEDS, AT = 20, (5, 10, 20)
RANDOM = "random"


@dataclass
class Taste:
    """A person, the pool of all things, and what was measured of it.

    Attributes
    ----------
    features : array (300, 4)
    utility : array (300,)
        What the person really finds of each; the unit is that of the noise of answers.
    shown : array (30,)
        Of the pool, what can be compared.
    """

    seed: int
    features: np.ndarray = field(init=False)
    utility: np.ndarray = field(init=False)
    shown: np.ndarray = field(init=False)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.features = self.rng.normal(size=(300, 4))
        square = ((self.features[:, None] - self.features[None]) ** 2).sum(axis=-1)
        covariance = np.exp(-0.5 * square / self.rng.uniform(1.0, 4.0) ** 2) + 1e-8 * np.eye(300)
        self.utility = 2.0 * np.linalg.cholesky(covariance) @ self.rng.normal(size=300)
        self.shown = self.rng.choice(300, 30, replace=False)

    def answer(self, first: int, second: int) -> tuple[int, int]:
        """Return two of the pool, the one said to be better first."""
        chance = 1.0 / (1.0 + np.exp(self.utility[second] - self.utility[first]))
        return (first, second) if self.rng.random() < chance else (second, first)


def learnt(seed: int, ask_for: str, at: tuple[int, ...] = AT) -> dict[int, tuple[float, float]]:
    """Return rank correlation over the pool, and utility lost by the favourite of those shown, by number of answers."""
    person, asked, answers, found = Taste(seed), [], [], {}
    model = None
    for count in range(1, max(at) + 1):
        if model is None:
            pair = tuple(int(i) for i in person.rng.choice(30, 2, replace=False))
        elif ask_for == RANDOM:
            pair = next_pair(np.zeros(30), np.eye(30), asked, "best", person.rng)  # all alike: chance
        else:
            pair = next_pair(*model.joint(person.features[person.shown]), asked, ask_for, person.rng)
        asked.append(pair)
        answers.append(person.answer(*(int(i) for i in person.shown[list(pair)])))
        if ask_for != RANDOM or model is None or count in at:
            model = PreferenceModel(person.features, np.array(answers))
        if count in at:
            found[count] = _judged(person, model)
    return found


def _judged(person: Taste, model: PreferenceModel) -> tuple[float, float]:
    mean, _ = model.predict(person.features)
    favourite = person.shown[np.argmax(mean[person.shown])]
    lost = person.utility[person.shown].max() - person.utility[favourite]
    return float(spearmanr(mean, person.utility).statistic), float(lost)


def figures(slow: bool) -> Iterator[Figure]:
    """Yield how well a taste is learnt, over 20 people."""
    told = {how: [learnt(seed, how) for seed in range(SEEDS)] for how in (RANDOM, "order", "best")}
    rank = {how: np.array([[one[n][0] for n in AT] for one in runs]) for how, runs in told.items()}
    lost = {how: np.array([[one[n][1] for n in AT] for one in runs]) for how, runs in told.items()}
    rises = wilcoxon(rank["order"][:, -1], rank["order"][:, 0], alternative="greater").pvalue
    better = wilcoxon(rank["order"][:, -1], rank[RANDOM][:, -1], alternative="greater").pvalue
    value = round(float(np.median(rank["order"][:, -1])), 3)
    how = (
        f"median rank correlation with the true utility over 300 things after {AT} answers: "
        f"{_row(np.median(rank['order'], axis=0))} where answers tell most of the order, "
        f"{_row(np.median(rank[RANDOM], axis=0))} for random pairs, {_row(np.median(rank['best'], axis=0))} asking for "
        f"the best; Wilcoxon, {AT[-1]} over {AT[0]} answers p = {rises:.2g}, over random pairs p = {better:.2g}"
    )
    goal = "rises with answers and beats random pairs at 5 %"
    yield Figure("preference_rank_correlation", value, "", goal, bool(max(rises, better) < 0.05), SEEDS, how)
    found = wilcoxon(lost["best"][:, -1], lost[RANDOM][:, -1], alternative="less").pvalue
    how = (
        f"mean utility lost by the favourite of 30 after {AT} answers: {_row(lost['best'].mean(axis=0))} asking for "
        f"the best, {_row(lost['order'].mean(axis=0))} for the order, {_row(lost[RANDOM].mean(axis=0))} random pairs; "
        f"Wilcoxon at {AT[-1]}, best over random pairs p = {found:.2g}"
    )
    value = round(float(lost["best"][:, -1].mean()), 3)
    yield Figure(
        "preference_favourite_lost_utility", value, "", "beats random pairs at 5 %", bool(found < 0.05), SEEDS, how
    )


def _row(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
