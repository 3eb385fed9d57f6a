"""What was done: answers kept for acts that are sent again, and an independent physical log."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from autoscope.errors import AutoscopeError, InstrumentError
from autoscope.records import Observation
from environments.instruments.simulated.config import MemoryConfig


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One thing the instrument physically did.

    ``x_m``, ``y_m`` are the true specimen point under the probe at the end; ``beam_on_s`` is how long electrons
    fell on the sample between ``start_s`` and ``end_s``.
    """

    act_id: str
    kind: str
    start_s: float
    end_s: float
    x_m: float
    y_m: float
    beam_on_s: float


Answer = Observation | AutoscopeError
"""What came of an act: what was observed, or the error that an act once begun ended with."""


class ActMemory:
    """Answers by act identifier, bounded in number and bytes; identifiers outlive their answers.

    Parameters
    ----------
    config : MemoryConfig
        The bounds.
    """

    def __init__(self, config: MemoryConfig) -> None:
        self._config = config
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._bytes = 0
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def recall(self, act_id: str) -> Observation | None:
        """Return the first answer to an act, or None if it was never done.

        Raises
        ------
        AutoscopeError
            That was the first answer.
        InstrumentError
            The act was done, but so long ago that its answer is no longer kept; it is not done again.
        """
        if act_id in self._forgotten:
            raise InstrumentError(
                "this act was done before and its answer is no longer kept; it is not done again",
                where=act_id,
                limit=f"{self._config.observations} answers",
                remedy="Read the state back, and give a new act a new identifier",
            )
        answer = self._answers.get(act_id)
        if isinstance(answer, AutoscopeError):
            raise answer
        return answer

    def keep(self, act_id: str, answer: Answer) -> None:
        """Remember the answer to an act, forgetting the oldest where there is no room."""
        self._answers[act_id] = answer
        self._bytes += _size(answer)
        while len(self._answers) > 1 and self._full():
            oldest, dropped = self._answers.popitem(last=False)
            self._bytes -= _size(dropped)
            self._forgotten[oldest] = None
            if len(self._forgotten) > self._config.records:
                self._forgotten.popitem(last=False)

    def _full(self) -> bool:
        return len(self._answers) > self._config.observations or self._bytes > self._config.observation_bytes


def _size(answer: Answer) -> int:
    return sum(f.data.nbytes for f in answer.frames) if isinstance(answer, Observation) else 0


class PhysicalLog:
    """The last things the instrument did, whatever its callers believe.

    Parameters
    ----------
    config : MemoryConfig
        How many are kept.
    """

    def __init__(self, config: MemoryConfig) -> None:
        self._records: deque[LogRecord] = deque(maxlen=config.records)

    def append(self, record: LogRecord) -> None:
        """Add a record, dropping the oldest where there is no room."""
        self._records.append(record)

    def records(self) -> tuple[LogRecord, ...]:
        """Return the records, oldest first."""
        return tuple(self._records)
