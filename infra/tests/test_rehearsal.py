"""The parts of a rehearsal that need no cluster; infra/kubernetes/README.md has the result of a run on one."""

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from infra.rehearsal import (
    compatibility,
    container_signal,
    in_worker,
    installation,
    jobs,
    kubectl,
    load,
    pods,
    results,
    steps,
    traffic,
)
from infra.rehearsal import volumes as rehearsal_volumes
from infra.rehearsal.compatibility import CHANGES, Version, adapted
from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest
from infra.rehearsal.load import Attempt
from infra.rehearsal.steps import Step
from infra.rehearsal.traffic import Counts
from infra.tests.http_servers import answering
from infra.tests.kubernetes.manifests import Cluster, of, parsed, render
from infra.tests.kubernetes.parts import GUIDE
from infra.tests.tools import ROOT, tool
from ontime import database
from ontime.database_tables import entities, predictions
from ontime.problem import PROBLEM
from tests.service import MORNING

REPORT = json.loads((ROOT / "reports/cluster.json").read_text())
NEWEST: Version = (1, 33)
VALIDATED = tuple(range(25, 33))  # the minor versions before 1.33 whose schema kubernetes-validate has
ANSWER = Attempt(100.0, 0.01, 200, "id-1", "1", None)
CALM = Step("steady load", 20.0, Counts(400, 400, 0, 0, 40.0), lossless=True)


@pytest.fixture(scope="module")
def small() -> Cluster:
    return parsed(render("small"))


@pytest.fixture(scope="module")
def production() -> Cluster:
    return parsed(render("production"))


def kinds(cluster: Cluster) -> list[tuple[str, str]]:
    """All kinds of the manifests, also with the CronJobs of an old server."""
    return [(each["apiVersion"], each["kind"]) for each in cluster] + [("batch/v1beta1", "CronJob")]


def cronjob(cluster: Cluster, name: str) -> Manifest:
    return next(each for each in of(cluster, "CronJob") if each["metadata"]["name"] == name)


def service(cluster: Cluster) -> Manifest:
    """The pod of the service."""
    return next(each for each in of(cluster, "Deployment") if each["metadata"]["name"] == "ontime")["spec"]["template"][
        "spec"
    ]


def test_the_manifests_stay_as_they_are_on_a_supported_version(production: Cluster) -> None:
    assert adapted(production, NEWEST, kinds(production)) == (production, [])


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.text)
def test_a_change_ends_with_the_first_version_that_does_not_need_it(
    change: compatibility.Difference, production: Cluster
) -> None:
    major, minor = change.since

    assert change.text in adapted(production, (major, minor - 1), kinds(production))[1]
    assert change.text not in adapted(production, change.since, kinds(production))[1]


def test_an_old_cluster_gets_no_field_that_it_does_not_know(small: Cluster) -> None:
    copies, _ = adapted(small, (1, 20), kinds(small))

    pod = service(copies)
    assert [each["name"] for each in pod["containers"]] == ["service", "mirror"]
    assert "restartPolicy" not in json.dumps(pod)
    assert pod["containers"][0]["lifecycle"]["preStop"] == {
        "exec": {"command": ["python", "-c", "import time; time.sleep(5)"]}
    }
    assert "terminationGracePeriodSeconds" not in pod["containers"][0]["livenessProbe"]
    assert {each["apiVersion"] for each in of(copies, "CronJob")} == {"batch/v1beta1"}
    assert "timeZone" not in json.dumps(copies)


def test_the_change_leaves_the_rendered_manifests_alone(small: Cluster) -> None:
    before = json.dumps(small)

    adapted(small, (1, 20), kinds(small))
    compatibility.suspended(small)

    assert json.dumps(small) == before


def test_a_kind_that_the_server_lacks_is_left_out_and_named(production: Cluster) -> None:
    served = [each for each in kinds(production) if each[1] != "ServiceMonitor"]

    copies, changes = adapted(production, NEWEST, served)

    assert of(copies, "ServiceMonitor") == []
    assert len(copies) == len(production) - 1
    assert changes == ["no ServiceMonitor ontime"]


