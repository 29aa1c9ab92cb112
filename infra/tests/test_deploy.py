"""`make deploy`: images by digest, service before worker, and back to the previous version after a failure.

The cluster is a fake that records the commands; `make rehearsal` deploys to a real one.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from infra import deploy
from infra.image_references import images_of, with_images
from infra.rehearsal import disturbances
from infra.rehearsal.compatibility import containers_of
from infra.rehearsal.installation import Installation
from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest
from infra.tests.http_servers import answering
from infra.tests.kubernetes.manifests import KUBERNETES, Cluster, parsed, pods, render
from ontime.problem import PROBLEM
from tests.project import Project

DIGEST = f"sha256:{'5' * 64}"
IMAGES = "".join(f"ghcr.io/owner/ontime-{name}@{DIGEST}\n" for name in ("serve", "mirror", "worker"))
SERVICE_STATUS, PUBLISHER_STATUS = "rollout status deployment/ontime ", "rollout status deployment/ontime-publisher "


@pytest.fixture(scope="module")
def production() -> Cluster:
    return parsed(render("production"))


@dataclass(frozen=True)
class Fake(Kubectl):
    """Records what is applied and run; a command that begins with one of `failing` fails once."""

    context: str = "c"
    namespace: str = "ontime"
    failing: list[str] = field(default_factory=list)
    installed: bool = True
    migrated: str = "Complete"  # or Failed
    commands: list[str] = field(default_factory=list)
    applied: list[list[Manifest]] = field(default_factory=list)

    def run(self, *words: str, text: str | None = None) -> str:  # noqa: ARG002  kubectl's input
        command = " ".join(words)
        self.commands.append(command)
        for start in tuple(self.failing):
            if command.startswith(start):
                self.failing.remove(start)
                raise ClusterFailed(f"{command}: timed out")
        if command.startswith("get deployment") and "--ignore-not-found" in words:
            return "deployment.apps/ontime" if self.installed else ""
        if command.startswith("get job"):
            return json.dumps({"status": {"conditions": [{"type": self.migrated, "status": "True"}]}})
        return json.dumps({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "7"}}})

    def apply(self, manifests: Sequence[Manifest]) -> None:
        self.applied.append(list(manifests))


def test_every_container_gets_its_image_by_digest(production: Cluster) -> None:
    deployed = with_images(production, images_of(IMAGES))

    images = {container.spec["image"] for pod in pods(deployed) for container in pod.containers}
    assert images == set(IMAGES.split())
    assert deployed != production


@pytest.mark.parametrize(
    "line",
    [
        "ghcr.io/owner/ontime-serve:0.1.0",
        "ghcr.io/owner/ontime-serve@sha256:0123",
        "ghcr.io/owner/ontime-serve",
        "ghcr.io/owner/other@" + DIGEST,
    ],
)
def test_an_image_of_a_registry_needs_its_digest(line: str) -> None:
    with pytest.raises(ClusterFailed, match="is not an image with its digest"):
        images_of(f"{IMAGES}{line}\n")


def test_a_name_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ClusterFailed, match="ontime-serve is named twice"):
        images_of(f"{IMAGES}example.com/other/ontime-serve@{DIGEST}")


def test_an_image_that_was_loaded_into_the_nodes_may_have_a_tag() -> None:
    assert images_of("ontime-serve:0.1.0\n\n") == {"ontime-serve": "ontime-serve:0.1.0"}


def test_an_overlay_with_an_image_that_is_not_named_is_refused() -> None:
    with pytest.raises(ClusterFailed, match="no image is named for ontime-worker-dask"):
        with_images(parsed(render("production-dask")), images_of(IMAGES))


def test_a_canary_is_refused_because_it_has_two_versions() -> None:
    with pytest.raises(ClusterFailed, match="two versions of ontime-serve"):
        with_images(parsed(render("canary")), images_of(IMAGES))


def test_the_tables_are_migrated_before_the_service_and_the_worker_follows_when_it_has_answered(
    production: Cluster,
) -> None:
    kubectl = Fake()

    deploy.roll_out(kubectl, production, lambda: "an answer", 60)

    configuration, service, worker = kubectl.applied
    assert configuration != []
    assert [each["metadata"]["name"] for each in service] == ["ontime"]
    assert {each["kind"] for each in worker} == {"CronJob", "Deployment"}
    assert sorted(map(json.dumps, [*configuration, *service, *worker])) == sorted(map(json.dumps, production))
    assert kubectl.commands.index("create --filename=-") < kubectl.commands.index(f"{SERVICE_STATUS}--timeout=60s")
    assert not any("undo" in command for command in kubectl.commands)


def test_a_service_is_not_rolled_out_if_its_tables_cannot_be_migrated(production: Cluster) -> None:
    kubectl = Fake(migrated="Failed")

    with pytest.raises(ClusterFailed, match="job migrate-before-rollout failed"):
        deploy.roll_out(kubectl, production, lambda: "an answer", 60)

    assert len(kubectl.applied) == 1
    assert not any("rollout" in command.split()[0] for command in kubectl.commands)


def refuses() -> str:
    raise ClusterFailed("503")


@pytest.mark.parametrize(
    ("failing", "ask"),
    [((SERVICE_STATUS,), lambda: "an answer"), ((), refuses)],
    ids=["it does not start", "it does not answer"],
)
def test_a_service_that_fails_is_taken_back_and_the_worker_stays(
    production: Cluster, failing: tuple[str, ...], ask: Any
) -> None:
    kubectl = Fake(failing=list(failing))

    with pytest.raises(ClusterFailed, match="deployment/ontime is back at its previous version"):
        deploy.roll_out(kubectl, production, ask, 60)

    assert "rollout undo deployment/ontime --to-revision=7" in kubectl.commands
    assert len(kubectl.applied) == 2


def interrupts() -> str:
    raise KeyboardInterrupt


def test_a_deployment_that_is_interrupted_is_taken_back(production: Cluster) -> None:
    kubectl = Fake()

    with pytest.raises(ClusterFailed, match="deployment/ontime is back at its previous version"):
        deploy.roll_out(kubectl, production, interrupts, 60)

    assert "rollout undo deployment/ontime --to-revision=7" in kubectl.commands


def test_every_deployment_of_an_overlay_is_waited_for_and_taken_back() -> None:
    stream = "rollout status deployment/ontime-stream "
    kubectl = Fake(failing=[stream])

    with pytest.raises(ClusterFailed, match="is back at its previous version"):
        deploy.roll_out(kubectl, parsed(render("production-stream")), lambda: "an answer", 60)

    undone = {command.split()[2] for command in kubectl.commands if command.startswith("rollout undo")}
    assert {"deployment/ontime", "deployment/ontime-stream"} <= undone


def test_a_migration_of_another_deployment_is_not_killed(production: Cluster) -> None:
    kubectl = Fake(migrated="Suspended")  # neither complete nor failed

    with pytest.raises(ClusterFailed, match="of another deployment still runs: wait for its end"):
        deploy.roll_out(kubectl, production, lambda: "an answer", 60)

    assert not any(command.startswith("delete") for command in kubectl.commands)


def test_a_publisher_that_fails_is_taken_back_too(production: Cluster) -> None:
    kubectl = Fake(failing=[PUBLISHER_STATUS])

    with pytest.raises(ClusterFailed, match="deployment/ontime-publisher is back"):
        deploy.roll_out(kubectl, production, lambda: "an answer", 60)

    assert "rollout undo deployment/ontime-publisher --to-revision=7" in kubectl.commands


def test_a_failed_return_is_an_error_of_its_own(production: Cluster) -> None:
    kubectl = Fake(failing=[SERVICE_STATUS, "rollout undo"])

    with pytest.raises(ClusterFailed, match="rollout undo deployment/ontime --to-revision=7: timed out"):
        deploy.roll_out(kubectl, production, lambda: "an answer", 60)


def installed(kubectl: Fake) -> Installation:
    return Installation(kubectl, parsed(render("small")), (), "1.33.0", 1, "key")


def test_a_rehearsal_deploys_a_version_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl, keys = Fake(), []
    monkeypatch.setattr(deploy, "ask_for_prediction", lambda _, key: keys.append(key))

    disturbances.deploy_next_version(installed(kubectl))

    _, service, worker = kubectl.applied
    assert keys == ["key"]
    assert [each["metadata"]["name"] for each in [*service, *worker] if disturbances.VERSION in json.dumps(each)] == [
        "ontime",
        "ontime-publisher",
    ]


def test_a_rehearsal_expects_that_a_version_without_an_image_is_taken_back() -> None:
    kubectl = Fake(failing=[SERVICE_STATUS])

    disturbances.deploy_missing_image(installed(kubectl))

    applied = {container["image"] for each in kubectl.applied[1] for container in containers_of(each)}
    assert applied == {"ontime-mirror:0.1.0", "ontime-serve:no-such-version"}
    assert "rollout undo deployment/ontime --to-revision=7" in kubectl.commands


def test_a_rehearsal_fails_if_the_deployment_fails_for_another_reason() -> None:
    with pytest.raises(ClusterFailed, match="job migrate-before-rollout failed"):
        disturbances.deploy_missing_image(installed(Fake(migrated="Failed")))


def test_a_rehearsal_fails_if_such_a_version_is_rolled_out() -> None:
    with pytest.raises(ClusterFailed, match="without an image was rolled out"):
        disturbances.deploy_missing_image(installed(Fake()))


def test_the_first_installation_does_not_wait_for_a_service_without_a_release(
    production: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl = Fake(installed=False)

    deploy.deploy(kubectl, production, "key")

    assert kubectl.applied == [production]
    assert "now train the first release" in capsys.readouterr().out


class Answering(BaseHTTPRequestHandler):
    """Answers /ok with a prediction and anything else with 503."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_right = self.path == "/ok" and body in PROBLEM.examples.values()
        self.send_response(200 if is_right and self.headers["Authorization"] == "Bearer k" else 503)
        self.end_headers()
        self.wfile.write(b'{"model_version": "4", "probability": 0.25}')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with answering(Answering) as url:
        yield url


