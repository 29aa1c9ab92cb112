"""The spool: files of predictions that wait for the database, on disk before the response is sent.

Each process appends to a file of its own and holds a lock on it. The files of a killed process are taken over by
another one. A file is drained in batches, beside the requests, so neither its size nor its content stops the service:
lines that are not predictions go to `rejected/`, with the reason.
"""

import base64
import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from errno import ENOSPC
from itertools import islice
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from typing import IO, Any
from uuid import uuid4

import orjson

from ontime import files
from ontime.settings import REJECTED, SPOOL_FILES

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
Store = Callable[[Sequence[Row]], Mapping[int, str] | None]
BATCH_ROWS = 1000
PROBE_BYTES = 65_536
OPEN_SECONDS = 10.0


@dataclass
class _Draining:
    """A file that is being drained: the open file holds its lock."""

    path: Path
    file: IO[bytes]
    rows: int  # 0 for the file of another process, whose rows are not counted
    since: float  # of its first row, on the clock of time.monotonic
    position: int = 0


class SpoolHangs(OSError):
    """The disk of the spool does not respond, as NFS does whose server is away."""


def open_spool(folder: Path, seconds: float = OPEN_SECONDS) -> "Spool":
    """The spool in this folder. Raises OSError, also if its disk hangs, so that a start never waits for ever."""
    outcomes: list[Spool | OSError] = []

    def attempt() -> None:
        try:
            outcomes.append(Spool(folder))
        except OSError as error:
            outcomes.append(error)

    thread = Thread(target=attempt, name="spool opener", daemon=True)  # one that hangs cannot be stopped
    thread.start()
    thread.join(seconds)
    if not outcomes:
        raise SpoolHangs(f"{folder} does not respond within {seconds:g} seconds")
    if isinstance(outcomes[0], OSError):
        raise outcomes[0]
    return outcomes[0]


