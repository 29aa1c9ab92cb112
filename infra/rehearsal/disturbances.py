"""What happens to a service in production: each function does it, and returns when all pods serve again."""

import time
from copy import deepcopy

from infra import deploy
from infra.image_references import images_in, with_images
from infra.rehearsal import pods
from infra.rehearsal.installation import Installation
from infra.rehearsal.kubectl import ClusterFailed, Manifest

DEPLOYMENT, CONTAINER, SERVE_IMAGE = "deployment/ontime", "service", "ontime-serve"
SELECTOR = "app.kubernetes.io/name=ontime,app.kubernetes.io/component=service"
VERSION = "ontime-rehearsal-version"
READY_SECONDS = 300
START_SECONDS = 30  # that a version which cannot start has to do so


def restart(installation: Installation) -> None:
    installation.kubectl.run("rollout", "restart", DEPLOYMENT)
    wait_until_rolled_out(installation)


def delete_pod(installation: Installation) -> None:
    installation.kubectl.run("delete", "pod", _ready_pod(installation)["metadata"]["name"])
    wait_until_rolled_out(installation)


def kill_process(installation: Installation) -> None:
    signal_process(installation, "SIGKILL")


def hang_process(installation: Installation) -> None:
    """The process stops responding, so its probes fail, and the kubelet restarts its container."""
    signal_process(installation, "SIGSTOP")


def signal_process(installation: Installation, name: str) -> None:
    """Signal the service's process in a pod, from its node; wait until its container has restarted and is ready."""
    pod = _ready_pod(installation)
    before, pod_name = service_container(pod), pod["metadata"]["name"]
    killer = pods.killer(installation.image, pod["spec"]["nodeName"], before["containerID"], name)
    pods.run_to_end(installation.client, killer)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        now = service_container(installation.kubectl.get("pod", pod_name))
        if now["restartCount"] > before["restartCount"] and now["ready"]:
            return
        if time.monotonic() > deadline:
            raise ClusterFailed(f"pod {pod_name}: not restarted and ready {READY_SECONDS} s after {name}")
        time.sleep(0.5)


def deploy_next_version(installation: Installation) -> None:
    """Deploy as `make deploy` does; only an annotation differs from the version before."""
    manifests = deepcopy(list(installation.manifests))
    for each in manifests:
        if each["kind"] == "Deployment" and each["metadata"]["name"] in (deploy.SERVICE, deploy.PUBLISHER):
            each["spec"]["template"]["metadata"].setdefault("annotations", {})[VERSION] = "2"
    kubectl, key = installation.kubectl, installation.key
    deploy.roll_out(kubectl, manifests, lambda: deploy.ask_for_prediction(kubectl, key), READY_SECONDS)


def deploy_missing_image(installation: Installation) -> None:
    """Deploy a version that cannot start, so that the service is taken back. Raises ClusterFailed if it is not."""
    manifests = installation.manifests
    images = {name: versions.pop() for name, versions in images_in(manifests).items()}
    broken = with_images(manifests, {**images, SERVE_IMAGE: f"{SERVE_IMAGE}:no-such-version"})
    try:
        deploy.roll_out(installation.kubectl, broken, lambda: "it answers", START_SECONDS)
    except ClusterFailed as failed:
        if deploy.TAKEN_BACK not in str(failed):
            raise
        wait_until_rolled_out(installation)
    else:
        raise ClusterFailed(f"a version of {DEPLOYMENT} without an image was rolled out")


def wait_until_rolled_out(installation: Installation) -> None:
    installation.kubectl.run("rollout", "status", DEPLOYMENT, f"--timeout={READY_SECONDS}s")


def service_container(pod: Manifest) -> Manifest:
    """Its status: containerID, ready, restartCount."""
    statuses: list[Manifest] = pod["status"].get("containerStatuses", [])
    return next((each for each in statuses if each["name"] == CONTAINER), {"ready": False, "restartCount": 0})


def _ready_pod(installation: Installation) -> Manifest:
    """A pod of the service. Raises ClusterFailed if none is ready."""
    listed = installation.kubectl.get("pods", f"--selector={SELECTOR}")["items"]
    for pod in listed:
        is_deleted = any(field.startswith("deletion") for field in pod["metadata"])
        if not is_deleted and service_container(pod)["ready"]:
            ready: Manifest = pod
            return ready
    raise ClusterFailed(f"no pod of {DEPLOYMENT} is ready")
