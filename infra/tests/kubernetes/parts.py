"""Checks of the references between manifests. Each check returns a list of problems."""

import re
from collections import Counter

from infra.tests.kubernetes.manifests import (
    KUBERNETES,
    Cluster,
    Manifest,
    Pod,
    find,
    name_of,
    of,
    pods,
    secrets_of,
    selects,
    services_pods,
)
from infra.tests.kubernetes.processes import environment, loaded
from serving.middleware import PUBLIC_PATHS, PUBLIC_PREFIXES

GUIDE = KUBERNETES / "README.md"
FOR_CALLERS = {"/v1/predictions", "/v1/outcomes", "/v1/model", "/v2/models/a/infer"}
FOR_OPERATORS = {"/metrics", "/ops"}
WITHOUT_NAMESPACE = ("Namespace", "PriorityClass")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def made_by_hand() -> dict[str, set[str]]:
    """The secrets that the guide creates, with their keys."""
    text = GUIDE.read_text().replace("\\\n", " ")
    made = {
        name: set(re.findall(r"--from-(?:file|literal)=([\w.-]+)=", rest))
        for name, rest in re.findall(r"kubectl create secret generic (\S+)(.*)", text)
    }
    return made | {name: {"tls.crt", "tls.key"} for name in re.findall(r"kubectl create secret tls (\S+)", text)}


def what_is_named_is_there(cluster: Cluster) -> list[str]:
    there = {name_of(each) for each in cluster}
    made, wrong = made_by_hand(), []
    for pod in pods(cluster):
        named = {f"PriorityClass/{each}" for each in [pod.spec.get("priorityClassName")] if each}
        named |= {f"ServiceAccount/{pod.spec.get('serviceAccountName')}"}
        named |= {f"PersistentVolumeClaim/{claim}" for claim in pod.claims}
        for container in pod.containers:
            named |= {f"ConfigMap/{each['configMapRef']['name']}" for each in container.spec.get("envFrom", [])}
            wrong += [
                f"{pod.owner} {container.name}: no volume {mount['name']}"
                for mount in container.mounts
                if mount["name"] not in pod.volumes
            ]
        wrong += [f"{pod.owner}: no {each}" for each in sorted(named - there)]
        for secret in (each for volume in pod.volumes.values() for each in secrets_of(volume)):
            keys = {item["key"] for item in secret["items"]}
            if not keys <= made.get(secret["secretName"], set()):
                wrong.append(f"{pod.owner}: nobody makes the secret {secret['secretName']} with {keys}")
    wrong += [
        f"Ingress: nobody makes the secret {tls['secretName']}"
        for ingress in of(cluster, "Ingress")
        for tls in ingress["spec"]["tls"]
        if tls["secretName"] not in made
    ]
    twice = [name for name, times in Counter(name_of(each) for each in cluster).items() if times > 1]
    return [*wrong, *(f"{name}: twice" for name in twice)]


def all_is_in_one_strict_namespace(cluster: Cluster) -> list[str]:
    (namespace,) = of(cluster, "Namespace")
    labels = namespace["metadata"].get("labels", {})
    wrong = [
        f"{name_of(each)}: in {each['metadata'].get('namespace')}"
        for each in cluster
        if each["kind"] not in WITHOUT_NAMESPACE and each["metadata"].get("namespace") != namespace["metadata"]["name"]
    ]
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        wrong.append("the namespace lets pods in that are not restricted")
    return wrong


def selectors_find_what_they_mean_and_nothing_else(cluster: Cluster) -> list[str]:
    everybody, wrong = pods(cluster), []
    for each in of(cluster, "Deployment", "StatefulSet"):
        owner = name_of(each)
        owners = {pod.owner for pod in everybody if selects(each["spec"]["selector"], pod.labels)}
        if owners != {owner}:
            wrong.append(f"{owner}: counts the pods of {sorted(owners)}")
    serving = {pod.owner for pod in services_pods(cluster)}
    scheduling = {pod.owner for pod in everybody if pod.role == "scheduler"}
    named = {"ontime": serving, "ontime-broker": {"StatefulSet/ontime-broker"},
             "ontime-stream": {"Deployment/ontime-stream"}}  # fmt: skip
    for each in of(cluster, "Service"):
        owners = {pod.owner for pod in pods_behind(cluster, each)}
        if owners != named.get(each["metadata"]["name"], scheduling) or not owners:
            wrong.append(f"{name_of(each)}: leads to {sorted(owners)}")
    for kind, field in {"NetworkPolicy": "podSelector", "PodDisruptionBudget": "selector"}.items():
        wrong += [
            f"{name_of(each)}: is about no pod"
            for each in of(cluster, kind)
            if not any(selects(each["spec"][field], pod.labels) for pod in everybody)
        ]
    for pod in everybody:
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], pod.labels):
                wrong.append(f"{pod.owner}: is spread among others")
    return wrong


