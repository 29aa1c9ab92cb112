"""Checks of the schedules. Each check returns a list of problems."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from zipfile import ZipFile
from zoneinfo import available_timezones

import pyspark
import yaml

from cli.app import ontime
from infra.tests.kubernetes.manifests import Cluster, of, pods
from infra.tests.tools import ROOT
from ontime.problem import PROBLEM

# Of the pod: a node that is drained or short of room, an eviction, a preemption.
DISRUPTED = [{"type": "DisruptionTarget", "status": "True"}]
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
PROGRAMS = ("nats-server",)  # of the worker's packages
QUARTER_HOURLY = "*/15 * * * *"


def jobs_end_and_never_overlap(cluster: Cluster) -> list[str]:
    wrong = []
    for each in of(cluster, "CronJob"):
        name, spec, job = each["metadata"]["name"], each["spec"], each["spec"]["jobTemplate"]["spec"]
        if spec.get("concurrencyPolicy") != "Forbid":
            wrong.append(f"{name}: may run beside itself")
        if spec.get("timeZone") not in available_timezones():
            wrong.append(f"{name}: at {spec.get('timeZone')}, which is no time zone")
        if job["template"]["spec"]["restartPolicy"] != "Never" or "backoffLimit" not in job:
            wrong.append(f"{name}: is tried again without end, or its log is lost")
        if not 0 < job.get("activeDeadlineSeconds", 0) <= 21600:
            wrong.append(f"{name}: may hang for ever, and keep out all that follow")
        if spec["schedule"] == QUARTER_HOURLY and job.get("activeDeadlineSeconds", 0) >= 15 * 60:
            wrong.append(f"{name}: is still at it when the next is due")
        if not spec.get("suspend") and spec.get("startingDeadlineSeconds", 0) < 60:
            wrong.append(f"{name}: is not made up for after an outage")
        if "successfulJobsHistoryLimit" not in spec or "failedJobsHistoryLimit" not in spec:
            wrong.append(f"{name}: leaves its pods behind")
    return wrong


def a_lost_node_costs_no_attempt(cluster: Cluster) -> list[str]:
    wrong = []
    for each in of(cluster, "CronJob"):
        name, job = each["metadata"]["name"], each["spec"]["jobTemplate"]["spec"]
        rules = job.get("podFailurePolicy", {}).get("rules", [])
        if {"action": "Ignore", "onPodConditions": DISRUPTED} not in rules:
            wrong.append(f"{name}: a drained node counts as a failure of the job")
        if not job["template"]["metadata"].get("annotations", {}).items() >= STAYS.items():
            wrong.append(f"{name}: an autoscaler may take its node away")
        if job["template"]["spec"].get("terminationGracePeriodSeconds", 0) < 60:
            wrong.append(f"{name}: is killed before it has ended its child processes")
    return wrong


def what_runs_exists_and_runs_when_prefect_would(cluster: Cluster) -> list[str]:
    wrong = []
    for pod in pods(cluster):
        for container in pod.containers:
            modules = re.findall(r"-m (\S+)", " ".join(container.words))
            commands = re.findall(r"\bontime (\S+)", " ".join(container.words))
            classes = re.findall(r"^spark-class (\S+)", " ".join(container.words))
            programs = [each for each in container.words[:1] if each in PROGRAMS]
            if container.target == "ontime-worker" and not (modules or commands or classes or programs):
                wrong.append(f"{pod.owner} {container.name}: runs {container.words}")
            if container.image == "ontime-mirror" and container.words[0] not in ("pull", "push"):
                wrong.append(f"{pod.owner} {container.name}: a mirror does not {container.words[0]}")
            wrong += [
                f"{pod.owner}: {each} is not a module" for each in modules if importlib.util.find_spec(each) is None
            ]
            wrong += [
                f"{pod.owner}: `ontime {each}` is not a command" for each in commands if each not in ontime.commands
            ]
            wrong += [f"{pod.owner}: {each} is not a class" for each in classes if each not in spark_classes()]
            shell = container.words[2] if container.words[:1] == ["sh"] else ""
            if shell and not re.search(r"(^|&& |; )exec [^&;]+$", shell):
                wrong.append(f"{pod.owner}: its shell passes no SIGTERM to {shell}")
    schedules = {
        word: (each["spec"]["schedule"], each["spec"].get("timeZone", ""))
        for each in of(cluster, "CronJob")
        if not each["spec"].get("suspend")
        for word in each["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"][1:2]
    }
    schedules.pop("backup", None)  # of the cluster: on one machine, a container of compose.yaml does it
    return wrong if schedules == prefects_times() else [*wrong, f"CronJobs run {schedules}, Prefect {prefects_times()}"]


@cache
def spark_classes() -> set[str]:
    """The classes of Spark that `spark-class` can start."""
    (jar,) = Path(pyspark.__file__).parent.glob("jars/spark-core_*.jar")
    return {name.removesuffix(".class").replace("/", ".") for name in ZipFile(jar).namelist()}


def prefects_times() -> dict[str, tuple[str, str]]:
    """The schedule of each flow in prefect.yaml, by the flow's name, in the problem's time zone."""
    text = (ROOT / "prefect.yaml").read_text().replace("{{ $PROBLEM_ZONE }}", PROBLEM.zone)
    deployments = yaml.safe_load(text)["deployments"]
    scheduled = {each["entrypoint"].rpartition(".")[2]: each["schedules"][0] for each in deployments}
    return {
        flow: (when.get("cron") or f"*/{when['interval'] // 60} * * * *", when["timezone"])
        for flow, when in scheduled.items()
    }
