"""The images from `make image ENGINE=dask`, run read-only and without capabilities, and killed."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import sqlalchemy as sa

from infra import images
from infra.tests.containers import TIGHT, docker, image, inspect, port_of, running, volume
from infra.tests.tools import ROOT, tool
from ontime import database, database_tables, signatures
from ontime.settings import Settings
from pipelines.operations import mirror
from serving import keys
from tests.project import Project
from tests.service import MORNING as FLIGHT

DOCKERFILE = ROOT / "Dockerfile"
SERVE, MIRROR, WORKER = "ontime-serve", "ontime-mirror", "ontime-worker"
DASK = "ontime-worker-dask"
NOT_INSTALLED = r"""
import sys
from importlib.metadata import distributions
from pathlib import Path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

installed = {(canonicalize_name(each.name), each.version) for each in distributions()}
for lock in sys.argv[1:]:
    for line in Path(f"requirements/{lock}.txt").read_text().replace("\\\n", " ").splitlines():
        needed = Requirement(line.partition("--hash")[0])
        version = str(needed.specifier).removeprefix("==")
        if (needed.marker is None or needed.marker.evaluate()) and (needed.name, version) not in installed:
            print(needed.name)
"""
# On amd64, with the stand-in for the base image: 206 MB, of which the mirror's own layers are 25.
LARGEST_SERVICE, LARGEST_MIRROR_LAYERS = 215_000_000, 30_000_000


class Served:
    """A service in a container, and its API key."""

    def __init__(self, container: str, key: str) -> None:
        self.container, self._key = container, key

    def ask(self, path: str, body: object = None) -> bytes:
        # Read each time: a restarted container has another port.
        url = f"http://127.0.0.1:{port_of(self.container, 8000)}{path}"
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(url, data, {"Authorization": f"Bearer {self._key}"}), timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def wait_until_ready(self) -> None:
        for _ in range(600):
            try:
                self.ask("/health/ready")
            except (URLError, ConnectionError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"not ready in 30 seconds: {docker('logs', self.container)}")


@pytest.fixture
def key(tmp_path: Path) -> str:
    made = keys.add(tmp_path / "keys.json", "desk", ["predict", "outcomes", "admin"])
    (tmp_path / "keys.json").chmod(0o644)  # the container has another user; the digests are not secret
    return made


@pytest.fixture
def options(settings: Settings, tmp_path: Path) -> list[str]:
    """The options of the service's container, besides a writable volume."""
    return [
        "--publish=127.0.0.1::8000",
        f"--volume={settings.releases}:/app/releases:ro",
        f"--volume={tmp_path}/keys.json:/run/keys/api-keys.json:ro",
        "--env=ONTIME_API_KEYS=/run/keys/api-keys.json",
        f"--volume={signatures.trusted_keys_path()}:/run/keys/trusted_keys:ro",
        f"--env={signatures.TRUSTED_KEYS_VARIABLE}=/run/keys/trusted_keys",
    ]


@pytest.fixture
def served(key: str, options: list[str]) -> Iterator[Served]:
    with volume() as var, running(SERVE, [*options, f"--volume={var}:/app/var"]) as container:
        service = Served(container, key)
        service.wait_until_ready()
        yield service


def logged(container: str, folder: Path) -> set[str]:
    """The ids of the predictions in a container's database, running or not."""
    docker("cp", f"{container}:/app/var", str(folder))
    engine = database.connect(f"sqlite:///{folder}/ontime.db")
    with engine.connect() as connection:
        return set(connection.execute(sa.select(database_tables.predictions.c.prediction_id)).scalars())


def test_predictions_survive_a_kill_and_a_restart(served: Served, tmp_path: Path) -> None:
    flights = [{**FLIGHT, "flight_number": number} for number in range(1, 51)]
    answers = [json.loads(served.ask("/v1/predictions", flight)) for flight in flights]

    docker("kill", "--signal=KILL", served.container)

    answered = {answer["prediction_id"] for answer in answers}
    assert len(answered) == len(flights)
    assert logged(served.container, tmp_path / "after the kill") == answered

    docker("start", served.container)
    served.wait_until_ready()
    again = json.loads(served.ask("/v1/predictions", FLIGHT))
    assert logged(served.container, tmp_path / "after the start") == {*answered, again["prediction_id"]}


def test_it_runs_unprivileged_and_without_capabilities(served: Served) -> None:
    looked = """
import os, shutil
print(os.getuid(), os.getgid())
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")])
print([name for name in ("cc", "gcc", "g++", "ld", "make", "git") if shutil.which(name)])
print([name for name in ("/", "/app", "/app/src", "/app/releases", "/venv", "/etc") if os.access(name, os.W_OK)])
"""
    output = docker("exec", served.container, "python", "-c", looked).splitlines()

    assert output == ["10001 10001", "['0000000000000000']", "[]", "[]"]


