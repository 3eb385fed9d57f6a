"""One exception tree; every error says what, where, the value, the limit and what to do.

::

    AutoscopeError
    ├── ConfigError            a configuration is wrong (file, line, field)
    ├── DataError              a data file cannot be used
    ├── OrderRefused           a person's order was not accepted
    ├── Overruled              a person did not want an act done
    ├── GuardViolation         an action was refused before any beam
    │   ├── LimitExceeded      position, optics or rate outside its range
    │   └── DoseExceeded       a dose budget would be passed
    ├── InstrumentError        the instrument could not do what was asked
    │   ├── OutOfRange         refused by the instrument, never clamped
    │   ├── NotReached         read-back differs from the request by more than the tolerance
    │   └── Unsupported        this instrument has no such verb or detector
    ├── BusError               the wire between agent and instrument
    │   ├── Unreachable
    │   ├── Unauthenticated
    │   ├── Refused
    │   ├── SelfTestFailed     a server let a stranger in, or its own key not
    │   └── OutcomeUnknown     accepted, but nobody can say whether it was done
    ├── FrameRejected          a frame is unfit to learn from (NaN, empty, saturated, wrong shape)
    │   ├── ConditionLost      it was recorded while the instrument read back as unfit
    │   └── DarkStale          its detector reads less than its dark reference: that is of another time
    ├── JournalError           the record
    │   ├── JournalCorrupt     the hash chain or a frame does not verify
    │   ├── JournalFull        no space to write what must be written
    │   └── NotRepeatable      doing or deciding again what is recorded gives something else
    ├── QueueError             the queue of experiments
    ├── IdentityError          the key of this installation
    ├── NotDelivered           a notice did not reach a person
    ├── ExportError            an export cannot be written as asked
    ├── ModelError             a surrogate
    │   ├── FitFailed
    │   └── Diverged
    └── PluginError            a plug-in is absent, broken or misbehaves
"""

from __future__ import annotations


class AutoscopeError(Exception):
    """The root of all errors raised on purpose by autoscope.

    Parameters
    ----------
    what : str
        What went wrong, as a phrase.
    where : str, optional
        File and line, field, act or record it happened at.
    value : object, optional
        The offending value (None: not applicable).
    limit : object, optional
        The bound, set or rule that the value broke.
    remedy : str, optional
        What the reader should do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        value: object = None,
        limit: object = None,
        remedy: str = "",
    ) -> None:
        self.what, self.where, self.value = what, where, value
        self.limit, self.remedy = limit, remedy
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.value is not None:
            text += f" (got {self.value!r}"
            text += f", limit {self.limit})" if self.limit is not None else ")"
        elif self.limit is not None:
            text += f" (limit {self.limit})"
        return f"{text}. {self.remedy}" if self.remedy else text


class ConfigError(AutoscopeError):
    """A configuration value is missing, misspelt, of the wrong unit or out of range."""


class DataError(AutoscopeError):
    """A data file is absent, damaged or not in a layout autoscope reads."""


class OrderRefused(AutoscopeError):
    """An order is stale, repeated, not genuine, not permitted, or makes no sense now; nothing was changed."""


class Overruled(AutoscopeError):
    """A person decided that an act should not be done."""


class GuardViolation(AutoscopeError):
    """An action was refused by the guard before it reached the instrument."""


class LimitExceeded(GuardViolation):
    """The path of an action leaves the permitted range."""


class DoseExceeded(GuardViolation):
    """An action would pass a total or local dose budget."""


class InstrumentError(AutoscopeError):
    """The instrument could not do what was asked."""


class OutOfRange(InstrumentError):
    """The instrument refuses a value outside its range; it never clamps."""


class NotReached(InstrumentError):
    """The read-back value differs from the request by more than the tolerance."""


class Unsupported(InstrumentError):
    """The instrument has no such action, detector or signal."""


class BusError(AutoscopeError):
    """The wire between agent and instrument failed."""


class Unreachable(BusError):
    """Nobody answered within the time allowed."""


class Unauthenticated(BusError):
    """The key is not known to the other side."""


class Refused(BusError):
    """The other side understood and said no."""


class SelfTestFailed(BusError):
    """A server that was about to start let a stranger in, or kept its own key out."""


class OutcomeUnknown(BusError):
    """An act was accepted, but whether it was done cannot be told; read the instrument back."""


class FrameRejected(AutoscopeError):
    """A frame is unfit to learn from."""


class ConditionLost(FrameRejected):
    """A frame was recorded while the beam, the vacuum or another condition was lost."""


class DarkStale(FrameRejected):
    """A frame lies further below its dark reference than noise can take it; a new reference would fit."""


class JournalError(AutoscopeError):
    """The record of the run cannot be written or read."""


class JournalCorrupt(JournalError):
    """A record or frame does not match its hash."""


class JournalFull(JournalError):
    """There is no space left for what must be recorded."""


class NotRepeatable(JournalError):
    """Doing or deciding again what a record tells gives something else than it tells."""


class QueueError(AutoscopeError):
    """The queue of experiments cannot be read, changed or run as asked."""


class IdentityError(AutoscopeError):
    """The key that signs runs cannot be used, or a key given is none."""


class NotDelivered(AutoscopeError):
    """A notice for a person did not arrive; the run is untouched."""


class ExportError(AutoscopeError):
    """An export cannot be written as asked; the run is untouched."""


class ModelError(AutoscopeError):
    """A surrogate model is unusable."""


class FitFailed(ModelError):
    """A fit ended without usable hyperparameters."""


class Diverged(ModelError):
    """A fit produced values that statistics refuse, though no exception was raised."""


class PluginError(AutoscopeError):
    """A plug-in is absent, broken, or does not keep its protocol."""
