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
    name, began = job["metadata"]["name"], time.monotonic()
    kubectl.create(job)
    while True:
        conditions = kubectl.get("job", name)["status"].get("conditions", [])
        ended = {each["type"] for each in conditions if each["status"] == "True"}
        if "Complete" in ended:
            return time.monotonic() - began
        if "Failed" in ended or time.monotonic() - began > seconds:
            log = kubectl.run("logs", f"job/{name}", "--tail=20").strip()
            raise ClusterFailed(f"job {name} {'failed' if 'Failed' in ended else f'runs for {seconds:.0f} s'}: {log}")
        time.sleep(POLL_SECONDS)
