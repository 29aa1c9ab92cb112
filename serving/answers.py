"""What the service says: the bodies of its answers, as the OpenAPI document shows them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ontime.explain import Method
from ontime.release import Lineage, TrackRecord

Flag = Literal["schedule_only", "store_unavailable", "unknown_carrier", "unknown_dest"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Reason(_Answer):
    feature: str
    words: Annotated[str, Field(examples=["temperature, last observation at the origin: 31 deg F"])]
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
    usual_log_odds: Annotated[float, Field(description="of a flight of which nothing is known")]
    log_odds: float
    features: Annotated[tuple[LogOddsReason, ...], Field(description="those that moved it most, the largest first")]
    others_log_odds: float


class ProbabilityReasons(_Answer):
    """The same of a forest, which averages probabilities: all of it adds up to probability_late itself."""

    method: Literal["tree_shap"]
    scale: Literal["probability"]
    usual_probability: Annotated[float, Field(description="of a flight of which nothing is known")]
    probability: float
    features: Annotated[tuple[ProbabilityReason, ...], Field(description="those that moved it most, the largest first")]
    others_probability: float


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
    usual_rate: Annotated[float, Field(description="share late among all flights of the training period")]
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
    usual_rate: float
    lead_minutes: int
    trained_from: date
    trained_until: Annotated[date, Field(description="exclusive")]
    track_record: TrackRecord
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
    late: bool
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


class Traffic(_Answer):
    """Of the last hour, from the table of predictions; the times are of its last 10,000 at most."""

    minutes: int
    predictions: int
    alerts: int
    schedule_only: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    by_minute: tuple[Minute, ...]


class Decision(_Answer):
    decided_at: datetime
    kind: str
    verdict: str
    reason: str


class Operations(_Answer):
    answering: str
    ready: bool
    notes: tuple[str, ...]
    challenger: Challenging | None
    releases: tuple[ReleaseState, ...]
    traffic: Annotated[Traffic | None, Field(description="null while the database is away")]
    decisions: tuple[Decision, ...]
    links: dict[str, str]
