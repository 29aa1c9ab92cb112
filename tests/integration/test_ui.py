"""`make ui` with its real pages: they are there, on the loopback interface, and gone afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest

from bench.load import free_port
from ontime.settings import Settings
from pipelines.ui import Ports, answers, evidently, listens, mlflow, prefect
from tests import synthetic
from tests.service import ROOT

KINDS = {"a day: classification", "a day: data drift", "a day: data quality", "a day: prediction drift"}


@dataclass
class Shown:
    folder: Path
    ports: Ports
    process: subprocess.Popen[str]

    def ready(self) -> bool:
        settings = Settings()
        pages = (
            mlflow(self.ports.mlflow, settings),
            prefect(self.ports.prefect),
            evidently(self.ports.evidently, settings.evidently),
        )
        return all(map(answers, pages))

    def processes(self) -> list[psutil.Process]:
        """All that works in this folder: whatever was started, by whomever."""
        return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(self.folder)]

    def ended(self) -> tuple[int, str]:
        """Its exit status and all it said."""
        said, _ = self.process.communicate(timeout=120)
        return self.process.returncode, said


def started(folder: Path, ports: Ports, **changed: str) -> Shown:
    command = f"from pipelines import ui; ui.show(ui.Ports{astuple(ports)})"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONTIME_")}
    process = subprocess.Popen(
        [sys.executable, "-c", command],
        cwd=folder,
        env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", **changed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Shown(folder, ports, process)


def eventually(what: Callable[[], bool], shown: Shown) -> None:
    for _ in range(720):
        if what():
            return
        assert shown.process.poll() is None, shown.ended()
        time.sleep(0.25)
    raise AssertionError("it did not happen within three minutes")


def free_ports() -> Ports:
    return Ports(free_port(), free_port(), free_port())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """All three pages, ready."""
    pages = started(tmp_path_factory.mktemp("ui"), free_ports())
    try:
        eventually(pages.ready, pages)
        yield pages
    finally:
        pages.process.terminate()
        pages.process.wait(timeout=60)
    assert psutil.wait_procs(pages.processes(), timeout=10)[1] == []


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, int, str]:
    """MLflow cannot start, and somebody listens where Prefect would; with the exit status and what was said."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        ports = Ports(free_port(), somebody.getsockname()[1], free_port())
        pages = started(tmp_path_factory.mktemp("failed"), ports, ONTIME_TRACKING_URL="nonsense://nowhere")
        return pages, *pages.ended()


def test_the_pages_listen_on_one_loopback_address_only(shown: Shown) -> None:
    addresses = {
        listening.laddr
        for process in shown.processes()
        for listening in process.net_connections(kind="inet")
        if listening.status == psutil.CONN_LISTEN
    }

    assert addresses == {("127.0.0.1", port) for port in astuple(shown.ports)}


def test_all_that_is_written_is_below_var(shown: Shown) -> None:
    assert [path.name for path in shown.folder.iterdir()] == ["var"]


def test_a_report_appears_while_the_pages_are_shown(shown: Shown) -> None:
    from monitoring import drift  # seven seconds, which only this test needs

    before, now = (synthetic.flights(300, seed, ["temp_f"]) for seed in (1, 2))
    reports = drift.run(before, now, 0.25, "a day")

    reports.save(shown.folder / "var/evidently", "ontime", datetime(2013, 11, 8, tzinfo=UTC), "7")

    eventually(lambda: named_runs(shown) == KINDS, shown)


def named_runs(shown: Shown) -> set[str]:
    def ask(path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{shown.ports.evidently}/api/{path}", timeout=30) as answer:
            return json.load(answer)

    projects = [project["id"] for project in ask("projects") if project["name"] == "ontime"]
    return {run["name"] for project in projects for run in ask(f"projects/{project}/reports")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_it_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    pages = started(tmp_path, free_ports())
    eventually(lambda: len(pages.processes()) >= 4, pages)

    pages.process.send_signal(number)
    status, said = pages.ended()

    assert (status, said.splitlines()[-1]) == (0, "ui: stopped")
    assert psutil.wait_procs(pages.processes(), timeout=10)[1] == []


def test_a_page_that_dies_is_named_with_its_last_lines(failed: tuple[Shown, int, str]) -> None:
    _, status, said = failed

    assert status == 1
    assert "ui: MLflow ended with 1; its last lines:" in said
    assert "nonsense" in said.split("its last lines:")[1]


def test_the_other_pages_end_with_the_one_that_dies(failed: tuple[Shown, int, str]) -> None:
    shown, _, _ = failed

    assert psutil.wait_procs(shown.processes(), timeout=10)[1] == []


def test_a_prefect_that_runs_already_is_left_alone(failed: tuple[Shown, int, str]) -> None:
    shown, _, said = failed

    assert f"something listens on port {shown.ports.prefect} already" in said
    assert not (shown.folder / "var/prefect").exists()


@pytest.mark.parametrize("taken", ["mlflow", "evidently"])
def test_a_port_that_is_taken_is_refused_by_its_number(taken: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        ports = Ports(**{"mlflow": free_port(), "prefect": free_port(), "evidently": free_port(), taken: port})

        status, said = started(tmp_path, ports).ended()

    assert status == 1
    assert f"ui: port {port} is taken" in said


def test_a_free_port_has_nobody_listening() -> None:
    assert not listens(free_port())
