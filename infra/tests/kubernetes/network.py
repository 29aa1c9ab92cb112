"""Checks that the network policies allow exactly the connections that the processes' settings need."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa

from infra.tests.kubernetes.manifests import SERVICE, Cluster, Manifest, Pod, of, pods, selects
from infra.tests.kubernetes.processes import environment, loaded

CALLERS = {"ingress", "monitoring"}
DNS = ("kube-system", 53)
Way = tuple[str, int | str]  # to a namespace, "private" or "world", and a port


def each_pod_reaches_what_it_needs_and_nothing_else(cluster: Cluster) -> list[str]:
    policies = [each["spec"] for each in of(cluster, "NetworkPolicy")]
    closed = [each for each in policies if each["podSelector"] == {} and not {"ingress", "egress"} & set(each)]
    sides = {side for each in closed for side in each["policyTypes"]}
    wrong = [] if sides == {"Ingress", "Egress"} else [f"only {sides} is closed by default"]
    for pod in pods(cluster):
        about = [each for each in policies if selects(each["podSelector"], pod.labels)]
        out = set().union(*(_ways(each.get("egress", []), "to") for each in about))
        into = {way[0] for each in about for way in _ways(each.get("ingress", []), "from")}
        needed = ways_needed(cluster, pod)
        wrong += [f"{pod.owner}: cannot reach {way}" for way in sorted(needed - out, key=str)]
        wrong += [f"{pod.owner}: may reach {way} and need not" for way in sorted(out - needed, key=str)]
        callers = CALLERS if selects({"matchLabels": SERVICE}, pod.labels) else set()
        if into != callers:
            wrong.append(f"{pod.owner}: has connections from {sorted(into)}")
    return wrong


def ways_needed(cluster: Cluster, pod: Pod) -> set[Way]:
    """The connections that the settings of a pod's processes need."""
    needed: set[Way] = set()
    for container in pod.containers:
        variables = environment(cluster, pod, container)
        with loaded(cluster, pod, container) as settings:
            database = sa.make_url(settings.database_url.get_secret_value())
            if container.image != "ontime-mirror" and database.get_backend_name() == "postgresql":
                needed.add(("private", database.port or 5432))
            if {"pull", "push"} & set(container.words) and str(settings.releases_store).startswith("s3://"):
                needed.add(("private", urlsplit(variables.get("AWS_ENDPOINT_URL", "")).port or 443))
            if container.image == "ontime-worker" and (tracking := urlsplit(settings.tracking_url)).scheme == "http":
                needed.add((str(tracking.hostname).partition(".")[2], tracking.port or 80))
    return needed | {DNS} if needed else needed


def _ways(rules: list[Manifest], side: Literal["to", "from"]) -> set[Way]:
    return {
        (_peer(peer), port.get("port", "all"))
        for rule in rules
        for port in rule.get("ports", [{}])
        for peer in rule.get(side) or [{}]
        for peer in _each_namespace(peer)
    }


def _each_namespace(peer: Manifest) -> list[Manifest]:
    expressions = peer.get("namespaceSelector", {}).get("matchExpressions", [])
    if [each["operator"] for each in expressions] != ["In"]:
        return [peer]
    return [{"namespaceSelector": {"matchLabels": {expressions[0]["key"]: name}}} for name in expressions[0]["values"]]


def _peer(peer: Mapping[str, Any]) -> str:
    if "ipBlock" in peer:
        return "private" if ip_network(peer["ipBlock"]["cidr"]).is_private else "world"
    return str(peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "anybody"))
