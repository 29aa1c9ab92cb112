"""What the manifests need that an older cluster lacks: left out or replaced, and named, because it is then not shown.

The manifests are for Kubernetes 1.33. Each entry of CHANGES has the first version that needs no change.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import NamedTuple

from infra.rehearsal.kubectl import Manifest

Version = tuple[int, int]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def sidecars_as_containers(manifest: Manifest) -> bool:
    """Native sidecars become ordinary containers, which start beside the service and not before it."""
    pod = pod_of(manifest)
    sidecars = [each for each in pod.get("initContainers", []) if each.get("restartPolicy") == "Always"]
    for each in sidecars:
        pod["initContainers"].remove(each)
        del each["restartPolicy"]
        pod["containers"].append(each)
    return bool(sidecars)


def pause_by_command(manifest: Manifest) -> bool:
    """The `sleep` action becomes a command of Python: the images have no shell and no `sleep`."""
    changed = False
    for each in containers_of(manifest):
        action = each.get("lifecycle", {}).get("preStop", {})
        if "sleep" in action:
            each["lifecycle"]["preStop"] = {"exec": {"command": _pause(action["sleep"]["seconds"])}}
            changed = True
    return changed


def _pause(seconds: int) -> list[str]:
    return ["python", "-c", f"import time; time.sleep({seconds})"]


def without_grace_of_a_probe(manifest: Manifest) -> bool:
    probes = [each[kind] for each in containers_of(manifest) for kind in PROBES if kind in each]
    periods = [each.pop("terminationGracePeriodSeconds", None) for each in probes]
    return any(periods)


def without_time_zone(manifest: Manifest) -> bool:
    return manifest["kind"] == "CronJob" and manifest["spec"].pop("timeZone", None) is not None


def cronjobs_of_the_beta(manifest: Manifest) -> bool:
    if manifest["kind"] != "CronJob":
        return False
    manifest["apiVersion"] = "batch/v1beta1"
    return True


def without_eviction_policy(manifest: Manifest) -> bool:
    budget = manifest["kind"] == "PodDisruptionBudget"
    return budget and manifest["spec"].pop("unhealthyPodEvictionPolicy", None) is not None


def without_failure_policy(manifest: Manifest) -> bool:
    job = manifest.get("spec", {}).get("jobTemplate", {}).get("spec", {})
    return job.pop("podFailurePolicy", None) is not None


class Difference(NamedTuple):
    since: Version  # the first version that needs no change
    text: str
    change: Callable[[Manifest], bool]  # in place; whether the manifest was affected


CHANGES = (
    Difference((1, 30), "the sleep action of preStop is a command", pause_by_command),
    Difference((1, 29), "native sidecars are ordinary containers", sidecars_as_containers),
    Difference((1, 27), "the disruption budget also protects pods that are not ready", without_eviction_policy),
    Difference((1, 26), "a drained node counts as a failure of its job", without_failure_policy),
    Difference((1, 25), "a failed liveness probe waits for the pod's whole grace period", without_grace_of_a_probe),
    Difference((1, 25), "CronJobs have no time zone", without_time_zone),
    Difference((1, 21), "CronJobs are of batch/v1beta1", cronjobs_of_the_beta),
)


def adapted(
    manifests: Sequence[Manifest], version: Version, served: Sequence[tuple[str, str]]
) -> tuple[list[Manifest], list[str]]:
    """Copies of the manifests for a server of that version, and what was changed, in words.

    `served`: the kinds that the server has, as (apiVersion, kind). Manifests of other kinds are left out.
    """
    copies = deepcopy(list(manifests))
    # A list, because `any` would stop at the first manifest that is affected.
    affected = {each.text: [each.change(manifest) for manifest in copies] for each in CHANGES if version < each.since}
    changes = [text for text, manifests_affected in affected.items() if any(manifests_affected)]
    known_kinds = set(served)
    absent = [each for each in copies if (each["apiVersion"], each["kind"]) not in known_kinds]
    changes += [f"no {each['kind']} {each['metadata']['name']}" for each in absent]
    return [each for each in copies if each not in absent], changes


def suspended(manifests: Sequence[Manifest]) -> list[Manifest]:
    """With CronJobs that never start by themselves: the rehearsal starts their jobs."""
    copies = deepcopy(list(manifests))
    for each in copies:
        if each["kind"] == "CronJob":
            each["spec"]["suspend"] = True
    return copies


def parsed_version(major: str, minor: str) -> Version:
    """As `kubectl version` has them; some vendors append a plus sign.

    >>> parsed_version("1", "29+")
    (1, 29)
    """
    return int(major), int(minor.rstrip("+"))


def pod_of(manifest: Manifest) -> Manifest:
    """The specification of the pods that a Deployment or CronJob creates; empty for other kinds."""
    spec: Manifest = manifest.get("spec", {})
    template: Manifest = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return template.get("spec", {}) if isinstance(template, dict) else {}


def containers_of(manifest: Manifest) -> Iterator[Manifest]:
    pod = pod_of(manifest)
    yield from (*pod.get("initContainers", []), *pod.get("containers", []))
