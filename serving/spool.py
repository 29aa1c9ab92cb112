"""Predictions on their way to a database that is away: a file of lines, on disk before the answer leaves.

Each process has a file of its own, locked while it lives. What a killed process left is taken over by the next.
"""

import base64
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import orjson

Row = Mapping[str, Any]
LINES_TOGETHER = 1000


class Spool:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._lock = folder, Lock()
        self._path = folder / f"{uuid4().hex}.jsonl"
        aside = self._path.with_suffix(".new")
        self._file = aside.open("ab+", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        aside.rename(self._path)  # locked before anybody can take it for a dead process's
        _sync_folder(folder)
        self._rows = 0

    def __len__(self) -> int:
        """How many predictions of this process wait."""
        return self._rows

    def append(self, rows: Sequence[Row]) -> None:
        """They are on disk when this returns. Raises OSError where they cannot be, and keeps none of them."""
        lines = b"".join(orjson.dumps(row, default=_text_of) + b"\n" for row in rows)
        with self._lock:
            before = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(lines) != len(lines):
                    raise OSError(f"{self._path}: no room for {len(lines)} bytes")
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(before)  # half a line would be joined to the next one
                raise
            self._rows += len(rows)

    def drain(self, keep: Callable[[Sequence[Row]], None]) -> int:
        """Hand all that waits to `keep`, which must bear to get a row twice; how many rows there were.

        Whatever `keep` raises leaves the rows where they are.
        """
        drained = 0
        with self._lock:
            if self._rows:
                drained += _hand_over(self._path, keep)
                self._file.truncate(0)
                self._rows = 0
        for orphan in self._orphans():
            drained += _hand_over(orphan, keep)
            orphan.unlink()
        return drained

    def close(self) -> None:
        """Leaves nothing behind where nothing waits."""
        if not self._rows:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _orphans(self) -> Iterator[Path]:
        for path in sorted(self._folder.glob("*.jsonl")):
            if path != self._path:
                with _if_orphaned(path) as orphaned:
                    if orphaned:
                        yield path


@contextmanager
def _if_orphaned(path: Path) -> Iterator[bool]:
    """Whether no living process holds the file; nobody else can take it inside this block."""
    try:
        held = path.open("rb+")  # NFS gives an exclusive lock only to who may write
    except FileNotFoundError:  # another worker was faster
        yield False
        return
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield path.exists()


def _hand_over(path: Path, keep: Callable[[Sequence[Row]], None]) -> int:
    rows = [_row_of(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    # A line without its end was being written when the process was killed: its answer never left.
    for start in range(0, len(rows), LINES_TOGETHER):
        keep(rows[start : start + LINES_TOGETHER])
    return len(rows)


def _text_of(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no place in a spool")


def _row_of(line: bytes) -> Row:
    row = orjson.loads(line)
    return {**row, "vector": base64.b64decode(row["vector"]), "answered_at": datetime.fromisoformat(row["answered_at"])}


def _sync_folder(folder: Path) -> None:
    """A new file's name is on disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
