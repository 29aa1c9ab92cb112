"""The flows on a real, temporary Prefect server: a second run, or a run after a kill, leaves the same state."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import sqlalchemy as sa
import yaml

from monitoring.policy import Action
from ontime import database, database_tables, online_store, release, release_pointer, schema, sources
from ontime.datasets import Tables
from ontime.local_time import midnight
from pipelines import layout
from pipelines.operations import materialise
from tests import PARAMS_YAML, ROOT, without_settings
from tests.small_world import Small

pytestmark = pytest.mark.slow

if TYPE_CHECKING:  # prefect takes two seconds to import, and reads PREFECT_HOME then
    from prefect import Flow

NOW = "2013-02-20T17:00:00+00:00"
DAY = date(2013, 2, 19)  # not a Sunday, when drift is measured, which takes seconds

# For each line of its input, a fork runs a flow, and kills itself at a call of a function, after so many calls. The
# answer is the fork's exit status. A fork, because the imports take seconds.
KILL_SCRIPT = """
import importlib, json, os, signal, sys
from pipelines.operations import flows, materialise

def run_and_die(folder, place, left, *arguments):
    os.chdir(folder)
    log = os.open("killed.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    module, name = place.rsplit(".", 1)
    real = getattr(importlib.import_module(module), name)

    def dies(*words, **named):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*words, **named)

    setattr(importlib.import_module(module), name, dies)
    materialise.BATCH_ROWS = 200
    sys.argv = ["flows", *arguments]
    flows.main()