@pytest.fixture(scope="module")
def validated(small: Cluster, production: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What kubernetes-validate says about the adapted manifests, by minor version."""
    folder, output = tmp_path_factory.mktemp("adapted"), {}
    for minor in VALIDATED:
        path = folder / f"{minor}.yaml"
        served = [each for each in kinds([*small, *production]) if each[1] != "ServiceMonitor"]
        both = [adapted(overlay, (1, minor), served)[0] for overlay in (small, production)]
        path.write_text(yaml.safe_dump_all([manifest for overlay in both for manifest in overlay]))
        command = [tool("kubernetes-validate"), "--strict", "--quiet", "--kubernetes-version", f"1.{minor}.0"]
        output[minor] = subprocess.run([*command, str(path)], capture_output=True, text=True).stdout
    return output


@pytest.mark.parametrize("minor", VALIDATED)
def test_the_adapted_manifests_are_valid_in_that_version(minor: int, validated: dict[int, str]) -> None:
    assert validated[minor] == ""


def test_the_manifests_are_invalid_in_an_old_version_without_the_changes(small: Cluster, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump_all(small))
    command = [tool("kubernetes-validate"), "--strict", "--quiet", "--kubernetes-version", "1.25.0"]

    completed = subprocess.run([*command, tmp_path / "small.yaml"], capture_output=True, text=True)

    assert completed.returncode == 1
    assert "deployment/ontime" in completed.stdout


def test_no_cronjob_starts_by_itself(small: Cluster) -> None:
    assert all(each["spec"]["suspend"] for each in of(compatibility.suspended(small), "CronJob"))


def test_a_job_is_the_cronjobs_template(small: Cluster) -> None:
    template = cronjob(small, "ontime-first-release")["spec"]["jobTemplate"]

    job = jobs.job_of(cronjob(small, "ontime-first-release"), "first-release")

    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["spec"] | {"template": ...} == template["spec"] | {"template": ...}
    assert job["metadata"]["labels"] == template["metadata"]["labels"]
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-1].endswith("ontime retrain --now")


def test_a_job_can_have_another_command_and_the_cronjob_keeps_its_own(small: Cluster) -> None:
    retrain = cronjob(small, "ontime-retrain")

    job = jobs.job_of(retrain, "retrain", ["ontime", "retrain", "--now"], {"ONTIME_WEEKS_BEHIND": "3"})

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["ontime", "retrain", "--now"]
    assert container["env"] == [{"name": "ONTIME_WEEKS_BEHIND", "value": "3"}]
    assert jobs.job_of(retrain, "again")["spec"]["template"]["spec"]["containers"][0]["command"] == [
        "ontime",
        "retrain",
    ]


def test_claims_without_a_storage_class_become_folders_of_the_node(small: Cluster) -> None:
    claims = of(json.loads(json.dumps(small)), "PersistentVolumeClaim")

    volumes = list(rehearsal_volumes.bind_to_folders(claims))

    assert {each["spec"]["claimRef"]["name"] for each in volumes} == {each["metadata"]["name"] for each in claims}
    assert all(each["metadata"]["labels"] == pods.LABEL for each in volumes)  # else `--clean` would leave them
    assert all(each["spec"]["storageClassName"] == "" for each in claims)


def test_the_client_has_the_workers_image(small: Cluster) -> None:
    assert installation.worker_image(small) == "ontime-worker:0.1.0"


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("https://127.0.0.1:6443", "127.0.0.1"),
        ("https://localhost:8443", "localhost"),
        ("https://[::1]:6443", "[::1]"),
        ("https://cluster.example", "cluster.example"),
        ("https://127.0.0.1.example.com:443/k8s", "127.0.0.1.example.com"),
    ],
)
def test_the_servers_host_decides_whether_to_ask(
    server: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(configuration))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))

    assert Kubectl("here", "ontime").server_host() == host
    assert (host in kubectl.LOCAL_HOSTS) is not host.endswith((".example", ".com"))


def test_an_unknown_context_is_an_error_with_kubectls_message() -> None:
    with pytest.raises(ClusterFailed, match="no-such-context"):
        Kubectl("no-such-context", "ontime").get("pods")


class Recorded(Kubectl):
    """A kubectl that gives recorded answers, by the beginning of the command."""

    answers: ClassVar[dict[str, str]] = {}

    def run(self, *words: str, text: str | None = None) -> str:  # noqa: ARG002  kubectl's input
        command = " ".join(words)
        return next((answer for start, answer in self.answers.items() if command.startswith(start)), "")


def test_a_namespace_that_no_rehearsal_has_made_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"metadata": {"labels": {"kubernetes.io/metadata.name": "ontime"}}}
    monkeypatch.setattr(
        Recorded,
        "answers",
        {
            "get namespace ontime --ignore-not-found": "namespace/ontime",
            "get namespace ontime --output": json.dumps(theirs),
        },
    )

    with pytest.raises(ClusterFailed, match="is not a rehearsal's"):
        installation.install(Recorded("c", "ontime"), "small")


def test_an_earlier_rehearsal_is_cleaned_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"metadata": {"labels": pods.LABEL}}
    monkeypatch.setattr(
        Recorded,
        "answers",
        {
            "get namespace ontime --ignore-not-found": "namespace/ontime",
            "get namespace ontime --output": json.dumps(ours),
            "get deployment ontime": "deployment/ontime",
        },
    )

    with pytest.raises(ClusterFailed, match="clean up first"):
        installation.install(Recorded("c", "ontime"), "small")


def test_a_failed_job_is_an_error_with_its_log(small: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    monkeypatch.setattr(Recorded, "answers", {"get job": json.dumps(failed), "logs job/score": "no column carrier"})

    with pytest.raises(ClusterFailed, match="job score failed: no column carrier"):
        jobs.run_job(Recorded("c", "ontime"), jobs.job_of(cronjob(small, "ontime-score"), "score"), 60)


def test_the_first_process_of_a_container_is_found_by_its_cgroup(tmp_path: Path) -> None:
    for process_id, group in ((812, "0::/docker/abc"), (97, "0::/../cri-abc.scope"), (3, "0::/docker/def")):
        (tmp_path / str(process_id)).mkdir()
        (tmp_path / str(process_id) / "cgroup").write_text(f"{group}\n")
    (tmp_path / "5").mkdir()  # has ended: without a cgroup

    assert container_signal.first_process(tmp_path, "abc") == 97
    assert container_signal.first_process(tmp_path, "no-such-id") is None


def test_a_load_that_cannot_start_is_an_error() -> None:
    with (
        pytest.raises(ClusterFailed, match="the load in pod client ended"),
        traffic.under_load(Kubectl("no-such-context", "ontime"), "client", {}) as attempts,
    ):
        time.sleep(1)

    assert attempts == []


class Answering(BaseHTTPRequestHandler):
    """Answers /ok with a prediction, /full with 503, and closes the connection of any other request."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in ("/ok", "/full"):
            status, content = (200, {"prediction_id": "7", "model_version": "2"}) if self.path == "/ok" else (503, {})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with answering(Answering) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "outcome"), [("ok", (200, "7", "2")), ("full", (503, None, None)), ("cut", (None,) * 3)]
)
def test_an_attempt_has_the_status_or_none_if_there_was_no_response(
    path: str, outcome: tuple[Any, ...], server: str
) -> None:
    made = load.attempt({"url": f"{server}/{path}", "key": "k"}, {})

    assert (made.status, made.prediction_id, made.model_version) == outcome
    assert (made.error is None) is (path == "ok")