def test_it_shuts_down_gracefully_on_sigterm(served: Served) -> None:
    docker("stop", served.container)

    assert inspect(served.container)["State"]["ExitCode"] == 0


def test_its_health_check_reports_it_healthy(key: str, options: list[str]) -> None:
    with running(SERVE, [*options, "--health-interval=1s", "--volume=/app/var"]) as container:
        Served(container, key).wait_until_ready()
        states = [_health_after(container, seconds=1) for _ in range(10)]

    assert states[-1] == "healthy", states


def _health_after(container: str, seconds: float) -> str:
    time.sleep(seconds)
    state: str = inspect(container)["State"]["Health"]["Status"]
    return state


def test_without_keys_it_refuses_to_start_with_a_reason() -> None:
    completed = subprocess.run(["docker", "run", "--rm", *TIGHT, SERVE], capture_output=True, text=True)

    assert completed.returncode == 1
    assert "ONTIME_HOST=0.0.0.0 is reachable from outside: set ONTIME_API_KEYS" in completed.stderr


def python_in(name: str, code: str) -> str:
    return docker("run", "--rm", *TIGHT, "--entrypoint=python", name, "-c", code)


def test_the_serving_image_is_small_and_has_no_training_packages() -> None:
    packages = python_in(
        SERVE, "from importlib.metadata import distributions; print(*(each.name.lower() for each in distributions()))"
    )

    assert image(SERVE)["Size"] <= LARGEST_SERVICE, f"{image(SERVE)['Size']:,} bytes"
    assert {"fastapi", "onnxruntime"} <= set(packages.split())
    assert not {"pandas", "scikit-learn", "mlflow", "lightgbm", "dvc", "s3fs"} & set(packages.split())


def test_a_node_pulls_the_layers_of_service_and_mirror_once() -> None:
    service, mirrored = image(SERVE), image(MIRROR)
    shared = service["RootFS"]["Layers"]

    assert mirrored["RootFS"]["Layers"][: len(shared)] == shared
    assert mirrored["Size"] - service["Size"] <= LARGEST_MIRROR_LAYERS


@pytest.mark.parametrize("name", [SERVE, MIRROR])
def test_an_image_has_no_shell_but_the_records_of_its_debian_packages(name: str) -> None:
    looked = """
import os, shutil
path = "/bin:/usr/bin:/usr/local/bin:/venv/bin"
print([each for each in ("sh", "bash", "busybox", "apt", "dpkg", "perl", "pip") if shutil.which(each, path=path)])
records = {each: open(f"/var/lib/dpkg/status.d/{each}").read() for each in os.listdir("/var/lib/dpkg/status.d")}
print({"libc6", "libssl3t64", "libstdc++6"} <= set(records), all("Version: " in each for each in records.values()))
"""

    assert python_in(name, looked).splitlines() == ["[]", "True True"]


def test_the_service_trusts_certificates_knows_its_user_and_finds_its_modules() -> None:
    looked = """
import os, pwd, socket, ssl, bz2, lzma, zoneinfo, sqlite3, psycopg, cryptography, uvloop
print(ssl.create_default_context().cert_store_stats()["x509_ca"] > 50, pwd.getpwuid(os.getuid()).pw_name)
print(socket.gethostbyname("localhost"), zoneinfo.ZoneInfo("America/New_York"))
"""

    assert python_in(SERVE, looked).splitlines() == ["True ontime", "127.0.0.1 America/New_York"]


def test_the_worker_dumps_the_newest_database_that_we_deploy() -> None:
    version = re.search(r"pg_dump \(PostgreSQL\) (\d+)", docker("run", "--rm", *TIGHT, WORKER, "pg_dump", "--version"))
    stack = re.search(r"image: postgres:(\d+)", (ROOT / "infra/compose.yaml").read_text())
    variables = (ROOT / "infra/terraform/variables.tf").read_text()
    cloud = re.search(r'variable "postgres_version" \{.*?default += (\d+)', variables, re.DOTALL)

    assert version
    assert stack
    assert cloud
    assert int(version[1]) >= max(int(stack[1]), int(cloud[1]))


@pytest.mark.parametrize("name", [SERVE, MIRROR, WORKER, DASK])
def test_an_image_has_labels_and_runs_unprivileged(name: str) -> None:
    config = image(name)["Config"]

    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.title"] == name.removesuffix("-dask")
    assert config["Labels"]["org.opencontainers.image.description"]
    assert config["Labels"]["org.opencontainers.image.version"] == images.version()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", config["Labels"][images.REVISION])


