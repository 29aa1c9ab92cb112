"""The response bodies of the API, as pydantic models for the OpenAPI document."""

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


class ResponseModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Reason(ResponseModel):
    feature: str
    words: Annotated[str, Field(description="the feature and its value")]
    effect: Literal["raises", "lowers"]


class LogOddsReason(_Reason):
    log_odds: float


class ProbabilityReason(_Reason):
    probability: float


class LogOddsReasons(ResponseModel):
    """Exact Shapley values: base_log_odds, the values of the features and others_log_odds add up to log_odds.

    probability is 1 / (1 + exp(-log_odds)).
    """

    method: Literal["tree_shap", "linear_shap"]
    scale: Literal["log_odds"]
    base_log_odds: Annotated[float, Field(description="log-odds of base_rate")]
    log_odds: float
    features: Annotated[tuple[LogOddsReason, ...], Field(description="the largest effects, in descending order")]
    others_log_odds: Annotated[float, Field(description="the sum of everything else")]


class ProbabilityReasons(ResponseModel):
    """The same for a forest, which averages probabilities: the values add up to probability."""

    method: Literal["tree_shap"]
    scale: Literal["probability"]
    base_probability: Annotated[float, Field(description="base_rate")]
    probability: float
    features: Annotated[tuple[ProbabilityReason, ...], Field(description="the largest effects, in descending order")]
    others_probability: Annotated[float, Field(description="the sum of everything else")]


class NoReasons(ResponseModel):
    """The release has no explainer."""

    method: Literal["none"]
    why: str


Reasons = LogOddsReasons | ProbabilityReasons | NoReasons


class Prediction(ResponseModel):
    """The probability of the label, and what it is based on. It is stored before the response is sent."""

    prediction_id: Annotated[str, Field(examples=["92139507e12d4624b1abd6794b7d960a"])]
    entity_id: Annotated[str, Field(examples=[EXAMPLE])]
    probability: Annotated[float, Field(ge=0, le=1, description=f"that the {WORDS.entity} {WORDS.is_positive}")]
    alert: Annotated[bool, Field(description="probability is at or above the threshold of GET /v1/model")]
    base_rate: Annotated[
        float, Field(description=f"share {WORDS.positive} among all {WORDS.entities} of the training period")
    ]
    model_version: str
    features: Annotated[
        Literal["online", "request"],
        Field(description="request: the online store has no row, so only features of the request are used"),
    ]
    features_as_of: Annotated[
        datetime | None,
        Field(description="freshness: the features are as of this time; null if the online store has no row"),
    ]
    flags: Annotated[tuple[Flag, ...], Field(description="limitations of this prediction")]
    reasons: Annotated[
        Reasons | None, Field(description="with ?explain=true, otherwise null; `scale`: the unit of the values")
    ]


class FeatureInfo(ResponseModel):
    name: str
    unit: str
    meaning: str
    known: str


class ModelInfo(ResponseModel):
    name: str
    version: str
    algorithm: str
    threshold: float
    base_rate: Annotated[
        float, Field(description=f"share {WORDS.positive} among all {WORDS.entities} of the training period")
    ]
    label_at_least: Annotated[float, Field(description=f"the label is true from this value on, {PROBLEM.label.unit}")]
    lead_minutes: Annotated[int, Field(description=f"features are as of so many minutes before the {WORDS.event}")]
    trained_from: date
    trained_until: Annotated[date, Field(description="exclusive")]
    track_record: TrackRecord
    names: Annotated[
        dict[str, dict[str, str]], Field(description="display names of the codes in a request: field, code, name")
    ]
    features: tuple[FeatureInfo, ...]
    reasons: Annotated[Method | None, Field(description="how ?explain=true is computed; null if not stated")]
    lineage: Lineage


class SearchChoice(ResponseModel):
    value: str
    name: str


class SearchField(ResponseModel):
    """A field of the request that GET /v1/entities can filter by."""

    field: str
    label: str
    placeholder: str
    only_choices: bool
    choices: tuple[SearchChoice, ...]


class ProblemInfo(ResponseModel):
    """The texts and search fields that the web pages are built from."""

    name: str
    zone: Annotated[str, Field(description="IANA time zone of days and hours")]
    label_at_least: float
    lead_minutes: int
    words: Annotated[dict[str, str], Field(description="sentences and nouns, by purpose")]
    search: tuple[SearchField, ...]
    example_day: date
    example_hour: int | None


class Alive(ResponseModel):
    status: Literal["alive"] = "alive"


class Ready(ResponseModel):
    """The service can predict; `notes` lists problems that do not prevent that."""

    status: Literal["ready"] = "ready"
    model_version: str
    challenger: str | None
    notes: Annotated[tuple[str, ...], Field(examples=[["the database is down: 12 predictions are in the spool"]])]


class ErrorDetail(ResponseModel):
    """One problem with a request, or with the service."""

    place: Annotated[str, Field(examples=["entities.17.event_at"])]
    reason: str
    got: str | None = None


class ErrorResponse(ResponseModel):
    detail: tuple[ErrorDetail, ...]


class OutcomesReceived(ResponseModel):
    received: Annotated[int, Field(description="number of outcomes in the request; all are stored now")]


class KnownOutcome(ResponseModel):
    entity_id: str
    label: Annotated[bool, Field(description="by the rule of the champion: label_at_least of GET /v1/model")]
    value: Annotated[float | None, Field(description=f"{WORDS.value}; null if it was not reported")]
    words: Annotated[str, Field(description="the outcome as a sentence")]
    known_at: datetime


class ListedEntity(ResponseModel):
    """An entity of the online store, with texts that describe it."""

    entity_id: str
    event_at: datetime
    title: str
    subtitle: str
    details: str
    note: str
    request: Annotated[dict[str, str | int | float | bool | None], Field(description="body for POST /v1/predictions")]


class Listing(ResponseModel):
    days: Annotated[tuple[date, date] | None, Field(description="first and last day, in the problem's time zone")]
    more: Annotated[bool, Field(description="there are more: `after` the last entity_id")]
    entities: tuple[ListedEntity, ...]
