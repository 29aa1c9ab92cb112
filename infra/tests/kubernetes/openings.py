"""Types of the manifests of other projects, for which kubernetes-validate has no schema: only the fields used here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.tests.kubernetes.manifests import Manifest

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Metadata(_Strict):
    name: Name
    namespace: Name
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Parent(_Strict):
    name: Name
    namespace: Name
    sectionName: Name  # noqa: N815  the Gateway API's spelling


class _Path(_Strict):
    type: Literal["Exact", "PathPrefix"]
    value: Annotated[str, Field(pattern=r"^/")]


class _Match(_Strict):
    path: _Path


class _Backend(_Strict):
    name: Name
    port: Annotated[int, Field(ge=1, le=65535)]


class _Timeouts(_Strict):
    request: Annotated[str, Field(pattern=r"^[0-9]{1,5}(h|m|s|ms)$")]


class _RouteRule(_Strict):
    matches: Annotated[list[_Match], Field(min_length=1, max_length=64)]
    backendRefs: Annotated[list[_Backend], Field(min_length=1)]  # noqa: N815
    timeouts: _Timeouts


class _Route(_Strict):
    parentRefs: Annotated[list[_Parent], Field(min_length=1)]  # noqa: N815
    hostnames: list[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]]
    rules: Annotated[list[_RouteRule], Field(min_length=1, max_length=16)]


class HTTPRoute(_Strict):
    apiVersion: Literal["gateway.networking.k8s.io/v1"]  # noqa: N815
    kind: Literal["HTTPRoute"]
    metadata: _Metadata
    spec: _Route


class _Source(_Strict):
    repoURL: Annotated[str, Field(pattern=r"^https://.+\.git$")]  # noqa: N815
    targetRevision: Annotated[str, Field(pattern=r"^v[0-9]")]  # noqa: N815  a tag: a branch deploys what nobody released
    path: str


class _Destination(_Strict):
    server: str
    namespace: Name


class _Automated(_Strict):
    prune: bool
    selfHeal: bool  # noqa: N815


class _SyncPolicy(_Strict):
    automated: _Automated
    syncOptions: list[Annotated[str, Field(pattern=r"^[A-Za-z]+=(true|false)$")]]  # noqa: N815


class _Ignored(_Strict):
    group: str
    kind: str
    name: Name
    jsonPointers: list[Annotated[str, Field(pattern=r"^/")]]  # noqa: N815


class _ApplicationSpec(_Strict):
    project: str
    source: _Source
    destination: _Destination
    syncPolicy: _SyncPolicy  # noqa: N815
    ignoreDifferences: list[_Ignored]  # noqa: N815


class Application(_Strict):
    apiVersion: Literal["argoproj.io/v1alpha1"]  # noqa: N815
    kind: Literal["Application"]
    metadata: _Metadata
    spec: _ApplicationSpec


class _Predictor(BaseModel):
    """KServe's own fields; all others are those of a pod, which Kubernetes' schema checks."""

    model_config = ConfigDict(extra="allow", frozen=True)

    minReplicas: Annotated[int, Field(ge=1)]  # noqa: N815
    maxReplicas: Annotated[int, Field(ge=1)]  # noqa: N815
    labels: dict[str, str]


class _InferenceServiceSpec(_Strict):
    predictor: _Predictor


class InferenceService(_Strict):
    apiVersion: Literal["serving.kserve.io/v1beta1"]  # noqa: N815
    kind: Literal["InferenceService"]
    metadata: _Metadata
    spec: _InferenceServiceSpec

    @property
    def deployment(self) -> Manifest:
        """A Deployment of its pods, as KServe makes one, for Kubernetes' schema and for the checks of the overlays."""
        predictor = self.spec.predictor
        pod: dict[str, Any] = dict(predictor.model_extra or {})
        labels = predictor.labels | {"track": "stable"}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "ontime", "namespace": self.metadata.namespace, "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
