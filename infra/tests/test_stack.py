"""The stack as started by `make stack`: the compose file, this project's images, stand-ins for third-party ones.

stand-ins/Dockerfile defines the stand-ins. Everything else is real: the networks, the secrets, PostgreSQL, S3, MLflow,
Prefect, two replicas behind a proxy, and a model trained in it.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from infra import credentials
from infra.tests.containers import docker
from infra.tests.tools import INFRA, ROOT
from ontime.settings import PREFIX, SECRETS, Settings
from pipelines.tools import backup
from tests.service import THANKSGIVING_EVE as FLIGHT

FILES = ("-f", str(INFRA / "compose.yaml"), "-f", str(INFRA / "tests" / "stand-ins" / "compose.yaml"))


class Stack:
    def __init__(self, folder: Path) -> None:
        self.secrets, self.backups, stand_ins = folder / "secrets", folder / "backups", folder / "stand-ins"
        for made in (self.backups, stand_ins):
            made.mkdir()
        credentials.create_missing(self.secrets)
        alerting = (INFRA / "alertmanager/alertmanager.yml").read_text()
        for receiver in ("pager_url", "tickets_url", "watchdog_url"):
            url = f'url: "{(self.secrets / receiver).read_text()}"'
            alerting = alerting.replace(f"url_file: /run/secrets/{receiver}", url)
        (stand_ins / "alertmanager.yml").write_text(alerting)
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "ontime-test",
            "STACK_SECRETS": str(self.secrets),
            "STACK_BACKUPS": str(self.backups),
            "STACK_STAND_INS": str(stand_ins),
        }

    def compose(self, *words: str, fails: bool = False) -> str:
        """The output of `docker compose ...` for the stack. Raises AssertionError with the output if it fails."""
        completed = subprocess.run(
            ["docker", "compose", *FILES, "--profile", "serve", "--profile", "stream", "--progress", "quiet", *words],
            env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert bool(completed.returncode) == fails, f"docker compose {' '.join(words)}: {completed.stdout}"
        return completed.stdout.strip()

    def make(self, target: str, *words: str) -> None:
        """The output of `make stack...`."""
        also = " ".join(FILES[2:])
        completed = subprocess.run(
            ["make", target, *words, f"STACK_ALSO={also}"],
            cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert completed.returncode == 0, completed.stdout

    def run(self, *words: str, fails: bool = False) -> str:
        """The output of a command in the container `tools`."""
        return self.compose("run", "--rm", "--no-deps", "--quiet-pull", "tools", *words, fails=fails)

    def python(self, code: str) -> str:
        return self.run("python", "-c", code)

    def address(self, service: str, port: int) -> str:
        return f"http://{self.compose('port', service, str(port))}"

    def ask(self, path: str, body: object = None) -> Any:
        key = (self.secrets / "desk_key").read_text()
        data = None if body is None else json.dumps(body).encode()
        return fetch(f"{self.address('proxy', 8080)}{path}", data, Authorization=f"Bearer {key}")

    def measured(self, expr: str) -> list[float]:
        """Prometheus' result for an expression."""
        url = f"{self.address('prometheus', 9090)}/api/v1/query?{urlencode({'query': expr})}"
        return [float(each["value"][1]) for each in fetch(url)["data"]["result"]]

    def logged(self) -> set[str]:
        """The ids of all predictions in the database."""
        output = self.compose(
            "exec", "-T", "postgres", "psql", "-At", "-U", "postgres", "ontime", "-c",
            "SELECT prediction_id FROM predictions",
        )  # fmt: skip
        return set(output.split())


