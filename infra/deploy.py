"""Deploys a release to a cluster: `make deploy CONTEXT=production FROM=images.txt`.

`images.txt`, a file of every release, names an image by its digest on each line. The command shows the difference to
the cluster, migrates the tables, rolls the service out, and asks it for a prediction. If a step fails, it takes the
service back to the previous version, which works on the migrated tables; the worker's CronJobs follow only afterwards.
Without a service in the cluster it only applies the manifests: the first release is then trained by the guide,
infra/kubernetes/README.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from infra.image_references import images_of, with_images
from infra.rehearsal import jobs
from infra.rehearsal.installation import rendered
from infra.rehearsal.kubectl import ClusterFailed, Kubectl, Manifest
from ontime.problem import PROBLEM

NAMESPACE = "ontime"  # of all overlays
SERVICE, PUBLISHER, MIGRATION = "ontime", "ontime-publisher", "ontime-migrate"
ROLLOUT_SECONDS = 300
MIGRATION_JOB, MIGRATION_SECONDS = "migrate-before-rollout", 3600
TAKEN_BACK = "is back at its previous version"
KEY = "SMOKE_KEY"  # an environment variable: every user of the machine can read arguments


def is_of_worker(manifest: Manifest) -> bool:
    """Whether it follows only when the service is known to work."""
    return manifest["kind"] == "CronJob" or manifest["metadata"]["name"] == PUBLISHER


def roll_out(kubectl: Kubectl, manifests: Sequence[Manifest], ask: Callable[[], str], seconds: int) -> None:
    """Apply the manifests, service first. Raises ClusterFailed after the service was taken back.

    `ask` sends a request to the service, returns what it answered, and raises ClusterFailed for a wrong answer.
    """
    worker = [each for each in manifests if is_of_worker(each)]
    service = [each for each in manifests if each["kind"] == "Deployment" and each not in worker]
    kubectl.apply([each for each in manifests if each not in worker and each not in service])
    migrate(kubectl, worker)
    names = [each["metadata"]["name"] for each in service]
    with ExitStack() as stack:
        for name in names:
            if kubectl.exists("deployment", name):
                stack.enter_context(taken_back(kubectl, name))
        kubectl.apply(service)
        for name in names:
            wait_for(kubectl, name, seconds)
        print(f"deploy: {ask()}", flush=True)
    with taken_back(kubectl, PUBLISHER):
        kubectl.apply(worker)
        wait_for(kubectl, PUBLISHER, seconds)


def migrate(kubectl: Kubectl, worker: Sequence[Manifest]) -> None:
    """Run the new version's job that migrates the tables, before its service needs them. Raises ClusterFailed."""
    if kubectl.exists("job", MIGRATION_JOB) and not jobs.conditions(kubectl, MIGRATION_JOB) & {"Complete", "Failed"}:
        raise ClusterFailed(f"job/{MIGRATION_JOB} of another deployment still runs: wait for its end")
    for cronjob in worker:
        if cronjob["metadata"]["name"] == MIGRATION:
            jobs.run_job(kubectl, jobs.job_of(cronjob, MIGRATION_JOB), MIGRATION_SECONDS)


@contextmanager
def taken_back(kubectl: Kubectl, deployment: str) -> Iterator[None]:
    """Take a Deployment back to its present version if a step within fails. Raises ClusterFailed."""
    annotations = kubectl.get("deployment", deployment)["metadata"]["annotations"]
    revision = annotations["deployment.kubernetes.io/revision"]
    try:
        yield
    except BaseException as failed:  # also Ctrl-C
        print(f"deploy: {failed or type(failed).__name__}", file=sys.stderr, flush=True)
        kubectl.run("rollout", "undo", f"deployment/{deployment}", f"--to-revision={revision}")
        wait_for(kubectl, deployment, ROLLOUT_SECONDS)
        raise ClusterFailed(f"deployment/{deployment} {TAKEN_BACK}") from failed


def wait_for(kubectl: Kubectl, deployment: str, seconds: int) -> None:
    kubectl.run("rollout", "status", f"deployment/{deployment}", f"--timeout={seconds}s")


def difference(kubectl: Kubectl, manifests: Sequence[Manifest]) -> str:
    """What applying would change, as `kubectl diff` shows it. Raises ClusterFailed."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
    command = kubectl.command("diff", "--filename=-")
    completed = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    if completed.returncode > 1:  # 1 is a difference
        raise ClusterFailed(f"kubectl diff: {completed.stderr.strip()}")
    return completed.stdout


def ask_for_prediction(kubectl: Kubectl, key: str) -> str:
    """Send the problem's example through a forwarded port. Raises ClusterFailed unless the answer is a prediction."""
    with kubectl.started("port-forward", f"service/{SERVICE}", ":80") as forwarding:
        try:
            line = forwarding.stdout.readline() if forwarding.stdout else ""
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if match is None:
                raise ClusterFailed(f"no port of service/{SERVICE} was forwarded: see kubectl's message above")
            return predicted(f"http://127.0.0.1:{match[1]}/v1/predictions", key)
        finally:
            forwarding.terminate()


def predicted(url: str, key: str) -> str:
    example = json.dumps(next(iter(PROBLEM.examples.values()))).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, example, headers), timeout=30) as response:  # noqa: S310  of this machine
            answer = json.load(response)
            return f"release {answer['model_version']} answers with probability {answer['probability']}"
    except (HTTPException, OSError, KeyError, TypeError, ValueError) as error:  # of urllib, or of another answer
        raise ClusterFailed(f"the service does not answer with a prediction: {error}") from None


def deploy(kubectl: Kubectl, manifests: Sequence[Manifest], key: str) -> None:
    """Raises ClusterFailed."""
    if not kubectl.exists("deployment", SERVICE):
        kubectl.apply(manifests)
        print("deploy: installed; now train the first release: infra/kubernetes/README.md")
        return
    print(difference(kubectl, manifests) or "deploy: no difference")
    roll_out(kubectl, manifests, lambda: ask_for_prediction(kubectl, key), ROLLOUT_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    parser.add_argument("--context", required=True, help="of kubectl's configuration; there is no default")
    parser.add_argument("--overlay", default="production")
    parser.add_argument("images", type=Path, help="a file with an image on each line")
    arguments = parser.parse_args()
    kubectl = Kubectl(arguments.context, NAMESPACE)
    key = os.environ.get(KEY)
    if not key:
        sys.exit(f"deploy: set {KEY} to an API key with the scope predict, which the smoke request needs")
    try:
        images = images_of(arguments.images.read_text(encoding="utf-8"))
        deploy(kubectl, with_images(rendered(kubectl, arguments.overlay), images), key)
    except (ClusterFailed, OSError) as failed:
        sys.exit(f"deploy: {failed}")


if __name__ == "__main__":
    main()
