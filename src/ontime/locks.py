"""Lock files for work that two processes must not do at the same time in one folder.

    python -m ontime.locks var/workspace.lock 'make clean' rm -rf data      runs a command that holds the lock

The kernel releases a lock when its holder ends, however it ends, so there are no stale locks.
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

from ontime import files

WORKSPACE = Path("var/workspace.lock")  # held by commands that write the whole workspace: make train, restore, clean
PATIENCE_SECONDS = 3.0  # for a shared lock: another process may hold it briefly, to truncate the file
EXCLUSIVE, SHARED, NONBLOCKING = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB


class Busy(BlockingIOError):
    """Another process holds the lock; the message says which one, since when, and what to do."""

    def __init__(self, holders: str) -> None:
        super().__init__(f"{holders}; wait until it has ended, or stop it, then try again")
        self.holders = holders


@contextmanager
def hold(path: Path, task: str) -> Iterator[None]:
    """Hold the lock `path` exclusively in this block. Raises Busy if another process holds or shares it."""
    with _locked(path, EXCLUSIVE | NONBLOCKING) as file:
        file.truncate(0)
        _sign(file, task)
        yield


@contextmanager
def wait_and_hold(path: Path, task: str) -> Iterator[None]:
    """Wait until the lock `path` is free, then hold it exclusively in this block."""
    try:
        file = _locked(path, EXCLUSIVE | NONBLOCKING)
    except Busy as busy:
        print(f"{task}: waiting, because {busy.holders}", file=sys.stderr, flush=True)
        file = _locked(path, EXCLUSIVE)
    with file:
        file.truncate(0)
        _sign(file, task)
        yield


def hold_shared(path: Path) -> IO[str]:
    """Share the lock `path` until the returned file is closed. Raises Busy if a process holds it exclusively."""
    with suppress(Busy), _locked(path, EXCLUSIVE | NONBLOCKING) as file:
        file.truncate(0)  # removes the lines of earlier holders
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            file = _locked(path, SHARED | NONBLOCKING)
            break
        except Busy:  # perhaps another process truncates the file, as above
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    _sign(file, " ".join(["python", *sys.orig_argv[1:4]]))
    return file


def _locked(path: Path, operation: int) -> IO[str]:
    files.make_private_folder(path.parent)
    while True:
        path.touch(files.PRIVATE)
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            with file:
                raise Busy(_holders(path, file)) from None
        # `make clean` may have removed the file meanwhile; a lock on a removed file excludes nobody.
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
    holders = re.findall(r"^(\d+) (\S+) (.+)$", file.read(), re.MULTILINE)
    running = [f"{task} (process {pid}, since {since})" for pid, since, task in holders if _is_running(int(pid))]
    return f"{' and '.join(running) or 'another process'} holds {path}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def main(path: str, task: str, *command: str) -> None:
    """Replace this process by the command, which holds the lock until it ends."""
    try:
        file = _locked(Path(path), EXCLUSIVE | NONBLOCKING)
    except Busy as busy:
        sys.exit(f"{task}: {busy}")
    file.truncate(0)
    _sign(file, task)
    os.set_inheritable(file.fileno(), True)
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