def test_the_smoke_request_is_the_problems_example(server: str) -> None:
    assert deploy.predicted(f"{server}/ok", "k") == "release 4 answers with probability 0.25"


@pytest.mark.parametrize("url", ["{}/full", "http://127.0.0.1:1/ok"])
def test_an_answer_without_a_prediction_is_an_error(server: str, url: str) -> None:
    with pytest.raises(ClusterFailed, match="does not answer with a prediction"):
        deploy.predicted(url.format(server), "k")


def test_a_port_that_cannot_be_forwarded_is_an_error() -> None:
    with pytest.raises(ClusterFailed, match="no port of service/ontime"):
        deploy.ask_for_prediction(Kubectl("no-such-context", "ontime"), "k")


def test_make_passes_context_file_and_overlay(tmp_path: Any) -> None:
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")

    planned = project.make("--dry-run", "deploy", "CONTEXT=production", "FROM=images.txt", "OVERLAY=small")

    assert re.search(r'-m infra\.deploy --context "\$CONTEXT" --overlay small -- "\$FROM"', planned)


def test_without_an_api_key_nothing_is_asked_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(deploy.KEY, raising=False)
    monkeypatch.setattr("sys.argv", ["deploy", "--context=no-such-context", str(KUBERNETES / "none.txt")])

    with pytest.raises(SystemExit, match="set SMOKE_KEY to an API key"):
        deploy.main()