def pods_behind(cluster: Cluster, service: Manifest) -> list[Pod]:
    return [pod for pod in pods(cluster) if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]


def ports_lead_to_the_one_that_listens(cluster: Cluster) -> list[str]:
    wrong = []
    for pod in pods(cluster):
        services = [each for each in of(cluster, "Service") if pod in pods_behind(cluster, each)]
        policies = [each for each in of(cluster, "NetworkPolicy") if selects(each["spec"]["podSelector"], pod.labels)]
        targets = {port["targetPort"] for each in services for port in each["spec"]["ports"]}
        rules = [rule for each in policies for rule in each["spec"].get("ingress", [])]
        targets |= {port["port"] for rule in rules for port in rule.get("ports", [])}
        container = pod.containers[-1]
        probed = {
            kind: container.spec[kind]["httpGet"]["port"]
            for kind in PROBES
            if "httpGet" in container.spec.get(kind, {})
        }
        if (pod.is_of_engine or pod.component in ("broker", "stream")) and not {*PROBES[1:]} <= set(probed):
            wrong.append(f"{pod.owner}: nothing asks whether it is ready, or alive")
        listens = {name for each in container.ports.items() if _is_told(cluster, pod, each[1]) for name in each}
        wrong += [f"{pod.owner}: nothing listens at {port}" for port in {*targets, *probed.values()} - listens]
    offered = {(name_of(each), port["name"]) for each in of(cluster, "Service") for port in each["spec"]["ports"]}
    for each in of(cluster, "Ingress"):
        backends = [path["backend"]["service"] for rule in each["spec"]["rules"] for path in rule["http"]["paths"]]
        led = {(f"Service/{backend['name']}", backend["port"]["name"]) for backend in backends}
        wrong += [f"{name_of(each)}: leads to {backend}, which is not offered" for backend in led - offered]
    for each in of(cluster, "HTTPRoute"):
        named = {(ref["name"], ref["port"]) for rule in each["spec"]["rules"] for ref in rule["backendRefs"]}
        numbers = {
            (service["metadata"]["name"], port["port"])
            for service in of(cluster, "Service")
            for port in service["spec"]["ports"]
        }
        wrong += [f"{name_of(each)}: leads to {backend}, which is not offered" for backend in named - numbers]
    return wrong


def callers_reach_their_routes_and_no_others(cluster: Cluster) -> list[str]:
    """By the Ingress or the Gateway: everything but /metrics and the page /ops."""
    led: list[tuple[str, str]] = [
        (path["pathType"], path["path"])
        for each in of(cluster, "Ingress")
        for rule in each["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    led += [
        (match["path"]["type"], match["path"]["value"])
        for each in of(cluster, "HTTPRoute")
        for rule in each["spec"]["rules"]
        for match in rule["matches"]
    ]
    if not led:
        return []
    outside = {*PUBLIC_PATHS, *(f"{prefix}a" for prefix in PUBLIC_PREFIXES), *FOR_CALLERS} - FOR_OPERATORS
    wrong = [f"callers cannot reach {path}" for path in sorted(outside) if not _leads(led, path)]
    return wrong + [f"callers reach {path}" for path in sorted(FOR_OPERATORS) if _leads(led, path)]


def _leads(led: list[tuple[str, str]], path: str) -> bool:
    return any(path == each or (kind != "Exact" and (each == "/" or path.startswith(f"{each}/"))) for kind, each in led)


def _is_told(cluster: Cluster, pod: Pod, port: int) -> bool:
    """Whether the pod's process listens there: by its settings, or by its command and environment."""
    container = pod.containers[-1]
    if container.image == "ontime-serve" or pod.component == "stream":
        with loaded(cluster, pod, container) as settings:
            streams = (settings.stream_host, settings.stream_port)
            address = streams if pod.component == "stream" else (settings.host, settings.port)
            return address == ("0.0.0.0", port)  # noqa: S104  of its container
    words = [*container.words, environment(cluster, pod, container).get("PYSPARK_SUBMIT_ARGS", "")]
    return any(re.search(rf"(^|[=:]){port}\b", word) for word in words)


def a_canary_is_stable_with_another_image(cluster: Cluster) -> list[str]:
    by_track = {pod.labels["track"]: pod for pod in services_pods(cluster)}
    if set(by_track) == {"stable"}:
        return []
    stable, canary = by_track["stable"], by_track["canary"]
    wrong = [] if _but_image(stable, cluster) == _but_image(canary, cluster) else ["differs in more than its image"]
    images = [each.containers[-1].spec["image"] for each in (stable, canary)]
    return wrong if images[0] != images[1] else [*wrong, f"both run {images[0]}"]


def _but_image(pod: Pod, cluster: Cluster) -> str:
    spec = {key: value for key, value in find(cluster, pod.owner)["spec"].items() if key != "replicas"}
    return str(spec).replace(pod.containers[-1].spec["image"], "image").replace("canary", "stable")
