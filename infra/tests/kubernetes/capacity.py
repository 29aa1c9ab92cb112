"""Checks of the number of pods and of what changes it. Each check returns a list of problems."""

from math import ceil

from infra.tests.kubernetes.manifests import Cluster, find, of, pods, selects, services_pods


def a_rollout_loses_no_capacity(cluster: Cluster) -> list[str]:
    wrong = []
    for pod in [*services_pods(cluster), *(each for each in pods(cluster) if each.component == "stream")]:
        spec = find(cluster, pod.owner)["spec"]
        strategy = spec.get("strategy", {}).get("rollingUpdate", {})
        if strategy.get("maxUnavailable") != 0 or not strategy.get("maxSurge"):
            wrong.append(f"{pod.owner}: takes a pod away before another is ready")
        if not spec.get("minReadySeconds") or not spec.get("revisionHistoryLimit"):
            wrong.append(f"{pod.owner}: trusts a new pod at once, or cannot go back")
    return wrong


def scaling_and_eviction_leave_room_for_each_other(cluster: Cluster) -> list[str]:
    wrong = []
    lasting = [pod for pod in pods(cluster) if not pod.owner.startswith("CronJob/")]
    least = {pod.owner: find(cluster, pod.owner)["spec"].get("replicas", 1) for pod in lasting}
    for each in of(cluster, "HorizontalPodAutoscaler"):
        spec, owner = each["spec"], f"Deployment/{each['spec']['scaleTargetRef']['name']}"
        if owner not in least:
            wrong.append(f"the autoscaler counts {owner}, which is not there")
            continue
        if "replicas" in find(cluster, owner)["spec"]:
            wrong.append(f"{owner}: each apply sets back what the autoscaler has counted")
        names = {container.name for pod in pods(cluster) if pod.owner == owner for container in pod.containers}
        wrong += [
            f"the autoscaler measures {metric['containerResource']['container']}, which {owner} has not"
            for metric in spec["metrics"]
            if metric["containerResource"]["container"] not in names
        ]
        if not spec["minReplicas"] < spec["maxReplicas"]:
            wrong.append("the autoscaler has no room")
        if spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] < 300:
            wrong.append("the autoscaler takes away at once what it may need again")
        least[owner] = spec["minReplicas"]
    for each in of(cluster, "PodDisruptionBudget"):
        spec = each["spec"]
        total = sum(least[pod.owner] for pod in lasting if selects(spec["selector"], pod.labels))
        left = (
            total - _of(spec["minAvailable"], total) if "minAvailable" in spec else _of(spec["maxUnavailable"], total)
        )
        if left < 1:
            wrong.append(f"of {total} pods none may go: no node can be drained")
    return wrong


def _of(value: int | str, total: int) -> int:
    """A percentage of the replicas, rounded up as Kubernetes does."""
    return ceil(int(value[:-1]) * total / 100) if isinstance(value, str) else value
