"""Subprocesses that end with their parent, even if it is killed, so that no stage continues to write on its own.

Standard library only, for `make install`.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

# `read` returns when our end of its pipe is closed, which the kernel does even if this process is killed.
# `-s KILL`, because dash takes no `--` after `-KILL`.
WATCH = 'read -r _; kill -s KILL -- "-$0"'
LAST_LINES = 15


class ProcessFailed(RuntimeError):
    """A process failed, exited too early, or was not ready in time; the message has its last lines."""

    def __init__(self, what: str, output: str) -> None:
        super().__init__(f"{what}:\n{last_lines(output)}")
        self.output = output  # complete


@contextmanager
def process_group(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None, **streams: Any
) -> Iterator["subprocess.Popen[str]"]:
    """Run a process in its own group, which is killed when the block ends or when this process is killed."""
    with subprocess.Popen(command, cwd=cwd, env=env, text=True, start_new_session=True, **streams) as process:  # noqa: S603  our own commands
        try:
            with _watched(process.pid):
                yield process
        finally:
            signal_group(process.pid, signal.SIGKILL)  # the group: `dvc` killed alone leaves its stage running


@contextmanager
def _watched(group: int) -> Iterator[None]:
    """Kill the group if this process dies in the block."""
    command = ["/bin/sh", "-c", WATCH, str(group)]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  as above
    try:
        yield
    finally:
        watch.kill()
        watch.communicate()


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it still exists."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def piped(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None, umask: int = -1
) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Start a process with pipes, for `output_of`. By default it inherits the umask."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return process_group(command, cwd, env, umask=umask, **pipes)


def output_of(
    process: "subprocess.Popen[str]",
    name: str,
    text: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Send `text` to a piped process and return its output, stderr included, at its end. Raises ProcessFailed.

    `on_line` is called with each line when it arrives; then no `text` is sent.
    """
    output = process.communicate(text)[0] if on_line is None else _read_lines(process, on_line)
    if process.returncode:
        raise ProcessFailed(f"{name} ended with {process.returncode}", output)
    return output


def _read_lines(process: "subprocess.Popen[str]", on_line: Callable[[str], None]) -> str:
    lines = list[str]()
    for line in process.stdout or ():
        lines.append(line)
        on_line(line)
    process.wait()
    return "".join(lines)


def last_lines(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-LAST_LINES:])
