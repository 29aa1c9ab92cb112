"""Checks of the manifests; each check is also run on manifests that violate it.

No test starts a cluster: infra/kubernetes/README.md lists what that leaves open.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import cluster_alerts
from infra.tests import rules
from infra.tests.kubernetes import storage
from infra.tests.kubernetes.faults import FAULTS, Check, Fault, planted
from infra.tests.kubernetes.manifests import KUBERNETES, OVERLAYS, Cluster, name_of, of, parsed, render, services_pods
from infra.tests.kubernetes.parts import GUIDE, made_by_hand
from infra.tests.kubernetes.prometheus import Operators, Routing
from infra.tests.tools import ROOT, tool
from infra.tests.watchers import program

VERSIONS = ("1.33.0", "1.37.0")  # the oldest supported version, and the newest
ONE_NODE: dict[Check, set[str]] = {
    storage.who_shares_the_disk_of_a_node_goes_to_that_node: {"small", "small-dask", "small-spark"}
}  # there is only one
HELD = [(overlay, check) for overlay in OVERLAYS for check in FAULTS if overlay not in ONE_NODE.get(check, ())]
PLANTED = [(check, fault) for check, faults in FAULTS.items() for fault in faults]
# They include small and production.
SCANNED = ("small-dask.yaml", "canary.yaml", "production-spark.yaml", "production-stream.yaml")
LOCKED = "readOnlyRootFilesystem: true"
MISSPELT = (
    (LOCKED, "readonlyRootFilesystem: true"),
    ("concurrencyPolicy: Forbid", "concurrency: Forbid"),
    ("restartPolicy: Always", "restartPolicy: [Always]"),
    ("seconds: 5", "seconds: five"),
    ("averageUtilization", "averageUtilisation"),
    ("apiVersion: policy/v1", "apiVersion: policy/v1beta1"),
)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each rendered overlay as one file."""
    folder = tmp_path_factory.mktemp("rendered")
    for overlay in OVERLAYS:
        (folder / f"{overlay}.yaml").write_text(render(overlay))
    return folder


@pytest.fixture(scope="session")
def clusters(rendered: Path) -> dict[str, Cluster]:
    return {overlay: parsed((rendered / f"{overlay}.yaml").read_text()) for overlay in OVERLAYS}


@pytest.mark.parametrize(("overlay", "check"), HELD, ids=lambda each: getattr(each, "__name__", each))
def test_the_rendered_manifests_pass_the_check(overlay: str, check: Check, clusters: dict[str, Cluster]) -> None:
    assert check(clusters[overlay]) == []


@pytest.mark.parametrize(
    ("check", "fault"), PLANTED, ids=lambda each: getattr(each, "name", getattr(each, "__name__", each))
)
def test_a_planted_fault_fails_the_check(check: Check, fault: Fault, clusters: dict[str, Cluster]) -> None:
    assert check(planted(clusters[fault.overlay], fault)) != []


