"""Starts and stops one server, and puts load on it with wrk. Linux only: memory is measured as PSS.

wrk is a closed-loop load generator: a connection sends its next request when it has the response. So latencies are
those at saturation with so many clients, and requests per second are the throughput of the server.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil  # type: ignore[import-untyped]  # it ships no types

from bench.call_cost import no_server
from pipelines.operations import local_server, processes

SCRIPT = Path(__file__).with_suffix(".lua")
REQUEST_TIMEOUT_SECONDS = 10  # a slower response counts as an error
READY_TIMEOUT_SECONDS = 120


class Load(NamedTuple):
    requests_per_second: float  # those with a status below 400
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    longest_ms: float
    cpu_us: float  # microseconds of the server's CPU time for each of them
    other_cpu_us: float  # the same of another server that this one asks, such as its database
    errors: int  # rejected, failed, or timed out


def measure_load(
    url: str,
    bodies: list[str],
    connections: int,
    seconds: int,
    server_cpu: Callable[[], float],
    other_cpu: Callable[[], float] = no_server,
    prefix: Sequence[str] = (),
) -> Load:
    """Post the bodies in a cycle over so many connections for so many seconds.

    `server_cpu`, `other_cpu`: the seconds of CPU time that the processes of the server, and of a server that it asks,
    have used so far. `prefix` comes before wrk's command: `taskset` with its core.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("bench: wrk is not installed; run apt-get install wrk, or brew install wrk")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".jsonl") as file:
        file.write("\n".join(bodies))
        file.flush()
        options = [
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            f"{REQUEST_TIMEOUT_SECONDS}s",
            "-s",
            str(SCRIPT),
        ]
        command = [*prefix, wrk, *options, url, "--", file.name]
        used, other_used = server_cpu(), other_cpu()
        process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
        used, other_used = server_cpu() - used, other_cpu() - other_used
    if process.returncode:
        raise SystemExit(f"bench: wrk on {url} failed: {process.stderr.strip() or process.stdout.strip()}")
    summary = json.loads(process.stdout.splitlines()[-1])
    answered = summary["requests"] - summary["refused"]
    return Load(
        requests_per_second=answered / summary["seconds"],
        **{name: value for name, value in summary.items() if name.endswith("_ms")},
        cpu_us=1e6 * used / max(1, answered),
        other_cpu_us=1e6 * other_used / max(1, answered),
        errors=summary["refused"] + summary["broken"],
    )


def median(loads: Sequence[Load]) -> Load:
    """The median of each metric; errors are summed, and the longest response is that of all."""
    middle = Load(*(statistics.median(figures) for figures in zip(*loads, strict=True)))
    return middle._replace(errors=sum(each.errors for each in loads), longest_ms=max(each.longest_ms for each in loads))


def post(url: str, body: str) -> Any:
    """The response to one request, parsed as JSON."""
    request = Request(url, body.encode(), {"Content-Type": "application/json"})  # noqa: S310  http, on this machine
    try:
        with urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:  # noqa: S310
            return json.load(response)
    except HTTPError as error:
        raise SystemExit(f"bench: {url} returned {error.code}: {error.read(500).decode()}") from None


@dataclass(frozen=True)
class Server:
    pid: int
    seconds_to_ready: float  # from the start of the command to the first successful response

    @property
    def memory_mb(self) -> float:
        """The memory of all its processes; a page that several share counts once."""
        return sum(each.memory_full_info().pss for each in _process_tree(self.pid)) / 1.024e6

    def cpu_seconds(self) -> float:
        """The CPU time of all its processes so far."""
        return float(sum(sum(each.cpu_times()[:2]) for each in _process_tree(self.pid)))


@contextmanager
def running_server(
    command: Sequence[str], env: Mapping[str, str], port: int, ready: str, stdout: int = subprocess.DEVNULL
) -> Iterator[Server]:
    """Runs the command's server on `port`, and yields it when the path `ready` responds successfully.

    `stdout`: by default none, because writing a log line for each request costs time.
    """
    start = time.perf_counter()
    with (
        tempfile.NamedTemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        processes.process_group(command, env={**os.environ, **env}, stdout=stdout, stderr=errors) as process,
    ):
        try:
            _wait_until_ready(process, port, ready, Path(errors.name))
            yield Server(process.pid, time.perf_counter() - start)
        finally:
            workers = _process_tree(process.pid)[1:]
            local_server.stop([process])
            for each in workers:  # some servers leave workers running, in process groups of their own
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def _wait_until_ready(process: "subprocess.Popen[str]", port: int, ready: str, errors: Path) -> None:
    name = " ".join(cast("Sequence[str]", process.args))
    try:
        local_server.wait_until_ready(
            process, name, lambda: local_server.responds(port, ready), READY_TIMEOUT_SECONDS, errors.read_text
        )
    except processes.ProcessFailed as error:
        raise SystemExit(f"bench: {error}") from None


def _process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants, the process first; empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
