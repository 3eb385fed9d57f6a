"""PROV-JSON documents of any length, put together from parts that are serialized one after the other."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from prov.model import ProvDocument


class ProvSpool:
    """Takes documents and writes one that says what all of them say; use it in a ``with`` block.

    PROV-JSON keeps records by their kind, so each kind waits in a file of its own.

    Parameters
    ----------
    folder : Path
        Where those files lie, without names.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, ExitStack()
        self._kinds: dict[str, IO[bytes]] = {}
        self._prefixes: dict[str, str] = {}
        self._parts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, document: ProvDocument) -> None:
        """Add the records of a document; records with a name may be in one part only."""
        said: dict[str, dict[str, Any]] = json.loads(document.serialize(format="json") or "{}")
        self._prefixes |= said.pop("prefix", {})
        self._parts += 1
        for kind, records in said.items():
            for name, record in records.items():
                self._write(kind, name, record)

    def _write(self, kind: str, name: str, record: Any) -> None:
        first = kind not in self._kinds
        if first:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  closed with all the others
            self._kinds[kind] = self._files.enter_context(file)
        nameless = name.startswith("_:")  # these are numbered in each part anew
        unique = f"_:p{self._parts}{name[2:]}" if nameless else name
        text = f"{json.dumps(unique)}: {json.dumps(record, ensure_ascii=False)}"
        self._kinds[kind].write(f"{'' if first else ','}\n{text}".encode())

    def write(self, path: Path) -> None:
        """Write the one document.

        Raises
        ------
        OSError
            The disk failed or is full.
        """
        with path.open("wb") as out:
            out.write(f'{{"prefix": {json.dumps(self._prefixes)}'.encode())
            for kind, file in self._kinds.items():
                out.write(f",\n{json.dumps(kind)}: {{".encode())
                file.seek(0)
                shutil.copyfileobj(file, out)
                out.write(b"}")
            out.write(b"}\n")
