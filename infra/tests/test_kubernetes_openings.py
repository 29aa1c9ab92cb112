"""The manifests for KServe, the Gateway API and Argo CD, against types of our own and the checks of the overlays."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from infra.tests.kubernetes import parts, pods, storage
from infra.tests.kubernetes.faults import Check
from infra.tests.kubernetes.manifests import KUBERNETES, Cluster, name_of, of, parsed, render, services_pods
from infra.tests.kubernetes.openings import Application, HTTPRoute, InferenceService
from infra.tests.test_kubernetes import VERSIONS
from infra.tests.tools import ROOT, tool

EXAMPLES = KUBERNETES / "examples"
CHECKS: tuple[Check, ...] = (
    pods.every_setting_is_one_and_loads,
    pods.probes_ask_open_routes_of_the_service,
    pods.a_pod_that_stops_has_time_to_answer,
    pods.a_process_that_hangs_is_replaced_in_time,
    pods.nobody_is_root_or_becomes_it,
    pods.a_release_is_there_before_the_service_and_it_cannot_alter_it,
    pods.images_are_ours_and_of_one_version,
    storage.what_is_written_is_on_a_volume,
    storage.secrets_are_files_for_those_who_need_them,
    parts.what_is_named_is_there,
)


def loaded(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return document


@pytest.fixture(scope="module")
def inference_service() -> InferenceService:
    return InferenceService.model_validate(loaded("inference-service.yaml"))


@pytest.fixture(scope="module")
def with_kserve(inference_service: InferenceService) -> Cluster:
    """Production with the pods of the InferenceService in place of the Deployment's."""
    production = parsed(render("production"))
    return [inference_service.deployment if name_of(each) == "Deployment/ontime" else each for each in production]


@pytest.mark.parametrize("check", CHECKS, ids=lambda each: getattr(each, "__name__", each))
def test_the_pods_of_the_inference_service_pass_the_checks_of_the_overlays(check: Check, with_kserve: Cluster) -> None:
    assert check(with_kserve) == []


def test_the_pods_of_the_inference_service_are_valid(inference_service: InferenceService, tmp_path: Path) -> None:
    (tmp_path / "pods.yaml").write_text(yaml.safe_dump(inference_service.deployment))
    versions = [word for version in VERSIONS for word in ("--kubernetes-version", version)]

    command = [tool("kubernetes-validate"), "--strict", "--quiet", *versions, str(tmp_path / "pods.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True)

    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_inference_service_differs_from_the_deployment_only_where_kserve_does(with_kserve: Cluster) -> None:
    """Probes, limits, mounts: a change of the Deployment that is forgotten in the example fails here."""
    (theirs,) = services_pods(with_kserve)
    (ours,) = services_pods(parsed(render("production")))
    same = ("resources", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "securityContext")

    for mine, other in zip(ours.containers, theirs.containers, strict=True):
        assert {key: mine.spec.get(key) for key in same} == {key: other.spec.get(key) for key in same}
        assert {each["mountPath"] for each in mine.mounts} == {each["mountPath"] for each in other.mounts}
    assert ours.volumes == theirs.volumes
    assert theirs.containers[-1].name == "kserve-container"  # KServe's name for the container that answers


def test_the_route_has_only_fields_of_the_gateway_api() -> None:
    (route,) = of(parsed(render("production-cloud")), "HTTPRoute")

    assert HTTPRoute.model_validate(route).spec.hostnames == ["ontime.example.com"]


def test_with_a_gateway_there_is_no_ingress_and_with_identities_no_key_of_a_bucket() -> None:
    rendered = render("production-cloud")

    assert "kind: Ingress" not in rendered
    assert "bucket-reader" not in rendered
    assert "bucket-writer" not in rendered
    assert "AWS_SHARED_CREDENTIALS_FILE" not in rendered
    accounts = {each["metadata"]["name"]: each["metadata"] for each in of(parsed(rendered), "ServiceAccount")}
    assert accounts["ontime-service"]["annotations"] != accounts["ontime-worker"]["annotations"]


def test_the_application_deploys_an_overlay_that_exists_and_leaves_the_autoscaler_alone() -> None:
    spec = Application.model_validate(loaded("application.yaml")).spec

    assert (ROOT / spec.source.path / "kustomization.yaml").exists()
    scaled = [each["spec"]["scaleTargetRef"] for each in of(parsed(render("production")), "HorizontalPodAutoscaler")]
    ignored = [(each.kind, each.name) for each in spec.ignoreDifferences if "/spec/replicas" in each.jsonPointers]
    assert ignored == [(each["kind"], each["name"]) for each in scaled]


@pytest.mark.parametrize(
    ("model", "name", "right", "wrong"),
    [
        (InferenceService, "inference-service.yaml", "predictor:", "predicator:"),
        (InferenceService, "inference-service.yaml", "minReplicas: 3", "minReplicas: -1"),
        (Application, "application.yaml", "targetRevision: v0.1.0", "targetRevision: main"),
        (Application, "application.yaml", "syncPolicy", "syncpolicy"),
    ],
)
def test_a_misspelt_field_is_rejected(model: type[BaseModel], name: str, right: str, wrong: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert right in text

    with pytest.raises(ValidationError):
        model.model_validate(yaml.safe_load(text.replace(right, wrong)))
