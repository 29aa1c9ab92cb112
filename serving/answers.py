"""What the service says: the bodies of its answers, as the OpenAPI document shows them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ontime.explain import Method
from ontime.problem import PROBLEM
from ontime.release import Lineage, TrackRecord
from ontime.schema import WORDS

FLAGS = r"^(request_only|store_unavailable|unknown_category:\w+)$"
Flag = Annotated[str, Field(pattern=FLAGS)]
EXAMPLE = PROBLEM.example_outcome["entity_id"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Reason(_Answer):
    feature: str
    words: Annotated[str, Field(description="the feature and its value")]
    effect: Literal["raises", "lowers"]


class LogOddsReason(_Reason):
    log_odds: float


class ProbabilityReason(_Reason):
    probability: float


class LogOddsReasons(_Answer):
    """Exact Shapley values: base_log_odds, the features' and others_log_odds add up to log_odds.

    probability is 1 / (1 + exp(-log_odds)).
    """

    method: Literal["tree_shap", "linear_shap"]
    scale: Literal["log_odds"]
    base_log_odds: Annotated[float, Field(description="of base_rate, the base rate")]
    log_odds: float
    features: Annotated[tuple[LogOddsReason, ...], Field(description="those that moved it most, the largest first")]
    others_log_odds: Annotated[float, Field(description="everything else, also what no single feature accounts for")]


class ProbabilityReasons(_Answer):
    """The same of a forest, which averages probabilities: all of it adds up to probability itself."""

    method: Literal["tree_shap"]
    scale: Literal["probability"]
    base_probability: Annotated[float, Field(description="base_rate, the base rate")]
    probability: float
    features: Annotated[tuple[ProbabilityReason, ...], Field(description="those that moved it most, the largest first")]
    others_probability: Annotated[float, Field(description="everything else, as with log-odds")]


class NoReasons(_Answer):
    """The model has none to give."""

    method: Literal["none"]
    why: str


Reasons = LogOddsReasons | ProbabilityReasons | NoReasons


class Prediction(_Answer):
    """How likely the label is, and what that rests on. It is in the database when this is read."""

    prediction_id: Annotated[str, Field(examples=["92139507e12d4624b1abd6794b7d960a"])]
    entity_id: Annotated[str, Field(examples=[EXAMPLE])]
    probability: Annotated[float, Field(ge=0, le=1, description=f"that the {WORDS.entity} {WORDS.is_positive}")]
    alert: Annotated[bool, Field(description="probability has reached the threshold of GET /v1/model")]
    base_rate: Annotated[
        float, Field(description=f"share {WORDS.positive} among all {WORDS.entities} of the training period")
    ]
    model_version: str
    features: Annotated[
        Literal["online", "request"],
        Field(description="request: it is not in the online store, so nothing but the request is known"),
    ]
    features_as_of: Annotated[
        datetime | None,
        Field(description="freshness: nothing known later is in the answer; null where it is not in the online store"),
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
    base_rate: Annotated[
        float, Field(description=f"share {WORDS.positive} among all {WORDS.entities} of the training period")
    ]
    label_at_least: Annotated[float, Field(description=f"the label is true from so many {PROBLEM.label.unit} on")]
    lead_minutes: Annotated[
        int, Field(description=f"nothing known later than so long before the {WORDS.event} is used")
    ]
    trained_from: date
    trained_until: Annotated[date, Field(description="exclusive")]
    track_record: TrackRecord
    names: Annotated[
        dict[str, dict[str, str]], Field(description="what people call the codes in a request: field, code, name")
    ]
    features: tuple[FeatureInfo, ...]
    reasons: Annotated[Method | None, Field(description="how ?explain=true is computed; null where it is not stated")]
    lineage: Lineage


class Choice(_Answer):
    value: str
    name: str


class SearchField(_Answer):
    """A field of the request by which GET /v1/entities searches."""

    field: str
    label: str
    placeholder: str
    only_choices: bool
    choices: tuple[Choice, ...]


class ProblemInfo(_Answer):
    """What the service is about, in words: the pages are made of this."""

    name: str
    zone: Annotated[str, Field(description="the calendar of days and hours, an IANA time zone")]
    label_at_least: float
    lead_minutes: int
    words: Annotated[dict[str, str], Field(description="sentences and nouns, by what they are for")]
    search: tuple[SearchField, ...]
    example_day: date
    example_hour: int | None


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

    place: Annotated[str, Field(examples=["entities.17.event_at"])]
    reason: str
    got: str | None = None


class Refusal(_Answer):
    detail: tuple[Problem, ...]


class Received(_Answer):
    received: Annotated[int, Field(description="outcomes that are in the database now, also those that were there")]


class KnownOutcome(_Answer):
    entity_id: str
    label: Annotated[
        bool, Field(description="by the rule of the release that answers: label_at_least of GET /v1/model")
    ]
    value: Annotated[float | None, Field(description=f"{WORDS.value}; null where nobody told it")]
    words: Annotated[str, Field(description="how it ended, in a sentence")]
    known_at: datetime


class ListedEntity(_Answer):
    """An entity that can be asked for, and how people see it."""

    entity_id: str
    event_at: datetime
    title: str
    subtitle: str
    details: str
    note: str
    request: Annotated[dict[str, str | int | float | bool | None], Field(description="the body to ask with")]


class Listing(_Answer):
    days: Annotated[tuple[date, date] | None, Field(description="first and last day of all, the problem's calendar")]
    more: Annotated[bool, Field(description="there are more than `limit`")]
    entities: tuple[ListedEntity, ...]


class ReleaseState(_Answer):
    version: str
    algorithm: str
    trained_from: date
    trained_until: date
    state: Literal["live", "challenger", "rolled back", "on standby", "refused"]


class Challenging(_Answer):
    version: str
    share: float


class Minute(_Answer):
    minute: datetime
    predictions: int
    alerts: int


class Latency(_Answer):
    """Of the last hour's requests, from receipt until the answer is stored; of 10,000 predictions at most."""

    requests: int
    entities: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Traffic(_Answer):
    """Of the last hour, from the table of predictions."""

    minutes: int
    predictions: int
    alerts: int
    request_only: int
    single: Annotated[Latency, Field(description="requests for one entity")]
    lists: Annotated[Latency, Field(description="requests for several entities")]
    by_minute: tuple[Minute, ...]


class Alert(_Answer):
    name: str
    tier: Annotated[int, Field(ge=1, le=3, description="1 stops everything, 2 asks for a retraining, 3 is reported")]
    value: float
    above: Annotated[float, Field(description="the limit, from params.yaml")]
    reason: str


class Quality(_Answer):
    """How good the answers were, on the entities of these days whose outcome is known."""

    since: date
    until: Annotated[date, Field(description="inclusive")]
    entities: int
    labelled: int
    coverage: Annotated[float | None, Field(description="share of the entities whose outcome is known")]
    positive_rate: float | None
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
