"""The pages of `make ui`: what each shows, the command of its server, and how to find our data in it."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ontime import environment, files, locations
from ontime.settings import Settings
from pipelines.layout import REPORTS
from pipelines.operations.local_server import HOST
from pipelines.tools import deep_links
from pipelines.tools.deep_links import PageLinks

LOGS = Path("var/ui")
REPLAY = Path("var/replay")  # as in pipelines/tools/replay.py, which takes seconds to import
PREFECT_HOME = Path("var/prefect")


@dataclass(frozen=True)
class Ports:
    mlflow: int = 5000
    prefect: int = 4201
    evidently: int = 8001
    orchestrate: int = 4200  # the server of `make orchestrate`; left free, so that the two start in any order
    replay_mlflow: int = 5001
    replay_evidently: int = 8002
    reports: int = 8003


@dataclass(frozen=True)
class Page:
    name: str
    port: int
    shows: str
    command: Sequence[str]  # after `python -m`
    find_links: Callable[[str], PageLinks]  # from the page's address

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name.lower().replace(' ', '-')}.log"


class PageFailed(Exception):
    """A page cannot be shown; the message says which, and why."""


def mlflow_page(port: int, settings: Settings, name: str = "MLflow") -> Page:
    stores = ("--backend-store-uri", settings.tracking_url, "--artifacts-destination", str(settings.artifacts))
    command = ("mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", *stores)
    shows = "training runs, registered versions, and which of them is champion"
    return Page(name, port, shows, command, deep_links.mlflow_links)


def prefect_page(port: int) -> Page:
    """The page without scheduling: the server of `make orchestrate` schedules, with the same database."""
    command = ("prefect", "server", "start", "--host", HOST, "--port", str(port), "--no-services")
    return Page("Prefect", port, "flows: running, finished and scheduled runs", command, deep_links.prefect_links)


def evidently_page(port: int, workspace: Path, name: str = "Evidently") -> Page:
    command = ("evidently.cli", "ui", "--host", HOST, "--port", str(port), "--workspace", str(workspace))
    shows = "reports on drift, data quality and alerts, one for each monitored period"
    return Page(name, port, shows, command, partial(deep_links.evidently_links, workspace=workspace))


def report_pages(port: int, folder: Path) -> list[Page]:
    """The page with the HTML reports of our own commands, if there are any."""
    command = ("http.server", str(port), "--bind", HOST, "--directory", str(folder))
    shows = "the replay, and the diagnosis"
    find_links = partial(deep_links.report_links, folder=folder)
    return [Page("Reports", port, shows, command, find_links)] if any(folder.glob("*.html")) else []


def replay_pages(ports: Ports, folder: Path) -> list[Page]:
    """Pages with the stores of the last replay, if there was one."""
    pages = []
    if (database := folder / "mlflow.db").exists():
        stores = Settings(tracking_url=f"sqlite:///{database}", artifacts=folder / "mlflow-artifacts")
        locations.relocate(stores.tracking_url, stores.artifacts)
        pages.append(mlflow_page(ports.replay_mlflow, stores, "MLflow of the replay"))
    if (workspace := folder / "evidently").exists():
        pages.append(evidently_page(ports.replay_evidently, workspace, "Evidently of the replay"))
    return pages


def make_folders(settings: Settings) -> None:
    """Create the folders that the pages' servers need; an empty Evidently workspace is valid."""
    database = Path(settings.tracking_url.removeprefix("sqlite:///")).parent  # SQLite creates files, but no folders
    sqlite = [database] if settings.tracking_url.startswith("sqlite:///") else []
    for folder in (settings.evidently, LOGS, settings.artifacts, *sqlite):
        files.make_private_folder(folder)


def variables(page: Page) -> dict[str, str]:
    home = PREFECT_HOME.resolve()
    return {
        **environment.project_variables(os.environ),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # not used, and they take 1.6 GB of memory
        "PREFECT_HOME": str(home),
        "PREFECT_UI_API_URL": f"{page.address}/api",  # by default the page calls the server of `make orchestrate`
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),  # by default it writes into the installed package
        "PYTHONUNBUFFERED": "1",  # so that the log is complete after a crash
    }


def listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def pages_to_start(ports: Ports, settings: Settings) -> tuple[list[Page], list[Page]]:
    """The pages to start, and those that already run. Raises PageFailed if a port is taken."""
    own = [
        mlflow_page(ports.mlflow, settings),
        evidently_page(ports.evidently, settings.evidently),
        *replay_pages(ports, REPLAY),
        *report_pages(ports.reports, REPORTS),
    ]
    orchestrated = prefect_page(ports.orchestrate)
    running = [orchestrated] if runs_prefect(orchestrated) else []
    starting = own if running else [*own, prefect_page(ports.prefect)]
    for page in starting:
        if listens(page.port):
            raise PageFailed(f"port {page.port} is taken, so {page.name} cannot start; stop what listens on it")
    return starting, running


def runs_prefect(page: Page) -> bool:
    """Whether `make orchestrate` runs; any other server on its port has no such route."""
    connection = HTTPConnection(HOST, page.port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        response = connection.getresponse()
        return response.status == HTTPStatus.OK and response.read().strip() == b"true"
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