def test_the_mirror_pulls_a_release_that_then_serves(
    settings: Settings, key: str, options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    mirror.push(settings.releases, mirror.Store(f"file://{tmp_path}/store"))
    with volume() as releases:
        output = docker(
            "run", "--rm", *TIGHT, f"--volume={releases}:/app/releases", f"--volume={tmp_path}/store:/store:ro",
            "--env=ONTIME_RELEASES_STORE=file:///store", MIRROR, "pull",
        )  # fmt: skip
        without = [option for option in options if "/app/releases" not in option]
        with running(SERVE, [*without, f"--volume={releases}:/app/releases:ro", "--volume=/app/var"]) as container:
            service = Served(container, key)
            service.wait_until_ready()
            version = json.loads(service.ask("/v1/predictions", FLIGHT))["model_version"]

    assert output == "mirror: pull: release 1, the pointer"
    assert version == "1"


def not_installed(name: str, *locks: str) -> list[str]:
    """The packages of the locks that a worker's image lacks, or has in another version."""
    return docker("run", "--rm", *TIGHT, name, "python", "-c", NOT_INSTALLED, *locks).split()


def test_a_worker_has_what_its_locks_list_and_an_engine_only_if_it_was_asked_for() -> None:
    """An engine is Dask here: Spark's image is nearly a gigabyte larger, and CI does not build it."""
    assert not_installed(WORKER, "worker") == []
    assert not_installed(DASK, "worker", "dask") == []
    assert {"dask", "distributed"} <= set(not_installed(WORKER, "dask"))


def test_an_image_with_traces_has_their_packages_and_the_service_has_not() -> None:
    build = ("build", "--quiet", "--build-arg=TRACES=1", "--target=serve", str(ROOT))
    imports = ("-c", "import serving.tracing")

    docker("run", "--rm", *TIGHT, "--entrypoint=python", docker(*build), *imports)

    with pytest.raises(AssertionError, match="No module named 'opentelemetry"):
        docker("run", "--rm", *TIGHT, "--entrypoint=python", SERVE, *imports)


def test_the_image_with_spark_has_the_java_that_spark_asks_for() -> None:
    java = re.compile(r"openjdk-\d+-jre-headless")
    packages = set(java.findall((ROOT / "pipelines/engines/spark.py").read_text()))

    assert len(packages) == 1
    assert set(java.findall(DOCKERFILE.read_text())) == packages
    assert set(java.findall((ROOT / ".github/workflows/check.yml").read_text())) == packages


@pytest.mark.parametrize("engine", ["dask", "spark"])
def test_an_engines_image_is_the_worker_with_that_engines_lock(engine: str, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()

    planned = Project(tmp_path / "project").make("--dry-run", "image", f"ENGINE={engine}")

    (build,) = [line for line in planned.splitlines() if f"-t {WORKER}-{engine} " in line]
    assert f"--target worker --build-arg ENGINE={engine} " in build
    assert '-r "requirements/$ENGINE.txt"' in DOCKERFILE.read_text()
    assert (ROOT / f"requirements/{engine}.txt").exists()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["git", "ls-files", "--deleted"], lambda output: output == ""),
        (
            ["python", "-m", "pipelines.ingest"],
            lambda output: "\ningest: flights-2013: 336,776 flights" in f"\n{output}",  # progress precedes it
        ),
        (["prefect", "version"], lambda output: "Version" in output),
        (["dvc", "dag", "--dot"], lambda output: '"train"' in output),
    ],
)
def test_the_worker_runs_with_its_writable_folders_only(command: list[str], expected: Callable[[str], bool]) -> None:
    written = [f"--volume=/app/{folder}" for folder in ("data", "models", "releases", "var", ".dvc/tmp")]

    output = docker("run", "--rm", *TIGHT, *written, WORKER, *command)

    assert expected(output), output


def test_the_dockerfile_passes_its_linter_and_needs_no_external_syntax() -> None:
    linted = subprocess.run([tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True)

    assert linted.stdout == ""
    assert "# syntax=" not in DOCKERFILE.read_text()


def test_its_linter_finds_planted_faults(tmp_path: Path) -> None:
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text(DOCKERFILE.read_text().replace("${PYTHON_TAG}${PYTHON_DIGEST}", "latest"))

    linted = subprocess.run([tool("hadolint"), str(spoilt)], capture_output=True, text=True)

    assert "DL3007" in linted.stdout


def test_every_base_is_pinned_by_tag_and_can_be_pinned_by_digest() -> None:
    bases = [line.split()[1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("FROM ")]
    stages = [line.split()[3] for line in DOCKERFILE.read_text().splitlines() if line.startswith("FROM ")]

    assert set(bases) - set(stages) == {"python:${PYTHON_TAG}${PYTHON_DIGEST}", "scratch"}
    assert "ARG PYTHON_TAG=3.11-slim-trixie" in DOCKERFILE.read_text()
    assert re.search(r"^PYTHON_DIGEST \?= sha256:[0-9a-f]{64}$", (ROOT / "Makefile").read_text(), re.MULTILINE)
