"""`make ui`: the pages of MLflow, Prefect and Evidently, on the loopback interface only, until interrupted.

Each page is served by a process that keeps its state under var/ and its log in var/ui/. The stores of the last replay
have pages of their own. The page /ops of the service links to all of them while they run.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ontime import files, locations
from ontime.settings import BadSettings, load_settings
from pipelines.operations import local_server
from pipelines.operations.processes import last_lines
from pipelines.tools.ui_pages import Page, PageFailed, Ports, make_folders, pages_to_start, variables

POLL_SECONDS = 0.25
READY_SECONDS = 180
STOP_SECONDS = 15


def print_links(page: Page) -> dict[str, str]:
    """Print and return the links into a page; for an empty page, also print the command that fills it."""
    links, empty = page.find_links(page.address)
    print(f"{page.name}: {page.shows}", flush=True)
    for name, address in links.items():
        print(f"  {name}: {address}", flush=True)
    if empty:
        print(f"  {page.name}: {empty}", flush=True)
    return {f"{page.name}: {name}": address for name, address in links.items()}


class Links:
    """The file of links to the pages that run now, which the service reads; removed when `make ui` ends."""

    def __init__(self, path: Path) -> None:
        self._path, self._links = path, dict[str, str]()

    def add(self, page: Page) -> bool:
        """Add the links into a page. Returns False if they cannot be read yet: a server is ready before its API is."""
        try:
            self._links |= print_links(page)
        except (OSError, ValueError, KeyError):
            return False
        files.write_text(self._path, json.dumps(self._links))
        return True

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


@contextmanager
def page_processes(pages: Sequence[Page]) -> Iterator[dict[Page, subprocess.Popen[bytes]]]:
    """The process of each page; all are stopped when the block ends."""
    processes: dict[Page, subprocess.Popen[bytes]] = {}
    try:
        for page in pages:
            page.log.unlink(missing_ok=True)  # of the previous run
            command = [sys.executable, "-m", *page.command]
            processes[page] = local_server.start(command, page.log, variables(page))
        yield processes
    finally:
        local_server.stop(list(processes.values()), STOP_SECONDS)


def watch_pages(
    processes: dict[Page, subprocess.Popen[bytes]], others: Sequence[Page], links: Links, signals: list[int]
) -> None:
    """Print each page that gets ready, until `signals` is not empty. Raises PageFailed if a page ends, or is late."""
    waiting, deadline = [*others, *processes], time.monotonic() + READY_SECONDS
    while not signals:
        for page, process in processes.items():
            if process.poll() is not None:
                raise PageFailed(f"{page.name} ended with {process.returncode}; its last lines:\n{end_of_log(page)}")
        for page in [each for each in waiting if local_server.responds(each.port)]:
            if links.add(page):
                waiting.remove(page)
        if waiting and time.monotonic() > deadline:
            raise PageFailed(f"{waiting[0].name} is not ready after {READY_SECONDS} s:\n{end_of_log(waiting[0])}")
        time.sleep(POLL_SECONDS)


def end_of_log(page: Page) -> str:
    if not page.log.exists():  # another command started the server
        return f"the server at {page.address} does not respond as {page.name} does"
    return last_lines(page.log.read_text(errors="replace"))


def show_pages(ports: Ports) -> None:
    """Show the pages until SIGINT or SIGTERM. Exits with 1 if a page fails."""
    # A handler that raises could interrupt between starting a process and registering it for the end.
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.append(received))
    try:
        settings = load_settings()
        make_folders(settings)
        locations.relocate(settings.tracking_url, settings.artifacts)
        pages, others = pages_to_start(ports, settings)
        print(f"ui: starting {', '.join(page.name for page in pages)}, within a minute; Ctrl-C stops them", flush=True)
        links = Links(settings.ui_links)
        try:
            with page_processes(pages) as processes:
                watch_pages(processes, others, links, signals)
        finally:
            links.remove()
    except (BadSettings, PageFailed) as error:
        sys.exit(f"ui: {error}")
    print("ui: stopped")


def main() -> None:
    show_pages(Ports(orchestrate=int(os.environ.get("PREFECT_SERVER_API_PORT", Ports.orchestrate))))