def test_the_load_ends_with_its_input_and_reports_every_request(server: str) -> None:
    plan = json.dumps({"url": f"{server}/ok", "key": "k", "rate": 50, "requests": [{}]})
    command = [str(Path(".venv/bin/python")), "-m", "infra.rehearsal.load"]

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sending:
        print(plan, file=sending.stdin, flush=True)
        with pytest.raises(subprocess.TimeoutExpired):
            sending.wait(2)
        output, _ = sending.communicate()

    counts = traffic.counts_of(traffic.parsed_attempts(output))
    assert counts.requests == counts.answered > 10


def test_requests_are_counted_by_their_outcome() -> None:
    refused, silent = ANSWER._replace(status=503), ANSWER._replace(status=None)
    answers = [ANSWER._replace(seconds=milliseconds / 1000) for milliseconds in range(1, 101)]

    assert traffic.counts_of([*answers, refused, silent, silent]) == Counts(103, 100, 1, 2, 99.0)
    assert traffic.counts_of([silent]) == Counts(1, 0, 0, 1, None)


def test_only_answers_need_a_row() -> None:
    attempts = [ANSWER, ANSWER._replace(status=503, prediction_id=None), ANSWER._replace(prediction_id="id-2")]

    assert traffic.prediction_ids(attempts) == ["id-1", "id-2"]


def test_an_answer_without_an_id_is_an_error() -> None:
    with pytest.raises(ClusterFailed, match="prediction_id"):
        traffic.prediction_ids([ANSWER._replace(prediction_id=None)])


