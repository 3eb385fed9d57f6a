"""The journal: one folder a run, the only truth about it.

Writers keep to `Recorder`: `Journal` on disk, `MemoryJournal` for benchmarks. `JournalReader` reads a run while it is
written; `verify` proves that nothing in it was altered. The bytes are described in docs/journal.md.
"""

from autoscope.journal.annotation import Annotation, corrected
from autoscope.journal.audit import Problem
from autoscope.journal.beginning import is_vacant
from autoscope.journal.chain import KINDS, Later, Record, RecordKind
from autoscope.journal.disk import Disk, LocalDisk
from autoscope.journal.memory import MemoryJournal
from autoscope.journal.reader import JournalReader
from autoscope.journal.recorder import Readable, Recorder, Step
from autoscope.journal.signing import Signer
from autoscope.journal.verification import Verification, verify
from autoscope.journal.writer import Journal

__all__ = [
    "KINDS",
    "Annotation",
    "Disk",
    "Journal",
    "JournalReader",
    "Later",
    "LocalDisk",
    "MemoryJournal",
    "Problem",
    "Readable",
    "Record",
    "RecordKind",
    "Recorder",
    "Signer",
    "Step",
    "Verification",
    "corrected",
    "is_vacant",
    "verify",
]
