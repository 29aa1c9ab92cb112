"""Processes that end with us: no stage goes on writing after whoever started it has died."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# `read` returns when our end of its pipe is closed: the kernel does that for a process that is killed, too.
# `-s KILL`, because dash takes no `--` after `-KILL`.
WATCH = 'read -r _; kill -s KILL -- "-$0"'


@contextmanager
def started(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None, **streams: Any
) -> Iterator["subprocess.Popen[str]"]:
    """A process in a group of its own; nothing of the group is left when the block ends, or when we are killed."""
    with subprocess.Popen(command, cwd=cwd, env=env, text=True, start_new_session=True, **streams) as process:  # noqa: S603  our own words
        try:
            with _watched(process.pid):
                yield process
        finally:
            with suppress(ProcessLookupError):  # `dvc` that is killed alone leaves its stage running
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _watched(group: int) -> Iterator[None]:
    """If we die in this block, so does the group."""
    command = ["/bin/sh", "-c", WATCH, str(group)]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  as above
    try:
        yield
    finally:
        watch.kill()
        watch.communicate()
