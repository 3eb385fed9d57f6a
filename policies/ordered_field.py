"""A policy of one field that takes its candidates in an order fixed beforehand."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from autoscope.chance import stream
from policies.field import RUNNERS_UP, Choice, Estimate, FieldPolicy, Situation
from policies.pixels import Indices, PixelGrid


class OrderedFieldPolicy(FieldPolicy):
    """Takes candidates in an order fixed by the overview, whatever is measured."""

    @abc.abstractmethod
    def _order(self, grid: PixelGrid, candidates: Indices, rng: np.random.Generator) -> Indices:
        """Return indices among the candidates, in the order to take them."""

    @abc.abstractmethod
    def _reason(self) -> str:
        """Return why the next one is next, in a sentence."""

    @cached_property
    def _sequence(self) -> Indices:
        return self._order(self._known_grid(), self._candidates, stream(self._root_, "order"))

    def _choose(self, situation: Situation) -> Choice:
        left = self._sequence[~situation.forbidden[self._sequence]]
        first, *others = (Estimate(int(i)) for i in left[: RUNNERS_UP + 1])
        return Choice(first, self._reason(), "", {}, others)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; see `FieldPolicy.restore`."""
        super().restore(state)
        self.__dict__.pop("_sequence", None)
