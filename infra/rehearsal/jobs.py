"""Jobs made of CronJobs, as `kubectl create job NAME --from=cronjob/...` makes them, and waited for."""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy

from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest

POLL_SECONDS = 1


def job_of(
    cronjob: Manifest, name: str, command: Sequence[str] | None = None, env: Mapping[str, str] | None = None
) -> Manifest:
    """A Job of the CronJob's template, optionally with another command, and with more environment variables."""
    template = deepcopy(cronjob["spec"]["jobTemplate"])
    (container,) = template["spec"]["template"]["spec"]["containers"]
    if command is not None:
        container["command"] = list(command)
    container.setdefault("env", []).extend({"name": key, "value": value} for key, value in (env or {}).items())
    metadata = {**template.get("metadata", {}), "name": name, "namespace": cronjob["metadata"]["namespace"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}


def run_job(kubectl: Kubectl, job: Manifest, seconds: float) -> float:
    """Run a Job to its end; the seconds that it took. Raises ClusterFailed with the last lines of its log."""
    began = time.monotonic()
    kubectl.create(job)
    wait_for(kubectl, job["metadata"]["name"], seconds)
    return time.monotonic() - began


def conditions(kubectl: Kubectl, name: str) -> set[str]:
    """Of a Job, such as `Complete`; none while it runs."""
    listed = kubectl.get("job", name)["status"].get("conditions", [])
    return {each["type"] for each in listed if each["status"] == "True"}


def wait_for(kubectl: Kubectl, name: str, seconds: float) -> None:
    """Until a Job is complete. Raises ClusterFailed with the last lines of its log."""
    began = time.monotonic()
    while True:
        ended = conditions(kubectl, name)
        if "Complete" in ended:
            return
        if "Failed" in ended or time.monotonic() - began > seconds:
            log = kubectl.run("logs", f"job/{name}", "--tail=20").strip()
            raise ClusterFailed(f"job {name} {'failed' if 'Failed' in ended else f'runs for {seconds:.0f} s'}: {log}")
        time.sleep(POLL_SECONDS)
