"""Checks that the network policies allow exactly the connections that the processes' settings need."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa

from infra.tests.kubernetes.manifests import SERVICE, Cluster, Container, Manifest, Pod, engine_of, of, pods, selects
from infra.tests.kubernetes.parts import pods_behind
from infra.tests.kubernetes.processes import environment, loaded
from ontime.settings import Settings

CALLERS = {"ingress", "monitoring"}
NODES_DNS = "169.254.20.10/32"  # NodeLocal DNSCache, which is not a pod
WEBHOOK = "203.0.113.0/24"  # of components/webhook: addresses for examples (RFC 5737)
DNS: set["Way"] = {("kube-system", 53), (NODES_DNS, 53)}
POSTGRESQL = 5432
# To or from a namespace, "private", "world", a role in an engine, or a component of the stream; and a port.
Way = tuple[str, int | str]
STREAMS_CALLERS: dict[str, set[Way]] = {
    "broker": {("stream", 4222), ("feed", 4222)}, "stream": {("monitoring", "metrics")},
}  # fmt: skip
# Who connects to whom in an engine, and the port's name there.
CONNECTIONS = {
    "dask": (
        ("client", "scheduler", "scheduler"), ("worker", "scheduler", "scheduler"), ("scheduler", "worker", "worker"),
    ),
    "spark": (
        ("client", "scheduler", "scheduler"), ("worker", "scheduler", "scheduler"), ("worker", "client", "driver"),
        ("worker", "client", "blocks"), ("client", "worker", "blocks"), ("worker", "worker", "blocks"),
    ),
}  # fmt: skip


def each_pod_reaches_what_it_needs_and_nothing_else(cluster: Cluster) -> list[str]:
    policies = [each["spec"] for each in of(cluster, "NetworkPolicy")]
    closed = [each for each in policies if each["podSelector"] == {} and not {"ingress", "egress"} & set(each)]
    sides = {side for each in closed for side in each["policyTypes"]}
    wrong = [] if sides == {"Ingress", "Egress"} else [f"only {sides} is closed by default"]
    for pod in pods(cluster):
        about = [each for each in policies if selects(each["podSelector"], pod.labels)]
        out = set().union(*(_ways(each.get("egress", []), "to") for each in about))
        into = set().union(*(_ways(each.get("ingress", []), "from") for each in about))
        needed = ways_needed(cluster, pod)
        wrong += [f"{pod.owner}: cannot reach {way}" for way in sorted(needed - out, key=str)]
        wrong += [f"{pod.owner}: may reach {way} and need not" for way in sorted(out - needed, key=str)]
        callers: set[Way] = {(each, "http") for each in CALLERS if selects({"matchLabels": SERVICE}, pod.labels)}
        callers |= STREAMS_CALLERS.get(pod.component, set())
        if into != callers | {(begin, port) for begin, end, port in connections(cluster) if end == pod.role}:
            wrong.append(f"{pod.owner}: has connections from {sorted(into, key=str)}")
    return wrong


def connections(cluster: Cluster) -> set[tuple[str, str, int]]:
    """Between the pods of the engine, as roles and the port's number."""
    engine = engine_of(cluster)
    ports = {(pod.role, name): port for pod in pods(cluster) for name, port in pod.containers[-1].ports.items()}
    return {(begin, end, ports[end, name]) for begin, end, name in CONNECTIONS[engine]} if engine else set()


def ways_needed(cluster: Cluster, pod: Pod) -> set[Way]:
    """The connections that the settings of a pod's processes need."""
    needed: set[Way] = {(end, port) for begin, end, port in connections(cluster) if begin == pod.role}
    if pod.role == "worker":  # features are looked up where the jobs look them up
        jobs = [ways_needed(cluster, each) for each in pods(cluster) if each.role == "client"]
        needed |= {way for way in set().union(*jobs) if way == ("private", POSTGRESQL)}
    if pod.role is not None or pod.component == "broker":
        needed |= DNS
    for container in pod.containers:
        variables = environment(cluster, pod, container)
        with loaded(cluster, pod, container) as settings:
            database = sa.make_url(settings.database_url.get_secret_value())
            if settings.broker is not None:
                host, _, port = settings.broker.get_secret_value().rpartition("@")[2].partition(":")
                needed |= {("broker", each) for each in _ports_of(cluster, host, int(port))}
            if container.image != "ontime-mirror" and database.get_backend_name() == "postgresql":
                needed.add(("private", database.port or POSTGRESQL))
            needed |= _ways_out(container, settings, urlsplit(variables.get("AWS_ENDPOINT_URL", "")).port or 443)
            if pod.role in ("client", "worker") and str(settings.shared_storage).startswith("s3://"):
                needed.add(("private", urlsplit(variables.get("AWS_ENDPOINT_URL", "")).port or 443))
            if pod.role == "client" and (scheduler := urlsplit(str(settings.engine_address))).hostname:
                needed |= {("scheduler", port) for port in _ports_of(cluster, scheduler.hostname, scheduler.port)}
            if container.target == "ontime-worker" and (tracking := urlsplit(settings.tracking_url)).scheme == "http":
                needed.add((str(tracking.hostname).partition(".")[2], tracking.port or 80))
    return needed | DNS if needed else needed


def _ways_out(container: Container, settings: Settings, buckets_port: int) -> set[Way]:
    """To the buckets of a mirror or a backup, and to the webhook."""
    stores = [settings.releases_store] if {"pull", "push"} & set(container.words) else []
    stores += [settings.backups] if "backup" in container.words else []
    ways: set[Way] = {("private", buckets_port) for each in stores if str(each).startswith("s3://")}
    if settings.webhook is not None and container.target == "ontime-worker":
        ways.add((WEBHOOK, settings.webhook.port or 443))
    return ways


def _ports_of(cluster: Cluster, service: str, port: int | None) -> list[int | str]:
    """The ports of the pods behind a Service's port; a name for a port that is not there."""
    there = [each for each in of(cluster, "Service") if each["metadata"]["name"] == service]
    targets = [each["targetPort"] for leading in there for each in leading["spec"]["ports"] if each["port"] == port]
    named = [
        pod.containers[-1].ports[name] for name in targets for leading in there for pod in pods_behind(cluster, leading)
    ]
    return list(named) or [f"{service}:{port}, which no Service has"]


def _ways(rules: list[Manifest], side: Literal["to", "from"]) -> set[Way]:
    return {
        (_peer(peer), port.get("port", "all"))
        for rule in rules
        for port in rule.get("ports", [{}])
        for peer in rule.get(side) or [{}]
        for peer in _each_peer(peer)
    }


def _each_peer(peer: Manifest) -> list[Manifest]:
    kind = "namespaceSelector" if "namespaceSelector" in peer else "podSelector"
    expressions = peer.get(kind, {}).get("matchExpressions", [])
    if [each["operator"] for each in expressions] != ["In"]:
        return [peer]
    return [{kind: {"matchLabels": {expressions[0]["key"]: name}}} for name in expressions[0]["values"]]


def _peer(peer: Mapping[str, Any]) -> str:
    if "ipBlock" in peer:
        cidr = str(peer["ipBlock"]["cidr"])
        if cidr in (NODES_DNS, WEBHOOK):
            return cidr
        return "private" if ip_network(cidr).is_private else "world"
    if "podSelector" in peer and "namespaceSelector" not in peer:
        labels = peer["podSelector"].get("matchLabels", {})
        return str(labels.get("engine", labels.get("app.kubernetes.io/component", "anybody here")))
    return str(peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "anybody"))
