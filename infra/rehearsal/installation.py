"""Installs an overlay as the guide in infra/kubernetes/README.md does, with secrets of its own; and removes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import yaml

from infra.rehearsal import compatibility, pods, volumes
from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest, output_of
from ontime import signatures
from serving import keys

OVERLAYS = Path("infra/kubernetes/overlays")
WORKER_IMAGE = "ontime-worker"


@dataclass(frozen=True)
class Installation:
    kubectl: Kubectl  # of the service's namespace
    manifests: Sequence[Manifest]  # as applied
    changes: Sequence[str]  # for this cluster, in words
    server_version: str
    nodes: int
    key: str  # an API key with the scope predict

    @property
    def client(self) -> Kubectl:
        """Of the rehearsal's own namespace."""
        return self.kubectl.within(pods.NAMESPACE)

    @property
    def image(self) -> str:
        """The worker's, which has Python and this package."""
        return worker_image(self.manifests)

    def cronjob(self, name: str) -> Manifest:
        return next(each for each in self.manifests if each["kind"] == "CronJob" and each["metadata"]["name"] == name)


def rendered(kubectl: Kubectl, overlay: str) -> list[Manifest]:
    """The manifests of an overlay. Raises ClusterFailed."""
    if not (OVERLAYS / overlay).is_dir():
        raise ClusterFailed(f"{OVERLAYS / overlay} does not exist: name one of {_names(OVERLAYS)}")
    text = output_of(kubectl.command("kustomize", str(OVERLAYS / overlay)))
    return [each for each in yaml.safe_load_all(text) if each]


def install(kubectl: Kubectl, overlay: str) -> Installation:
    """Apply the overlay, with an API key and a signing key of its own. Raises ClusterFailed.

    An existing namespace is used only if it has the rehearsal's label and no service yet: overlays with a database and
    a bucket need it, with their secrets.
    """
    _refuse_foreign(kubectl)
    server = json.loads(kubectl.run("version", "--output=json"))["serverVersion"]
    version = compatibility.parsed_version(server["major"], server["minor"])
    manifests, changes = compatibility.adapted(rendered(kubectl, overlay), version, served_kinds(kubectl))
    nodes = len(kubectl.get("nodes")["items"])
    kubectl.apply([each for each in manifests if each["kind"] == "Namespace"] + [pods.namespace()])
    kubectl.run("label", "namespace", kubectl.namespace, *(f"{key}={value}" for key, value in pods.LABEL.items()))
    if not volumes.has_default_class(kubectl):
        manifests = [*manifests, *volumes.on_the_node(kubectl, manifests, worker_image(manifests), nodes)]
        changes.append("no storage class: the claims are folders of the node, which any user can write to")
    key = _create_secrets(kubectl)
    _create_secret_of_engine(kubectl, engine_of(manifests))
    manifests = [*compatibility.suspended(manifests), pods.admission(kubectl.namespace)]
    kubectl.apply(manifests)
    return Installation(kubectl, manifests, changes, server["gitVersion"].removeprefix("v"), nodes, key)


def remove(kubectl: Kubectl) -> None:
    """Delete what a rehearsal has created: only namespaces and volumes with its label. Raises ClusterFailed."""
    label = ",".join(f"{key}={value}" for key, value in pods.LABEL.items())
    client = kubectl.within(pods.NAMESPACE)
    kubectl.run("delete", "namespace", f"--selector={label},!{pods.OWN}", "--ignore-not-found", "--wait")
    volumes.delete(client, label)
    kubectl.run("delete", "namespace", f"--selector={label}", "--ignore-not-found", "--wait")


def served_kinds(kubectl: Kubectl) -> list[tuple[str, str]]:
    """As (apiVersion, kind)."""
    lines = kubectl.run("api-resources", "--no-headers").splitlines()
    return [(fields[-3], fields[-1]) for fields in map(str.split, lines)]


def worker_image(manifests: Sequence[Manifest]) -> str:
    """The one without an engine's packages, because it is in every overlay."""
    images = {each["image"] for manifest in manifests for each in compatibility.pod_of(manifest).get("containers", [])}
    return next(each for each in sorted(images) if each.rpartition("/")[2].partition(":")[0] == WORKER_IMAGE)


def _refuse_foreign(kubectl: Kubectl) -> None:
    if not kubectl.exists("namespace", kubectl.namespace):
        return
    labels = kubectl.get("namespace", kubectl.namespace)["metadata"].get("labels", {})
    if not pods.LABEL.items() <= labels.items():
        raise ClusterFailed(f"namespace {kubectl.namespace} exists and is not a rehearsal's: it is left as it is")
    if kubectl.exists("deployment", "ontime"):
        raise ClusterFailed(f"namespace {kubectl.namespace} has the service of an earlier rehearsal: clean up first")


def _create_secrets(kubectl: Kubectl) -> str:
    """Those of the guide; the API key."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        key = keys.add(path, "rehearsal", ["predict"])
        digests = path.read_text(encoding="utf-8")
    private_key, public_key = signatures.generate()
    trusted = {"trusted_keys": f"{public_key}\n"}
    for name, content in {
        "ontime-api-keys": {"api-keys.json": digests},
        "ontime-signing": {"key.pem": private_key, **trusted},
        "ontime-trusted-keys": trusted,
    }.items():
        _create_secret(kubectl, name, content)
    return key


def _create_secret_of_engine(kubectl: Kubectl, engine: str | None) -> None:
    """As in the guide: a certificate for Dask, a password for Spark."""
    if engine == "dask":
        with TemporaryDirectory() as folder:
            files = ["-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt"]
            kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ontime-dask"]
            output_of(["openssl", "req", "-x509", *kind, *files])
            _create_secret(kubectl, "ontime-dask", {each.name: each.read_text() for each in Path(folder).iterdir()})
    elif engine == "spark":
        lines = (
            f"spark.authenticate true\nspark.authenticate.secret {token_hex(32)}\nspark.network.crypto.enabled true\n"
        )
        _create_secret(kubectl, "ontime-spark", {"spark-defaults.conf": lines})


def _create_secret(kubectl: Kubectl, name: str, content: Mapping[str, str]) -> None:
    metadata = {"name": name, "namespace": kubectl.namespace}
    kubectl.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(content)})


def engine_of(manifests: Sequence[Manifest]) -> str | None:
    """The engine that the overlay names for its jobs; None if there is none."""
    data = [each.get("data", {}) for each in manifests if each["kind"] == "ConfigMap"]
    return next((each["ONTIME_ENGINE"] for each in data if "ONTIME_ENGINE" in each), None)


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir()))
