"""Pods of the rehearsal itself, in its own namespace: one sends the load, another one kills a process."""

import time
from collections.abc import Sequence

from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest

NAMESPACE = "ontime-rehearsal"
LABEL = {"ontime-rehearsal": "yes"}  # on everything that `--clean` may delete
OWN = "ontime-rehearsal-client"  # on the namespace of the pods below, which is deleted last
CLIENT, KILLER = "client", "killer"
SERVICE_USER = 10001


def namespace() -> Manifest:
    labels = {**LABEL, OWN: "yes"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def admission(service_namespace: str) -> Manifest:
    """Admits the load to the service, whose namespace denies everything else."""
    from_us = {"namespaceSelector": {"matchLabels": LABEL}}
    spec = {
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "service"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [from_us], "ports": [{"protocol": "TCP", "port": "http"}]}],
    }
    metadata = {"name": "rehearsal", "namespace": service_namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def pod(name: str, image: str, command: Sequence[str], **spec: object) -> Manifest:
    container = {
        "name": "only",
        "image": image,
        "command": list(command),
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": LABEL},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **spec,
        },
    }


def client(image: str) -> Manifest:
    return pod(CLIENT, image, ["sleep", "infinity"])


def killer(image: str, node: str, container_id: str, signal_name: str) -> Manifest:
    """Signals the first process of a container, which no process inside of the container can kill.

    It runs as the service's user in the process table of the node, so it needs no privilege.
    """
    command = ["python", "-m", "infra.rehearsal.container_signal", container_id.rpartition("/")[2], signal_name]
    user = {"runAsUser": SERVICE_USER, "runAsGroup": SERVICE_USER}
    return pod(KILLER, image, command, hostPID=True, nodeName=node, securityContext=user)


def run_to_end(kubectl: Kubectl, manifest: Manifest, seconds: float = 120) -> str:
    """Run a pod once; its log. Raises ClusterFailed with its log if it fails or takes longer."""
    name, deadline = manifest["metadata"]["name"], time.monotonic() + seconds
    kubectl.create(manifest)
    while (phase := kubectl.get("pod", name)["status"]["phase"]) not in ("Succeeded", "Failed"):
        if time.monotonic() > deadline:
            raise ClusterFailed(f"pod {name} in {kubectl.namespace} is {phase} after {seconds:.0f} s")
        time.sleep(0.5)
    log = kubectl.run("logs", name)
    if phase == "Failed":
        raise ClusterFailed(f"pod {name} in {kubectl.namespace} failed: {log.strip()}")
    return log


def start(kubectl: Kubectl, manifest: Manifest, seconds: int = 120) -> None:
    """Create a pod and wait until it is ready. Raises ClusterFailed."""
    kubectl.create(manifest)
    kubectl.run("wait", f"pod/{manifest['metadata']['name']}", "--for=condition=Ready", f"--timeout={seconds}s")
