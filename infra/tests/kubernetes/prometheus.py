"""Types of the Prometheus operator's manifests, for which kubernetes-validate has no schema."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.tests.kubernetes.manifests import Cluster, of, selects, services_pods
from infra.tests.kubernetes.parts import made_by_hand
from serving.keys import KeyScope
from serving.middleware import required_scope


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Duration = Annotated[str, Field(pattern=r"^[0-9]+(ms|[smhdwy])$")]
Labels = dict[str, str]


class _Key(_Strict):
    name: Annotated[str, Field(min_length=1)]
    key: Annotated[str, Field(min_length=1)]


class _Authorization(_Strict):
    type: Literal["Bearer"]
    credentials: _Key


class _Endpoint(_Strict):
    port: str
    path: str
    interval: Duration
    authorization: _Authorization | None = None


class _Selector(_Strict):
    matchLabels: Labels  # noqa: N815  Kubernetes' spelling


class _Monitored(_Strict):
    selector: _Selector
    podTargetLabels: list[str] = []  # noqa: N815  Kubernetes' spelling
    endpoints: Annotated[list[_Endpoint], Field(min_length=1, max_length=1)]


class _Rule(_Strict):
    expr: str
    alert: str | None = None
    record: str | None = None
    labels: Labels = {}
    annotations: Labels = {}
    keep_firing_for: Duration | None = None
    for_: Annotated[Duration | None, Field(alias="for")] = None


class _Group(_Strict):
    name: Annotated[str, Field(min_length=1)]
    rules: Annotated[list[_Rule], Field(min_length=1)]
    interval: Duration | None = None


class _Groups(_Strict):
    groups: Annotated[list[_Group], Field(min_length=1)]


class Operators(_Strict):
    """The two kinds, with the fields that are used here; all others are rejected."""

    apiVersion: Literal["monitoring.coreos.com/v1"]  # noqa: N815  Kubernetes' spelling
    kind: Literal["ServiceMonitor", "PrometheusRule"]
    metadata: dict[str, Any]
    spec: _Monitored | _Groups


class _Matcher(_Strict):
    name: str
    matchType: Literal["=", "!=", "=~", "!~"]  # noqa: N815  Kubernetes' spelling
    value: str


class _Route(_Strict):
    receiver: str
    groupBy: list[str] = []  # noqa: N815  Kubernetes' spelling
    groupWait: Duration | None = None  # noqa: N815  Kubernetes' spelling
    groupInterval: Duration | None = None  # noqa: N815  Kubernetes' spelling
    repeatInterval: Duration | None = None  # noqa: N815  Kubernetes' spelling
    matchers: list[_Matcher] = []
    routes: list["_Route"] = []


class _Webhook(_Strict):
    urlSecret: _Key  # noqa: N815  Kubernetes' spelling


class _Receiver(_Strict):
    name: str
    webhookConfigs: Annotated[list[_Webhook], Field(min_length=1)]  # noqa: N815  Kubernetes' spelling


class _Inhibition(_Strict):
    sourceMatch: Annotated[list[_Matcher], Field(min_length=1)]  # noqa: N815  Kubernetes' spelling
    targetMatch: Annotated[list[_Matcher], Field(min_length=1)]  # noqa: N815  Kubernetes' spelling
    equal: list[str] = []


class _Routing(_Strict):
    route: _Route
    receivers: list[_Receiver]
    inhibitRules: list[_Inhibition]  # noqa: N815  Kubernetes' spelling


class Routing(_Strict):
    """An AlertmanagerConfig, which is still an alpha version."""

    apiVersion: Literal["monitoring.coreos.com/v1alpha1"]  # noqa: N815  Kubernetes' spelling
    kind: Literal["AlertmanagerConfig"]
    metadata: dict[str, Any]
    spec: _Routing


def prometheus_may_scrape_what_it_is_told_to(cluster: Cluster) -> list[str]:
    wrong, made = [], made_by_hand()
    for each in of(cluster, "ServiceMonitor"):
        try:
            spec = Operators.model_validate(each).spec
        except ValidationError as error:
            wrong.append(f"ServiceMonitor: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}")
            continue
        assert isinstance(spec, _Monitored)
        services = [
            service
            for service in of(cluster, "Service")
            if selects({"matchLabels": spec.selector.matchLabels}, service["metadata"]["labels"])
        ]
        name = each["metadata"]["name"]
        if [service["metadata"]["name"] for service in services] != [name]:
            wrong.append(f"ServiceMonitor: the job is not called {name}")
        endpoint = spec.endpoints[0]
        if endpoint.port not in {port["name"] for service in services for port in service["spec"]["ports"]}:
            wrong.append(f"ServiceMonitor: no port {endpoint.port}")
        if name == "ontime-stream" and (endpoint.path, endpoint.authorization) == ("/metrics", None):
            continue  # they need no key: its policies let Prometheus in, and nobody else
        if endpoint.path != "/metrics" or required_scope("GET", endpoint.path) is not KeyScope.ADMIN:
            wrong.append(f"ServiceMonitor: {endpoint.path} has no metrics behind an administrator's key")
        key = endpoint.authorization.credentials if endpoint.authorization else None
        if key is None:
            wrong.append("ServiceMonitor: no key for the metrics")
        elif key.key not in made.get(key.name, set()):
            wrong.append(f"ServiceMonitor: nobody makes the secret {key.name} with {key.key}")
        if not all(label in pod.labels for pod in services_pods(cluster) for label in spec.podTargetLabels):
            wrong.append("ServiceMonitor: takes over labels that no pod has")
    return wrong
