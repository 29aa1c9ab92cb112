"""The real service as a process of its own on a free port, asked over HTTP and never imported."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

from ontime.settings import PREFIX, Settings
from pipelines import processes

READY_SECONDS = 60
STOP_SECONDS = 20
SAID_LINES = 10


class ServiceFailed(RuntimeError):
    """The service did not start, or refused what it should answer."""


class Service:
    """Asked by JSON; each request on a connection of its own, because it closes those that are idle for seconds."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, json.dumps(body))

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)) as connection:
            connection.request(method, path, body)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status != 200:
            raise ServiceFailed(f"{method} {path}: {answer.status} {said[:300].decode(errors='replace')}")
        return json.loads(said)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """The service on these releases and this database, ready; stopped afterwards."""
    port = free_port()
    log_file = settings.releases.parent / "service.log"
    with log_file.open("w") as log, _started(settings, port, log) as process:
        _wait_until_ready(process, port, log_file)
        try:
            yield Service(port)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # then it is killed
                process.wait(STOP_SECONDS)


def _started(settings: Settings, port: int, log: IO[str]) -> AbstractContextManager["subprocess.Popen[str]"]:
    told = {
        "RELEASES": str(settings.releases),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "SPOOL": str(settings.spool),
        "PORT": str(port),
        # A retraining keeps both cores busy, and a wait must not end in the spool.
        "DATABASE_PATIENCE_SECONDS": "30",
    }
    if settings.problem:
        told["PROBLEM"] = str(settings.problem)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = kept | {f"{PREFIX}{name}": value for name, value in told.items()}
    return processes.started([sys.executable, "-m", "serving"], env=environment, stdout=log, stderr=log)


def _wait_until_ready(process: "subprocess.Popen[str]", port: int, log: Path) -> None:
    for _ in range(READY_SECONDS * 20):
        if process.poll() is not None:
            last = "\n".join(log.read_text().splitlines()[-SAID_LINES:])
            raise ServiceFailed(f"the service stopped by itself:\n{last}")
        try:
            Service(port).get("/health/ready")
        except (OSError, ServiceFailed):
            time.sleep(0.05)
        else:
            return
    raise ServiceFailed(f"the service was not ready in {READY_SECONDS} s; see {log}")
