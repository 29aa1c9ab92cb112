"""Derived from the problem's declaration: the features by group, their order, and the type of an outcome.

The service imports this file, so it needs pydantic and numpy only.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ontime.declaration import ENTITY_ID, FIRST_YEAR, LAST_YEAR, Feature, KnownFrom, Question, Time, span
from ontime.problem import PROBLEM

__all__ = ["FIRST_YEAR", "LAST_YEAR", "Question", "span"]

WORDS = PROBLEM.words
ZONE = ZoneInfo(PROBLEM.zone)
EXAMPLE: str = PROBLEM.example_outcome["entity_id"]
CLOCK_SKEW = timedelta(minutes=5)  # a caller's clock may be this much ahead
LEAST_VALUE = PROBLEM.label.limits[0] - 1  # less than every value: stands for a missing one

FEATURES = tuple(PROBLEM.features)
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
CATEGORICAL = tuple(feature.name for feature in FEATURES if feature.categorical)
REQUEST = tuple(feature.name for feature in FEATURES if feature.known_from is KnownFrom.REQUEST)
ONLINE = tuple(
    feature.name for feature in FEATURES if feature.known_from is not KnownFrom.REQUEST
)  # from the online store
ONLINE_TEXTS = tuple(name for name in ONLINE if name in CATEGORICAL)
BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}
# Features of one source, which fail together: family -> names, in the order of FEATURES.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    family: tuple(feature.name for feature in FEATURES if feature.family == family)
    for family in dict.fromkeys(feature.family for feature in FEATURES)
}


def in_words(question: Question) -> str:
    """What a model predicts, in words."""
    return WORDS.question.format(**question.terms)


class Outcome(BaseModel):
    """The outcome of an entity, as callers send it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    entity_id: Annotated[str, Field(json_schema_extra={"pattern": f"^{ENTITY_ID}$"}, examples=[EXAMPLE])]
    label: Annotated[bool, Field(description=f"{WORDS.positive}, by label_at_least of GET /v1/model")]
    value: Annotated[
        float | None,
        Field(
            ge=PROBLEM.label.limits[0],
            le=PROBLEM.label.limits[1],
            description=f"{WORDS.value}, in {PROBLEM.label.unit}, where it is known",
        ),
    ] = None
    known_at: Annotated[
        Time, Field(description="with offset; not in the future; the outcome with the latest known_at counts")
    ]

    @field_validator("entity_id")
    @classmethod
    def is_a_key(cls, entity_id: str) -> str:
        if not re.fullmatch(ENTITY_ID, entity_id):
            raise ValueError(f"{entity_id[:100]!r} is not an entity_id such as {EXAMPLE}")
        return entity_id

    @field_validator("known_at")
    @classmethod
    def is_past(cls, known_at: datetime, _: ValidationInfo) -> datetime:
        now = datetime.now(UTC)
        if known_at > now + CLOCK_SKEW:
            raise ValueError(f"{known_at.isoformat()} is in the future: it is {now.isoformat(timespec='seconds')} here")
        return known_at

    @property
    def rank(self) -> tuple[datetime, float, bool]:
        """The outcome with the highest rank counts; `database.store_outcomes` uses the same order."""
        return self.known_at, LEAST_VALUE if self.value is None else self.value, self.label
