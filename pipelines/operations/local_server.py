"""Runs an HTTP server as a process on this machine: finds a free port, starts it, waits until it is ready, stops it."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ontime import files
from pipelines.operations import processes
from pipelines.operations.processes import ProcessFailed

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
ANSWER_SECONDS = 5
STOP_SECONDS = 20


def free_port() -> int:
    """A port of the loopback interface for a server that starts within a minute: nobody else gets it until then.

    A closed connection of its own makes the system keep it for a while (TIME_WAIT). Otherwise two processes that look
    for a port at once could get the same, and one would talk to the server of the other.
    """
    with socket.create_server((HOST, 0)) as listener:
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()
        return int(listener.getsockname()[1])


def responds(port: int, path: str = "/") -> bool:
    """Whether a server on the port answers GET on the path with a status below 400."""
    with closing(HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False


def start(
    command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a server that outlives the call, in its own process group, so that Ctrl-C reaches only the caller.

    The log, and the files that the server writes, are private.
    """
    files.make_private_folder(log.parent)
    log.touch(files.PRIVATE)
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603  our own commands
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            umask=files.PRIVATE_UMASK,
        )  # fmt: skip


def wait_until_ready(
    process: "subprocess.Popen[Any]", name: str, ready: Callable[[], bool], seconds: float, output: Callable[[], str]
) -> None:
    """Return when `ready()` is true.

    Raises ProcessFailed with the end of `output()` if the process exits before, or is not ready within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise ProcessFailed(f"{name} ended with {process.returncode}", output())
        if ready():
            return
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{name} was not ready in {seconds:g} seconds", output())
        time.sleep(POLL_SECONDS)


def stop(servers: Sequence["subprocess.Popen[Any]"], seconds: float = STOP_SECONDS) -> None:
    """Send SIGTERM to the process groups of all servers, and SIGKILL to those still running after so many seconds."""
    for process in servers:
        processes.signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for process in servers:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        processes.signal_group(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def run_server(
    command: Sequence[str],
    port: int,
    *,
    name: str,
    ready: str,
    ready_seconds: float,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator["subprocess.Popen[str]"]:
    """Run a server during the block, which starts when GET on the path `ready` succeeds.

    The server ends with this process, even if that is killed. Raises ProcessFailed if it does not become ready.
    """
    log.touch(files.PRIVATE)
    with (
        log.open("a", encoding="utf-8") as file,
        processes.process_group(command, cwd, env, stdout=file, stderr=file, umask=files.PRIVATE_UMASK) as process,
    ):
        try:
            wait_until_ready(process, name, lambda: responds(port, ready), ready_seconds, log.read_text)
            yield process
        finally:
            stop([process])
