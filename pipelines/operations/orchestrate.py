"""`ontime orchestrate`: runs Prefect's server, the deployments of prefect.yaml and a worker until interrupted.

    ontime orchestrate            on 127.0.0.1:4200, or PREFECT_SERVER_API_PORT

Uses Prefect's command line and API. Prefect's state and logs are in var/prefect.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil  # type: ignore[import-untyped]  # it ships no types

from ontime import environment
from ontime.problem import PROBLEM
from pipelines.operations import local_server, processes
from pipelines.operations.local_server import HOST

POOL = "ontime"  # the work pool in prefect.yaml
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
START_SECONDS = 120
STOP_SECONDS = 30
BUSY_SECONDS = (0.2, 0.5, 1, 2, 4, 8)  # waits between retries while the server answers 503
COMMAND = (sys.executable, "-m", "prefect", "--no-prompt")


class NotOrchestrated(RuntimeError):
    """The port is in use, or a part of Prefect failed; the message says which."""


class Instance(NamedTuple):
    """A Prefect server on this machine: its port, and the folder for state and logs."""

    port: int
    home: Path

    @property
    def page(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of each process of Prefect."""
        return {
            **environment.project_variables(os.environ),
            "PWD": str(Path.cwd()),  # the pull step in prefect.yaml
            "PROBLEM_ZONE": PROBLEM.zone,
            "PREFECT_HOME": str(self.home.resolve()),
            "PREFECT_API_URL": f"{self.page}/api",
        }

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return call_api(f"{self.page}/api", path, body)


def call_api(api: str, path: str, body: Mapping[str, Any] | None = None, waits: Sequence[float] = BUSY_SECONDS) -> Any:
    """The response of Prefect's API. Raises URLError if no server listens, HTTPError for an error status.

    503 is retried, as Prefect's own client does: the server responds with it, having done nothing, while another
    request locks its SQLite file.
    """
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{api}{path}", data, {"Content-Type": "application/json"})  # noqa: S310  our own server
    try:
        with urlopen(request, timeout=30) as response:  # noqa: S310  see above
            return json.load(response)
    except HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE or not waits:
            raise
    time.sleep(waits[0])
    return call_api(api, path, body, waits[1:])


def refuse_taken_port(instance: Instance) -> None:
    """Raises NotOrchestrated if the port is in use: the deployments would go to another server."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one may have just ended
        try:
            attempt.bind((HOST, instance.port))
        except OSError:
            raise NotOrchestrated(
                f"port {instance.port} is in use, perhaps by another `make orchestrate`: stop that, or set "
                "PREFECT_SERVER_API_PORT to another port"
            ) from None


def start_part(instance: Instance, name: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a long-running part of Prefect, with its log beside its state."""
    return local_server.start([*COMMAND, *words], instance.log(name), instance.environment)


def stop_part(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and everything it started: first the children that lead a process group, then itself."""
    groups = stop_children(process.pid)
    local_server.stop([process], STOP_SECONDS)
    for group in groups:
        processes.signal_group(group, signal.SIGKILL)


def stop_children(parent: int) -> set[int]:
    """Send SIGTERM to the process groups that `parent` started, and wait. Returns these groups.

    A worker runs each flow in a session of its own and, on SIGTERM, waits for it, if need be for hours. The worker
    itself must outlive the runs, because it reports their final states to the server.
    """
    signalled: set[int] = set()
    for _ in range(STOP_SECONDS * 5):
        left = set(child_groups(parent))
        for group in left - signalled:
            processes.signal_group(group, signal.SIGTERM)
        signalled |= left
        if not left:
            break
        time.sleep(0.2)
    return signalled


def child_groups(parent: int) -> list[int]:
    """The children of `parent` that lead a process group."""
    try:
        started = psutil.Process(parent).children()
    except psutil.NoSuchProcess:
        return []
    return [each.pid for each in started if _leads_a_group(each.pid)]


def _leads_a_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def run_command(instance: Instance, *words: str) -> None:
    """Run one command of Prefect. Raises NotOrchestrated with the last lines of its output."""
    try:
        with processes.piped([*COMMAND, *words], env=instance.environment) as process:
            processes.output_of(process, f"prefect {' '.join(words)}")
    except processes.ProcessFailed as failed:
        raise NotOrchestrated(str(failed)) from None


def wait_until_healthy(instance: Instance, server: subprocess.Popen[bytes]) -> None:
    try:
        local_server.wait_until_ready(
            server,
            "the server",
            lambda: local_server.responds(instance.port, "/api/health"),
            START_SECONDS,
            instance.log("server").read_text,
        )
    except processes.ProcessFailed as failed:
        raise NotOrchestrated(f"{failed}\nsee {instance.log('server')}") from None


def next_times(instance: Instance) -> dict[str, datetime]:
    """The next run of each deployment, by `flow/deployment`. Raises NotOrchestrated if none is scheduled in time."""
    deployments = instance.call("/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in instance.call("/flows/filter", {})}
    return {f"{flows[each['flow_id']]}/{each['name']}": _next_time(instance, each) for each in deployments}


def _next_time(instance: Instance, deployment: Mapping[str, Any]) -> datetime:
    planned = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": 1,
    }
    for _ in range(START_SECONDS):
        if runs := instance.call("/flow_runs/filter", planned):
            return datetime.fromisoformat(runs[0]["expected_start_time"])
        time.sleep(1)
    raise NotOrchestrated(f"{deployment['name']}: the server has scheduled no run: see its log in var/prefect")


@contextmanager
def running_prefect(instance: Instance) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Run server and worker, with all deployments created, during the block; stop both afterwards."""
    refuse_taken_port(instance)
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(start_part(instance, "server", "server", "start", "--host", HOST, "--port", str(instance.port)))
        wait_until_healthy(instance, started[0])
        run_command(instance, "work-pool", "create", POOL, "--type", "process", "--overwrite")
        run_command(instance, "deploy", "--all")
        started.append(start_part(instance, "worker", "worker", "start", "--pool", POOL, "--type", "process"))
        yield started
    finally:
        for number in STOP_SIGNALS:  # a second Ctrl-C would leave processes behind
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(started):  # the worker first: it reports its runs' final states to the server
            stop_part(process)


def serve(instance: Instance) -> None:
    """Run until interrupted. Raises NotOrchestrated if server or worker exits."""
    with running_prefect(instance) as started:
        print(f"orchestrate: {instance.page}; logs and state in {instance.home}; Ctrl-C ends it", flush=True)
        for name, moment in next_times(instance).items():
            print(f"orchestrate: {name} runs next at {moment.astimezone():%Y-%m-%d %H:%M %Z}", flush=True)
        while all(process.poll() is None for process in started):
            time.sleep(1)
        raise NotOrchestrated(f"server or worker exited: see the logs in {instance.home}")


def main() -> None:
    instance = Instance(int(os.environ.get("PREFECT_SERVER_API_PORT", "4200")), Path("var/prefect"))
    for number in STOP_SIGNALS:  # SIGINT too: a shell's background job, and so the worker, inherits it as ignored
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        serve(instance)
    except NotOrchestrated as failed:
        sys.exit(f"orchestrate: {failed}")
