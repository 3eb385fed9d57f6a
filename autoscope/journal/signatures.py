"""The signed heads of a run, compared with its chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from autoscope.errors import JournalCorrupt
from autoscope.journal.chain import Row
from autoscope.journal.signing import genuine
from autoscope.journal.store import UNREADABLE, connect


@dataclass(frozen=True)
class SignedHead:
    """A hash that somebody signed as that of a record."""

    seq: int
    head: str
    public_key: str
    signature: str


@dataclass
class SignedHeads:
    """All signed heads of a run, and what the chain says to them.

    Show it every record with `compare`, then ask for the `problems`.
    """

    heads: dict[int, SignedHead] = field(default_factory=dict)
    _differ: list[int] = field(default_factory=list)
    _met: list[int] = field(default_factory=list)
    _genuine: list[SignedHead] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the signed heads stored with a run; none where there are none or they cannot be read.

        What SQLite cannot read is reported by the check of its pages.
        """
        try:
            with closing(connect(folder)) as connection:
                rows = connection.execute("SELECT seq, hash, public_key, signature FROM signatures").fetchall()
        except (JournalCorrupt, *UNREADABLE):
            return cls()
        heads = (SignedHead(_number(seq), *(_text(part) for part in rest)) for seq, *rest in rows)
        return cls({head.seq: head for head in heads})

    @property
    def keys(self) -> tuple[str, ...]:
        """Public keys whose signatures are genuine and of this chain."""
        return tuple(dict.fromkeys(head.public_key for head in self._genuine))

    @property
    def records(self) -> int:
        """Number of the last record whose head is signed."""
        return self._genuine[-1].seq if self._genuine else 0

    def compare(self, seq: int, head: str) -> None:
        """Note whether the record of that number has the hash that was signed."""
        signed = self.heads.get(seq)
        if signed is not None:
            (self._met if signed.head == head else self._differ).append(seq)

    def problems(
        self, last: Row | None, end: int, public_key: str | None, *, ended: bool, promised: Sequence[str] = ()
    ) -> Iterator[tuple[str, int | None]]:
        """Yield what is wrong with the signed heads, and at which record.

        Parameters
        ----------
        last : Row or None
            The last record.
        end : int
            Number of the last record that is no annotation.
        public_key : str or None
            Whose signatures are wanted: those of others, as of somebody who annotated the run, prove nothing then.
            None takes any.
        ended : bool
            Whether the run has ended, in which case its end must be signed if anything is.
        promised : sequence of str
            Public keys of which a record of the chain says that their signatures follow.
        """
        yield from self._chain(last)
        yield from self._signatures()
        for key in promised:
            if key not in self.keys:
                yield (
                    f"a record says that {key} signs what follows, and nothing is: the signatures were taken away",
                    None,
                )
        wanted = [head.seq for head in self._genuine if public_key in (None, head.public_key)]
        if public_key is not None and not wanted:
            yield f"no head of it is signed by {public_key}: it may have been written anew by anybody", None
        elif ended and wanted and last is not None and wanted[-1] < (last.seq if public_key is None else end):
            yield f"its end is not signed; the last signed head is that of record {wanted[-1]}", last.seq

    def _chain(self, last: Row | None) -> Iterator[tuple[str, int | None]]:
        for seq in self._differ:
            yield "has another hash than the one signed: it, or one before it, was written anew", seq
        beyond = [seq for seq in self.heads if last is not None and seq > last.seq]
        if beyond:
            yield (
                f"record {max(beyond)} was signed, the last one here is {last.seq if last else 0}: the end was cut off",
                None,
            )

    def _signatures(self) -> Iterator[tuple[str, int | None]]:
        for seq in self._met:
            head = self.heads[seq]
            if genuine(head.public_key, seq, head.head, head.signature):
                self._genuine.append(head)
            else:
                yield "its signature is not genuine", seq


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
