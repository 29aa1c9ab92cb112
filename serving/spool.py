"""The spool: a file of predictions that wait for the database, on disk before the response is sent.

Each process has its own file and holds a lock on it. The file of a killed process is taken over by another one.
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
ROWS_PER_WRITE = 1000


class Spool:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._lock = folder, Lock()
        self._path = folder / f"{uuid4().hex}.jsonl"
        unlocked = self._path.with_suffix(".new")
        self._file = unlocked.open("ab+", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(self._path)  # locked before another process can see it and take it over
        _sync_folder(folder)
        self._rows = 0

    def __len__(self) -> int:
        """The number of predictions in the file of this process."""
        return self._rows

    def append(self, rows: Sequence[Row]) -> None:
        """Return after the rows are on disk. Raises OSError if they cannot be written, and then writes none."""
        lines = b"".join(orjson.dumps(row, default=_text_of) + b"\n" for row in rows)
        with self._lock:
            before = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(lines) != len(lines):
                    raise OSError(f"{self._path}: {len(lines)} bytes do not fit on the disk")
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(before)  # an incomplete line would be joined to the next one
                raise
            self._rows += len(rows)

    def drain(self, store: Callable[[Sequence[Row]], None]) -> int:
        """Pass all rows to `store`, and return their number. `store` must be idempotent: it may get a row twice.

        If `store` raises an exception, the rows remain in the spool.
        """
        drained = 0
        with self._lock:
            if self._rows:
                drained += _store_file(self._path, store)
                self._file.truncate(0)
                self._rows = 0
        for orphan in self._orphans():
            drained += _store_file(orphan, store)
            orphan.unlink()
        return drained

    def close(self) -> None:
        """Deletes the file if it is empty."""
        if not self._rows:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _orphans(self) -> Iterator[Path]:
        for path in sorted(self._folder.glob("*.jsonl")):
            if path != self._path:
                with _if_orphaned(path) as is_orphan:
                    if is_orphan:
                        yield path


@contextmanager
def _if_orphaned(path: Path) -> Iterator[bool]:
    """Whether no running process has locked the file; inside this block no other process can."""
    try:
        file = path.open("rb+")  # NFS requires write access for an exclusive lock
    except FileNotFoundError:  # another worker has taken it over
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield path.exists()


def _store_file(path: Path, store: Callable[[Sequence[Row]], None]) -> int:
    rows = [_row_of(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    # The process was killed while writing an incomplete line, so its response was not sent.
    for start in range(0, len(rows), ROWS_PER_WRITE):
        store(rows[start : start + ROWS_PER_WRITE])
    return len(rows)


def _text_of(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} cannot be written to the spool")


def _row_of(line: bytes) -> Row:
    row = orjson.loads(line)
    return {**row, "vector": base64.b64decode(row["vector"]), "answered_at": datetime.fromisoformat(row["answered_at"])}


def _sync_folder(folder: Path) -> None:
    """So that the name of a new file is on disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
