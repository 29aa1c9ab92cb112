"""Checks of volumes and secrets. Each check returns a list of problems."""

import re

from infra.tests.kubernetes.manifests import (
    Cluster,
    Container,
    Pod,
    containers,
    find,
    of,
    pods,
    secrets_of,
    selects,
    services_pods,
)
from infra.tests.kubernetes.processes import image, loaded, needs_database

ALWAYS = "requiredDuringSchedulingIgnoredDuringExecution"
WORKING_FOLDER = "/app"
MIRRORS = {"pull": ["/app/releases"], "push": []}
STREAMS = {"broker": ["/app/var/broker", "/tmp"], "feed": ["/tmp"], "stream": ["/app/var", "/tmp"]}  # noqa: S108
WORKERS_FOLDERS = ["/app/var", "/app/data", "/app/models", "/app/releases", "/tmp"]  # noqa: S108  the container's


def folders_needed(cluster: Cluster, pod: Pod, container: Container) -> list[str]:
    """The folders that the process writes to."""
    if container.image == "ontime-serve":
        with loaded(cluster, pod, container) as settings:
            return [str(WORKING_FOLDER / settings.spool), "/tmp"]  # noqa: S108  the container's
    if container.image == "ontime-mirror":
        return MIRRORS[container.words[0]]
    if "pipelines.ingest" in container.words:
        return ["/app/data", "/tmp"]  # noqa: S108  the container's
    if pod.component in STREAMS:
        return STREAMS[pod.component]
    with loaded(cluster, pod, container) as settings:
        shared = str(settings.shared_storage) if pod.role in ("client", "worker") else ""
    folders = ["/tmp"] if pod.is_of_engine else WORKERS_FOLDERS  # noqa: S108  the container's
    return [*folders, shared] if shared.startswith("/") else folders


def what_is_written_is_on_a_volume(cluster: Cluster) -> list[str]:
    """Every folder that a process needs is writable; every other volume has a size limit or is read-only."""
    wrong = []
    for pod, container in containers(cluster):
        where = f"{pod.owner} {container.name}"
        writable = {each["mountPath"] for each in container.mounts if not each.get("readOnly", False)}
        wrong += [
            f"{where}: cannot write {folder}"
            for folder in folders_needed(cluster, pod, container)
            if not any(folder == each or folder.startswith(f"{each}/") for each in writable)
        ]
        wrong += [
            f"{where}: {path}, a volume of the image, is made up by the runtime"
            for path in image(container.image).volumes
            if path not in {each["mountPath"] for each in container.mounts}
        ]
        if container.target == "ontime-worker" and WORKING_FOLDER in writable:
            wrong.append(f"{where}: the checkout is hidden")
        for mount in container.mounts:
            volume = pod.volumes.get(mount["name"], {})
            if mount["mountPath"] in writable and not (
                {"persistentVolumeClaim", "claimTemplate"} & set(volume)
                or "sizeLimit" in (volume.get("emptyDir") or {})
            ):
                wrong.append(f"{where}: {mount['mountPath']} can be written without a bound")
    return wrong


PRE_STOP_SECONDS = 5


def no_volume_is_where_a_cloud_mounts_its_token(cluster: Cluster) -> list[str]:
    """Within a read-only volume at /var/run/secrets, or at /run/secrets that it links to, no token can be mounted."""
    return [
        f"{pod.owner} {container.name}: {mount['mountPath']} leaves no place for the cloud's token"
        for pod, container in containers(cluster)
        for mount in container.spec.get("volumeMounts", [])
        if mount["mountPath"] in ("/run", "/run/secrets", "/var/run", "/var/run/secrets")
    ]


