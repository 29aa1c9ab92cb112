"""`make orchestrate` in a copy of the project: a real server, real deployments, a worker that really runs them."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ontime import database, database_tables, sources
from ontime.datasets import Tables
from pipelines import layout
from pipelines.operations import local_server
from pipelines.operations.orchestrate import call_api
from tests import PARAMS_YAML, ROOT, without_settings

NEEDED = ("cli", "pipelines", "monitoring", "src", "prefect.yaml", "pyproject.toml")
NOW = datetime(2013, 2, 20, 17, tzinfo=UTC)  # on the feed's clock
DEPLOYMENTS = ("materialise/quarter-hourly", "monitor/daily", "retrain/on-request", "prune/nightly")
LAST_STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
ASKS = """
from datetime import date
from monitoring.policy import Action, Decision
from pipelines.operations.flows import request_retraining

request_retraining(date(2013, 2, 19), Decision(Action.RETRAIN, "a test"))
"""


class Orchestra:
    """The process of `ontime orchestrate`, in a folder with the code of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.log = folder, local_server.free_port(), folder / "orchestrate.log"
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.process = local_server.start(self.command, self.log, self.environment, folder)

    command = (sys.executable, "-m", "cli", "orchestrate")

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in without_settings().items() if not name.startswith("PREFECT_")}
        return {
            **inherited,
            "PYTHONPATH": str(self.folder / "src"),
            "PREFECT_SERVER_API_PORT": str(self.port),
            "ONTIME_WEEKS_BEHIND": str((datetime.now(UTC) - NOW) // timedelta(weeks=1)),
        }

    def wait_until_ready(self) -> "Orchestra":
        local_server.wait_until_ready(self.process, "make orchestrate", self._is_ready, 120, self.log.read_text)
        return self

    def _is_ready(self) -> bool:
        return self.log.read_text().count("runs next at") == len(DEPLOYMENTS)

    def stop(self) -> int:
        """Stop it with SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=90)

    def deployment(self, name: str) -> dict[str, Any]:
        return dict(call_api(self.api, f"/deployments/name/{name}"))

    def begin(self, name: str, **parameters: str) -> str:
        """Start a run now, and return its id."""
        request = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(call_api(self.api, f"/deployments/{self.deployment(name)['id']}/create_flow_run", request)["id"])

    def state(self, run: str) -> str:
        return str(call_api(self.api, f"/flow_runs/{run}")["state"]["type"])

    def wait_for(self, run: str, *states: str) -> str:
        """The state of the run, once it is one of these; otherwise fails after two minutes, with the worker's log."""
        for _ in range(600):
            if (state := self.state(run)) in states:
                return state
            time.sleep(0.2)
        raise AssertionError(
            f"{self.state(run)} after two minutes: {(self.folder / 'var/prefect/worker.log').read_text()}"
        )

    def logged(self, run: str) -> str:
        """The run's log, once it is complete: Prefect sends logs after the state."""
        request = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        for _ in range(150):
            messages = "\n".join(each["message"] for each in call_api(self.api, "/logs/filter", request))
            if "Finished in state" in messages:
                return messages
            time.sleep(0.2)
        raise AssertionError("the run's log did not come in half a minute")


def processes_of(folder: Path) -> list[str]:
    """The commands of all processes with this folder in their environment."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                commands.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or is not ours
            continue
    return [command for command in commands if command]


@pytest.fixture(scope="module")
def orchestra(raw: Tables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    folder = tmp_path_factory.mktemp("orchestra")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    shutil.copy(PARAMS_YAML, folder)
    flights, weather = raw["flights"], raw["weather"]
    february = {
        **raw,
        "flights": flights[sources.months_of(flights["scheduled_departure"]) == "2013-02"],
        "weather": weather[sources.months_of(weather["hour"]) == "2013-02"],
    }
    layout.write_tables(february, folder / layout.INGESTED)
    started = Orchestra(folder)
    try:
        yield started.wait_until_ready()
    finally:
        if started.process.poll() is None:
            started.stop()


def test_each_deployment_has_its_schedule_its_limit_and_a_time_when_it_runs_next(orchestra: Orchestra) -> None:
    deployments = {name: orchestra.deployment(name) for name in DEPLOYMENTS}

    schedules = {name: each["schedules"][0]["schedule"] for name, each in deployments.items()}
    assert schedules["materialise/quarter-hourly"]["interval"] == 900
    assert schedules["monitor/daily"]["cron"] == "0 5 * * *"
    assert schedules["retrain/on-request"]["cron"] == "0 6 * * 1"
    assert schedules["prune/nightly"]["cron"] == "30 3 * * *"
    assert {each["timezone"] for each in schedules.values()} == {"America/New_York"}
    assert [each["global_concurrency_limit"]["limit"] for each in deployments.values()] == [1, 1, 1, 1]
    strategies = [each["concurrency_options"]["collision_strategy"] for each in deployments.values()]
    assert strategies == ["CANCEL_NEW", "ENQUEUE", "ENQUEUE", "CANCEL_NEW"]
    assert all(f"{name} runs next at 20" in orchestra.log.read_text() for name in deployments)


def test_the_event_of_the_policy_is_what_retrain_waits_for(orchestra: Orchestra) -> None:
    (automation,) = call_api(orchestra.api, "/automations/filter", {})

    assert automation["enabled"]
    assert automation["trigger"]["expect"] == ["ontime.retrain.requested"]
    assert automation["trigger"]["match"] == {"prefect.resource.id": "ontime.model"}
    assert [each["type"] for each in automation["actions"]] == ["run-deployment"]
    assert automation["actions"][0]["deployment_id"] == orchestra.deployment("retrain/on-request")["id"]


def test_the_worker_materialises(orchestra: Orchestra) -> None:
    state = "CANCELLED"
    while state == "CANCELLED":  # by the scheduled one, where the quarter of an hour was just full
        run = orchestra.begin("materialise/quarter-hourly", now=NOW.isoformat())
        state = orchestra.wait_for(run, *LAST_STATES)

    log = orchestra.logged(run)
    engine = database.connect(f"sqlite:///{orchestra.folder}/var/ontime.db")
    with engine.connect() as connection:
        stored = connection.execute(sa.select(sa.func.count()).select_from(database_tables.features)).scalar_one()
    assert state == "COMPLETED", log
    assert "2013-02-20 17:00 UTC on the feed's clock: " in log
    assert stored > 500


def test_an_event_starts_a_retraining_which_finds_that_nobody_asked(orchestra: Orchestra) -> None:
    environment = orchestra.environment | {"PREFECT_API_URL": orchestra.api}
    subprocess.run([sys.executable, "-c", ASKS], cwd=orchestra.folder, env=environment, check=True)

    begun = {
        "deployments": {"id": {"any_": [orchestra.deployment("retrain/on-request")["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", *LAST_STATES]}}},
    }
    for _ in range(600):
        if runs := call_api(orchestra.api, "/flow_runs/filter", begun):
            break
        time.sleep(0.2)

    (run,) = runs
    assert run["created_by"]["type"] == "AUTOMATION"
    assert orchestra.wait_for(run["id"], *LAST_STATES) == "COMPLETED"
    assert "no retraining is requested or unfinished" in orchestra.logged(run["id"])


def test_a_second_one_is_refused_in_one_line(orchestra: Orchestra) -> None:
    second = subprocess.run(
        Orchestra.command, cwd=orchestra.folder, env=orchestra.environment, capture_output=True, text=True
    )

    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"orchestrate: port {orchestra.port} is in use")


def test_stopped_amid_a_run_it_leaves_no_process_and_a_free_port(orchestra: Orchestra) -> None:
    """The last of this file, because nothing runs after it."""
    run = orchestra.begin("materialise/quarter-hourly", now=NOW.isoformat())
    orchestra.wait_for(run, "RUNNING", *LAST_STATES)
    assert len(processes_of(orchestra.folder)) >= 3

    code = orchestra.stop()

    assert code == 0, orchestra.log.read_text()
    assert processes_of(orchestra.folder) == []
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", orchestra.port))
