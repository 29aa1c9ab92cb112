"""The disks of a cluster without a storage class: folders of its one node, as a local provisioner makes them."""

from collections.abc import Iterator, Sequence

from infra.rehearsal import pods
from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
FOLDER = "/var/tmp/ontime-rehearsal"  # noqa: S108  on the node, and deleted by `remove`
FOLDERS = "volumes"  # the pod that creates and deletes them


def has_default_class(kubectl: Kubectl) -> bool:
    classes = kubectl.get("storageclass")["items"]
    return any(each["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true" for each in classes)


def bind_to_folders(claims: Sequence[Manifest]) -> Iterator[Manifest]:
    """Volumes for the claims, each a folder of the node; the claims are changed in place."""
    for claim in claims:
        name, spec = claim["metadata"]["name"], claim["spec"]
        spec["storageClassName"] = ""  # no provisioner
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{pods.NAMESPACE}-{name}", "labels": pods.LABEL},
            "spec": {
                "capacity": spec["resources"]["requests"],
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": f"{FOLDER}/{name}", "type": "Directory"},
                "claimRef": {"namespace": claim["metadata"]["namespace"], "name": name},
            },
        }


def on_the_node(kubectl: Kubectl, manifests: Sequence[Manifest], image: str, nodes: int) -> list[Manifest]:
    """Create a folder for each claim, and bind the claims to them. Raises ClusterFailed if there are several nodes."""
    if nodes > 1:
        raise ClusterFailed(f"{nodes} nodes and no default storage class: set one, such as local-path's or NFS'")
    claims = [each for each in manifests if each["kind"] == "PersistentVolumeClaim"]
    folders = " ".join(each["metadata"]["name"] for each in claims)
    command = ["sh", "-c", f"mkdir -p {folders} && chmod 0777 {folders}"]
    pods.run_to_end(kubectl.within(pods.NAMESPACE), folders_pod(image, command))
    return list(bind_to_folders(claims))


def folders_pod(image: str, command: Sequence[str]) -> Manifest:
    """Runs a command as root in the folder of the hostPath volumes."""
    manifest = pods.pod(FOLDERS, image, command, securityContext={"runAsUser": 0}, volumes=[
        {"name": "node", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}}
    ])  # fmt: skip
    manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "node", "mountPath": "/volumes"}]
    manifest["spec"]["containers"][0]["workingDir"] = "/volumes"
    return manifest


def delete(client: Kubectl, label: str) -> None:
    """Delete the volumes with the label and their folders, if there are any. No pod may use them any more."""
    if not client.get("persistentvolume", f"--selector={label}")["items"]:
        return
    image = client.get("pod", FOLDERS)["spec"]["containers"][0]["image"]
    client.run("delete", "persistentvolume", f"--selector={label}", "--wait")
    pods.run_to_end(client, folders_pod(image, ["sh", "-c", "rm -rf /volumes/*"]))