def what_waits_for_the_database_outlives_its_pod(cluster: Cluster) -> list[str]:
    """The spool is on a claim, which all pods of the service share; or the pod waits for the database."""
    several = bool(of(cluster, "HorizontalPodAutoscaler")) or len(services_pods(cluster)) > 1
    wrong, shared = [], set()
    for pod in services_pods(cluster):
        with loaded(cluster, pod, pod.containers[-1]) as settings:
            spool = f"{WORKING_FOLDER}/{settings.spool}"
        (mount,) = (each for each in pod.containers[-1].mounts if spool.startswith(each["mountPath"]))
        claim = pod.volumes[mount["name"]].get("persistentVolumeClaim", {}).get("claimName")
        if claim is None and settings.spool_drain_seconds:
            needed = PRE_STOP_SECONDS + settings.stop_seconds + settings.spool_drain_seconds
            if pod.spec["terminationGracePeriodSeconds"] <= needed:
                wrong.append(f"{pod.owner}: is killed before the {needed:g} seconds that it may need to stop")
        else:
            shared.add(claim)
    if not shared:
        return wrong
    if len(shared) != 1 or None in shared:
        return [f"the spool is on {shared}"]
    (claim,) = shared
    modes = find(cluster, f"PersistentVolumeClaim/{claim}")["spec"]["accessModes"]
    if several and modes != ["ReadWriteMany"]:
        wrong.append(f"{claim}: {modes} lets pods on one node only share the spool")
    return wrong


def secrets_are_files_for_those_who_need_them(cluster: Cluster) -> list[str]:
    """No content in git or in the environment; readable by the pod's group only; each in one image only."""
    wrong = [f"Secret/{each['metadata']['name']}: its content is in git" for each in of(cluster, "Secret")]
    for pod, container in containers(cluster):
        where = f"{pod.owner} {container.name}"
        if re.search(r"secretKeyRef|secretRef", str(container.spec)):
            wrong.append(f"{where}: a secret in the environment")
        needs = {
            "ontime-api-keys": container.image == "ontime-serve",
            "ontime-signing": pod.component == "worker",
            "ontime-trusted-keys": container.image == "ontime-serve" or container.words == ["ontime", "stream"],
            "ontime-database": needs_database(pod, container),
            "ontime-broker": container.words[:1] in (["ontime"], ["nats-server"]) and pod.component in STREAMS,
            "ontime-bucket-reader": container.words[:1] == ["pull"],
            "ontime-bucket-writer": bool({"push", "backup"} & set(container.words)),
            "ontime-bucket-work": pod.role in ("client", "worker"),
            "ontime-dask": pod.role is not None,
            "ontime-spark": pod.role is not None,
            "ontime-bucket": False,
        }
        for mount in container.mounts:
            volume = pod.volumes.get(mount["name"], {})
            names = [each["secretName"] for each in secrets_of(volume)]
            wrong += [f"{where}: need not see {name}" for name in names if not needs[name]]
            if not names:
                continue
            mode = {**volume.get("secret", {}), **volume.get("projected", {})}["defaultMode"]
            if mode != 0o440 or pod.spec["securityContext"].get("fsGroup") != 10001:
                wrong.append(f"{where}: {mount['name']} is open to all, or closed to it")
            if not mount.get("readOnly"):
                wrong.append(f"{where}: {mount['mountPath']} is not read-only")
    return wrong


def who_shares_the_disk_of_a_node_goes_to_that_node(cluster: Cluster) -> list[str]:
    """With several nodes, all pods that mount such a disk prefer the node of the others."""
    wrong = []
    for claim in of(cluster, "PersistentVolumeClaim"):
        if claim["spec"]["accessModes"] != ["ReadWriteOnce"]:
            continue
        users = [pod for pod in pods(cluster) if claim["metadata"]["name"] in pod.claims]
        for pod in users:
            affinity = pod.spec.get("affinity", {}).get("podAffinity", {}).get(ALWAYS, [])
            beside = [each["labelSelector"] for each in affinity if each["topologyKey"] == "kubernetes.io/hostname"]
            if not any(all(selects(each, user.labels) for user in users) for each in beside):
                wrong.append(f"{pod.owner}: may wait at another node for {claim['metadata']['name']}")
    return wrong
