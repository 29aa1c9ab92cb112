"""`make ui` with its real pages: they show this project's data, on the loopback interface, until it is stopped."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest

from ontime.settings import Settings
from pipelines.operations import local_server
from pipelines.operations.local_server import free_port
from pipelines.tools.ui_pages import Ports, evidently_page, listens, mlflow_page, prefect_page, report_pages
from tests import ROOT, synthetic, without_settings
from tests.service import wait_for

pytestmark = pytest.mark.slow

KINDS = {"a day: classification", "a day: data drift", "a day: data quality", "a day: prediction drift"}


@dataclass
class Shown:
    folder: Path
    ports: Ports
    process: subprocess.Popen[str]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def ready(self) -> bool:
        settings = Settings()
        pages = (
            mlflow_page(self.ports.mlflow, settings),
            prefect_page(self.ports.prefect),
            evidently_page(self.ports.evidently, settings.evidently),
        )
        return all(local_server.responds(page.port) for page in pages)

    def processes(self) -> list[psutil.Process]:
        """All processes with this working directory, whichever process started them."""
        return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(self.folder)]

    def ended(self) -> tuple[int, str]:
        """Its exit status and its output."""
        self.process.wait(timeout=120)
        return self.process.returncode, self.output


def started(folder: Path, ports: Ports, **changed: str) -> Shown:
    # Never the ports of a real `make ui`.
    command = f"from pipelines.tools import ui, ui_pages; ui.show_pages(ui_pages.Ports{astuple(ports)})"
    inherited = without_settings()
    log = folder.parent / f"{folder.name}.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", command],
            cwd=folder,
            env={**inherited, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", **changed},
            stdout=written,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Shown(folder, ports, process, log)


def wait_for_pages(condition: Callable[[], bool], shown: Shown) -> None:
    def holds() -> bool:
        assert shown.process.poll() is None, shown.ended()
        return condition()

    wait_for(holds, seconds=360)  # twice as long as `make ui` itself waits


def free_ports() -> Ports:
    return Ports(*(free_port() for _ in fields(Ports)))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """All three pages, ready."""
    pages = started(tmp_path_factory.mktemp("ui"), free_ports())
    try:
        wait_for_pages(lambda: pages.ready() and len(linked(pages)) == 3, pages)
        yield pages
    finally:
        stop_and_check(pages, signal.SIGTERM)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, int, str]:
    """Pages of which MLflow cannot start, with the exit status and the output."""
    pages = started(tmp_path_factory.mktemp("failed"), free_ports(), ONTIME_TRACKING_URL="nonsense://nowhere")
    return pages, *pages.ended()


def test_the_pages_listen_on_one_loopback_address_only(shown: Shown) -> None:
    addresses = {
        listening.laddr
        for process in shown.processes()
        for listening in process.net_connections(kind="inet")
        if listening.status == psutil.CONN_LISTEN
    }

    ports = shown.ports
    assert addresses == {("127.0.0.1", port) for port in (ports.mlflow, ports.prefect, ports.evidently)}


def test_all_that_is_written_is_below_var(shown: Shown) -> None:
    assert [path.name for path in shown.folder.iterdir()] == ["var"]


def test_a_report_appears_while_the_pages_are_shown(shown: Shown) -> None:
    from monitoring import drift  # seven seconds, which only this test needs

    before, now = (synthetic.flights(300, seed, ["temp_f"]) for seed in (1, 2))
    reports = drift.build_reports(before, now, 0.25, "a day", ["temp_f"])

    reports.save(shown.folder / "var/evidently", "ontime", datetime(2013, 11, 8, tzinfo=UTC), "7")

    wait_for_pages(lambda: named_runs(shown) == KINDS, shown)


def named_runs(shown: Shown) -> set[str]:
    def ask(path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{shown.ports.evidently}/api/{path}", timeout=30) as answer:
            return json.load(answer)

    projects = [project["id"] for project in ask("projects") if project["name"] == "ontime"]
    return {run["name"] for project in projects for run in ask(f"projects/{project}/reports")}


def test_interrupted_while_the_pages_start_it_leaves_nothing_behind(tmp_path: Path) -> None:
    pages = started(tmp_path, free_ports())
    wait_for_pages(lambda: len(pages.processes()) >= 4, pages)

    stop_and_check(pages, signal.SIGINT)


def stop_and_check(pages: Shown, number: signal.Signals) -> None:
    """Send the signal. `make ui` must end without an error, and leave no process and no link."""
    pages.process.send_signal(number)
    status, output = pages.ended()

    assert (status, output.splitlines()[-1]) == (0, "ui: stopped")
    assert linked(pages) == {}
    assert psutil.wait_procs(pages.processes(), timeout=10)[1] == []


def test_a_page_that_dies_is_named_with_its_last_lines(failed: tuple[Shown, int, str]) -> None:
    _, status, output = failed

    assert status == 1
    assert "ui: MLflow ended with 1; its last lines:" in output
    assert "nonsense" in output.split("its last lines:")[1]


def test_the_other_pages_end_with_the_one_that_dies(failed: tuple[Shown, int, str]) -> None:
    shown, _, _ = failed

    assert psutil.wait_procs(shown.processes(), timeout=10)[1] == []


def test_pages_that_have_nothing_to_show_name_the_command_that_fills_them(shown: Shown) -> None:
    assert "MLflow: no runs yet; `make train` records them" in shown.output
    assert "Prefect: no flow runs yet; `make orchestrate` runs them on a schedule" in shown.output
    assert "Evidently: no reports yet; `make monitor` writes one" in shown.output


def test_the_service_is_told_what_is_shown(shown: Shown) -> None:
    ports = shown.ports

    assert linked(shown) == {
        "MLflow: runs": f"http://127.0.0.1:{ports.mlflow}/#/experiments?workflowType=machine_learning",
        "Prefect: flow runs": f"http://127.0.0.1:{ports.prefect}/v2/runs",
        "Evidently: reports": f"http://127.0.0.1:{ports.evidently}",
    }


def test_prefects_page_asks_its_own_server(shown: Shown) -> None:
    """By default the page calls the server of `make orchestrate`, which may not run."""
    with urlopen(f"http://127.0.0.1:{shown.ports.prefect}/ui-settings", timeout=30) as answer:
        assert json.load(answer)["api_url"] == f"http://127.0.0.1:{shown.ports.prefect}/api"


class Orchestrated(BaseHTTPRequestHandler):
    """The responses of the server of `make orchestrate` to `make ui`, after one flow run."""

    answers: ClassVar = {
        "/api/health": True,
        "/api/flow_runs/count": 1,
        "/ui-settings": {"default_ui": "v2", "v1_base_url": "/", "v2_base_url": "/v2"},
    }

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.answers[self.path]).encode())

    do_POST = do_GET  # noqa: N815  http.server's name


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """After `make train`, and a replay that was monitored, while `make orchestrate` runs."""
    from ontime import registry

    folder = tmp_path_factory.mktemp("filled")
    for var in (folder / "var", folder / "var/replay"):
        client = registry.tracking_client(f"sqlite:///{var}/mlflow.db", var / "mlflow-artifacts")
        client.create_run(client.get_experiment_by_name("ontime").experiment_id)  # type: ignore[union-attr]  # made
    client.create_registered_model("ontime")
    project = folder / "var/replay/evidently/6371f2c6-266a-5706-b745-a59aee426f23"
    (project / "snapshots").mkdir(parents=True)
    (project / "snapshots/report.json").touch()
    (project / "metadata.json").write_text(json.dumps({"id": project.name, "name": "ontime", "version": "2"}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Orchestrated)
    Thread(target=server.serve_forever, daemon=True).start()
    pages = started(folder, replace(free_ports(), orchestrate=server.server_port))
    try:
        wait_for_pages(lambda: len(linked(pages)) == 6, pages)
        yield pages
    finally:
        server.shutdown()
        stop_and_check(pages, signal.SIGINT)


def test_links_lead_to_where_the_data_are_also_the_replays(filled: Shown) -> None:
    ports, training = filled.ports, "workflowType=machine_learning"

    assert linked(filled) == {
        "Prefect: flow runs": f"http://127.0.0.1:{ports.orchestrate}/v2/runs",
        "MLflow: runs": f"http://127.0.0.1:{ports.mlflow}/#/experiments/1/runs?{training}",
        "MLflow of the replay: runs": f"http://127.0.0.1:{ports.replay_mlflow}/#/experiments/1/runs?{training}",
        "MLflow of the replay: registered model": f"http://127.0.0.1:{ports.replay_mlflow}/#/models/ontime?{training}",
        "Evidently: reports": f"http://127.0.0.1:{ports.evidently}",
        "Evidently of the replay: reports": (
            f"http://127.0.0.1:{ports.replay_evidently}/projects/6371f2c6-266a-5706-b745-a59aee426f23/reports"
        ),
    }


def test_the_server_of_make_orchestrate_is_shown_and_no_second_one_started(filled: Shown) -> None:
    assert not listens(filled.ports.prefect)
    assert not (filled.folder / "var/prefect").exists()


def linked(shown: Shown) -> dict[str, str]:
    """What the service would link to."""
    path = shown.folder / "var/ui/links.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


@pytest.mark.parametrize("taken", ["mlflow", "prefect", "evidently"])
def test_a_port_that_is_taken_is_refused_by_its_number(taken: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        ports = replace(free_ports(), **{taken: port})

        status, output = started(tmp_path, ports).ended()

    assert status == 1
    assert f"ui: port {port} is taken" in output


def test_a_free_port_has_nobody_listening() -> None:
    assert not listens(free_port())


def test_reports_are_linked_by_their_names(tmp_path: Path) -> None:
    for name in ("diagnosis.html", "replay.html", "metrics.json"):
        (tmp_path / name).touch()

    (page,) = report_pages(free_port(), tmp_path)

    assert page.find_links(page.address).links == {
        "diagnosis": f"{page.address}/diagnosis.html",
        "replay": f"{page.address}/replay.html",
    }
    assert report_pages(free_port(), tmp_path / "nothing") == []
