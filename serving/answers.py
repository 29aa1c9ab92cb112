"""What the service says: the bodies of its answers, as the OpenAPI document shows them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ontime.release import Lineage

Flag = Literal["schedule_only", "unknown_carrier", "unknown_dest"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


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
    features: tuple[FeatureInfo, ...]
    lineage: Lineage


class Alive(_Answer):
    status: Literal["alive"] = "alive"


class Ready(_Answer):
    status: Literal["ready"] = "ready"
    model_version: str


class Problem(_Answer):
    """One thing that is wrong with a request, or with the service."""

    place: Annotated[str, Field(examples=["flights.17.scheduled_arrival"])]
    reason: str
    got: str | None = None


class Refusal(_Answer):
    detail: tuple[Problem, ...]