def fetch(url: str, data: bytes | None = None, **headers: str) -> Any:
    """Raises URLError, or HTTPError for an error status."""
    with urlopen(Request(url, data, headers), timeout=30) as answer:  # noqa: S310  our own stack
        return json.load(answer)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The platform, a model trained in it, and the service with that model."""
    docker("build", "--quiet", "-f", str(INFRA / "tests/stand-ins/Dockerfile"), "-t", "ontime-stand-in", str(ROOT))
    made = Stack(tmp_path_factory.mktemp("stack"))
    made.compose("down", "--volumes")
    try:
        made.make("stack")
        yield made
    finally:
        made.compose("down", "--volumes")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """infra/compose.yaml as parsed by the engine, without stand-ins."""
    output = docker("compose", *FILES[:2], "--profile", "*", "config", "--format", "json")
    document: dict[str, Any] = json.loads(output)
    return document


ONE_SHOT = {"buckets", "migrate", "tools", "backup"}  # they run once and exit


def test_every_service_has_limits_restrictions_restarts_and_a_health_check(config: Mapping[str, Any]) -> None:
    for name, service in config["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name == "tools", name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["tmpfs"], name
        assert all("size=" in each for each in service["tmpfs"]), name
        if name not in ONE_SHOT:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name


def test_dependencies_wait_for_health_and_not_only_for_a_start(config: Mapping[str, Any]) -> None:
    waits = {
        (name, other): condition["condition"]
        for name, service in config["services"].items()
        for other, condition in service.get("depends_on", {}).items()
    }

    assert waits
    assert {
        pair for pair, condition in waits.items()
        if condition != ("service_completed_successfully" if pair[1] in ONE_SHOT else "service_healthy")
    } == set()  # fmt: skip


def test_databases_and_buckets_are_internal_and_ports_are_on_loopback(config: Mapping[str, Any]) -> None:
    networks = {name: set(service.get("networks") or ()) for name, service in config["services"].items()}

    assert {name for name, network in config["networks"].items() if network.get("internal")} == {
        "work",
        "serve",
        "front",
        "events",
    }
    assert networks["postgres"] == networks["store"] == {"work", "serve"}
    # Containers that callers can reach share no network with services without authentication.
    for exposed in ("service", "proxy", "pull", "prometheus", "alertmanager", "grafana", "stream"):
        assert not networks[exposed] & (networks["mlflow"] | networks["prefect"]) - {"outside"}, exposed
    ports = [port for service in config["services"].values() for port in service.get("ports", [])]
    assert ports
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_no_secret_is_in_the_environment_and_each_is_a_created_file(config: Mapping[str, Any], tmp_path: Path) -> None:
    made = {*credentials.create_missing(tmp_path)} - {"desk_key"}  # for people only

    assert {Path(secret["file"]).name for secret in config["secrets"].values()} == made
    for name, service in config["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            secret = any(word in variable for word in ("PASSWORD", "SECRET_", "_KEY", "TOKEN", "DATABASE_URL"))
            assert not secret or value.startswith("/run/secrets/"), f"{name}: {variable}"
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert credentials.create_missing(tmp_path) == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_prometheus_cannot_fill_the_disk(config: Mapping[str, Any]) -> None:
    words = config["services"]["prometheus"]["command"]

    assert {word.partition("=")[0] for word in words} >= {
        "--storage.tsdb.retention.time",
        "--storage.tsdb.retention.size",
    }


def test_every_setting_exists(config: Mapping[str, Any]) -> None:
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {SECRETS}
    named = {
        variable
        for service in config["services"].values()
        for variable in service.get("environment") or {}
        if variable.startswith(PREFIX)
    }

    assert named
    assert named <= settings


def test_a_model_trained_in_it_predicts_as_everywhere(stack: Stack) -> None:
    in_readme = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert in_readme
    example = json.loads(in_readme[1])

    answer = stack.ask("/v1/predictions", FLIGHT)

    assert answer["prediction_id"] in stack.logged()
    # Equal bit for bit only on a processor that rounds equally.
    assert answer["probability"] == pytest.approx(example["probability"], abs=0.002)
    differs = ("prediction_id", "probability")
    assert {name: value for name, value in answer.items() if name not in differs} == {
        name: value for name, value in example.items() if name not in differs
    }


def test_a_training_is_on_the_server_and_its_data_and_model_in_the_buckets(stack: Stack) -> None:
    output = stack.python(
        "from ontime.settings import load_settings; from ontime import registry; import fsspec, os;"
        "client = registry.tracking_client(load_settings().tracking_url, None);"
        "v = client.get_model_version_by_alias('ontime', 'champion');"
        "s3 = fsspec.filesystem('s3');"
        "print(v.version, len(client.search_runs(['1'])),"
        " bool(s3.find('ontime-dvc')), s3.exists('ontime-releases/current.json'))"
    )

    assert output.splitlines()[-1] == "1 5 True True"


def test_both_replicas_serve_and_prometheus_scrapes_both(stack: Stack) -> None:
    for number in range(1, 41):
        stack.ask("/v1/predictions", {**FLIGHT, "flight_number": number})

    answered: set[str] = set()
    for _ in range(40):  # it scrapes every 15 seconds, and resolves new replicas every 30
        response = fetch(f"{stack.address('prometheus', 9090)}/api/v1/query?query=ontime_predictions_total%3E0")
        answered = {series["metric"]["instance"] for series in response["data"]["result"]}
        if len(answered) == 2:
            break
        time.sleep(2)

    assert len(answered) == 2


def test_prometheus_sees_the_disk_of_the_database_and_the_mirror(stack: Stack) -> None:
    (free_share,) = stack.measured(
        'node_filesystem_avail_bytes{mountpoint="/volumes/postgres"} / node_filesystem_size_bytes'
    )
    ages = stack.measured("time() - ontime_mirror_succeeded_seconds")

    assert 0 < free_share < 1
    assert len(ages) == 2
    assert max(ages) < 60


def test_a_stream_reads_the_feed_from_the_broker_and_keeps_up(stack: Stack) -> None:
    measured = stack.measured
    stack.make("stack-stream")
    try:
        for _ in range(300):
            if measured("max(ontime_stream_behind_seconds) < 300"):
                break
            time.sleep(2)

        assert sorted(measured("ontime_stream_reading")) == [0, 1]  # one of two reads
        assert measured("max(ontime_stream_behind_seconds) < 300")
        assert measured('sum(ontime_stream_messages_total{kind="events"})')[0] > 100
        assert measured("max(ontime_stream_dead_letters)") == [0]
    finally:
        stack.compose("stop", "stream", "feed", "broker")


def wait_until_healthy(container: str) -> None:
    for _ in range(120):
        if docker("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy":
            return
        time.sleep(1)
    raise AssertionError(f"{container} is not healthy after two minutes: {docker('logs', '--tail', '5', container)}")


def test_no_request_fails_when_a_replica_dies(stack: Stack) -> None:
    first = stack.compose("ps", "--quiet", "service").split()[0]
    door, key = stack.address("proxy", 8080), (stack.secrets / "desk_key").read_text()

    def ask(number: int) -> str:
        body = json.dumps({**FLIGHT, "flight_number": number}).encode()
        return str(fetch(f"{door}/v1/predictions", body, Authorization=f"Bearer {key}")["prediction_id"])

    with ThreadPoolExecutor(4) as callers:
        requests = [callers.submit(ask, 1000 + number) for number in range(800)]
        requests[100].result()
        docker("kill", first)
        answered = {each.result() for each in requests}  # raises if a request failed
    docker("start", first)
    wait_until_healthy(first)

    assert len(answered) == 800
    assert answered <= stack.logged()


def test_while_the_database_is_down_it_serves_and_loses_nothing(stack: Stack) -> None:
    stack.compose("stop", "postgres")
    try:
        answered = [stack.ask("/v1/predictions", {**FLIGHT, "flight_number": 200 + number}) for number in range(10)]
    finally:
        stack.compose("up", "--detach", "--wait", "--no-recreate", "postgres")

    waiting = {answer["prediction_id"] for answer in answered}
    for _ in range(60):
        if waiting <= stack.logged():
            break
        time.sleep(1)
    assert len(waiting) == 10
    assert waiting <= stack.logged()


def test_a_wrong_key_opens_no_bucket_and_a_valid_one_only_its_own(stack: Stack) -> None:
    attempt = (
        "import fsspec\n"
        "def tried(do):\n"
        "    try: do(); return 'done'\n"
        "    except PermissionError: return 'refused'\n"
        "wrong = fsspec.filesystem('s3', key='someone', secret='else')\n"
        "mine = fsspec.filesystem('s3')\n"
        "print(tried(lambda: wrong.cat_file('ontime-releases/current.json')),"
        " tried(lambda: mine.cat_file('ontime-releases/current.json')),"
        " tried(lambda: mine.pipe_file('ontime-mlflow/planted', b'x')))"
    )

    assert stack.python(attempt).splitlines()[-1] == "refused done refused"


def test_the_services_credentials_may_read_releases_but_not_write_them(stack: Stack) -> None:
    attempt = "import fsspec; fsspec.filesystem('s3').pipe_file('ontime-releases/current.json', b'mine')"

    output = stack.compose("exec", "-T", "pull", "python", "-c", attempt, fails=True)

    assert "PermissionError" in output


def test_the_stores_admin_ports_are_unreachable(stack: Stack) -> None:
    attempt = (
        "import socket\n"
        "for port in (8333, 8888, 18888, 9333, 19333, 8080):\n"
        "    with socket.socket() as door: print(port, door.connect_ex(('store', port)) == 0)"
    )

    output = stack.compose("exec", "-T", "pull", "python", "-c", attempt)

    assert [line for line in output.splitlines() if line.endswith("True")] == ["8333 True"]


def test_the_service_cannot_reach_servers_without_authentication(stack: Stack) -> None:
    attempt = "import socket; socket.getaddrinfo({name!r}, 80)"

    for name in ("prefect", "mlflow"):
        output = stack.compose("exec", "-T", "service", "python", "-c", attempt.format(name=name), fails=True)
        assert "gaierror" in output


def test_without_a_login_prefect_and_mlflow_answer_nobody(stack: Stack) -> None:
    requests = {
        "prefect": (4200, "/api/flows/count", b"{}"),
        "mlflow": (5000, "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}'),
    }
    statuses = {}
    for service, (port, path, body) in requests.items():
        with pytest.raises(HTTPError) as error:
            fetch(f"{stack.address(service, port)}{path}", body, **{"Content-Type": "application/json"})
        statuses[service] = error.value.code

    assert statuses == {"prefect": 401, "mlflow": 401}


def test_the_nightly_backup_is_a_backup_and_the_fifteenth_is_deleted(stack: Stack) -> None:
    """The container's own loop, with nights of three seconds; the second backup of a day fails, and ends it here."""
    nights = [stack.backups / f"nightly-2026-01-{day:02}" for day in range(1, 15)]
    for night in nights:
        night.mkdir()
    loop = json.loads(stack.compose("config", "--format", "json"))["services"]["nightly"]["command"][0]
    short = re.sub(r'sleep "\$\$?\(\(.*?\)\)"', "sleep 3", loop)
    assert short != loop

    stack.compose(
        "run", "--rm", "--no-deps", "--user", f"{os.getuid()}:{os.getgid()}", "--entrypoint", "timeout", "nightly",
        "300", "sh", "-c", short.replace("$$", "$").replace("touch /tmp/failed", "break"),
    )  # fmt: skip

    made = sorted(path.name for path in stack.backups.glob("nightly-*"))
    assert len(made) == 14
    assert nights[0].name not in made
    assert "ontime" in backup.verified_inventory(stack.backups / made[-1]).parts


