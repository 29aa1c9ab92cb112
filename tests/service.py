"""The service as a process of its own, on a free port of the loopback interface."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import uvicorn

from ontime.problem import PROBLEM
from ontime.settings import Settings
from pipelines.operations.local_server import free_port, responds, wait_until_ready
from pipelines.operations.processes import signal_group
from serving import server
from serving.app import create_app
from tests import ROOT, without_settings
from tests.project import Project

COMMAND = (sys.executable, "-m", "serving")
MORNING, THANKSGIVING_EVE = (dict(body) for body in PROBLEM.examples.values())


def environment(settings: Settings, **changed: str) -> dict[str, str]:
    """The folders and the database of `settings`, without the environment of the tests."""
    return {
        **without_settings(),
        "ONTIME_RELEASES": str(settings.releases),
        "ONTIME_DATABASE_URL": settings.database_url.get_secret_value(),
        "ONTIME_SPOOL": str(settings.spool),
        "ONTIME_UI_LINKS": str(settings.ui_links),
        "ONTIME_DATABASE_PATIENCE_SECONDS": str(settings.database_patience_seconds),
        **changed,
    }


class Service:
    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND, **changed: str) -> None:
        self.port = int(changed.pop("ONTIME_PORT", free_port()))
        self.process = subprocess.Popen(
            list(command),
            cwd=ROOT,
            env=environment(settings, ONTIME_PORT=str(self.port), **changed),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pipesize=1_048_576,  # so that an unread log does not block it
        )

    def wait_until_ready(self) -> "Service":
        wait_until_ready(self.process, "the service", lambda: responds(self.port, "/health/live"), 30, self._end)
        return self

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and parsed body. Raises URLError if nothing responds."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310  our own service
                return answer.status, _parsed(answer.read())
        except HTTPError as refused:
            return refused.code, _parsed(refused.read())

    def get(self, path: str) -> Any:
        return self.ask("GET", path)[1]

    def post(self, path: str, body: Any) -> Any:
        status, answer = self.ask("POST", path, body)
        assert status == 200, answer
        return answer

    def metric(self, name: str) -> float:
        """The sum of a metric's values over its labels."""
        lines = str(self.get("/metrics")).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def stop(self) -> None:
        """With SIGTERM."""
        self.process.terminate()
        self.process.wait(timeout=60)

    def kill(self) -> None:
        """With SIGKILL, workers included."""
        signal_group(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)

    def _end(self) -> str:
        if self.process.poll() is None:
            self.kill()  # else its output has no end
        return self.output()

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()


class ServiceInThread(Service):
    """The service in a thread of the tests, which starts at once. Its metrics also count what other tests do."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.port = port
        self._server = uvicorn.Server(server.uvicorn_config(create_app(settings), settings))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [server.listen("127.0.0.1", port)]})
        self._thread.start()
        wait_for(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()


class Served(Service):
    """The service of a copy of the project, in its folder."""

    def __init__(self, project: Project) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [str(project.folder / ".venv/bin/python"), "-m", "serving"], cwd=project.folder,
            env=project.environment(ONTIME_PORT=str(self.port)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self.wait_until_ready()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@contextmanager
def running(settings: Settings, **changed: str) -> Iterator[Service]:
    """The service, ready; stopped afterwards, with SIGKILL if necessary."""
    service = Service(settings, COMMAND, **changed)
    try:
        yield service.wait_until_ready()
    finally:
        if service.process.poll() is None:
            service.kill()


class Load:
    """Clients that request single predictions one after another, on persistent connections.

    `arrivals`: for each of `answers`, the Unix time at which it arrived, and after how many seconds.
    """

    def __init__(self, port: int, flight: dict[str, Any], callers: int = 6) -> None:
        self.answers: list[Any] = []
        self.arrivals: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._port, self._flight, self._over = port, flight, threading.Event()
        self._callers = [threading.Thread(target=self._ask, args=(n,)) for n in range(1, callers + 1)]

    def __enter__(self) -> "Load":
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(timeout=60)

    def _ask(self, number: int) -> None:
        connection, count = HTTPConnection("127.0.0.1", self._port, timeout=30), 0
        while not self._over.is_set():
            count += 1
            body = json.dumps({**self._flight, "flight_number": number * 1000 + count % 1000})
            sent_at = time.time()
            try:
                connection.request("POST", "/v1/predictions", body)
                response = connection.getresponse()
                content = json.loads(response.read())
            except (OSError, HTTPException) as error:  # a request without a response need not be stored
                self.failures.append(repr(error))
                connection.close()
                return
            if response.status == 200:
                with self._lock:
                    self.answers.append(content)
                    self.arrivals.append((time.time(), time.time() - sent_at))
            else:
                self.failures.append(f"{response.status} {content}")


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until the condition holds. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {seconds:g} seconds")
        time.sleep(0.05)