def test_a_release_is_live_after_the_last_answer_of_another_one() -> None:
    attempts = [ANSWER, ANSWER._replace(sent_at=107.0), ANSWER._replace(sent_at=105.0, model_version="2")]

    assert traffic.seconds_until_only("2", attempts, since=100.0) == pytest.approx(7.01)
    assert traffic.seconds_until_only("1", [ANSWER], since=200.0) == 0


def test_a_release_that_never_answers_is_an_error() -> None:
    with pytest.raises(ClusterFailed, match="release 2 answered no request"):
        traffic.seconds_until_only("2", [ANSWER], since=100.0)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    """A store with one entity and the prediction id-1."""
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    request = PROBLEM.request.model_validate(MORNING)
    entity = {"entity_id": request.entity_id, "event_at": request.event_at, **request.model_dump()}
    prediction = {
        "prediction_id": "id-1", "entity_id": request.entity_id, "answered_at": datetime.now(UTC), "probability": 0.5,
        "model_version": "1", "alert": False, "features": "online", "vector": b"", "latency_ms": 1.0,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(sa.insert(entities), entity)
        connection.execute(sa.insert(predictions), prediction)
    return engine


def test_an_answer_without_a_row_is_missing(engine: sa.Engine) -> None:
    assert in_worker.stored_rows(engine, ["id-1", "id-2"]) == {"predictions": 1, "shadows": 0, "missing": ["id-2"]}


def test_a_stored_entity_becomes_the_request_that_created_it(engine: sa.Engine) -> None:
    (request,) = in_worker.latest_requests(engine, 5)

    assert PROBLEM.request.model_validate(json.loads(json.dumps(request))) == PROBLEM.request.model_validate(MORNING)


def test_requests_become_a_file_that_can_be_scored(engine: sa.Engine, tmp_path: Path) -> None:
    requests = in_worker.latest_requests(engine, 5)
    (tmp_path / "rows.csv").write_text(steps.as_csv(requests))

    (row,) = pd.read_csv(tmp_path / "rows.csv").to_dict("records")

    assert row.keys() == requests[0].keys()


@pytest.mark.parametrize(
    ("outcome", "missing", "reasons"),
    [
        ([CALM], 0, []),
        ([CALM], 2, ["2 answers have no row in the table"]),
        ([CALM._replace(load=Counts(400, 398, 1, 1, 40.0))], 0, ["steady load: 2 of 400 requests were not answered"]),
        ([CALM._replace(load=Counts(400, 398, 1, 1, 40.0), lossless=False)], 0, []),
        ([Step("trained", 80.0)], 0, []),
    ],
)
def test_a_lost_answer_or_request_fails_the_rehearsal(outcome: list[Step], missing: int, reasons: list[str]) -> None:
    assert results.failures(outcome, missing) == reasons


def step_rows() -> list[str]:
    """The steps of the committed rehearsal, as the guide's table has them."""
    keys = ("requests", "answered", "refused", "without_response", "p99_ms")
    return [
        "| " + " | ".join([each["step"], f"{each['seconds']:.0f}", *(str(each.get(key, "")) for key in keys)]) + " |"
        for each in REPORT["steps"]
    ]


@pytest.mark.parametrize("row", step_rows(), ids=lambda row: row.split(" | ")[0])
def test_the_guide_has_the_row_of_the_report(row: str) -> None:
    assert row.replace("  |", " |") in GUIDE.read_text()


def test_the_guide_names_the_cluster_and_everything_that_was_changed_for_it() -> None:
    text = GUIDE.read_text()

    assert f"Kubernetes {REPORT['kubernetes']}" in text
    assert f"{REPORT['answers']:,} answers, {REPORT['answers_without_row']} without a row" in text
    assert [change for change in REPORT["changed_for_this_cluster"] if f"- {change}\n" not in text] == []


def test_the_committed_rehearsal_lost_nothing() -> None:
    lossless = ("steady load", "restart", "is deployed", "taken back", "is promoted", "live again", "in shadow")
    entries = [each for each in REPORT["steps"] if each["step"].endswith(lossless)]

    assert len(entries) == len(lossless)
    assert all(each["requests"] == each["answered"] > 0 for each in entries)
    assert REPORT["answers_without_row"] == 0
    assert REPORT["answers"] == sum(each.get("answered", 0) for each in REPORT["steps"])


def test_the_table_has_a_line_for_each_step() -> None:
    lines = results.as_table([CALM, Step("trained", 80.04)]).splitlines()

    assert lines[1].split() == ["steady", "load", "20.0", "400", "400", "0", "0", "40"]
    assert lines[2].split() == ["trained", "80.0"]