class Spool:
    def __init__(self, folder: Path) -> None:
        files.make_private_folder(folder)
        self._folder, self._lock = folder, Lock()
        self._sealed: deque[_Draining] = deque()
        self._draining: _Draining | None = None
        self._open_file()

    def __len__(self) -> int:
        """The number of predictions in the files of this process."""
        return self._rows + sum(each.rows for each in [*self._sealed, self._draining] if each)

    def __str__(self) -> str:
        return str(self._folder)

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest prediction in the files of this process; 0 without one."""
        files_with_rows = [each for each in [self._draining, *self._sealed] if each and each.rows]
        since = min((each.since for each in files_with_rows), default=self._since if self._rows else None)
        return 0.0 if since is None else monotonic() - since

    def append(self, rows: Sequence[Row]) -> None:
        """Return after the rows are on disk. Raises OSError if they cannot be written, and then writes none."""
        lines = b"".join(orjson.dumps(row, default=_text_of) + b"\n" for row in rows)
        with self._lock:
            self._write(lines)
            if not self._rows:
                self._since = monotonic()
            self._rows += len(rows)

    def check_space(self) -> None:
        """Raises OSError if the disk does not accept some more predictions."""
        with self._lock:
            before = self._file.seek(0, os.SEEK_END)
            self._write(b" " * PROBE_BYTES)  # not a line, so it is ignored if the process is killed now
            self._file.truncate(before)

    def store_first(self, store: Store) -> bool:
        """Pass the first rows of the open file to `store`, to see whether it accepts rows. False if there are none."""
        with self._lock:
            if not self._rows:
                return False
            rows, _ = _parsed(_lines_of(self._path, 0))
            store(rows)
            return True

    def seal(self) -> None:
        """Close the open file for `drain_batch`, and begin a new one."""
        with self._lock:
            if self._rows:
                self._sealed.append(_Draining(self._path, self._file, self._rows, self._since))
                self._open_file()

    def drain_batch(self, store: Store) -> int:
        """Pass the next rows of a sealed file, or of a killed process, to `store`; return their number, 0 at the end.

        `store` may get a row twice, and returns the places of rows that it will never accept, with the reasons. If it
        raises an exception, the rows remain in the spool.
        """
        while True:
            if self._draining is None:
                self._draining = self._next_file()
            if self._draining is None:
                return 0
            count = self._store_batch(self._draining, store)
            if count < BATCH_ROWS:  # the end: deleted in the same step, so that a stop never leaves a stored file
                self._draining.path.unlink()
                self._draining.file.close()
                self._draining = None
            if count:
                return count

    def drain(self, store: Store) -> int:
        """Pass all rows to `store`, and return their number."""
        self.seal()
        return sum(iter(lambda: self.drain_batch(store), 0))

    def close(self) -> None:
        """Deletes the open file if it is empty. The others are taken over by another process."""
        if not self._rows:
            self._path.unlink(missing_ok=True)
        for each in [*self._sealed, self._draining]:
            if each is not None:
                each.file.close()
        self._file.close()

    def _open_file(self) -> None:
        self._path = self._folder / f"{uuid4().hex}.jsonl"
        unlocked = self._path.with_suffix(".new")
        unlocked.touch(files.PRIVATE)
        self._file = unlocked.open("ab+", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(self._path)  # locked before another process can see it and take it over
        _sync_folder(self._folder)
        self._rows, self._since = 0, monotonic()

    def _write(self, content: bytes) -> None:
        before = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(content) != len(content):
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(self._path))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(before)  # an incomplete line would be joined to the next one
            raise

    def _next_file(self) -> _Draining | None:
        if self._sealed:
            return self._sealed.popleft()
        for path in sorted(self._folder.glob(SPOOL_FILES)):
            if path != self._path and (file := _lock_if_orphaned(path)):
                return _Draining(path, file, 0, monotonic())
        return None

    def _store_batch(self, draining: _Draining, store: Store) -> int:
        """The number of lines that were dealt with."""
        lines = _lines_of(draining.path, draining.position)
        rows, bad_lines = _parsed(lines)
        places = [place for place in range(len(lines)) if place not in bad_lines]
        refused = (rows and store(rows)) or {}
        reasons = bad_lines | {places[row]: reason for row, reason in refused.items()}
        if reasons:
            self._reject({lines[place]: reason for place, reason in reasons.items()}, draining.path)
        draining.position += sum(map(len, lines))
        draining.rows = max(0, draining.rows - len(lines))
        return len(lines)

    def _reject(self, reasons: Mapping[bytes, str], path: Path) -> None:
        folder = self._folder / REJECTED
        files.make_private_folder(folder)
        (folder / path.name).touch(files.PRIVATE)
        with (folder / path.name).open("ab") as file:
            for line, reason in reasons.items():
                file.write(orjson.dumps({"reason": reason, "line": line.decode(errors="replace")}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(folder)
        logger.error("spool: %d lines were rejected: see %s", len(reasons), folder / path.name)


def _lock_if_orphaned(path: Path) -> IO[bytes] | None:
    """The open file, locked, if no running process has locked it."""
    try:
        file = path.open("rb+")  # NFS requires write access for an exclusive lock
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # another worker has taken it over
        return None
    except BlockingIOError:
        file.close()
        return None
    if path.exists():
        return file
    file.close()
    return None


def _lines_of(path: Path, position: int) -> list[bytes]:
    """The next complete lines. An incomplete one was being written when its process was killed, before its response."""
    with path.open("rb") as file:
        file.seek(position)
        return [line for line in islice(file, BATCH_ROWS) if line.endswith(b"\n")]


def _parsed(lines: Iterable[bytes]) -> tuple[list[Row], dict[int, str]]:
    """The rows, and the places of lines that are none, with the reasons."""
    rows: list[Row] = []
    reasons: dict[int, str] = {}
    for place, line in enumerate(lines):
        try:
            rows.append(_row_of(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reasons[place] = f"{type(error).__name__}: {error}"
    return rows, reasons


def _text_of(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} cannot be written to the spool")


def _row_of(line: bytes) -> Row:
    row = orjson.loads(line)
    answered_at = datetime.fromisoformat(row["answered_at"])
    return {**row, "vector": base64.b64decode(row["vector"], validate=True), "answered_at": answered_at}


def _sync_folder(folder: Path) -> None:
    """So that the name of a new file is on disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