for line in sys.stdin:
    process = os.fork()
    if process == 0:
        run_and_die(*json.loads(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for Prefect, which reads the variable when it is imported."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        yield


@pytest.fixture(scope="module")
def server(home: None) -> Iterator[str]:  # noqa: ARG001  it has to be there first
    """The address of the API of a temporary server."""
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield str(get_current_settings().api.url)


@pytest.fixture(scope="module")
def killer(server: str) -> Iterator["subprocess.Popen[str]"]:
    """The process of KILL_SCRIPT, whose flows report to the server."""
    # -P: the folder of the retraining has a package `pipelines` of its own.
    with subprocess.Popen(
        [sys.executable, "-P", "-c", KILL_SCRIPT],
        env={**os.environ, "PREFECT_API_URL": server, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def feed(raw: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The feed of February 2013, as `ingest` writes it."""
    folder = tmp_path_factory.mktemp("feed")
    flights, weather = raw["flights"], raw["weather"]
    february = {
        **raw,
        "flights": flights[sources.months_of(flights["scheduled_departure"]) == "2013-02"],
        "weather": weather[sources.months_of(weather["hour"]) == "2013-02"],
    }
    layout.write_tables(february, folder / "ingested")
    return folder


def once(flow: "Flow[..., str]") -> "Flow[..., str]":
    """The flow without retries, so that a failing test fails at once."""
    return flow.with_options(retries=0)


class World(NamedTuple):
    """A folder with default settings, so that everything that a flow reads and changes is in it."""

    folder: Path

    @property
    def engine(self) -> sa.Engine:
        return database.connect(f"sqlite:///{self.folder}/var/ontime.db")

    @property
    def releases(self) -> Path:
        return self.folder / "releases"

    def change(self, section: str, **params: object) -> None:
        """Change parameters of the folder's params.yaml."""
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        content[section] |= params
        path.write_text(yaml.safe_dump(content))

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        with self.engine.connect() as connection:
            return {
                name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))]
                for name, table in database_tables.metadata.tables.items()
            }

    def decided(self, kind: str) -> list[str]:
        return [row.verdict for row in database.decisions_of(self.engine, kind)]

    def run(self, flow: str, when: str | date) -> str:
        """Run a flow in this process."""
        from pipelines.operations import flows

        with pytest.MonkeyPatch.context() as changed:
            changed.chdir(self.folder)
            return once(flows.FLOWS[flow])(when)

    def run_and_die(
        self, killer: "subprocess.Popen[str]", function: str, left: int, flow: str, when: str | date
    ) -> None:
        """Run a flow in a process that is killed at a call of `function`, after `left` calls."""
        assert killer.stdin is not None
        assert killer.stdout is not None
        print(json.dumps([str(self.folder), function, left, flow, str(when)]), file=killer.stdin, flush=True)
        status = int(killer.stdout.readline())
        assert status == -signal.SIGKILL, (self.folder / "killed.log").read_text()


@pytest.fixture
def worlds(
    feed: Path,
    small: Small,
    other: Small,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[World, World]:
    """Two equal worlds: release 1 is live, release 2 is published, and the feed has February."""
    for name in set(os.environ) - set(without_settings()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    # Shared, because MLflow takes seconds to create its tables.
    monkeypatch.setenv("ONTIME_TRACKING_URL", f"sqlite:///{tmp_path_factory.getbasetemp()}/mlflow.db")
    made = []
    for name in ("one", "other"):
        folder = tmp_path / name
        release.publish(folder / "releases", small.contents, small.manifest("1"))
        release.publish(folder / "releases", other.contents, other.manifest("2"))
        release_pointer.set_live(folder / "releases", "1")
        shutil.copy(PARAMS_YAML, folder)
        (folder / "data").symlink_to(feed)
        made.append(World(folder))
    return made[0], made[1]


@pytest.fixture
def world(worlds: tuple[World, World]) -> World:
    return worlds[0]


def wait_for_event(server: str, name: str) -> dict[str, Any]:
    """The first event of that name on the server. Raises AssertionError after 30 seconds."""
    from pipelines.operations.orchestrate import call_api

    for _ in range(60):
        if events := call_api(server, "/events/filter", {"filter": {"event": {"name": [name]}}})["events"]:
            return dict(events[0])
        time.sleep(0.5)
    raise AssertionError(f"no event {name} within 30 seconds")


def test_each_flow_has_retries_a_timeout_and_a_description() -> None:
    from pipelines.operations import flows

    for flow in (flows.materialise, flows.monitor, flows.retrain):
        assert flow.retries
        assert flow.retry_delay_seconds
        assert flow.timeout_seconds
        assert len((flow.description or "").splitlines()) == 1


def test_an_unknown_flow_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.operations import flows

    monkeypatch.setattr(sys, "argv", ["flows", "fly"])

    with pytest.raises(SystemExit) as refused:
        flows.main()

    assert refused.value.code == 2
    assert "invalid choice: 'fly' (choose from" in capsys.readouterr().err


@pytest.mark.usefixtures("server")
def test_materialise_run_twice_leaves_the_same_rows(world: World) -> None:
    output = world.run("materialise", NOW)
    first = world.rows()

    world.run("materialise", NOW)

    assert output.startswith("2013-02-20 17:00 UTC on the feed's clock: ")
    assert len(first["features"]) > 500
    assert len(first["outcomes"]) > 500
    assert world.rows() == first


@pytest.mark.parametrize(
    ("function", "left"),
    [
        ("ontime.online_store.store_features", 0),
        ("ontime.online_store.store_features", 2),
        ("ontime.database.store_outcomes", 0),
    ],
)
def test_materialise_killed_in_the_middle_and_run_again_leaves_what_an_uninterrupted_run_leaves(
    function: str, left: int, killer: "subprocess.Popen[str]", worlds: tuple[World, World]
) -> None:
    killed, uninterrupted = worlds
    uninterrupted.run("materialise", NOW)

    killed.run_and_die(killer, function, left, "materialise", NOW)
    half = killed.rows()
    killed.run("materialise", NOW)

    assert half != killed.rows()
    assert killed.rows() == uninterrupted.rows()


@pytest.mark.usefixtures("server")
def test_materialise_without_a_moment_uses_the_feeds_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.operations import flows

    behind = datetime.now(UTC) - datetime.fromisoformat(NOW)
    monkeypatch.setenv("ONTIME_WEEKS_BEHIND", str(behind // timedelta(weeks=1)))
    monkeypatch.chdir(world.folder)

    output = once(flows.materialise)()

    assert output.startswith("2013-02-2")
    assert world.rows()["features"]


def prediction_id(position: int) -> str:
    """The id of a prediction."""
    return f"{position:032x}"


def log_predictions(world: World, entity_ids: list[str]) -> None:
    """Log a prediction of release 1 for each flight."""
    # Ones: weather of an hour ago, a departure in the last three hours. Zeros would look like a feed that has stopped.
    vector = np.ones(len(schema.FEATURE_NAMES), "<f4").tobytes()
    common = {"model_version": "1", "probability": 0.4, "alert": True, "features": "online", "vector": vector}
    rows = [
        {
            "prediction_id": prediction_id(position),
            "entity_id": entity_id,
            "answered_at": midnight(DAY),
            "latency_ms": 1.0,
            **common,
        }
        for position, entity_id in enumerate(entity_ids)
    ]
    database.restore_predictions(world.engine, rows)


def request_retraining(world: World) -> None:
    """Make the policy request a retraining: the champion is older than refresh_days, and one label is enough."""
    world.change("policy", min_labels=1)
    leaves = datetime(2013, 2, 19, 12, tzinfo=UTC)
    flight = {
        "event_at": leaves,
        "entity_id": "UA1-EWR-20130219T1200Z",
        "carrier": "UA",
        "flight_number": 1,
        "origin": "EWR",
        "dest": "ORD",
    }
    timetable = {"scheduled_departure": leaves, "scheduled_arrival": leaves, "distance_miles": 719}
    online_store.store_entities(world.engine, [flight | timetable])
    outcome = {"entity_id": flight["entity_id"], "label": False, "known_at": leaves}
    database.store_outcomes(world.engine, [outcome])
    log_predictions(world, [str(flight["entity_id"])])
    database.record_decision(world.engine, "promotion", "promote", {"version": "1"}, midnight(date(2013, 1, 7)))


def test_a_monitor_that_decides_to_retrain_emits_an_event(server: str, world: World) -> None:
    request_retraining(world)

    output = world.run("monitor", DAY)

    event = wait_for_event(server, "ontime.retrain.requested")
    assert output.startswith(f"{DAY}: retrain: ")
    assert event["resource"]["prefect.resource.id"] == "ontime.model"
    assert event["payload"]["day"] == str(DAY)
    assert event["payload"]["reason"]


def simulate_better_shadow(world: World, tables: Tables) -> None:
    """Release 2 has scored two days of flights in shadow mode, better than release 1."""
    leaves = tables["flights"]["scheduled_departure"]
    period = (leaves >= midnight(DAY - timedelta(days=1))) & (leaves < midnight(DAY) + timedelta(hours=18))
    rows = tables["flights"][period].set_index("entity_id", drop=False)
    stored = rows[["entity_id", *materialise.REQUEST_FIELDS]].assign(event_at=rows["scheduled_departure"])
    online_store.store_entities(world.engine, materialise._records(stored))
    outcomes = materialise.outcomes_of(rows, at_least=15)
    database.store_outcomes(world.engine, outcomes)
    log_predictions(world, [str(outcome["entity_id"]) for outcome in outcomes])
    shadows = [
        {
            "prediction_id": prediction_id(position),
            "model_version": "2",
            "probability": 0.9 if outcome["label"] else 0.1,
        }
        for position, outcome in enumerate(outcomes)
    ]
    database.log_shadows(world.engine, shadows)
    release_pointer.set_challenger(world.releases, "2")
    began = midnight(DAY - timedelta(days=1))
    database.record_decision(world.engine, "gate", "promote", {"version": "2", "against": "release 1"}, began)
    database.record_decision(world.engine, "challenge", "begun", {"version": "2"}, began)
    world.change("policy", shadow_days=2, shadow_labels=500)


@pytest.mark.usefixtures("server")
def test_monitor_run_twice_decides_once(world: World, tables: Tables) -> None:
    simulate_better_shadow(world, tables)
    output = world.run("monitor", DAY)
    first, pointer = world.rows(), release_pointer.read_pointer(world.releases)

    again = world.run("monitor", DAY)

    assert pointer is not None
    assert (pointer.version, world.decided("policy"), world.decided("promotion")) == (
        "2",
        ["promote"],
        ["by the policy"],
    )
    assert again == output
    assert world.rows() == first
    assert release_pointer.read_pointer(world.releases) == pointer


@pytest.mark.parametrize(
    ("function", "left", "moved"),
    [
        ("ontime.database.record_decision", 1, False),  # the day's figures are written, the decision is not
        ("pipelines.operations.transitions._finish", 0, True),  # the pointer has moved, the row is not written
    ],
)
def test_monitor_killed_in_the_middle_and_run_again_leaves_what_an_uninterrupted_run_leaves(
    function: str, left: int, moved: bool, killer: "subprocess.Popen[str]", worlds: tuple[World, World], tables: Tables
) -> None:
    killed, uninterrupted = worlds
    for each in worlds:
        simulate_better_shadow(each, tables)
    uninterrupted.run("monitor", DAY)

    killed.run_and_die(killer, function, left, "monitor", DAY)
    pointer = release_pointer.read_pointer(killed.releases)
    half = killed.rows()
    killed.run("monitor", DAY)

    assert pointer is not None
    assert (pointer.version == "2") == moved
    assert half != killed.rows()
    assert killed.rows() == uninterrupted.rows()
    assert release_pointer.read_pointer(killed.releases) == release_pointer.read_pointer(uninterrupted.releases)


@pytest.mark.usefixtures("server")
def test_a_retraining_that_was_not_requested_does_not_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.operations import flows

    monkeypatch.chdir(world.folder)

    assert once(flows.retrain)().startswith("no retraining is requested or unfinished")
    assert world.rows()["decisions"] == []


TINY = {
    "dvc.yaml": "stages:\n  evaluate:\n    cmd: echo trained >> ../../trained.txt; echo done > out\n"
    "    params: [split.test_until, known_until]\n    outs: [out]\n",
    "pipelines/__init__.py": "",
    "pipelines/operations/__init__.py": "",
    "pipelines/operations/promote.py": "import sys\nsys.stdin.readline() or sys.exit(1)\n"
    "open('../../promoted.txt', 'a').write(sys.argv[2] + '\\n')\n"
    "print('promote: kept release 1')\n",
    ".gitignore": "/var/\n/data\n/releases/\n/*.txt\n/out\n",
}


def create_tiny_repository(world: World) -> None:
    """Make the folder a git repository whose only stage and promotion are one line each. git and dvc are real."""
    request_retraining(world)
    for name, content in TINY.items():
        (world.folder / name).parent.mkdir(exist_ok=True)
        (world.folder / name).write_text(content)
    shutil.copytree(ROOT / ".dvc", world.folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (["init", "--quiet"], ["add", "--all"], [*author, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *words], cwd=world.folder, check=True)
    world.run("monitor", DAY)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.usefixtures("server")
def test_a_requested_retraining_runs_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.operations import flows

    create_tiny_repository(world)
    monkeypatch.chdir(world.folder)

    outputs = [once(flows.retrain)(), once(flows.retrain)()]

    assert outputs[0] == f"{DAY}: promote: kept release 1"
    assert outputs[1].startswith("no retraining is requested or unfinished")
    assert (world.decided("policy"), world.decided("retrained")) == ([Action.RETRAIN], ["done"])
    assert lines(world.folder / "promoted.txt") == ["2013-02-20T05:00:00+00:00"]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("refuses", ["the stage", "the gate"])
def test_a_refused_retraining_is_recorded_and_not_retried(
    world: World, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    from pipelines.operations import flows

    refusal = "import sys; print('train: refused: x uses later information', file=sys.stderr); sys.exit(3)"
    if refuses == "the stage":
        monkeypatch.setitem(TINY, "refuse.py", refusal)
        monkeypatch.setitem(TINY, "dvc.yaml", TINY["dvc.yaml"].replace("echo done > out", "python3 refuse.py"))
    else:
        monkeypatch.setitem(TINY, "pipelines/operations/promote.py", f"import sys; sys.stdin.readline(); {refusal}")
    create_tiny_repository(world)
    monkeypatch.chdir(world.folder)

    outputs = [once(flows.retrain)(), once(flows.retrain)()]

    assert outputs[0] == f"{DAY}: refused: train: x uses later information"
    assert outputs[1].startswith("no retraining is requested or unfinished")
    assert world.decided("retrained") == ["refused"]


def test_a_retraining_killed_before_its_promotion_is_not_trained_again(
    killer: "subprocess.Popen[str]", worlds: tuple[World, World]
) -> None:
    killed, uninterrupted = worlds
    for each in worlds:
        create_tiny_repository(each)
    uninterrupted.run("retrain", DAY)

    killed.run_and_die(killer, "pipelines.operations.retrain._promotion_output", 0, "retrain", DAY)
    half = killed.rows()
    killed.run("retrain", DAY)

    assert half != killed.rows()
    assert killed.rows() == uninterrupted.rows()
    for name in ("trained.txt", "promoted.txt"):
        assert len(lines(killed.folder / name)) == 1
