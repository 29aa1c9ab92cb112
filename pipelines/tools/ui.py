"""`make ui`: the pages of MLflow, Prefect and Evidently, on the loopback interface only, until interrupted.

Each is a process of its own that keeps its state under var/ and its log in var/ui/. What the last replay recorded is
shown by pages of its own. The page /ops of the service links to all of them while they are shown.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ontime import environment, files, locations
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.layout import REPORTS
from pipelines.operations import local_server
from pipelines.operations.local_server import HOST
from pipelines.operations.processes import last_lines
from pipelines.tools import deep_links
from pipelines.tools.deep_links import Shown

LOGS = Path("var/ui")
REPLAY = Path("var/replay")  # see pipelines/tools/replay.py, which takes seconds to import
PREFECT_HOME = Path("var/prefect")

POLL_SECONDS = 0.25
READY_SECONDS = 180
STOP_SECONDS = 15


@dataclass(frozen=True)
class Ports:
    mlflow: int = 5000
    prefect: int = 4201
    evidently: int = 8001
    orchestrate: int = 4200  # where `make orchestrate` has its server: never taken, so that the two start in any order
    replay_mlflow: int = 5001
    replay_evidently: int = 8002
    reports: int = 8003


@dataclass(frozen=True)
class Page:
    name: str
    port: int
    shows: str
    command: Sequence[str]  # of `python -m`
    look: Callable[[str], Shown]  # where in it our data are

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name.lower().replace(' ', '-')}.log"


class Failed(Exception):
    """A page cannot be shown; the message says which, and why."""


def mlflow(port: int, settings: Settings, name: str = "MLflow") -> Page:
    kept = ("--backend-store-uri", settings.tracking_url, "--artifacts-destination", str(settings.artifacts))
    command = ("mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", *kept)
    shows = "every training run, the registered versions, which of them is champion"
    return Page(name, port, shows, command, deep_links.mlflow)


def prefect(port: int) -> Page:
    """Only the page: another server may run on the same database, and schedules are that one's."""
    command = ("prefect", "server", "start", "--host", HOST, "--port", str(port), "--no-services")
    return Page("Prefect", port, "the flows: what runs, what ran, what is scheduled", command, deep_links.prefect)


def evidently(port: int, workspace: Path, name: str = "Evidently") -> Page:
    command = ("evidently.cli", "ui", "--host", HOST, "--port", str(port), "--workspace", str(workspace))
    shows = "the reports on drift, data quality and the alerts, one a monitored period"
    return Page(name, port, shows, command, partial(deep_links.evidently, workspace=workspace))


def reports(port: int, folder: Path) -> list[Page]:
    """The pages that our own commands write, if there are any."""
    command = ("http.server", str(port), "--bind", HOST, "--directory", str(folder))
    shows = "the replay, and why the answers got worse"
    look = partial(deep_links.reports, folder=folder)
    return [Page("Reports", port, shows, command, look)] if any(folder.glob("*.html")) else []


def of_the_replay(ports: Ports, folder: Path) -> list[Page]:
    """The stores that the last replay left, if there was one."""
    pages = []
    if (database := folder / "mlflow.db").exists():
        kept = Settings(tracking_url=f"sqlite:///{database}", artifacts=folder / "mlflow-artifacts")
        locations.relocate(kept.tracking_url, kept.artifacts)
        pages.append(mlflow(ports.replay_mlflow, kept, "MLflow of the replay"))
    if (workspace := folder / "evidently").exists():
        pages.append(evidently(ports.replay_evidently, workspace, "Evidently of the replay"))
    return pages


def make_folders(settings: Settings) -> None:
    """What the pages expect to be there: an empty workspace is one without reports."""
    database = Path(settings.tracking_url.removeprefix("sqlite:///")).parent  # sqlite makes its file, but no folder
    sqlite = [database] if settings.tracking_url.startswith("sqlite:///") else []
    for folder in (settings.evidently, LOGS, settings.artifacts, *sqlite):
        folder.mkdir(parents=True, exist_ok=True)


def variables(page: Page) -> dict[str, str]:
    home = PREFECT_HOME.resolve()
    return {
        **environment.project_variables(os.environ),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no job is ever sent to it, and they take 1.6 GB
        "PREFECT_HOME": str(home),
        "PREFECT_UI_API_URL": f"{page.address}/api",  # else its page asks the server of `make orchestrate`
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),  # else it writes into its own package
        "PYTHONUNBUFFERED": "1",  # the last lines before a crash are the interesting ones
    }


def listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def pages_to_start(ports: Ports, settings: Settings) -> tuple[list[Page], list[Page]]:
    """The pages that are to be started, and those that run already. Raises Failed for a port that is taken."""
    own = [
        mlflow(ports.mlflow, settings),
        evidently(ports.evidently, settings.evidently),
        *of_the_replay(ports, REPLAY),
        *reports(ports.reports, REPORTS),
    ]
    orchestrated = prefect(ports.orchestrate)
    running = [orchestrated] if runs_prefect(orchestrated) else []
    starting = own if running else [*own, prefect(ports.prefect)]
    for page in starting:
        if listens(page.port):
            raise Failed(f"port {page.port} is taken: {page.name} cannot start while something listens there")
    return starting, running


def runs_prefect(page: Page) -> bool:
    """Whether `make orchestrate` runs; a stranger on its port knows no such address."""
    connection = HTTPConnection(HOST, page.port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        answer = connection.getresponse()
        return answer.status == HTTPStatus.OK and answer.read().strip() == b"true"
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def introduce(page: Page) -> dict[str, str]:
    """Say where the page's data are, and what would fill it; the links that it gives."""
    shown = page.look(page.address)
    print(f"{page.name}: {page.shows}", flush=True)
    for what, address in shown.links.items():
        print(f"  {what}: {address}", flush=True)
    if shown.empty:
        print(f"  {page.name}: {shown.empty}", flush=True)
    return {f"{page.name}: {what}": address for what, address in shown.links.items()}


class Links:
    """The file that the service reads: what is shown at this moment. Nothing of it is left afterwards."""

    def __init__(self, path: Path) -> None:
        self._path, self._links = path, dict[str, str]()

    def add(self, page: Page) -> bool:
        """Whether the page could be asked where our data are: it may answer before its API does."""
        try:
            self._links |= introduce(page)
        except (OSError, ValueError, KeyError):
            return False
        files.write_text(self._path, json.dumps(self._links))
        return True

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


@contextmanager
def running(pages: Sequence[Page]) -> Iterator[dict[Page, subprocess.Popen[bytes]]]:
    """Every page's process; none is left afterwards."""
    processes: dict[Page, subprocess.Popen[bytes]] = {}
    try:
        for page in pages:
            page.log.unlink(missing_ok=True)  # of the run before
            command = [sys.executable, "-m", *page.command]
            processes[page] = local_server.start(command, page.log, variables(page))
        yield processes
    finally:
        local_server.stop(list(processes.values()), STOP_SECONDS)


def watch(
    processes: dict[Page, subprocess.Popen[bytes]], others: Sequence[Page], links: Links, told: list[int]
) -> None:
    """Say which page is ready, until `told` holds a signal. Raises Failed if one ends or is not ready in time."""
    waiting, until = [*others, *processes], time.monotonic() + READY_SECONDS
    while not told:
        for page, process in processes.items():
            if process.poll() is not None:
                raise Failed(f"{page.name} ended with {process.returncode}; its last lines:\n{end_of_log(page)}")
        for page in [each for each in waiting if local_server.responds(each.port)]:
            if links.add(page):
                waiting.remove(page)
        if waiting and time.monotonic() > until:
            raise Failed(f"{waiting[0].name} is not ready after {READY_SECONDS} s:\n{end_of_log(waiting[0])}")
        time.sleep(POLL_SECONDS)


def end_of_log(page: Page) -> str:
    if not page.log.exists():  # somebody else started it
        return f"{page.address} answers, but not as {page.name} does"
    return last_lines(page.log.read_text(errors="replace"))


def show(ports: Ports) -> None:
    """Show the pages until SIGINT or SIGTERM. Exits with 1 if that cannot be done or does not last."""
    # Noted, not raised: a signal between two lines must leave no process behind.
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: told.append(received))
    try:
        settings = load_settings()
        make_folders(settings)
        locations.relocate(settings.tracking_url, settings.artifacts)
        pages, others = pages_to_start(ports, settings)
        print(f"ui: {', '.join(page.name for page in pages)} start, within a minute; Ctrl-C stops them", flush=True)
        links = Links(settings.ui_links)
        try:
            with running(pages) as processes:
                watch(processes, others, links, told)
        finally:
            links.remove()
    except (BadSettings, Failed) as failed:
        sys.exit(f"ui: {failed}")
    print("ui: stopped")


if __name__ == "__main__":
    environment.enforce()
    show(Ports(orchestrate=int(os.environ.get("PREFECT_SERVER_API_PORT", Ports.orchestrate))))
