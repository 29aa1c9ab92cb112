"""What a rehearsal does with an engine: a training and a scored file, whose partitions are worked on in its workers."""

import time

from infra.rehearsal import jobs
from infra.rehearsal.kubectl import ClusterFailed
from infra.rehearsal.steps import ENTITIES, PUBLISHER, TRAINING_SECONDS, Rehearsal, Step

COPIES = 120  # of the entities' requests: 60,000 rows, which are three parts
WORKERS = 2
WITHOUT_WORKERS_SECONDS = 60  # that a job must wait for workers; with them it needs less
SCALED_SECONDS = 180
LOCAL, DISTRIBUTED = "score-local", "score-engine"


def run(rehearsal: Rehearsal, engine: str) -> None:
    """All steps. Raises ClusterFailed if one does not succeed, or the engine's file has other bytes."""
    rehearsal.job("ontime-first-release", f"the first release is trained, with partitions on {engine}")
    rehearsal.job("ontime-materialise", "features are materialised")
    requests = rehearsal.in_worker("requests", str(ENTITIES)) * COPIES
    rehearsal.keep_to_score(requests)
    cronjob, kubectl = rehearsal.installation.cronjob("ontime-score"), rehearsal.installation.kubectl
    local = jobs.run_job(kubectl, jobs.job_of(cronjob, LOCAL, env={"ONTIME_ENGINE": "local"}), TRAINING_SECONDS)
    rehearsal.record(Step(f"a file of {len(requests)} rows is scored by processes of the job", local))

    _scale(rehearsal, engine, 0)
    kubectl.create(jobs.job_of(cronjob, DISTRIBUTED))
    time.sleep(WITHOUT_WORKERS_SECONDS)
    if "Complete" in jobs.conditions(kubectl, DISTRIBUTED):
        raise ClusterFailed(f"job {DISTRIBUTED} was completed without workers: it does not use {engine}")
    rehearsal.record(Step(f"without workers of {engine}, its job waits", WITHOUT_WORKERS_SECONDS))
    began = time.monotonic()
    _scale(rehearsal, engine, WORKERS)
    jobs.wait_for(kubectl, DISTRIBUTED, TRAINING_SECONDS)
    rehearsal.record(Step(f"{WORKERS} workers of {engine} start and score it", time.monotonic() - began))

    files = [f"var/scored/{name}.parquet" for name in (LOCAL, DISTRIBUTED)]
    digests = [line.split()[0] for line in kubectl.run("exec", PUBLISHER, "--", "sha256sum", *files).splitlines()]
    if rehearsal.in_worker("scored", files[0]) != len(requests) or digests[0] != digests[1]:
        raise ClusterFailed(f"{files[1]} is not the file that processes of the job write: {digests}")


def _scale(rehearsal: Rehearsal, engine: str, count: int) -> None:
    """Returns when that many workers are ready, and the others are gone."""
    kubectl, name = rehearsal.installation.kubectl, f"deployment/ontime-{engine}-worker"
    kubectl.run("scale", name, f"--replicas={count}")
    if count:
        kubectl.run("rollout", "status", name, f"--timeout={SCALED_SECONDS}s")
    else:
        kubectl.run("wait", "pod", "--selector=engine=worker", "--for=delete", f"--timeout={SCALED_SECONDS}s")