def test_a_tenant_of_the_database_cannot_enter_anothers(stack: Stack) -> None:
    own = (stack.secrets / "mlflow_database_url").read_text().replace("+psycopg", "")
    stolen = own.removesuffix("/mlflow") + "/ontime"

    output = stack.run("python", "-c", f"import psycopg; psycopg.connect({stolen!r})", fails=True)

    assert "permission denied for database" in output


def test_requests_need_a_key_and_metrics_are_not_public(stack: Stack) -> None:
    url = stack.address("proxy", 8080)
    refused = []
    for path in ("/v1/predictions", "/metrics"):
        with pytest.raises(HTTPError) as error:
            fetch(f"{url}{path}", None if path == "/metrics" else b"{}")
        refused.append(error.value.code)

    assert refused == [401, 404]


def test_the_worker_runs_a_flow_that_was_requested_from_prefect(stack: Stack) -> None:
    output = stack.run("prefect", "deployment", "run", "materialise/quarter-hourly", "--watch")

    assert "Flow run finished successfully" in output


def test_after_a_total_loss_a_restore_brings_back_predictions_and_registry(stack: Stack) -> None:
    before, answer = stack.logged(), stack.ask("/v1/predictions", FLIGHT)
    stack.make("stack-backup", "TO=test")
    stack.compose("down", "--volumes")
    stack.compose("up", "--detach", "--wait", "postgres", "store", "buckets", "mlflow", "prefect")

    stack.make("stack-restore", "FROM=test")
    stack.run(
        "test", "-f", "releases/current.json"
    )  # otherwise the next `make stack` would train and release a new model

    again = _when_it_answers(stack)
    assert again["probability"] == answer["probability"]
    assert again["model_version"] == answer["model_version"]
    assert before | {answer["prediction_id"]} <= stack.logged()
    champion = "from ontime import registry; print(registry.tracking_client('http://mlflow:5000', None)" \
        ".get_model_version_by_alias('ontime', 'champion').version)"  # fmt: skip
    assert stack.python(champion).splitlines()[-1] == "1"


