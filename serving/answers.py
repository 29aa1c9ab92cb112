"""What the service says: the bodies of its answers, as the OpenAPI document shows them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ontime.explain import Method
from ontime.release import Lineage, Names, TrackRecord

Flag = Literal["schedule_only", "store_unavailable", "unknown_carrier", "unknown_dest"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Reason(_Answer):
    feature: str
    words: Annotated[str, Field(examples=["42 % of the departures from JFK in the last 3 hours were late"])]
    effect: Literal["raises", "lowers"]


class LogOddsReason(_Reason):
    log_odds: float


class ProbabilityReason(_Reason):
    probability: float


class LogOddsReasons(_Answer):
    """Exact Shapley values: usual_log_odds, the features' and others_log_odds add up to log_odds.

    probability_late is 1 / (1 + exp(-log_odds)).
    """

    method: Literal["tree_shap", "linear_shap"]
    scale: Literal["log_odds"]
    usual_log_odds: Annotated[float, Field(description="of usual_rate, the base rate")]
    log_odds: float
    features: Annotated[tuple[LogOddsReason, ...], Field(description="those that moved it most, the largest first")]
    others_log_odds: Annotated[float, Field(description="everything else, also what no single feature accounts for")]


class ProbabilityReasons(_Answer):
    """The same of a forest, which averages probabilities: all of it adds up to probability_late itself."""

    method: Literal["tree_shap"]
    scale: Literal["probability"]
    usual_probability: Annotated[float, Field(description="usual_rate, the base rate")]
    probability: float
    features: Annotated[tuple[ProbabilityReason, ...], Field(description="those that moved it most, the largest first")]
    others_probability: Annotated[float, Field(description="everything else, as with log-odds")]


class NoReasons(_Answer):
    """The model has none to give."""

    method: Literal["none"]
    why: str


Reasons = LogOddsReasons | ProbabilityReasons | NoReasons


class Prediction(_Answer):
    """How likely the flight is late, and what that rests on. It is in the database when this is read."""

    prediction_id: Annotated[str, Field(examples=["92139507e12d4624b1abd6794b7d960a"])]
    flight_id: Annotated[str, Field(examples=["UA1545-EWR-20131105T1015Z"])]
    probability_late: Annotated[float, Field(ge=0, le=1)]
    alert: Annotated[bool, Field(description="probability_late has reached the threshold of GET /v1/model")]
    usual_rate: Annotated[float, Field(description="base rate: share late among all flights of the training period")]
    model_version: str
    features: Annotated[
        Literal["materialised", "schedule_only"],
        Field(
            description="schedule_only: the flight is not in the online store, so nothing but its timetable is known"
        ),
    ]
    features_as_of: Annotated[
        datetime | None,
        Field(description="freshness: nothing known after this moment is in the answer; null with schedule_only"),
    ]
    flags: Annotated[tuple[Flag, ...], Field(description="what makes this answer less sure than usual")]
    reasons: Annotated[
        Reasons | None, Field(description="with ?explain=true, else null; `scale` is what they add up to")
    ]


class FeatureInfo(_Answer):
    name: str
    unit: str
    meaning: str
    known: str


class ModelInfo(_Answer):
    name: str
    version: str
    algorithm: str
    threshold: float
    usual_rate: Annotated[float, Field(description="base rate: share late among all flights of the training period")]
    late_minutes: Annotated[int, Field(description="a flight that arrives so many minutes late, or more, is late")]
    lead_minutes: Annotated[int, Field(description="nothing known later than so long before the departure is used")]
    trained_from: date
    trained_until: Annotated[date, Field(description="exclusive")]
    track_record: TrackRecord
    names: Annotated[Names, Field(description="of airlines and airports, by code")]
    features: tuple[FeatureInfo, ...]
    reasons: Annotated[Method | None, Field(description="how ?explain=true is computed; null where it is not stated")]
    lineage: Lineage


class Alive(_Answer):
    status: Literal["alive"] = "alive"


class Ready(_Answer):
    """It answers; `notes` say what is not as it should be all the same."""

    status: Literal["ready"] = "ready"
    model_version: str
    challenger: str | None
    notes: Annotated[tuple[str, ...], Field(examples=[["the database is away: 12 predictions wait in the spool"]])]


class Problem(_Answer):
    """One thing that is wrong with a request, or with the service."""

    place: Annotated[str, Field(examples=["flights.17.scheduled_arrival"])]
    reason: str
    got: str | None = None


class Refusal(_Answer):
    detail: tuple[Problem, ...]


class Received(_Answer):
    received: Annotated[int, Field(description="outcomes that are in the database now, also those that were there")]


class KnownOutcome(_Answer):
    flight_id: str
    late: Annotated[bool, Field(description="by the rule of the release that answers: late_minutes of GET /v1/model")]
    delay_minutes: Annotated[int | None, Field(description="below zero: early; null where nobody told it")]
    known_at: datetime


class ListedFlight(_Answer):
    """A flight that can be asked for: all but flight_id is the body of a request."""

    flight_id: str
    carrier: str
    flight_number: int
    origin: str
    dest: str
    scheduled_departure: datetime
    scheduled_arrival: datetime
    distance_miles: int


class Listing(_Answer):
    days: Annotated[tuple[date, date] | None, Field(description="first and last day of all, New York's calendar")]
    more: Annotated[bool, Field(description="there are more than `limit`")]
    flights: tuple[ListedFlight, ...]


class ReleaseState(_Answer):
    version: str
    algorithm: str
    trained_from: date
    trained_until: date
    state: Literal["answers", "challenger", "rolled back", "stands by", "refused"]


class Challenging(_Answer):
    version: str
    share: float


class Minute(_Answer):
    minute: datetime
    predictions: int
    alerts: int


class Latency(_Answer):
    """Of the last hour's requests, from arrival until the answer is stored; of 10,000 predictions at most."""

    requests: int
    flights: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Traffic(_Answer):
    """Of the last hour, from the table of predictions."""

    minutes: int
    predictions: int
    alerts: int
    schedule_only: int
    single: Annotated[Latency, Field(description="requests for one flight")]
    lists: Annotated[Latency, Field(description="requests for several flights")]
    by_minute: tuple[Minute, ...]


