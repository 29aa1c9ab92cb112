"""`make ui`: the pages of MLflow, Prefect and Evidently, on the loopback interface only, until interrupted.

Each is a process of its own that keeps its state under var/ and its log in var/ui/.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ontime import environment
from ontime.settings import BadSettings, Settings, load_settings

HOST = "127.0.0.1"
MLFLOW_PORT, PREFECT_PORT, EVIDENTLY_PORT = 5000, 4200, 8001

LOGS = Path("var/ui")
PREFECT_HOME = Path("var/prefect")

POLL_SECONDS = 0.25
READY_SECONDS = 180
STOP_SECONDS = 15
LAST_LINES = 15


@dataclass(frozen=True)
class Ports:
    mlflow: int = MLFLOW_PORT
    prefect: int = PREFECT_PORT
    evidently: int = EVIDENTLY_PORT


@dataclass(frozen=True)
class Page:
    name: str
    port: int
    shows: str
    command: Sequence[str]  # of `python -m`

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name.lower()}.log"


class Failed(Exception):
    """A page cannot be shown; the message says which, and why."""


def mlflow(port: int, settings: Settings) -> Page:
    kept = ("--backend-store-uri", settings.tracking_url, "--artifacts-destination", str(settings.artifacts))
    command = ("mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", *kept)
    return Page("MLflow", port, "every training run, the registered versions, which of them is champion", command)


def prefect(port: int) -> Page:
    command = ("prefect", "server", "start", "--host", HOST, "--port", str(port))
    return Page("Prefect", port, "the flows: what runs, what ran, what is scheduled", command)


def evidently(port: int, workspace: Path) -> Page:
    command = ("evidently.cli", "ui", "--host", HOST, "--port", str(port), "--workspace", str(workspace))
    return Page("Evidently", port, "the reports on drift, data quality and the alerts, one a monitored period", command)


def make_folders(settings: Settings) -> None:
    """What the pages expect to be there: an empty workspace is one without reports."""
    database = Path(settings.tracking_url.removeprefix("sqlite:///")).parent  # sqlite makes its file, but no folder
    sqlite = [database] if settings.tracking_url.startswith("sqlite:///") else []
    for folder in (settings.evidently, LOGS, settings.artifacts, *sqlite):
        folder.mkdir(parents=True, exist_ok=True)


def variables() -> dict[str, str]:
    home = PREFECT_HOME.resolve()
    return {
        **environment.settled(os.environ),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no job is ever sent to it, and they take 1.6 GB
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),  # else it writes into its own package
        "PYTHONUNBUFFERED": "1",  # the last lines before a crash are the interesting ones
    }


def listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def answers(page: Page) -> bool:
    connection = HTTPConnection(HOST, page.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 400
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def pages_to_start(ports: Ports, settings: Settings) -> list[Page]:
    """All but Prefect where that runs already. Raises Failed for a port that something else has."""
    shared, own = (
        prefect(ports.prefect),
        [mlflow(ports.mlflow, settings), evidently(ports.evidently, settings.evidently)],
    )
    for page in own:
        if listens(page.port):
            raise Failed(f"port {page.port} is taken: {page.name} cannot start while something listens there")
    if listens(shared.port):
        print(f"ui: something listens on port {shared.port} already, as `make orchestrate` does: no second Prefect")
        print(f"{shared.name:10} {shared.address}  {shared.shows}", flush=True)
        return own
    return [*own, shared]


def start(page: Page) -> subprocess.Popen[bytes]:
    """The page's process, in a group of its own: what it starts in turn ends with it, and Ctrl-C comes by us."""
    with page.log.open("wb") as log:
        return subprocess.Popen(  # noqa: S603  our own words
            [sys.executable, "-m", *page.command],
            env=variables(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """The polite way for all at once, then the hard way for whatever is left of each group."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, until - time.monotonic()))
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def running(pages: Sequence[Page]) -> Iterator[dict[Page, subprocess.Popen[bytes]]]:
    """Every page's process; none is left afterwards."""
    processes: dict[Page, subprocess.Popen[bytes]] = {}
    try:
        for page in pages:
            processes[page] = start(page)
        yield processes
    finally:
        stop(list(processes.values()))


def watch(processes: dict[Page, subprocess.Popen[bytes]], told: list[int]) -> None:
    """Say which page is ready, until `told` holds a signal. Raises Failed if one ends or is not ready in time."""
    waiting, until = list(processes), time.monotonic() + READY_SECONDS
    while not told:
        for page, process in processes.items():
            if process.poll() is not None:
                raise Failed(f"{page.name} ended with {process.returncode}; its last lines:\n{last_lines(page)}")
        for page in filter(answers, list(waiting)):
            print(f"{page.name:10} {page.address}  {page.shows}", flush=True)
            waiting.remove(page)
        if waiting and time.monotonic() > until:
            raise Failed(f"{waiting[0].name} is not ready after {READY_SECONDS} s:\n{last_lines(waiting[0])}")
        time.sleep(POLL_SECONDS)


def last_lines(page: Page) -> str:
    return "\n".join(page.log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def show(ports: Ports) -> None:
    """Show the pages until SIGINT or SIGTERM. Exits with 1 if that cannot be done or does not last."""
    # Noted, not raised: a signal between two lines must leave no process behind.
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: told.append(received))
    try:
        settings = load_settings()
        make_folders(settings)
        pages = pages_to_start(ports, settings)
        print(f"ui: {', '.join(page.name for page in pages)} start, within a minute; Ctrl-C stops them", flush=True)
        with running(pages) as processes:
            watch(processes, told)
    except (BadSettings, Failed) as failed:
        sys.exit(f"ui: {failed}")
    print("ui: stopped")


if __name__ == "__main__":
    environment.settle()
    show(Ports())
