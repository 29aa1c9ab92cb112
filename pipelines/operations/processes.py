"""Processes that end with us, and what they wrote before they failed. Standard library only, for `make install`.

No stage goes on writing after whoever started it has died.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

# `read` returns when our end of its pipe is closed: the kernel does that for a process that is killed, too.
# `-s KILL`, because dash takes no `--` after `-KILL`.
WATCH = 'read -r _; kill -s KILL -- "-$0"'
LAST_LINES = 15


class ProcessFailed(RuntimeError):
    """A process ended with an error, ended too early, or was not ready in time; the message has its last lines."""

    def __init__(self, what: str, output: str) -> None:
        super().__init__(f"{what}:\n{last_lines(output)}")
        self.output = output  # all that it wrote


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
            signal_group(process.pid, signal.SIGKILL)  # `dvc` that is killed alone leaves its stage running


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


def signal_group(group: int, number: int) -> None:
    """Send a signal to each process of a group, if there is one left."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def piped(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> AbstractContextManager["subprocess.Popen[str]"]:
    """A started process for `output_of`."""
    return started(command, cwd, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def output_of(process: "subprocess.Popen[str]", name: str, text: str | None = None) -> str:
    """All that a piped process writes until it ends, errors as well, after it has read `text`. Raises ProcessFailed."""
    output = process.communicate(text)[0]
    if process.returncode:
        raise ProcessFailed(f"{name} ended with {process.returncode}", output)
    return output


def last_lines(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-LAST_LINES:])
