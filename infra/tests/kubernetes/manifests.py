"""Rendered Kubernetes manifests, and access to their pods, containers, mounts and settings."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from infra.tests.tools import INFRA, tool

KUBERNETES = INFRA / "kubernetes"
OVERLAYS = (
    "small", "production", "canary", "small-dask", "small-spark", "production-dask", "production-spark",
    "production-stream", "production-cloud", "production-spool-in-pod",
)  # fmt: skip
SERVICE = {"app.kubernetes.io/name": "ontime", "app.kubernetes.io/component": "service"}

Manifest = dict[str, Any]
Cluster = list[Manifest]


def render(overlay: str) -> str:
    """The manifests that `kubectl apply -k` would send. Raises CalledProcessError with kustomize's error in stderr."""
    folder = KUBERNETES / "overlays" / overlay
    command = [tool("kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def parsed(rendered: str) -> Cluster:
    return [each for each in yaml.safe_load_all(rendered) if each]


@dataclass(frozen=True)
class Container:
    spec: Manifest
    starts_first: bool  # an init container; with restartPolicy Always it is a sidecar

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def image(self) -> str:
        """The image's name without registry and tag."""
        return str(self.spec["image"]).rpartition("/")[2].partition(":")[0].partition("@")[0]

    @property
    def target(self) -> str:
        """The image without an engine's packages, which is named after its target in the Dockerfile."""
        return re.sub(r"^(ontime-worker)-\w+$", r"\1", self.image)

    @property
    def ports(self) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in self.spec.get("ports", [])}

    @property
    def words(self) -> list[str]:
        """The command and arguments, as far as the manifest sets them."""
        return [*self.spec.get("command", []), *self.spec.get("args", [])]

    @property
    def mounts(self) -> list[Manifest]:
        return list(self.spec.get("volumeMounts", []))


class Pod(NamedTuple):
    owner: str  # such as Deployment/ontime
    labels: Mapping[str, str]
    spec: Manifest

    @property
    def containers(self) -> list[Container]:
        first = [Container(each, True) for each in self.spec.get("initContainers", [])]
        return first + [Container(each, False) for each in self.spec["containers"]]

    @property
    def volumes(self) -> dict[str, Manifest]:
        return {each["name"]: each for each in self.spec.get("volumes", [])}

    @property
    def role(self) -> str | None:
        """In an engine: `client` (a job), `scheduler` or `worker`; None if it has no part in one."""
        return self.labels.get("engine")

    @property
    def is_of_engine(self) -> bool:
        """Whether it runs Dask's or Spark's own process, which reads none of our settings."""
        return self.role in ("scheduler", "worker")

    @property
    def component(self) -> str:
        """Such as service, worker, or one of those of the stream: broker, feed, stream."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def claims(self) -> set[str]:
        claimed = [each["persistentVolumeClaim"] for each in self.volumes.values() if "persistentVolumeClaim" in each]
        return {each["claimName"] for each in claimed}


def name_of(manifest: Manifest) -> str:
    """Such as Deployment/ontime."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of(cluster: Cluster, *kinds: str) -> list[Manifest]:
    return [each for each in cluster if each["kind"] in kinds]


def find(cluster: Cluster, where: str) -> Manifest:
    """By kind and name, such as Deployment/ontime. For a generated name, without its hash."""
    kind, _, name = where.partition("/")
    (manifest,) = [each for each in of(cluster, kind) if re.fullmatch(rf"{name}(-\w{{10}})?", each["metadata"]["name"])]
    return manifest


def pods(cluster: Cluster) -> list[Pod]:
    """The pod of each Deployment, StatefulSet and CronJob."""
    return [
        Pod(name_of(each), template["metadata"]["labels"], template["spec"] | _own_volumes(each, template))
        for each in of(cluster, "Deployment", "StatefulSet", "CronJob")
        for template in [_of_job(each) if each["kind"] == "CronJob" else each["spec"]["template"]]
    ]


def _own_volumes(owner: Manifest, template: Manifest) -> Manifest:
    """The volumes of the pod, with those that a StatefulSet claims for each of its pods."""
    templates = owner["spec"].get("volumeClaimTemplates", [])
    claimed = [{"name": each["metadata"]["name"], "claimTemplate": each["spec"]} for each in templates]
    return {"volumes": [*template["spec"].get("volumes", []), *claimed]}


def secrets_of(volume: Manifest) -> list[Manifest]:
    """The secrets whose files are in a volume, as the field `secret` of a volume has them."""
    sources = [each["secret"] for each in volume.get("projected", {}).get("sources", [])]
    projected = [{"secretName": each["name"], "items": each["items"]} for each in sources]
    return [*projected, *([volume["secret"]] if "secret" in volume else [])]


def _of_job(cronjob: Manifest) -> Manifest:
    return cronjob["spec"]["jobTemplate"]["spec"]["template"]


def engine_of(cluster: Cluster) -> str | None:
    """The engine on which jobs work in partitions; None if they use processes of their own."""
    maps = [each for each in of(cluster, "ConfigMap") if "ONTIME_ENGINE" in each.get("data", {})]
    return maps[0]["data"]["ONTIME_ENGINE"] if maps else None


def services_pods(cluster: Cluster) -> list[Pod]:
    return [pod for pod in pods(cluster) if selects({"matchLabels": SERVICE}, pod.labels)]


def containers(cluster: Cluster) -> Iterator[tuple[Pod, Container]]:
    return ((pod, container) for pod in pods(cluster) for container in pod.containers)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector matches the labels, by Kubernetes' rule: an empty one matches everything."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        each["key"] in labels and (each["operator"] == "Exists" or labels[each["key"]] in each["values"])
        for each in selector.get("matchExpressions", [])
    )