class Alert(_Answer):
    name: str
    tier: Annotated[int, Field(ge=1, le=3, description="1 stops everything, 2 asks for a retraining, 3 is reported")]
    value: float
    above: Annotated[float, Field(description="the limit, from params.yaml")]
    reason: str


class Quality(_Answer):
    """How good the answers were, on the flights of these days whose outcome is known."""

    since: date
    until: Annotated[date, Field(description="inclusive")]
    flights: int
    labelled: int
    coverage: Annotated[float | None, Field(description="share of the flights whose outcome is known")]
    late_rate: float | None
    predicted_rate: float | None
    auc: float | None
    ece: Annotated[float | None, Field(description="expected calibration error")]
    cost_per_1000: float | None


class Action(_Answer):
    """What the policy decided at the end of a day."""

    day: date
    action: Annotated[str, Field(examples=["nothing", "stop", "retrain", "promote", "withdraw", "roll back"])]
    reason: str


class Monitored(_Answer):
    """What the monitor found on the last day that it looked at, on the feed's calendar."""

    day: date
    alerts: Annotated[tuple[Alert, ...], Field(description="the most serious first")]
    why: Annotated[str | None, Field(description="what a diagnosis said first, while an alert is about performance")]
    quality: Quality | None
    policy: Action | None


class Decision(_Answer):
    decided_at: datetime
    clock: Annotated[
        Literal["real", "feed"],
        Field(description="feed: the moment is on the feed's clock, which may lie years behind or be simulated"),
    ]
    kind: str
    verdict: str
    reason: str


class Operations(_Answer):
    answering: str
    ready: bool
    notes: tuple[str, ...]
    challenger: Challenging | None
    monitored: Annotated[Monitored | None, Field(description="null before the monitor's first day")]
    retraining_asked_at: Annotated[datetime | None, Field(description="of the retraining that is not finished yet")]
    releases: tuple[ReleaseState, ...]
    traffic: Annotated[Traffic | None, Field(description="null while the database is away")]
    decisions: tuple[Decision, ...]
    links: dict[str, str]
