"""The environment of a process in a pod: from its image, the manifests, Kubernetes itself, and secret files."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock

from infra.tests.kubernetes.manifests import Cluster, Container, Pod, find, of, secrets_of
from infra.tests.tools import ROOT
from ontime.settings import SECRETS, Settings, load_settings

SAMPLES = {
    "ontime_database_url": "postgresql+psycopg://ontime:secret@10.0.1.2/ontime",
    "ontime_broker": "nats://secret@ontime-broker:4222",
}


class Image(NamedTuple):
    """The settings of a target of the Dockerfile."""

    environment: dict[str, str]
    volumes: list[str]
    user: str


def image(name: str) -> Image:
    """Raises KeyError for an image that the Dockerfile does not build, with an engine's packages or without."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    stages: dict[str, str] = {}  # each after those that it is built from
    for base, stage, lines in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL):
        stages[stage] = stages.get(base, "") + lines
    target, _, engine = name.removeprefix("ontime-").partition("-")
    if engine and (target != "worker" or not (ROOT / f"requirements/{engine}.txt").exists()):
        raise KeyError(name)
    instructions = stages[target]
    settings = [line.partition(" ")[2] for line in instructions.splitlines() if line.startswith("ENV ")]
    users = re.findall(r"^USER (\S+)$", instructions, re.MULTILINE)
    return Image(
        environment=dict(re.findall(r"(\w+)=(\S+)", " ".join(settings))),
        volumes=re.findall(r"^VOLUME (\S+)$", instructions, re.MULTILINE),
        user=users[-1],
    )


def environment(cluster: Cluster, pod: Pod, container: Container) -> dict[str, str]:
    """All environment variables that the image, the manifests and Kubernetes set."""
    variables = dict(image(container.image).environment)
    if pod.spec.get("enableServiceLinks", True):
        for service in of(cluster, "Service"):
            name = service["metadata"]["name"].upper().replace("-", "_")
            variables |= {f"{name}_SERVICE_HOST": "10.96.0.7", f"{name}_PORT": "tcp://10.96.0.7:80"}
    for source in container.spec.get("envFrom", []):
        variables |= find(cluster, f"ConfigMap/{source['configMapRef']['name']}").get("data", {})
    # A value that is a field of the pod, such as its job's name, is known when the pod is created.
    return variables | {each["name"]: each.get("value", "sample") for each in container.spec.get("env", [])}


def needs_database(pod: Pod, container: Container) -> bool:
    """Not a mirror, an engine, or who only reads tables and publishes messages."""
    reads_tables = "pipelines.ingest" in container.words
    return not (container.image == "ontime-mirror" or pod.is_of_engine or reads_tables) and pod.component not in (
        "broker", "feed",
    )  # fmt: skip


@contextmanager
def loaded(cluster: Cluster, pod: Pod, container: Container) -> Iterator[Settings]:
    """The container's settings, with a sample for each secret file. Raises BadSettings as the process would."""
    variables = environment(cluster, pod, container)
    with TemporaryDirectory() as folder:
        for mount in container.mounts:
            if mount["mountPath"] == variables.get(SECRETS):
                variables[SECRETS] = folder
                for item in (each for secret in secrets_of(pod.volumes[mount["name"]]) for each in secret["items"]):
                    (Path(folder) / item["path"]).write_text(SAMPLES.get(item["path"], "sample"))
        with mock.patch.dict(os.environ, variables, clear=True):
            yield load_settings()
