"""Work that two processes must not do at once in one folder, each kind with a lock file of its own.

    python -m ontime.locks var/workspace.lock 'make clean' rm -rf data      a command that holds one


The kernel lets go of a lock when its holder has died, however that was: none is ever left behind.
"""

import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

WORKSPACE = Path("var/workspace.lock")  # of who writes all of it: make train, restore, clean

PATIENCE_SECONDS = 3.0  # of who shares: another may hold it for a moment, to empty it
ALONE, SHARED, AT_ONCE = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB


class Busy(BlockingIOError):
    """Another process holds the lock; the message says which, since when, and what to do."""

    def __init__(self, holders: str) -> None:
        super().__init__(f"{holders}; wait until it has ended, or stop it, then try again")
        self.holders = holders


@contextmanager
def held(path: Path, task: str) -> Iterator[None]:
    """Hold the lock `path` for this block. Raises Busy if another process holds it, or has a share in it."""
    with _locked(path, ALONE | AT_ONCE) as file:
        file.truncate(0)
        _sign(file, task)
        yield


@contextmanager
def in_turn(path: Path, task: str) -> Iterator[None]:
    """Hold the lock `path` for this block, after whoever holds it."""
    try:
        file = _locked(path, ALONE | AT_ONCE)
    except Busy as busy:
        print(f"{task}: waiting, because {busy.holders}", file=sys.stderr, flush=True)
        file = _locked(path, ALONE)
    with file:
        file.truncate(0)
        _sign(file, task)
        yield


def share(path: Path) -> IO[str]:
    """A share in the lock `path`, until the returned file is closed. Raises Busy if a process holds it alone."""
    with suppress(Busy), _locked(path, ALONE | AT_ONCE) as emptied:
        emptied.truncate(0)  # whoever signed before has gone
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            file = _locked(path, SHARED | AT_ONCE)
            break
        except Busy:  # for a moment by who empties it, as above
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
    _sign(file, " ".join(["python", *sys.orig_argv[1:4]]))
    return file


def _locked(path: Path, how: int) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            with file:
                raise Busy(_holders(path, file)) from None
        # `make clean` may have removed the file meanwhile: a lock on it would be one that nobody else looks at.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()


def _sign(file: IO[str], task: str) -> None:
    one_line = " ".join(task.split())[:60]  # `python -c` takes whole programs
    file.write(f"{os.getpid()} {datetime.now().astimezone():%Y-%m-%dT%H:%M:%S} {one_line}\n")
    file.flush()


def _holders(path: Path, file: IO[str]) -> str:
    file.seek(0)
    signed = re.findall(r"^(\d+) (\S+) (.+)$", file.read(), re.MULTILINE)
    living = [f"{task} (process {pid}, since {since})" for pid, since, task in signed if _lives(int(pid))]
    return f"{' and '.join(living) or 'another process'} holds {path}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def main(path: str, task: str, *command: str) -> None:
    """Become the command, which holds the lock until it ends."""
    try:
        file = _locked(Path(path), ALONE | AT_ONCE)
    except Busy as busy:
        sys.exit(f"{task}: {busy}")
    file.truncate(0)
    _sign(file, task)
    os.set_inheritable(file.fileno(), True)
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
