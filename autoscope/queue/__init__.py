"""A queue of experiments: run one after the other, unattended, whatever happens to one of them."""

from autoscope.queue.entry import Entry, EntryStatus
from autoscope.queue.runner import Experiments, NightEnd, QueueRunner
from autoscope.queue.store import QueueStore

__all__ = ["Entry", "EntryStatus", "Experiments", "NightEnd", "QueueRunner", "QueueStore"]
