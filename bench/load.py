"""A server, started and stopped, and load on it by wrk. Its memory is Linux's PSS, so it runs on Linux only.

wrk keeps each connection busy: the next request leaves when the answer is there. So latencies are those of a full
house with that many callers, and the answers per second are what the server can do.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil  # type: ignore[import-untyped]  # it ships no types

from pipelines.operations import local_server, processes

SCRIPT = Path(__file__).with_suffix(".lua")
REQUEST_SECONDS = 10  # an answer that takes longer is an error
READY_SECONDS = 120


class Load(NamedTuple):
    requests_per_second: float  # those answered with a status below 400
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int  # refused, broken off, or too label


def measure(url: str, bodies: list[str], connections: int, seconds: int) -> Load:
    """Post the bodies, one after the other and again, over so many connections for so long."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("bench: wrk is missing; apt-get install wrk, or brew install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("\n".join(bodies))
        file.flush()
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{REQUEST_SECONDS}s", "-s", str(SCRIPT)]
        ran = subprocess.run([wrk, *options, url, "--", file.name], capture_output=True, text=True, check=False)  # noqa: S603  our own command
    if ran.returncode:
        raise SystemExit(f"bench: wrk on {url} failed: {ran.stderr.strip() or ran.stdout.strip()}")
    told = json.loads(ran.stdout.splitlines()[-1])
    return Load(
        requests_per_second=(told["requests"] - told["refused"]) / told["seconds"],
        p50_ms=told["p50_ms"],
        p95_ms=told["p95_ms"],
        p99_ms=told["p99_ms"],
        errors=told["refused"] + told["broken"],
    )


def median(loads: Sequence[Load]) -> Load:
    """The median of each figure by itself; errors are added up."""
    middle = Load(*(statistics.median(figures) for figures in zip(*loads, strict=True)))
    return middle._replace(errors=sum(each.errors for each in loads))


def ask(url: str, body: str) -> Any:
    """One answer, read as JSON."""
    request = Request(url, body.encode(), {"Content-Type": "application/json"})  # noqa: S310  http, on this machine
    try:
        with urlopen(request, timeout=REQUEST_SECONDS) as answer:  # noqa: S310
            return json.load(answer)
    except HTTPError as refused:
        raise SystemExit(f"bench: {url} answers {refused.code}: {refused.read(500).decode()}") from None


@dataclass(frozen=True)
class Server:
    pid: int
    seconds_to_ready: float  # from the start of the command to the first good answer

    @property
    def memory_mb(self) -> float:
        """What all its processes hold now; a page that several share counts once."""
        return sum(each.memory_full_info().pss for each in _family(self.pid)) / 1.024e6


@contextmanager
def started(command: Sequence[str], env: Mapping[str, str], port: int, ready: str) -> Iterator[Server]:
    """The command's server on `port`, from its first good answer on the path `ready` to the end of the block."""
    began = time.perf_counter()
    nowhere = subprocess.DEVNULL  # a line for each request would cost time
    with (
        tempfile.NamedTemporaryFile("w+", errors="replace") as errors,
        processes.process_group(command, env={**os.environ, **env}, stdout=nowhere, stderr=errors) as process,
    ):
        try:
            _wait_until_ready(process, port, ready, Path(errors.name))
            yield Server(process.pid, time.perf_counter() - began)
        finally:
            workers = _family(process.pid)[1:]
            local_server.stop([process])
            for each in workers:  # some servers leave workers behind, in groups of their own
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def _wait_until_ready(process: "subprocess.Popen[str]", port: int, ready: str, errors: Path) -> None:
    name = " ".join(cast("Sequence[str]", process.args))
    try:
        local_server.wait_until_ready(
            process, name, lambda: local_server.responds(port, ready), READY_SECONDS, errors.read_text
        )
    except processes.ProcessFailed as failed:
        raise SystemExit(f"bench: {failed}") from None


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, itself first; empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
