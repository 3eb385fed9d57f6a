"""A few examples turn novelty into a search: how alike everything else is to what a person pointed at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from autoscope.perception.proposals import standardised

Floats = NDArray[np.float64]

STRENGTH = 0.3
"""Inverse of the penalty on weights: with a few examples, nothing but clear differences may count."""
BACKGROUND = 400
"""What nobody has judged stands for the uninteresting: at most so many, evenly taken, together worth as much as one
example of each kind."""


class FewShot:
    """How probable it is that something is of the kind a few examples show.

    Logistic regression on robustly standardised features, penalised; what has not been judged counts, all together, as
    one example of what is not wanted, so that one positive example is enough.

    Parameters
    ----------
    features : (n, d) float64
        Of everything known, raw.
    wanted, unwanted : sequence of int
        Rows that somebody found interesting, or not.
    names : sequence of str
        Of the features.
    """

    def __init__(self, features: Floats, wanted: Sequence[int], unwanted: Sequence[int], names: Sequence[str]) -> None:
        self._known, self._names = features, tuple(names)
        self.examples = len(wanted), len(unwanted)
        self._model: LogisticRegression | None = None
        if wanted:
            self._fit(list(wanted), list(unwanted))

    def _fit(self, wanted: list[int], unwanted: list[int]) -> None:
        judged = {*wanted, *unwanted}
        others = np.array([k for k in range(len(self._known)) if k not in judged], dtype=np.intp)
        if len(others) > BACKGROUND:
            others = others[np.linspace(0, len(others) - 1, BACKGROUND).astype(np.intp)]
        rows = np.concatenate([np.array(wanted + unwanted, dtype=np.intp), others])
        label = np.r_[np.ones(len(wanted)), np.zeros(len(unwanted) + len(others))]
        weight = np.r_[np.ones(len(wanted) + len(unwanted)), np.full(len(others), 1.0 / max(len(others), 1))]
        if label.min() == label.max():
            return
        self._model = LogisticRegression(C=STRENGTH, max_iter=500)
        self._model.fit(standardised(self._known[rows], self._known), label, sample_weight=weight)

    @property
    def ready(self) -> bool:
        """Whether there is an example of what is wanted, and something else to tell it from."""
        return self._model is not None

    def probability(self, features: Floats) -> Floats:
        """Return the probability of each row to be of the wanted kind, (n,); 0.5 for all without examples."""
        if self._model is None:
            return np.full(len(features), 0.5)
        return np.asarray(self._model.predict_proba(standardised(features, self._known))[:, 1], dtype=np.float64)

    def reason(self, features: Floats, wanted_by: str = "") -> str:
        """Return why one row, (d,), is ranked as it is: the features that count most, with the numbers.

        ``wanted_by``: what the wanted ones are called, in place of how many examples there are.
        """
        if self._model is None:
            return "no example was given"
        scaled = standardised(features[None], self._known)[0]
        pull = self._model.coef_[0] * scaled
        order = np.argsort(-np.abs(pull))[:2]
        named = " and ".join(f"{self._names[k]} {scaled[k]:+.1f} ({pull[k]:+.2f})" for k in order)
        chance = float(self.probability(features[None])[0])
        wanted, unwanted = self.examples
        shown = wanted_by or f"the {wanted} examples"
        return f"{chance:.0%} like {shown}, unlike the {unwanted} counter-examples: {named}"