def test_a_restore_in_place_removes_what_is_newer_than_the_backup(stack: Stack) -> None:
    stack.make("stack-backup", "TO=before")
    publish_another = (
        "from pathlib import Path; from ontime import release, release_pointer; R = Path('releases');"
        "m = release.verify(R / '1').model_copy(update={'version': '2'});"
        "release.publish(R, {name: (R / '1' / name).read_bytes() for name in m.sha256}, m);"
        "release_pointer.set_live(R, '2')"
    )
    stack.python(publish_another)
    _wait_for_version(stack, "2")

    stack.make("stack-restore", "FROM=before")

    _wait_for_version(stack, "1")
    listed = stack.python("import fsspec; print(fsspec.filesystem('s3').find('ontime-releases'))").splitlines()[-1]
    assert "ontime-releases/1/model.onnx" in listed
    assert "ontime-releases/2/" not in listed


def _wait_for_version(stack: Stack, version: str) -> None:
    for _ in range(60):
        if _when_it_answers(stack)["model_version"] == version:
            return
        time.sleep(1)
    raise AssertionError(f"release {version} does not answer")


def _when_it_answers(stack: Stack) -> Any:
    for _ in range(60):
        try:
            return stack.ask("/v1/predictions", FLIGHT)
        except (URLError, ConnectionError):
            time.sleep(1)
    raise AssertionError(stack.compose("logs", "--tail", "20", "service", "proxy"))
