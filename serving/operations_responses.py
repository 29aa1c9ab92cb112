"""The response bodies of GET /v1/ops, the data of the page /ops."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from serving.responses import ResponseModel


class ReleaseState(ResponseModel):
    version: str
    algorithm: str
    trained_from: date
    trained_until: date
    state: Literal["live", "challenger", "rolled back", "on standby", "refused"]


class ChallengerState(ResponseModel):
    version: str
    share: float


class Minute(ResponseModel):
    minute: datetime
    predictions: int
    alerts: int


class Latency(ResponseModel):
    """Of requests in the last hour, from receipt to commit; of the last 10,000 predictions at most."""

    requests: int
    entities: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Traffic(ResponseModel):
    """Of the last hour, from the prediction log."""

    minutes: int
    predictions: int
    alerts: int
    request_only: int
    single: Annotated[Latency, Field(description="requests for one entity")]
    lists: Annotated[Latency, Field(description="requests for several entities")]
    by_minute: tuple[Minute, ...]


class MonitoringAlert(ResponseModel):
    name: str
    tier: Annotated[
        int,
        Field(ge=1, le=3, description="1 stops promotion, 2 requests a retraining, 3 is reported"),
    ]
    value: float
    above: Annotated[float, Field(description="the limit, from params.yaml")]
    reason: str


class Quality(ResponseModel):
    """Performance on the entities of these days that have an outcome."""

    since: date
    until: Annotated[date, Field(description="inclusive")]
    entities: int
    labelled: int
    coverage: Annotated[float | None, Field(description="share of the entities that have an outcome")]
    positive_rate: float | None
    predicted_rate: float | None
    auc: float | None
    ece: Annotated[float | None, Field(description="expected calibration error")]
    cost_per_1000: float | None


class PolicyAction(ResponseModel):
    """The decision of the policy at the end of a day."""

    day: date
    action: Annotated[str, Field(examples=["nothing", "stop", "retrain", "promote", "withdraw", "roll back"])]
    reason: str


class MonitoringStatus(ResponseModel):
    """The result of the monitor for its last day, on the feed's clock."""

    day: date
    alerts: Annotated[tuple[MonitoringAlert, ...], Field(description="the most severe first")]
    why: Annotated[str | None, Field(description="first cause of the diagnosis, during an alert on performance")]
    quality: Quality | None
    policy: PolicyAction | None


class DecisionRecord(ResponseModel):
    decided_at: datetime
    clock: Annotated[
        Literal["real", "feed"],
        Field(description="feed: the time is on the clock of the data feed, which may be years behind, or simulated"),
    ]
    kind: str
    verdict: str
    reason: str


class Operations(ResponseModel):
    answering: str
    ready: bool
    notes: tuple[str, ...]
    challenger: ChallengerState | None
    monitored: Annotated[MonitoringStatus | None, Field(description="null before the first run of the monitor")]
    retraining_asked_at: Annotated[datetime | None, Field(description="of a retraining that has not finished")]
    releases: tuple[ReleaseState, ...]
    traffic: Annotated[Traffic | None, Field(description="null while the database is down")]
    decisions: tuple[DecisionRecord, ...]
    links: dict[str, str]