@pytest.fixture(scope="session")
def validated(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The output of kubernetes-validate for the overlays, and for manifests with one misspelt word each."""
    folder = tmp_path_factory.mktemp("misspelt")
    documents = (rendered / "production.yaml").read_text().split("---\n")
    for number, (right, wrong) in enumerate(MISSPELT):
        whole = next(each for each in documents if right in each)
        (folder / f"misspelt-{number}.yaml").write_text(whole.replace(right, wrong, 1))
    versions = [word for version in VERSIONS for word in ("--kubernetes-version", version)]
    files = [*map(str, rendered.glob("*.yaml")), *map(str, folder.glob("*.yaml"))]
    command = [tool("kubernetes-validate"), "--strict", "--quiet", *versions, *files]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_manifest_is_valid_in_the_oldest_and_in_the_newest_kubernetes(
    validated: subprocess.CompletedProcess[str],
) -> None:
    about_ours = [line for line in validated.stdout.splitlines() if "misspelt" not in line]

    # No package has a schema for these kinds; prometheus.py and openings.py in infra/tests/kubernetes define them.
    unknown = re.compile("Couldn't find schema for kind (ServiceMonitor|HTTPRoute)")
    assert [line for line in about_ours if not unknown.search(line)] == []
    # In each overlay on production, one more for the stream, and the route.
    assert len(about_ours) == len(VERSIONS) * (len([each for each in OVERLAYS if not each.startswith("small")]) + 2)


@pytest.mark.parametrize("number", range(len(MISSPELT)), ids=[wrong for _, wrong in MISSPELT])
def test_a_misspelt_word_is_rejected(number: int, validated: subprocess.CompletedProcess[str]) -> None:
    lines = [line for line in validated.stdout.splitlines() if f"misspelt-{number}.yaml" in line]

    assert validated.returncode == 1
    assert len(lines) == len(VERSIONS)


@pytest.fixture(scope="session")
def scanned(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The checkov rules that fail, by file, without exceptions; also for a service with a writable file system."""
    folder = tmp_path_factory.mktemp("scanned")
    for name in SCANNED:
        (folder / name).write_text((rendered / name).read_text())
    service = next(each for each in (rendered / "production.yaml").read_text().split("---\n") if LOCKED in each)
    (folder / "unlocked.yaml").write_text(service.replace(LOCKED, LOCKED.replace("true", "false")))
    command = [tool("checkov"), "--directory", str(folder), "--framework", "kubernetes", "--output", "json", "--quiet",
               "--skip-download", "--soft-fail"]  # fmt: skip
    checked = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    failed: dict[str, set[str]] = {path.name: set() for path in folder.iterdir()}
    for each in json.loads(checked.stdout)["results"]["failed_checks"]:
        failed[Path(each["file_path"]).name].add(each["check_id"])
    return failed


def test_the_checkov_rules_that_fail_are_exactly_those_listed_with_a_reason(scanned: dict[str, set[str]]) -> None:
    text = (KUBERNETES / "checkov.yaml").read_text()
    failed = set[str]().union(*(scanned[name] for name in SCANNED))

    assert failed == set(yaml.safe_load(text)["skip-check"])
    assert [rule for rule in failed if not re.search(rf"- {rule} # \w+", text)] == []


def test_checkov_finds_a_writable_root_file_system(scanned: dict[str, set[str]]) -> None:
    assert "CKV_K8S_22" in scanned["unlocked.yaml"]


def test_only_the_canarys_overlay_has_a_canary(clusters: dict[str, Cluster]) -> None:
    tracks = {overlay: [pod.labels["track"] for pod in services_pods(cluster)] for overlay, cluster in clusters.items()}

    assert tracks == {each: ["stable", "canary"] if each == "canary" else ["stable"] for each in OVERLAYS}


def test_the_canary_is_otherwise_equal_to_production(clusters: dict[str, Cluster]) -> None:
    added = [each for each in clusters["canary"] if each not in clusters["production"]]

    assert [each["metadata"]["name"] for each in added] == ["ontime-canary"]
    assert len(clusters["canary"]) == len(clusters["production"]) + 1


def test_a_changed_setting_is_a_new_rollout(clusters: dict[str, Cluster]) -> None:
    names = [each["metadata"]["name"] for cluster in clusters.values() for each in of(cluster, "ConfigMap")]

    assert all(re.search(r"-[a-z0-9]{10}$", name) for name in names)
    # Small's and production's three, one of each engine on each of them, the stream's, two without a bucket's key.
    assert len(set(names)) == 13


@pytest.mark.parametrize("overlay", [each for each in OVERLAYS if each.endswith(("dask", "spark"))])
def test_an_engine_changes_only_the_jobs_that_work_in_partitions(overlay: str, clusters: dict[str, Cluster]) -> None:
    without = {name_of(each): each for each in clusters[overlay.partition("-")[0]]}
    with_engine = {name_of(each): each for each in clusters[overlay]}

    changed = {name for name, each in without.items() if with_engine[name] != each}
    assert changed == {f"CronJob/ontime-{name}" for name in ("first-release", "retrain", "score")}


def test_the_stream_changes_nothing_else(clusters: dict[str, Cluster]) -> None:
    assert [each for each in clusters["production"] if each not in clusters["production-stream"]] == []


def test_the_small_overlay_needs_no_other_server(clusters: dict[str, Cluster]) -> None:
    policies = [each["spec"] for each in of(clusters["small"], "NetworkPolicy")]

    assert not any(each.get("egress") for each in policies)
    assert "ServiceMonitor" not in {each["kind"] for each in clusters["small"]}


def commands() -> list[str]:
    """The commands in the guide, one per line."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`((?:kubectl|make) [^`]+)`", GUIDE.read_text())
    return [line.strip().partition(" #")[0] for line in [*lines, *inline] if not line.strip().startswith("#")]


@pytest.mark.parametrize("command", [each for each in commands() if "create secret generic" in each])
def test_each_secret_of_the_guide_can_be_created(command: str, tmp_path: Path) -> None:
    for path in re.findall(r"--from-file=[\w.-]+=(\S+)", command):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("sample")
    words = [*shlex.split(command)[1:], "--dry-run=client", "--output=yaml"]

    made = subprocess.run([tool("kubectl"), *words], cwd=tmp_path, capture_output=True, text=True, check=True)

    secret = yaml.safe_load(made.stdout)
    assert set(secret["data"]) == made_by_hand()[secret["metadata"]["name"]]


def test_the_links_in_the_guide_exist() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", GUIDE.read_text())

    assert links
    assert [link for link in links if not (KUBERNETES / link).exists()] == []


def test_every_secret_of_the_guide_is_used(clusters: dict[str, Cluster], alerting: dict[str, Any]) -> None:
    text = json.dumps([*clusters.values(), alerting])

    assert [name for name in made_by_hand() if f'"{name}"' not in text] == []


def test_the_resources_in_the_guide_exist(clusters: dict[str, Cluster]) -> None:
    text = "\n".join(commands())
    there = {name_of(each).lower() for cluster in clusters.values() for each in cluster}
    folders = set(re.findall(r"apply -[kf] (infra\S+)", text))
    folders |= {f"infra/kubernetes/overlays/{overlay}" for overlay in re.findall(r"OVERLAY=([\w-]+)", text)}
    named = {f"deployment/{name}" for name in re.findall(r"(?:deployment/|deployment |deploy/)([\w-]+)", text)}
    named |= set(re.findall(r"(cronjob/[\w-]+|service/[\w-]+)", text))

    assert folders >= {f"infra/kubernetes/overlays/{overlay}" for overlay in OVERLAYS}
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []
    assert "cronjob/ontime-first-release" in named
    assert named - there == set()


@pytest.fixture(scope="module")
def alerting() -> dict[str, Any]:
    """The manifests that `python -m infra.cluster_alerts` prints, by kind and name."""
    command = [sys.executable, "-m", "infra.cluster_alerts"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name_of(each): each for each in parsed(printed)}


def test_the_alerts_of_a_cluster_are_rules_that_prometheus_accepts(alerting: dict[str, Any], tmp_path: Path) -> None:
    manifest = alerting["PrometheusRule/ontime"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(manifest["spec"]))
    subprocess.run([program("promtool"), "check", "rules", str(tmp_path / "rules.yaml")], check=True)

    alerts = [rule for group in manifest["spec"]["groups"] for rule in group["rules"] if "alert" in rule]

    assert Operators.model_validate(manifest).kind == "PrometheusRule"
    assert [each["alert"] for each in alerts] == [
        name for name in rules.alerts() if name not in rules.expressions("stack.yaml")
    ]
    assert {each["labels"]["namespace"] for each in alerts} == {"ontime"}
    assert [each["alert"] for each in alerts if not each["annotations"]["runbook_url"].startswith("https://")] == []


def test_the_routing_of_a_cluster_sends_pages_and_tickets_to_addresses_in_a_secret(alerting: dict[str, Any]) -> None:
    spec = Routing.model_validate(alerting["AlertmanagerConfig/ontime"]).spec

    keys = {each.name: each.webhookConfigs[0].urlSecret for each in spec.receivers}
    assert {name: key.key for name, key in keys.items()} == {"pager": "pager_url", "tickets": "tickets_url"}
    assert {key.key for key in keys.values()} <= made_by_hand()[keys["pager"].name]
    assert {spec.route.receiver, *(each.receiver for each in spec.route.routes)} == set(keys)
    assert [each.receiver for each in spec.route.routes if each.matchers[0].value == "page"] == ["pager"]
    assert len(spec.inhibitRules) == 3


def test_a_matcher_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a matcher has another form"):
        cluster_alerts.matcher_fields(["severity=page"])


def test_the_dashboards_of_a_cluster_are_those_of_the_stack(alerting: dict[str, Any]) -> None:
    maps = {name: each for name, each in alerting.items() if name.startswith("ConfigMap/")}

    assert set(maps) == {"ConfigMap/ontime-dashboard-model", "ConfigMap/ontime-dashboard-service"}
    for each in maps.values():
        assert each["metadata"]["labels"] == {"grafana_dashboard": "1"}
        ((name, text),) = each["data"].items()
        assert json.loads(text) == json.loads((ROOT / "infra/grafana/dashboards" / name).read_text())


def test_prometheus_selects_the_rules_by_the_labels_of_the_monitors(
    alerting: dict[str, Any], clusters: dict[str, Cluster]
) -> None:
    monitors = of(clusters["production-stream"], "ServiceMonitor")

    labels = [each["metadata"]["labels"] for each in (*monitors, alerting["PrometheusRule/ontime"])]
    assert len(labels) == 3
    assert {each["release"] for each in labels} == {"kube-prometheus-stack"}
