"""Checks of every pod. Each check returns a list of problems."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from infra.tests.kubernetes.manifests import Cluster, Container, Pod, containers, pods, services_pods
from infra.tests.kubernetes.processes import image, loaded, needs_database
from ontime.settings import BadSettings, Settings
from serving import routes
from serving.middleware import required_scope

HANGS_SECONDS, KUBELETS_LEAST = 15, 2
LOCKED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
HEARTBEAT = ["python", "-m", "ontime.heartbeat"]


def every_setting_is_one_and_loads(cluster: Cluster) -> list[str]:
    wrong = []
    for pod, container in containers(cluster):
        try:
            with loaded(cluster, pod, container) as settings:
                own_file = "sqlite:///var" in settings.database_url.get_secret_value()
                if own_file and needs_database(pod, container):
                    wrong.append(f"{pod.owner} {container.name}: its database is a file of its own")
                if container.image.startswith("ontime-worker") and pod.role:
                    wrong += _engines_settings(pod, container, settings)
                if {"pull", "push"} & set(container.words) and settings.releases_store is None:
                    wrong.append(f"{pod.owner} {container.name}: no store to mirror")
                if container.words in (["ontime", "stream"], ["ontime", "feed"]) and settings.broker is None:
                    wrong.append(f"{pod.owner} {container.name}: starts a broker of its own")
        except BadSettings as refused:
            wrong.append(f"{pod.owner} {container.name}: {refused}")
    return wrong


def _engines_settings(pod: Pod, container: Container, settings: Settings) -> list[str]:
    where = f"{pod.owner} {container.name}"
    wrong = [] if container.image == f"ontime-worker-{settings.engine}" else [f"{where}: no package of its engine"]
    if settings.engine_address is None or settings.shared_storage is None:
        wrong.append(f"{where}: nothing is shared with the workers, or nobody says where they are")
    own_address = {"name": "SPARK_LOCAL_HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    if settings.engine == "spark" and pod.role == "client" and own_address not in container.spec.get("env", []):
        wrong.append(f"{where}: tells executors its name, which is not in the DNS")
    return wrong


def probes_ask_open_routes_of_the_service(cluster: Cluster) -> list[str]:
    app = FastAPI()
    routes.add_operations(app, None, None, Settings())  # type: ignore[arg-type]  # only their paths are looked at
    paths = {route.path for route in app.routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())}
    wrong = []
    for pod in services_pods(cluster):
        (service,) = [each for each in pod.containers if each.image == "ontime-serve"]
        for kind, path in {"startup": "live", "readiness": "ready", "liveness": "live"}.items():
            probe_path = service.spec.get(f"{kind}Probe", {}).get("httpGet", {}).get("path")
            if probe_path not in paths or required_scope("GET", probe_path) is not None:
                wrong.append(f"{pod.owner}: {probe_path} is not a route without authentication")
            elif probe_path != f"/health/{path}":
                wrong.append(f"{pod.owner}: {kind} asks {probe_path}")
    return wrong


def nobody_is_root_or_becomes_it(cluster: Cluster) -> list[str]:
    wrong = []
    for pod in pods(cluster):
        context, spec = pod.spec.get("securityContext", {}), pod.spec
        if context.get("runAsNonRoot") is not True or context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            wrong.append(f"{pod.owner}: root, or any system call")
        if spec.get("automountServiceAccountToken") is not False or "serviceAccountName" not in spec:
            wrong.append(f"{pod.owner}: has a token of the cluster")
        if {"hostNetwork", "hostPID", "hostIPC"} & set(spec):
            wrong.append(f"{pod.owner}: is in a namespace of the node")
        for container in pod.containers:
            if container.spec.get("securityContext") != LOCKED:
                wrong.append(f"{pod.owner} {container.name}: is not locked down")
            if image(container.image).user != f"{context.get('runAsUser')}:{context.get('runAsGroup')}":
                wrong.append(f"{pod.owner} {container.name}: is another user than the image's")
    return wrong


def a_release_is_there_before_the_service_and_it_cannot_alter_it(cluster: Cluster) -> list[str]:
    wrong = []
    for pod in services_pods(cluster):
        first, mirror, service = (*pod.containers, None, None)[:3]
        if first is None or first.words != ["pull"] or "restartPolicy" in first.spec or not first.starts_first:
            wrong.append(f"{pod.owner}: nothing fetches a release first")
        if mirror is None or mirror.words[:2] != ["pull", "--every"] or mirror.spec.get("restartPolicy") != "Always":
            wrong.append(f"{pod.owner}: nothing follows the pointer")
        mounted = [next((m for m in each.mounts if m["mountPath"] == "/app/releases"), {}) for each in pod.containers]
        if len({each.get("name") for each in mounted}) != 1:
            wrong.append(f"{pod.owner}: the service reads another folder than the mirror writes")
        if service is None or not mounted[-1].get("readOnly"):
            wrong.append(f"{pod.owner}: the service could alter a release")
    return wrong


def a_mirror_that_hangs_is_restarted(cluster: Cluster) -> list[str]:
    """By the file that it touches before each attempt; and the publisher is ready by that of the last success."""
    wrong = []
    for pod, container in containers(cluster):
        if "--every" not in container.words:
            continue
        if probe_command(container, "livenessProbe") != [*HEARTBEAT, "round"]:
            wrong.append(f"{pod.owner} {container.name}: may hang for ever")
        pushes = "push" in container.words
        if pushes and probe_command(container, "readinessProbe") != [*HEARTBEAT, "copy"]:
            wrong.append(f"{pod.owner} {container.name}: nobody sees that nothing is pushed")
    return wrong


def probe_command(container: Container, kind: str) -> list[str]:
    """Empty if the container has no such probe."""
    return list(container.spec.get(kind, {}).get("exec", {}).get("command", []))


def a_pod_that_stops_has_time_to_answer(cluster: Cluster) -> list[str]:
    wrong = []
    for pod in services_pods(cluster):
        service = pod.containers[-1]
        pause = service.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        with loaded(cluster, pod, service) as settings:
            needed = pause + settings.stop_seconds
        if pause < 1:
            wrong.append(f"{pod.owner}: ends before the nodes know, or by a shell that the image need not have")
        if pod.spec.get("terminationGracePeriodSeconds", 30) <= needed:
            wrong.append(f"{pod.owner}: is killed within {needed:g} seconds")
    return wrong


def a_process_that_hangs_is_replaced_in_time(cluster: Cluster) -> list[str]:
    return [
        f"{pod.owner}: hangs for {seconds:g} seconds"
        for pod in services_pods(cluster)
        if (seconds := seconds_until_replaced(pod)) > HANGS_SECONDS
    ]


def seconds_until_replaced(pod: Pod) -> float:
    """From the last answer of the service's process until the kubelet has killed it, at most.

    The process hangs right after a probe; each of the next ones takes its whole timeout. Then the kubelet runs
    `preStop` within the probe's grace period, and leaves the process what remains of it, at least two seconds.
    """
    service = pod.containers[-1].spec
    probe = service["livenessProbe"]
    period, timeout = probe.get("periodSeconds", 10), probe.get("timeoutSeconds", 1)
    grace = probe.get("terminationGracePeriodSeconds", pod.spec.get("terminationGracePeriodSeconds", 30))
    pause = min(service.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0), grace)
    failures = probe.get("failureThreshold", 3)
    return float(period + (failures - 1) * max(period, timeout) + timeout + pause + max(KUBELETS_LEAST, grace - pause))


def images_are_ours_and_of_one_version(cluster: Cluster) -> list[str]:
    wrong = []
    for pod, container in containers(cluster):
        tag = str(container.spec["image"]).rpartition("/")[2].partition(":")[2]
        try:
            image(container.image)
        except KeyError:
            wrong.append(f"{pod.owner} {container.name}: the Dockerfile builds no {container.image}")
        if tag in ("", "latest"):
            wrong.append(f"{pod.owner} {container.name}: {container.spec['image']} is another one tomorrow")
    return wrong
